//! Fields that an applied configuration sets otherwise than who else owns them.

use std::fmt;

use super::managers::{Manager, Operation};

/// One field, and who owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it, as people read it.
    pub manager: String,
    /// Where it is, such as `.spec.replicas`.
    pub field: String,
    order: String,
}

/// All fields that a configuration sets otherwise than their owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(Vec<Conflict>);

impl Conflicts {
    pub(super) fn of<'m>(owners: impl IntoIterator<Item = (&'m Manager<'m>, Vec<String>)>) -> Self {
        let mut conflicts = Vec::new();
        for (manager, fields) in owners {
            let (shown, order) = (shown(manager), manager.identity());
            let of = |field| Conflict { manager: shown.clone(), field, order: order.clone() };
            conflicts.extend(fields.into_iter().map(of));
        }
        // Those of one manager stay in their order.
        conflicts.sort_by(|a, b| a.order.cmp(&b.order));
        Self(conflicts)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Conflict> {
        self.0.iter()
    }
}

fn shown(manager: &Manager<'_>) -> String {
    let mut shown = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        shown.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if manager.operation == Operation::Update {
        shown.push_str(&format!(" using {}", manager.api_version));
    }
    shown
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &*self.0 {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.field);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last = None;
        for (place, conflict) in self.0.iter().enumerate() {
            if last != Some(&conflict.order) {
                let line = if place == 0 { "" } else { "\n" };
                write!(f, "{line}conflicts with {}:", conflict.manager)?;
                last = Some(&conflict.order);
            }
            write!(f, "\n- {}", conflict.field)?;
        }
        Ok(())
    }
}

impl std::error::Error for Conflicts {}
