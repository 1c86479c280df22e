//! One module a page: each reads through the API, then renders.

pub(crate) mod all_kinds;
pub(crate) mod confirm;
pub(crate) mod edit;
pub(crate) mod login;
pub(crate) mod object;
pub(crate) mod overview;
pub(crate) mod parts;
pub(crate) mod room;
pub(crate) mod shell;
pub(crate) mod story;
pub(crate) mod table;
pub(crate) mod topology;
pub(crate) mod what_if;

use maud::{Markup, html};

use crate::api::Failure;
use crate::live::Follow;

/// A page before the frame is put around it.
pub(crate) struct View {
    pub(crate) title: String,
    pub(crate) body: Markup,
    /// What is shown, as of which revision, so that it can be followed.
    pub(crate) follows: Vec<Follow>,
    pub(crate) revision: String,
    /// Where to go instead.
    pub(crate) leads_to: Option<String>,
}

impl View {
    pub(crate) fn new(title: impl Into<String>, body: Markup) -> Self {
        let (follows, revision) = (Vec::new(), String::new());
        Self { title: title.into(), body, follows, revision, leads_to: None }
    }

    pub(crate) fn leading_to(link: String) -> Self {
        Self { leads_to: Some(link), ..Self::new("", html! {}) }
    }

    /// The same page, made again whenever one of these changes.
    pub(crate) fn following(self, follows: Vec<Follow>, revision: &str) -> Self {
        Self { follows, revision: revision.to_owned(), ..self }
    }
}

/// The page of a failure.
pub(crate) fn failure(failure: &Failure) -> View {
    let title = match failure.code {
        403 => "Not allowed",
        404 => "Not found",
        _ => "That did not work",
    };
    View::new(title, html! { h1 { (title) } (notice(failure)) })
}

/// A failure within a page.
pub(crate) fn notice(failure: &Failure) -> Markup {
    html! { p.notice.bad role="alert" { (failure.message) } }
}
