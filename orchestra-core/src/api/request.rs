//! What is asked of the API and what it answers, without HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;

use super::{Status, access, decode, protobuf};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, Object, ObjectName, Revision, Scope};
use crate::selector::{FieldSelector, Selector};
use crate::watch::{Cache, Entry};

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, such as `system:node:edge-1`.
    pub name: String,
    /// The groups, such as `system:masters`.
    pub groups: Vec<String>,
    /// Which user of that name, when the authenticator knows.
    pub uid: String,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user of that name in the group of all who proved who they are.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: vec![access::AUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Also in a group. That of all who proved who they are comes last, as in Kubernetes.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        let last = self.groups.last().is_some_and(|group| group == access::AUTHENTICATED);
        self.groups.insert(self.groups.len() - usize::from(last), group.into());
        self
    }

    /// The user of a service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::named(format!("system:serviceaccount:{namespace}:{name}"))
            .in_group("system:serviceaccounts")
            .in_group(format!("system:serviceaccounts:{namespace}"))
    }

    /// The cluster's administrator, who may do everything.
    pub fn admin() -> Self {
        Self::named("kubernetes-admin").in_group("system:masters")
    }

    /// Whoever did not say who they are.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec![access::UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }
}

/// What a request is about: a kind under a version, and where it applies, a namespace, a name, a subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The version that the caller speaks.
    pub version: Arc<str>,
    /// The plural.
    pub resource: Arc<str>,
    /// The namespace; `None` for all of them and for kinds of the whole cluster.
    pub namespace: Option<Arc<str>>,
    /// One object; `None` for the collection.
    pub name: Option<Arc<str>>,
    /// A part of the object with rules of its own, such as `status`.
    pub subresource: Option<Arc<str>>,
}

impl Target {
    /// The collection of a Rust type's objects, in a namespace or everywhere.
    pub fn of<K: Object>(namespace: Option<&str>) -> Self {
        Self {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            resource: K::PLURAL.into(),
            namespace: namespace.filter(|namespace| !namespace.is_empty()).map(Into::into),
            name: None,
            subresource: None,
        }
    }

    /// One object of the collection.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A subresource.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "targets are not subtracted")]
    pub fn sub(mut self, subresource: impl Into<Arc<str>>) -> Self {
        self.subresource = Some(subresource.into());
        self
    }

    /// The kind, without the version.
    pub fn id(&self) -> GroupResource {
        GroupResource { group: Arc::clone(&self.group), resource: Arc::clone(&self.resource) }
    }

    /// Whether the objects are those that others live in, by whose names paths are divided.
    pub(crate) fn is_scope(&self) -> bool {
        self.group.is_empty() && &*self.resource == "namespaces"
    }

    /// The name of the one object it is about, if it is about one.
    pub fn object_name(&self) -> Option<ObjectName> {
        let name = self.name.as_deref()?;
        Some(ObjectName::new(self.namespace.as_deref(), name))
    }
}

/// What a caller must know of a kind to work with its objects as values: garbage collection and the emptying of
/// namespaces go over all kinds, named or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its group and plural name.
    pub id: GroupResource,
    /// The version.
    pub version: Arc<str>,
    /// The name of the kind, such as `Deployment`.
    pub kind: Arc<str>,
    /// Whether its objects live in namespaces.
    pub scope: Scope,
}

impl Kind {
    /// The kind of a Rust type.
    pub fn of<K: Object>() -> Self {
        Self {
            id: GroupResource::of::<K>(),
            version: K::VERSION.into(),
            kind: K::KIND.into(),
            scope: K::SCOPE,
        }
    }

    /// The collection of its objects, in a namespace or everywhere.
    pub fn target(&self, namespace: Option<&str>) -> Target {
        Target {
            group: Arc::clone(&self.id.group),
            version: Arc::clone(&self.version),
            resource: Arc::clone(&self.id.resource),
            namespace: namespace.filter(|namespace| !namespace.is_empty()).map(Into::into),
            name: None,
            subresource: None,
        }
    }
}

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

/// A part of a collection, in order of namespace and name.
#[derive(Clone, Debug)]
pub struct ObjectList {
    /// The objects, in the stored version.
    pub objects: Vec<Arc<Entry>>,
    /// The revision they are all of.
    pub revision: Revision,
    /// Where the next part begins, if there is one.
    pub continue_token: Option<String>,
    /// How many objects follow, when that is known.
    pub remaining: Option<u64>,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An object, in the stored version of its kind.
    Object(Arc<Entry>),
    /// Objects.
    List(ObjectList),
    /// Something that is not stored as such: a scale, the status of a deletion.
    Value(Value),
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub struct Response {
    /// What comes back.
    pub reply: Reply,
    /// What the caller should know nevertheless.
    pub warnings: Vec<String>,
    /// Whether an object was made.
    pub created: bool,
}

impl Response {
    /// An answer with nothing to warn of.
    pub fn new(reply: Reply) -> Self {
        Self { reply, warnings: Vec::new(), created: false }
    }
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// An object came to be, or came to match.
    Added(Arc<Entry>),
    /// An object changed.
    Modified(Arc<Entry>),
    /// An object is gone, or no longer matches. It is as it was last, under the revision of the change.
    Deleted(Arc<Entry>),
    /// Everything up to a revision has been seen.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// Whether this ends the objects that were there at the start.
        initial_events_end: bool,
    },
}

/// A watch. An error ends it; one that [is expired](Status::is_expired) says to list again.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, Status>>;

/// The API as something to call: the embedded server, or a remote one that looks like it.
#[async_trait]
pub trait Service: Send + Sync + fmt::Debug + 'static {
    /// Does one thing.
    ///
    /// # Errors
    /// A [`Status`] as the wire has it.
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status>;

    /// Watches a collection, or one object of it.
    ///
    /// # Errors
    /// A [`Status`], now or in the stream.
    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status>;

    /// A cache of a kind that follows the server's state: the server's own, or a copy kept up to date by a watch.
    /// Filled when this returns.
    ///
    /// # Errors
    /// When there is no such kind, or it may not be read.
    async fn cache(&self, target: &Target) -> Result<Cache, Status>;

    /// The kinds that are served now and whose objects are kept, each once, in the version it is stored in or that the
    /// server prefers.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn kinds(&self) -> Result<Vec<Kind>, Status>;

    /// The groups and versions that are served now. Unless the service knows better, those of its
    /// [kinds](Self::kinds).
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn group_versions(&self) -> Result<Vec<(Arc<str>, Arc<str>)>, Status> {
        let kinds = self.kinds().await?;
        let all: BTreeSet<_> = kinds.into_iter().map(|kind| (kind.id.group, kind.version)).collect();
        Ok(all.into_iter().collect())
    }

    /// The time and chance that go with this cluster.
    fn clock(&self) -> &SharedClock;
}
