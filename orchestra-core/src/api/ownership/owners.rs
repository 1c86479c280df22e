//! What a write makes of who owns which fields.

use serde_json::Value;

/// What becomes of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They stay as they are.
    Kept,
    /// They are these; none, if nobody owns anything.
    Are(Option<Value>),
    /// They are these, as a text in JSON.
    Text {
        /// The text.
        text: String,
        /// Whether it says anything else than what was there: times alone do not.
        is_new: bool,
    },
}

impl Owners {
    /// What they are from now on, as a value, if they do not stay as they are.
    pub fn into_value(self) -> Option<Option<Value>> {
        match self {
            Self::Kept => None,
            Self::Are(owners) => Some(owners),
            Self::Text { text, .. } => Some(serde_json::from_str(&text).ok()),
        }
    }
}
