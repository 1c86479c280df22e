//! Why a value does not fit its schema, in Kubernetes' words.

use std::fmt;

use super::element::Element;

/// What is wrong with a value, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    pub(super) fn of(message: impl Into<String>) -> Self {
        Self(vec![(String::new(), message.into())])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The same of the value that has this one at an element.
    pub(super) fn below(mut self, element: &Element<'_>) -> Self {
        for (path, _) in &mut self.0 {
            path.insert_str(0, &element.to_string());
        }
        self
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |f: &mut fmt::Formatter<'_>, (path, message): &(String, String)| match path.is_empty() {
            true => f.write_str(message),
            false => write!(f, "{path}: {message}"),
        };
        if let [fault] = &*self.0 {
            return one(f, fault);
        }
        f.write_str("errors:")?;
        self.0.iter().try_for_each(|fault| {
            f.write_str("\n  ")?;
            one(f, fault)
        })
    }
}

impl std::error::Error for Faults {}
