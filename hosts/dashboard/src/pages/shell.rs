//! The frame of every page: menu, namespace, who looks.

use futures::future::join;
use maud::{DOCTYPE, Markup, html};
use serde_json::json;

use super::View;
use super::parts::guard;
use crate::api::{Asker, Failure, Write};
use crate::kinds::{self, MENU};
use crate::live;
use crate::route::{Place, Query};
use crate::tell;
use crate::visit::Visit;
use http::Method;

const ANONYMOUS: &str = "system:anonymous";

/// The name of who looks; `None` for a stranger.
pub(crate) async fn who(asker: &Asker<'_>) -> Result<Option<String>, Failure> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    match asker.write(Write::json(Method::POST, path, &review)).await {
        Ok(answer) => {
            let name = tell::text(&answer, "/status/userInfo/username");
            Ok(Some(name.to_owned()).filter(|name| !name.is_empty() && name != ANONYMOUS))
        }
        // A stranger may not even ask.
        Err(failure) if failure.is_refusal() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether who looks has not said who that is.
pub(crate) async fn is_nobody(visit: &Visit<'_>) -> bool {
    matches!(who(&visit.asker).await, Ok(None))
}

/// The head of every page. What it loads is beside it.
pub(super) fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · orchestra" }
            link rel="icon" href="icon.svg" type="image/svg+xml";
            link rel="stylesheet" href="style.css";
            script src="script.js" defer {}
        }
    }
}

/// A whole page.
pub(crate) async fn page(visit: &Visit<'_>, view: View) -> Markup {
    let (user, namespaces) = join(who(&visit.asker), kinds::namespaces(&visit.asker)).await;
    let user = user.ok().flatten();
    let live = (!view.follows.is_empty()).then(|| live::url(&view.follows, &view.revision));
    let namespace = visit.query.get("in");
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&view.title))
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href="." { span.mark aria-hidden="true" {} "orchestra" }
                    (namespace_chooser(visit, namespace, &namespaces))
                    form.go action="go" role="search" {
                        input type="hidden" name="in" value=(namespace);
                        input #go name="q" placeholder="Go to…  pods, deploy/web, ns shop" aria-label="Go to a kind or an object" autocomplete="off" spellcheck="false";
                        kbd aria-hidden="true" { ":" }
                    }
                    div.who {
                        span.live #live title="Whether this page follows the cluster" hidden[true] { "live" }
                        @match &user {
                            Some(user) => span.user title="Who looks" { (user) },
                            None => a href="login" { "Log in" },
                        }
                        @if visit.session.has_token {
                            form method="post" action="logout" { (guard(visit)) button.quiet { "Log out" } }
                        }
                    }
                }
                nav.menu aria-label="Kinds" { (menu(visit, namespace)) }
                main #main tabindex="-1" data-live=[live] {
                    @if let Some(said) = &visit.session.said { p.notice.good role="status" { (said) } }
                    (view.body)
                }
                (help())
            }
        }
    }
}

fn menu(visit: &Visit<'_>, namespace: &str) -> Markup {
    let within = |page: &str| match namespace {
        "" => page.to_owned(),
        namespace => format!("{page}?{}", Query::default().with("in", namespace)),
    };
    let current = |is: bool| is.then_some("page");
    let page = &*visit.page;
    let about_kind = matches!(page, "table" | "object" | "delete" | "edit" | "drain" | "what-if");
    html! {
        ul {
            li { a href=(within(".")) aria-current=[current(page.is_empty())] { "Overview" } }
            li { a href=(within("topology")) aria-current=[current(page == "topology")] { "Topology" } }
        }
        @for (heading, kinds) in MENU {
            h2 { (heading) }
            ul {
                @for (group, version, resource, label) in *kinds {
                    @let is_current = about_kind && kinds::is_current(&visit.query, group, resource);
                    @let namespaced = !matches!(*resource, "nodes" | "namespaces");
                    @let query = Place::new(group, version, resource).query();
                    @let query = query.with("in", if namespaced { namespace } else { "" });
                    li { a href={ "table?" (query) } aria-current=[current(is_current)] { (label) } }
                }
            }
        }
        ul { li { a href=(within("kinds")) aria-current=[current(page == "kinds")] { "All kinds" } } }
    }
}

/// A form that shows the page that one is on for another namespace.
fn namespace_chooser(visit: &Visit<'_>, namespace: &str, namespaces: &[String]) -> Markup {
    let stays = matches!(&*visit.page, "" | "topology" | "table" | "kinds");
    let action = if stays && !visit.page.is_empty() { &*visit.page } else { "." };
    html! {
        form.namespace action=(action) data-submit-on-change {
            @if stays {
                @for name in ["r", "g", "v", "l"] {
                    @if visit.query.is_set(name) { input type="hidden" name=(name) value=(visit.query.get(name)); }
                }
            }
            label.sr for="namespace" { "Namespace" }
            select #namespace name="in" {
                option value="" { "All namespaces" }
                @if !namespace.is_empty() && !namespaces.iter().any(|held| held == namespace) {
                    option value=(namespace) selected { (namespace) }
                }
                @for name in namespaces {
                    option value=(name) selected[name == namespace] { (name) }
                }
            }
            noscript { button { "Show" } }
        }
    }
}

fn help() -> Markup {
    let keys: &[(&str, &str)] = &[
        (":", "go to a kind or an object"),
        ("/", "filter"),
        ("j  k", "next and previous row"),
        ("Enter", "open the row"),
        ("g o", "overview"),
        ("g t", "topology"),
        ("g p", "pods"),
        ("g d", "deployments"),
        ("g s", "services"),
        ("g n", "nodes"),
        ("1 – 7", "parts of an object"),
        ("n", "choose a namespace"),
        ("?", "this help"),
    ];
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl.keys { @for (key, what) in keys { div { dt { kbd { (key) } } dd { (what) } } } }
            form method="dialog" { button { "Close" } }
        }
    }
}
