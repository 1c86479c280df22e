//! What is asked of the API and what it answers, without HTTP.

mod service;
mod target;
mod user;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

pub use self::service::{ObjectList, Reply, Response, Service, WatchEvent, WatchStream};
pub use self::target::{Kind, Target};
pub use self::user::User;
use super::{Status, decode, protobuf};
use crate::meta::Revision;
use crate::selector::{FieldSelector, Selector};

/// An object in a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON text.
    Json(Bytes),
    /// YAML text.
    Yaml(Bytes),
    /// Kubernetes' protobuf, which there is of the built-in kinds.
    Protobuf(Bytes),
    /// A value made by this program.
    Value(Value),
}

impl Body {
    /// The same for who may have to read it a second time: a value as the text that it is written as, which costs a fraction of
    /// a copy.
    pub(crate) fn to_read_again(&self) -> Self {
        match self {
            // A value can always be written.
            Self::Value(value) => Self::Json(serde_json::to_vec(value).unwrap_or_default().into()),
            text => text.clone(),
        }
    }

    /// What the media type of a request says that its body is; `None` for one that objects are not read from.
    pub fn of_content_type(content_type: &str, body: Bytes) -> Option<Self> {
        match content_type {
            "" | "application/json" => Some(Self::Json(body)),
            "application/yaml" => Some(Self::Yaml(body)),
            protobuf::MEDIA_TYPE => Some(Self::Protobuf(body)),
            _ => None,
        }
    }

    /// The object as a value, which is to be of a kind. Of fields that stand twice the last counts.
    ///
    /// # Errors
    /// When it is not what it is said to be, or there is no protobuf of its kind.
    pub fn read(self, kind: &str) -> Result<Value, Status> {
        decode::body(self, kind).map(|decoded| decoded.value)
    }

    /// The same for options that are sent in the place of an object, of which Kubernetes says only why they cannot be read.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_options(self) -> Result<Value, Status> {
        decode::options(self).map(|decoded| decoded.value)
    }
}

/// What becomes of fields that the kind does not have, or that stand twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the answer warns of them.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// Options of every write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but write.
    pub dry_run: bool,
    /// Who is to be named as the manager of the fields.
    pub field_manager: Option<String>,
    /// What becomes of unknown and repeated fields.
    pub field_validation: FieldValidation,
}

/// The four ways to describe a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// A list of operations (RFC 6902).
    Json,
    /// An object laid over the old one (RFC 7396).
    Merge,
    /// A merge that knows which lists are keyed sets.
    Strategic,
    /// The fields that a manager wants, as a whole (server-side apply).
    Apply,
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, without their owner.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// Options of a deletion.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Do everything but write.
    pub dry_run: bool,
    /// Seconds of grace; `None` for what the object says. 0 deletes at once.
    pub grace_period: Option<i64>,
    /// What happens to dependents; `None` for what the kind does by default.
    pub propagation: Option<Propagation>,
    /// Only this object of the name.
    pub uid: Option<String>,
    /// Only this version of the object.
    pub revision: Option<Revision>,
}

/// How exactly a list must be of the revision asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionMatch {
    /// That revision or a later one.
    NotOlderThan,
    /// Exactly that revision.
    Exact,
}

/// Options of a list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only objects with matching labels.
    pub labels: Option<Selector>,
    /// Only objects with matching fields.
    pub fields: Option<FieldSelector>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// Where an earlier list left off.
    pub continue_token: Option<String>,
    /// Of which revision. `None` is the latest; 0 is any that is at hand.
    pub revision: Option<Revision>,
    /// How exactly.
    pub revision_match: Option<RevisionMatch>,
}

/// Options of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Only objects with matching labels.
    pub labels: Option<Selector>,
    /// Only objects with matching fields.
    pub fields: Option<FieldSelector>,
    /// Events after this revision. `None` or 0: first the objects as they are, as if they had just been added.
    pub after: Option<Revision>,
    /// Say from time to time how far the watch has come.
    pub bookmarks: bool,
    /// `true`: begin with the objects as they are and mark their end with a bookmark, whatever `after` says. `false`:
    /// never begin with them. `None`: as `after` says.
    pub initial_events: Option<bool>,
    /// How long the caller listens: a bookmark is sent shortly before.
    pub timeout: Option<Duration>,
}

/// What can be done with the objects of a kind, in the order in which discovery lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Make a new object.
    Create,
    /// Remove an object.
    Delete,
    /// Remove the objects of a collection that match.
    DeleteCollection,
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Change an object.
    Patch,
    /// Replace an object.
    Update,
    /// Follow a collection, or one object of it.
    Watch,
}

impl Verb {
    /// Every verb: what most kinds have.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// The verb, as discovery, authorization and the log name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }

    /// Whether it is for the collections of all namespaces at once too.
    pub fn spans_namespaces(self) -> bool {
        matches!(self, Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Read one object, now or as it was.
    Get {
        /// The revision it must be of, or at least; `None` is the latest.
        revision: Option<Revision>,
        /// With [`RevisionMatch::Exact`], exactly as it was then.
        revision_match: Option<RevisionMatch>,
    },
    /// Read a collection.
    List(ListOptions),
    /// Make a new object.
    Create {
        /// The object.
        body: Body,
        /// How.
        options: WriteOptions,
    },
    /// Replace an object.
    Update {
        /// The object.
        body: Body,
        /// How.
        options: WriteOptions,
    },
    /// Change an object.
    Patch {
        /// What `patch` is.
        kind: PatchKind,
        /// The change: JSON, or for [`PatchKind::Apply`] YAML.
        patch: Bytes,
        /// Take fields over from other managers ([`PatchKind::Apply`] only).
        force: bool,
        /// How.
        options: WriteOptions,
    },
    /// Remove an object.
    Delete(DeleteOptions),
    /// Remove the objects of a collection that match.
    DeleteCollection(ListOptions, DeleteOptions),
}

impl Operation {
    /// Read the latest version of one object.
    pub const GET: Self = Self::Get { revision: None, revision_match: None };

    /// Which objects of a collection it is about, by their fields.
    pub fn selected(&self) -> Option<&FieldSelector> {
        match self {
            Self::List(options) | Self::DeleteCollection(options, _) => options.fields.as_ref(),
            _ => None,
        }
    }

    /// The verb, as authorization and the log name it.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Get { .. } => Verb::Get,
            Self::List(_) => Verb::List,
            Self::Create { .. } => Verb::Create,
            Self::Update { .. } => Verb::Update,
            Self::Patch { .. } => Verb::Patch,
            Self::Delete(_) => Verb::Delete,
            Self::DeleteCollection(..) => Verb::DeleteCollection,
        }
    }
}
