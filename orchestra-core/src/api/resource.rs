//! One row of the table of kinds: everything about a kind that is not an object. It owns all it holds, so that a row
//! can be made, changed and dropped while the program runs.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::converter::Kept;
use super::field::Errors;
use super::group_version::api_version;
use super::request::{Kind, Target, Verb};
use super::rules::{Column, Deletion, KindRules, NameRule, Plain, Rules, Typed};
use super::schema::Place;
use super::subresource::{Action, Relay, Stream, Subresource};
use crate::meta::{GroupResource, Object, ObjectName, Scope};
use crate::store::{Durability, Key, KeyRange};
use crate::watch::IndexedFields;

/// A group and version under which a kind is served, beside the one it is stored in.
#[derive(Clone)]
#[non_exhaustive]
pub struct Served {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The version.
    pub version: Arc<str>,
    /// How objects differ between this version and the stored one.
    pub conversion: Conversion,
    /// What those are told who use this version, if it is deprecated.
    pub deprecated: Option<Arc<str>>,
    /// Whether Kubernetes serves it no longer.
    pub retired: bool,
    /// The row by which requests in this version are served, where versions differ in more than their names. All that is
    /// about objects at rest is as in the row that it is part of.
    pub own: Option<Arc<Resource>>,
    /// The schema of the objects in this version, where it is not the stored one's.
    #[cfg(feature = "openapi")]
    pub(crate) schema: Option<SchemaOf>,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&api_version(&self.group, &self.version))
    }
}

/// What gives the schema of a version's objects.
#[cfg(feature = "openapi")]
pub(crate) type SchemaOf = Arc<
    dyn Fn(&mut k8s_openapi::schemars::SchemaGenerator) -> Option<k8s_openapi::schemars::Schema>
        + Send
        + Sync,
>;

/// Says what is wrong with an object as one of its versions sees it: the new state, and the old if there is one.
///
/// # Errors
/// When it does not fit the Rust type.
pub type ValidateServed = fn(&Value, Option<&Value>, &mut Errors) -> Result<(), serde_json::Error>;

/// How objects of a served version become stored ones and back. `apiVersion` is seen to already.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// From the served version to the stored one.
    pub to_stored: fn(&mut Value),
    /// From the stored version to the served one.
    pub from_stored: fn(&mut Value),
    /// The stored name of a field that a field selector asks for; `None` if this version has no such field.
    pub field: fn(&str) -> Option<&str>,
    /// What is wrong with an object, in the stored version, that is written by way of this one: the new state, and the
    /// old if there is one. In the place of what the rules of the kind say.
    pub validate: Option<ValidateServed>,
    /// Whether `from_stored` changes nothing, so that stored bytes can be sent with another `apiVersion`.
    pub same_shape: bool,
}

impl Conversion {
    /// The versions differ in nothing but their name.
    pub const NONE: Self = Self {
        to_stored: |_| {},
        from_stored: |_| {},
        field: |name| Some(name),
        validate: None,
        same_shape: true,
    };
}

/// One row of the table: a kind, and everything about it that is not an object.
#[derive(Clone)]
#[non_exhaustive]
pub struct Resource {
    /// Its group and plural name.
    pub id: GroupResource,
    /// The version it is stored in.
    pub version: Arc<str>,
    /// The name of the kind, such as `Deployment`.
    pub kind: Arc<str>,
    /// The name of its lists, such as `DeploymentList`.
    pub list_kind: Arc<str>,
    /// The singular in lower case, such as `deployment`.
    pub singular: Arc<str>,
    /// Short names, such as `deploy`.
    pub short_names: Arc<[Arc<str>]>,
    /// Groups of kinds that are asked for together, such as `all`.
    pub categories: Arc<[Arc<str>]>,
    /// Whether its objects live in namespaces.
    pub scope: Scope,
    /// Whether its objects are kept; if not, they are created to be answered by its [`Responder`](super::Responder).
    pub stored: bool,
    /// Where what is created of it is sent, if its objects are not kept and nobody answers them.
    pub relay: Option<Relay<Arc<str>>>,
    /// What can be done with its objects.
    pub verbs: Arc<[Verb]>,
    /// Whether an object may be created with its status.
    pub status_at_creation: bool,
    /// Whether `metadata.generation` counts.
    pub generation: bool,
    /// Whether an object may be replaced by one that does not say of which version of it.
    pub unconditional_update: bool,
    /// The parts of its objects that have a path of their own.
    pub subresources: Arc<[Subresource<Arc<str>>]>,
    /// Whether an object that is created without a name is given its uid for one.
    pub name_optional: bool,
    /// What names its objects may have.
    pub name_rule: NameRule,
    /// Whether finalizers of its objects may have any name.
    pub any_finalizer: bool,
    /// Whether a forbidden change of metadata has one cause, and not two.
    pub metadata_checked_once: bool,
    /// Whether the metadata of a new object are looked at only when nothing else is wrong with it.
    pub metadata_last: bool,
    /// How long its objects must live.
    pub durability: Durability,
    /// The fields of which objects are kept with their values.
    pub fields: IndexedFields,
    /// The fields that field selectors may ask for in this version, if these are not all of them.
    pub selectable: Option<IndexedFields>,
    /// The columns of its tables.
    pub columns: Arc<[Column<Arc<str>>]>,
    /// Whether it is a custom kind, of which Kubernetes has no type: what is sent must say its kind and version, a
    /// replacement says which version it replaces, and the objects of a list say what they are.
    pub custom: bool,
    /// Whether the version that objects are kept in is served too.
    pub serves_stored: bool,
    /// Tells how stored objects are read, by [`KindRules::restore`]: a row that reads them otherwise has another number.
    pub reading: u64,
    /// Whether dependents are orphaned when a deletion does not say.
    pub orphan_by_default: bool,
    /// What to know of a deletion that does not say how dependents fare.
    pub deletion_warning: Option<Arc<str>>,
    /// How its objects go.
    pub deletion: Deletion,
    /// Whether an update makes an object that is not there.
    pub created_by_update: bool,
    /// What those are told who use the stored version, if it is deprecated.
    pub deprecated: Option<Arc<str>>,
    /// What errors call an object of a kind whose objects are made up when they are asked for.
    pub made_up: Option<Arc<str>>,
    /// What is said of a field by which objects of the kind cannot be selected, with `{field}` in its place.
    pub unknown_field: Arc<str>,
    /// Further groups and versions that serve it.
    pub also: Vec<Served>,
    /// How objects are kept, if only a converter knows how its versions differ. Each version then has a row of its own,
    /// whose version is that one.
    pub kept: Option<Kept>,
    /// What is defaulted, refused, kept and printed.
    pub rules: Arc<dyn KindRules>,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl Resource {
    /// The row of a kind that is known by name, with every verb and no more than that: a kind that comes at run time
    /// sets what else it has.
    pub fn new(kind: Kind, rules: Arc<dyn KindRules>) -> Self {
        Self {
            singular: kind.kind.to_lowercase().into(),
            list_kind: format!("{}List", kind.kind).into(),
            id: kind.id,
            version: kind.version,
            kind: kind.kind,
            short_names: Arc::default(),
            categories: Arc::default(),
            scope: kind.scope,
            stored: true,
            relay: None,
            verbs: Verb::ALL.into(),
            status_at_creation: false,
            generation: false,
            unconditional_update: true,
            subresources: Arc::new([(&Subresource::HISTORY).into()]),
            name_optional: false,
            name_rule: NameRule::Subdomain,
            any_finalizer: false,
            metadata_checked_once: false,
            metadata_last: false,
            durability: Durability::Durable,
            fields: IndexedFields::none(),
            selectable: None,
            columns: Arc::new([(&Column::NAME).into(), (&Column::AGE).into()]),
            custom: false,
            serves_stored: true,
            reading: 0,
            orphan_by_default: false,
            deletion_warning: None,
            deletion: Deletion::Status,
            created_by_update: false,
            deprecated: None,
            made_up: None,
            unknown_field: "field label not supported: {field}".into(),
            also: Vec::new(),
            kept: None,
            rules,
        }
    }

    /// The row of a kind with these rules.
    pub fn of<R: Rules>() -> Self {
        Self {
            short_names: R::SHORT_NAMES.iter().copied().map(Into::into).collect(),
            categories: R::CATEGORIES.iter().copied().map(Into::into).collect(),
            stored: R::STORED,
            relay: R::RELAY.map(Into::into),
            verbs: R::VERBS.into(),
            status_at_creation: R::STATUS_AT_CREATION,
            generation: R::GENERATION,
            unconditional_update: R::UNCONDITIONAL_UPDATE,
            subresources: subresources::<R>(),
            name_optional: R::NAME_OPTIONAL,
            name_rule: R::NAME,
            any_finalizer: R::ANY_FINALIZER,
            metadata_checked_once: R::METADATA_CHECKED_ONCE,
            metadata_last: R::METADATA_LAST,
            durability: R::DURABILITY,
            fields: R::FIELDS.into(),
            columns: R::COLUMNS.iter().map(Into::into).collect(),
            orphan_by_default: R::ORPHAN_BY_DEFAULT,
            deletion_warning: R::DELETION_WARNING.map(Into::into),
            deletion: R::DELETION,
            created_by_update: R::CREATED_BY_UPDATE,
            deprecated: R::DEPRECATED.map(Into::into),
            made_up: R::MADE_UP.map(Into::into),
            unknown_field: R::UNKNOWN_FIELD.into(),
            ..Self::new(Kind::of::<R::Object>(), Arc::new(Typed::<R>::new()))
        }
    }

    /// The row of a kind of the embedder's own that needs no rules.
    pub fn plain<K: Object>() -> Self {
        Self::of::<Plain<K>>()
    }

    /// Serves the kind under another group or version too.
    #[must_use]
    pub fn also(
        mut self,
        group: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        conversion: Conversion,
    ) -> Self {
        self.also.push(Served {
            group: group.into(),
            version: version.into(),
            conversion,
            deprecated: None,
            retired: false,
            own: None,
            #[cfg(feature = "openapi")]
            schema: None,
        });
        self
    }

    /// Serves the kind under another version too, by a row of its own.
    #[must_use]
    pub fn also_by(mut self, version: impl Into<Arc<str>>, own: Self) -> Self {
        self.also.push(Served {
            group: Arc::clone(&self.id.group),
            version: version.into(),
            conversion: Conversion::NONE,
            deprecated: own.deprecated.clone(),
            retired: false,
            own: Some(Arc::new(own)),
            #[cfg(feature = "openapi")]
            schema: None,
        });
        self
    }

    /// Serves the kind also as another type has it: in the group and version of that type, with its fields.
    #[must_use]
    pub fn also_as<K: Object>(mut self, conversion: Conversion) -> Self {
        self.also.push(Served {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            conversion,
            deprecated: None,
            retired: false,
            own: None,
            #[cfg(feature = "openapi")]
            schema: Some(Arc::new(K::schema)),
        });
        self
    }

    /// Says that Kubernetes serves the version that was added last no longer. It is in no list out of which a client
    /// chooses a version by a kind's name, so that the choice is what it is in Kubernetes.
    #[must_use]
    pub fn retired(mut self) -> Self {
        if let Some(served) = self.also.last_mut() {
            served.retired = true;
        }
        self
    }

    /// Says that the version that was added last is deprecated, and what those are told who use it.
    #[must_use]
    pub fn deprecated(mut self, warning: impl Into<Arc<str>>) -> Self {
        match self.also.last_mut() {
            Some(served) => served.deprecated = Some(warning.into()),
            None => self.deprecated = Some(warning.into()),
        }
        self
    }

    /// What those are told who use a group and version, if it is deprecated.
    pub fn deprecation(&self, group: &str, version: &str) -> Option<&str> {
        if (group, version) == (&*self.id.group, &*self.version) {
            return self.deprecated.as_deref();
        }
        self.served_also(group, version)?.deprecated.as_deref()
    }

    fn served_also(&self, group: &str, version: &str) -> Option<&Served> {
        self.also.iter().find(|served| (&*served.group, &*served.version) == (group, version))
    }

    /// What a caller must know of the kind, in a version that is served.
    pub fn info(&self) -> Kind {
        let served = self.also.first().filter(|_| !self.serves_stored);
        Kind {
            id: self.id.clone(),
            version: Arc::clone(served.map_or(&self.version, |served| &served.version)),
            kind: Arc::clone(&self.kind),
            scope: self.scope,
        }
    }

    /// `apiVersion` of the stored version.
    pub fn api_version(&self) -> String {
        api_version(&self.id.group, &self.version)
    }

    /// The groups and versions under which the kind is served, the stored one first.
    pub fn served(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored = self.serves_stored.then_some((&*self.id.group, &*self.version));
        stored.into_iter().chain(self.also.iter().map(|served| (&*served.group, &*served.version)))
    }

    /// Whether Kubernetes serves the kind under a group and version no longer.
    pub fn is_retired(&self, group: &str, version: &str) -> bool {
        self.served_also(group, version).is_some_and(|served| served.retired)
    }

    /// How objects of a served group and version differ from stored ones; `None` if it is not served.
    pub fn conversion(&self, group: &str, version: &str) -> Option<Conversion> {
        if self.serves_stored && (group, version) == (&*self.id.group, &*self.version) {
            return Some(Conversion::NONE);
        }
        self.served_also(group, version).map(|served| served.conversion)
    }

    /// The row by which requests in a version are served: this one, unless the version has its own.
    pub fn spoken(&self, group: &str, version: &str) -> &Self {
        let mut also = self.also.iter();
        let served = also.find(|served| (&*served.group, &*served.version) == (group, version));
        served.and_then(|served| served.own.as_deref()).unwrap_or(self)
    }

    /// Makes a stored object one of a served version. Asked of the row by which that version is served.
    pub fn present(&self, group: &str, version: &str, object: &mut Value) {
        if let Some(conversion) = self.conversion(group, version) {
            (conversion.from_stored)(object);
        }
        self.rules.present(object);
        object["apiVersion"] = api_version(group, version).into();
    }

    /// The subresource by which something is connected to.
    pub fn connecting(&self, stream: Stream) -> Option<&Subresource<Arc<str>>> {
        self.subresources.iter().find(|part| part.action == Action::Connect(stream))
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource<Arc<str>>> {
        self.subresources.iter().find(|row| &*row.name == name)
    }

    /// Whether the objects have a status, which is written by itself.
    pub fn has_status(&self) -> bool {
        self.subresources.iter().any(Subresource::is_status)
    }

    /// Whether its objects can be shown as a table: those that are created to be answered are not shown again.
    pub fn has_tables(&self) -> bool {
        [Verb::Get, Verb::List].iter().any(|verb| self.verbs.contains(verb))
    }

    /// Whether the objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether a verb is served where a request asks for it: the kind has the verb, and a collection is only read across
    /// namespaces, not written to.
    pub fn serves(&self, verb: Verb, target: &Target) -> bool {
        let everywhere = self.is_namespaced() && target.namespace.is_none();
        self.verbs.contains(&verb) && (!everywhere || verb.spans_namespaces())
    }

    /// The key of an object in the store.
    pub fn key(&self, name: &ObjectName) -> Key {
        let namespace = name.namespace().unwrap_or_default();
        Key::new([&*self.prefix(), namespace, "/", name.name()].concat())
    }

    /// The keys of all objects of the kind.
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(&self.prefix())
    }

    /// The keys of all objects of the kind, or of those in a namespace.
    pub(super) fn range_of(&self, namespace: Option<&str>) -> KeyRange {
        match namespace {
            Some(namespace) => KeyRange::prefix(&[&*self.prefix(), namespace, "/"].concat()),
            None => self.range(),
        }
    }

    pub(super) fn prefix(&self) -> String {
        let group = if self.id.group.is_empty() { "core" } else { &self.id.group };
        ["/", group, "/", &self.id.resource, "/"].concat()
    }
}

/// The subresources of a kind with these rules: those that its constants say, its own, and the one that every kind has
/// whose objects are kept.
fn subresources<R: Rules>() -> Arc<[Subresource<Arc<str>>]> {
    let status = R::STATUS.then_some(Subresource::STATUS);
    let scale = R::SCALE.map(Subresource::scale);
    let own = R::SUBRESOURCES.iter().copied();
    let history = R::STORED.then_some(Subresource::HISTORY);
    let all = status.into_iter().chain(scale).chain(own).chain(history);
    all.map(|row| Subresource::from(&row)).collect()
}

impl Place {
    /// Where a stored document of the kind begins; `None` if it is not one of Kubernetes' own.
    pub fn of(resource: &Resource) -> Option<Self> {
        Self::of_version(&resource.id.group, &resource.version, &resource.kind)
    }
}
