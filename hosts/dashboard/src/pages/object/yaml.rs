//! An object as YAML, to read and to change; and what differs between two.

use maud::{Markup, html};
use orchestra_core::api::yaml;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::Shown;
use crate::pages::parts::{guard, hidden};

/// The YAML that people read: without the book-keeping of who owns which field.
pub(crate) fn shown_as_yaml(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    yaml::write(&object).unwrap_or_else(|error| format!("# {error}\n"))
}

pub(super) fn page(shown: &Shown<'_>) -> Markup {
    editor(shown, &shown_as_yaml(&shown.object))
}

fn editor(shown: &Shown<'_>, text: &str) -> Markup {
    let can = shown.kind.can("update");
    html! {
        form.editor method="post" action="edit" {
            (guard(shown.visit)) (hidden(&shown.spot.query()))
            label.sr for="yaml" { "YAML" }
            textarea #yaml name="yaml" spellcheck="false" autocapitalize="off" wrap="off" rows="32" readonly[!can] { "\n" (text) }
            @if can {
                div.bar-below {
                    button.primary name="step" value="try" { "Review the change…" }
                    button name="what" value="yaml" formaction="what-if" { "What would happen?" }
                    span.quiet { "Nothing is changed yet: the API says first what would become of it." }
                }
            }
        }
    }
}

/// What differs between two texts, line by line, with a few lines around each change.
pub(crate) fn diff(old: &str, new: &str) -> Markup {
    let diff = TextDiff::from_lines(old, new);
    let groups = diff.grouped_ops(3);
    html! {
        @if groups.is_empty() { p.quiet { "Nothing differs." } }
        @else {
            div.diff role="group" aria-label="What differs" {
                @for (index, group) in groups.iter().enumerate() {
                    @if index > 0 { div.gap { "⋯" } }
                    @for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                        @match change.tag() {
                            ChangeTag::Delete => del { span.sign { "-" } (line(change.value())) },
                            ChangeTag::Insert => ins { span.sign { "+" } (line(change.value())) },
                            ChangeTag::Equal => div { span.sign { " " } (line(change.value())) },
                        }
                    }
                }
            }
        }
    }
}

fn line(text: &str) -> &str {
    text.trim_end_matches('\n')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_shown_escaped() {
        let shown = diff("a: 1\nb: <i>\n", "a: 2\nb: <i>\n").into_string();
        assert!(shown.contains("<del><span class=\"sign\">-</span>a: 1</del>"), "{shown}");
        assert!(shown.contains("<ins><span class=\"sign\">+</span>a: 2</ins>"), "{shown}");
        assert!(shown.contains("b: &lt;i&gt;") && !shown.contains("<i>"), "{shown}");
        assert!(diff("a\n", "a\n").into_string().contains("Nothing differs."));
    }

    #[test]
    fn who_owns_which_field_is_left_out() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "managedFields": [{}]}});
        assert_eq!(shown_as_yaml(&object), "kind: Pod\nmetadata:\n  name: a\n");
    }
}
