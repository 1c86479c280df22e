//! What the engine is told of a kind, and of who writes.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::managers::{Held, Manager, ManagersError, Operation};
use super::set::FieldSet;
use super::types::{NodeId, Schema};

/// A kind, as a request speaks of it.
pub struct Kind<'k> {
    /// The version of the request.
    pub api_version: &'k str,
    /// The kind's schema in that version.
    pub schema: &'k Schema,
    /// Where objects begin in the schema.
    pub node: NodeId,
    /// An object of which nothing is set.
    pub empty: &'k Value,
    /// What a write to this part of an object does not change, whatever it says.
    pub ignored: Ignored<'k>,
    /// The kind's other versions.
    pub versions: &'k dyn Versions,
}

impl std::fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("api_version", &self.api_version).finish_non_exhaustive()
    }
}

impl<'k> Kind<'k> {
    /// The schema of a version, and where objects begin in it.
    pub(super) fn schema_of(&self, api_version: &str) -> (&Schema, NodeId) {
        if api_version == self.api_version {
            (self.schema, self.node)
        } else {
            self.versions.schema(api_version)
        }
    }

    /// What a write changes of what somebody may own; `None` if one of the states cannot be told apart.
    pub(super) fn changes<'a>(&'a self, old: &'a Value, new: &'a Value) -> Option<Comparison<'a>> {
        let changes = compare(self.schema, self.node, old, new).ok()?;
        Some(self.ignored.filter_changes(changes).filtered(|set| set.minus(unowned())))
    }

    /// Who owns what, as the schema has it now.
    pub(super) fn managers<'m>(&self, held: Held<'m>) -> Result<Vec<Manager<'m>>, ManagersError> {
        let mut managers = held.read()?;
        for manager in managers.iter_mut() {
            let (schema, node) = self.schema_of(&manager.api_version);
            if schema.changes() {
                manager.fields = manager.fields.reconciled(schema, node);
            }
        }
        Ok(managers)
    }
}

/// How objects of a kind look in its versions.
pub trait Versions {
    /// An object in another version; `None` if that is not served.
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;

    /// The schema of a version, and where objects begin in it.
    fn schema(&self, api_version: &str) -> (&Schema, NodeId);
}

/// Fields that a write does not change, whatever it says, so that no manager owns them by it.
#[derive(Clone, Debug)]
pub enum Ignored<'k> {
    /// These, and what is below.
    These(FieldSet<'k>),
    /// All but these, and what is below.
    AllBut(FieldSet<'k>),
}

impl<'k> Ignored<'k> {
    /// What is left of a set.
    pub(super) fn filter<'a>(&self, set: FieldSet<'a>) -> FieldSet<'a>
    where
        'k: 'a,
    {
        match self {
            Self::These(fields) if fields.is_empty() => set,
            Self::These(fields) => set.without(fields),
            Self::AllBut(fields) => set.within(fields),
        }
    }

    pub(super) fn filter_changes<'a>(&self, changes: Comparison<'a>) -> Comparison<'a>
    where
        'k: 'a,
    {
        changes.filtered(|set| self.filter(set))
    }
}

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The subresource that is written to; empty for the object itself.
    pub subresource: &'a str,
    /// Now, as objects have it.
    pub now: &'a str,
}

impl<'a> Author<'a> {
    /// Who writes, as a manager that owns something of an object of a kind.
    pub(super) fn owning<F>(self, kind: &'a Kind<'_>, fields: F) -> Manager<'a, F> {
        Manager {
            name: Cow::Borrowed(if self.manager.is_empty() { "unknown" } else { self.manager }),
            operation: Operation::Update,
            api_version: kind.api_version.into(),
            subresource: self.subresource.into(),
            time: Some(self.now.into()),
            fields,
        }
    }
}

/// What identifies an object and is kept of it by the system: nobody owns it.
pub(super) fn unowned() -> &'static FieldSet<'static> {
    static UNOWNED: LazyLock<FieldSet<'static>> = LazyLock::new(|| {
        let mut set = FieldSet::of(["apiVersion"]);
        set = set.union(&FieldSet::of(["kind"])).union(&FieldSet::of(["metadata"]));
        let kept = [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ];
        kept.iter().fold(set, |set, field| set.union(&FieldSet::of(["metadata", field])))
    });
    &UNOWNED
}
