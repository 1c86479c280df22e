//! What must hold for any input, one function a fuzz target.

mod canonical;
mod encode;
mod expression;
mod ownership;
mod patches;
mod protobuf;
mod selector;
mod structural;
mod texts;

/// Panics at an input that breaks a rule.
pub type Check = fn(&[u8]);

/// The targets, by the names of their corpora.
pub const ALL: &[(&str, Check)] = &[
    ("apply", ownership::check),
    ("canonical", canonical::check),
    ("continue_token", |bytes| text(bytes, texts::continue_token)),
    ("expression", |bytes| text(bytes, expression::check)),
    ("json_patch", patches::json),
    ("merge_patch", patches::merge),
    ("protobuf", protobuf::check),
    ("quantity", |bytes| text(bytes, texts::quantity)),
    ("selector", |bytes| text(bytes, selector::check)),
    ("strategic_patch", patches::strategic),
    ("structural", structural::check),
    ("token", |bytes| text(bytes, texts::token)),
    ("yaml", texts::yaml),
];

fn text(bytes: &[u8], check: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
}
