//! A change of an object's YAML: tried first, shown as what would differ, then made.

use http::Method;
use maud::html;

use super::object::{diff, shown_as_yaml};
use super::parts::{guard, hidden};
use super::{View, notice};
use crate::api::{Failure, Write};
use crate::route::{Query, Spot};
use crate::visit::Visit;

const YAML: &str = "application/yaml";

pub(crate) async fn page(visit: &Visit<'_>, form: &Query) -> Result<View, Failure> {
    let spot = Spot::of(form);
    if !spot.is_sound() {
        return Err(Failure::new(400, "No object is named."));
    }
    // Browsers end the lines of a form as HTTP does.
    let text = form.get("yaml").replace("\r\n", "\n");
    let put = |dry: &str| Write {
        method: Method::PUT,
        path: format!("{}{dry}", spot.path()),
        content_type: YAML,
        body: text.clone().into(),
    };
    if form.get("step") == "save" {
        return match visit.asker.write(put("")).await {
            Ok(_) => Ok(View::leading_to(spot.tab("yaml"))),
            Err(failure) => Ok(again(visit, &spot, &text, &failure)),
        };
    }
    let old = visit.asker.get(&spot.path()).await?;
    match visit.asker.write(put("?dryRun=All")).await {
        Ok(new) => Ok(review(visit, &spot, &text, &shown_as_yaml(&old), &shown_as_yaml(&new))),
        Err(failure) => Ok(again(visit, &spot, &text, &failure)),
    }
}

fn review(visit: &Visit<'_>, spot: &Spot, text: &str, old: &str, new: &str) -> View {
    let body = html! {
        nav.crumbs { a href=(spot.tab("yaml")) { (spot.name) } }
        h1 { "Review the change" }
        p { "This is what the API would make of it, defaults and all." }
        (diff(old, new))
        form method="post" action="edit" {
            (guard(visit)) (hidden(&spot.query()))
            textarea.sr name="yaml" aria-label="YAML" tabindex="-1" readonly { "\n" (text) }
            div.bar-below {
                @if old != new { button.primary name="step" value="save" { "Apply" } }
                a.button href=(spot.tab("yaml")) { "Discard" }
            }
        }
    };
    View::new(format!("Change {}", spot.name), body)
}

/// The text as it was entered, with what the API has against it.
fn again(visit: &Visit<'_>, spot: &Spot, text: &str, failure: &Failure) -> View {
    let body = html! {
        nav.crumbs { a href=(spot.tab("yaml")) { (spot.name) } }
        h1 { "Not changed" }
        (notice(failure))
        form.editor method="post" action="edit" {
            (guard(visit)) (hidden(&spot.query()))
            label.sr for="yaml" { "YAML" }
            textarea #yaml name="yaml" spellcheck="false" autocapitalize="off" wrap="off" rows="32" { "\n" (text) }
            div.bar-below {
                button.primary name="step" value="try" { "Review the change…" }
                a.button href=(spot.tab("yaml")) { "Discard" }
            }
        }
    };
    View::new(format!("Change {}", spot.name), body)
}
