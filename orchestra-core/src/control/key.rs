use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::api::Kind;
use crate::meta::ObjectName;

/// What a controller runs for: an object of its kind; of a controller of [every kind](super::Controller::every_kind),
/// an object of the kind that the key names.
#[derive(Clone, Debug, Eq)]
pub struct Key {
    kind: Option<Arc<Kind>>,
    name: ObjectName,
}

impl Key {
    /// An object of any kind.
    pub fn of(kind: &Arc<Kind>, name: ObjectName) -> Self {
        Self { kind: Some(Arc::clone(kind)), name }
    }

    /// Its kind, if the controller has more than one.
    pub fn kind(&self) -> Option<&Arc<Kind>> {
        self.kind.as_ref()
    }

    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl From<ObjectName> for Key {
    /// An object of the controller's own kind.
    fn from(name: ObjectName) -> Self {
        Self { kind: None, name }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let id = |key: &Self| key.kind.as_ref().map(|kind| kind.id.clone());
        self.name == other.name && id(self) == id(other)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.as_ref().map(|kind| &kind.id).hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{} {}", kind.id, self.name),
            None => self.name.fmt(f),
        }
    }
}
