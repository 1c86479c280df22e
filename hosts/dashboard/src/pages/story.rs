//! What is the matter with an object, step by step down to the cause.

use maud::{Markup, html};
use orchestra_core::explain::{Severity, Step, Story};

use super::parts::{guard, hidden, link};
use crate::explained::{self, spot};
use crate::route::Spot;
use crate::visit::Visit;

/// The steps from an object to the cause.
pub(super) fn chain(story: &Story) -> Markup {
    html! {
        ol.chain { @for step in &story.steps { (told_step(step)) } }
        @if !story.affects.is_empty() {
            p.affects { "Also suffers: "
                @for (index, about) in story.affects.iter().enumerate() {
                    @if index > 0 { ", " }
                    (about.kind()) " " (link(&spot(about)))
                }
            }
        }
    }
}

fn told_step(step: &Step) -> Markup {
    html! {
        li {
            p { (step.about.kind()) " " (link(&spot(&step.about))) " " (step.says) "." }
            @for evidence in &step.evidence {
                blockquote { (evidence.says) cite { (evidence.from) } }
            }
            @if !step.advice.is_empty() {
                ul.advice { @for advice in &step.advice { li { (advice) } } }
            }
        }
    }
}

/// What is the matter with the object of a page, if anything is.
pub(crate) async fn why(visit: &Visit<'_>, object: &Spot) -> Markup {
    match explained::story(&visit.asker, object).await {
        Some(story) => {
            let class = if story.severity == Severity::Critical { "bad" } else { "busy" };
            html! {
                section class={ "why " (class) } aria-label="What is the matter" {
                    h2 { "Why" }
                    (chain(&story))
                    form method="post" action="what-if" {
                        (guard(visit)) (hidden(&object.query()))
                        button.quiet name="what" value="help" { "What would help?" }
                    }
                }
            }
        }
        None => html! {},
    }
}
