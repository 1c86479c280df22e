//! The table of kinds: one row each, from which routes, discovery, printing, garbage collection and the client follow.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

use super::request::Kind;
use super::rules::{Column, Erased, ErasedRules, NameRule, Plain, Rules, ScalePaths};
use crate::meta::{GroupResource, Object, ObjectName, Scope};
use crate::store::{Durability, Key, KeyRange};
use crate::watch::IndexedField;

/// A group and version under which a kind is served, beside the one it is stored in.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// How objects differ between this version and the stored one.
    pub conversion: Conversion,
    /// The schema of the objects in this version, where it is not the stored one's.
    #[cfg(feature = "openapi")]
    pub(crate) schema: Option<SchemaOf>,
}

/// [`Object::schema`] of some type.
#[cfg(feature = "openapi")]
pub(crate) type SchemaOf =
    fn(&mut k8s_openapi::schemars::SchemaGenerator) -> Option<k8s_openapi::schemars::Schema>;

/// How objects of a served version become stored ones and back. `apiVersion` is seen to already.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// From the served version to the stored one.
    pub to_stored: fn(&mut Value),
    /// From the stored version to the served one.
    pub from_stored: fn(&mut Value),
    /// The stored name of a field that a field selector asks for.
    pub field: fn(&str) -> &str,
    /// Whether `from_stored` changes nothing, so that stored bytes can be sent with another `apiVersion`.
    pub same_shape: bool,
}

impl Conversion {
    /// The versions differ in nothing but their name.
    pub const NONE: Self =
        Self { to_stored: |_| {}, from_stored: |_| {}, field: |name| name, same_shape: true };
}

#[derive(Clone)]
/// One row of the table: a kind, and everything about it that is not an object.
pub struct Resource {
    /// Its group and plural name.
    pub id: GroupResource,
    /// The version it is stored in.
    pub version: Cow<'static, str>,
    /// The name of the kind, such as `Deployment`.
    pub kind: Cow<'static, str>,
    /// The singular in lower case, such as `deployment`.
    pub singular: String,
    /// Short names, such as `deploy`.
    pub short_names: &'static [&'static str],
    /// Groups of kinds that are asked for together, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub scope: Scope,
    /// Whether it has a `status` subresource.
    pub status: bool,
    /// Whether an object may be created with its status.
    pub status_at_creation: bool,
    /// Whether `metadata.generation` counts.
    pub generation: bool,
    /// Whether and how it can be scaled.
    pub scale: Option<ScalePaths>,
    /// Further subresources.
    pub subresources: &'static [&'static str],
    /// What names its objects may have.
    pub name_rule: NameRule,
    /// How long its objects must live.
    pub durability: Durability,
    /// The fields that field selectors may ask for.
    pub fields: &'static [IndexedField],
    /// The columns of its tables.
    pub columns: &'static [Column],
    /// Whether dependents are orphaned when a deletion does not say.
    pub orphan_by_default: bool,
    /// Further groups and versions that serve it.
    pub also: Vec<Served>,
    pub(crate) rules: Arc<dyn ErasedRules>,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl Resource {
    /// The row of a kind with these rules.
    pub fn of<R: Rules>() -> Self {
        Self {
            id: GroupResource::of::<R::Object>(),
            version: R::Object::VERSION.into(),
            kind: R::Object::KIND.into(),
            singular: R::Object::KIND.to_lowercase(),
            short_names: R::SHORT_NAMES,
            categories: R::CATEGORIES,
            scope: R::Object::SCOPE,
            status: R::STATUS,
            status_at_creation: R::STATUS_AT_CREATION,
            generation: R::GENERATION,
            scale: R::SCALE,
            subresources: R::SUBRESOURCES,
            name_rule: R::NAME,
            durability: R::DURABILITY,
            fields: R::FIELDS,
            columns: R::COLUMNS,
            orphan_by_default: R::ORPHAN_BY_DEFAULT,
            also: Vec::new(),
            rules: Arc::new(Erased::<R>(PhantomData)),
        }
    }

    /// The row of a kind of the embedder's own that needs no rules.
    pub fn plain<K: Object>() -> Self {
        Self::of::<Plain<K>>()
    }

    /// Serves the kind under another group or version too.
    #[must_use]
    pub fn also(mut self, group: &'static str, version: &'static str, conversion: Conversion) -> Self {
        self.also.push(Served {
            group,
            version,
            conversion,
            #[cfg(feature = "openapi")]
            schema: None,
        });
        self
    }

    /// Serves the kind also as another type has it: in the group and version of that type, with its fields.
    #[must_use]
    pub fn also_as<K: Object>(mut self, conversion: Conversion) -> Self {
        self.also.push(Served {
            group: K::GROUP,
            version: K::VERSION,
            conversion,
            #[cfg(feature = "openapi")]
            schema: Some(K::schema),
        });
        self
    }

    /// What a caller must know of the kind.
    pub fn info(&self) -> Kind {
        Kind {
            id: self.id.clone(),
            version: self.version.as_ref().into(),
            kind: self.kind.as_ref().into(),
            scope: self.scope,
        }
    }

    /// `apiVersion` of the stored version.
    pub fn api_version(&self) -> String {
        api_version(&self.id.group, &self.version)
    }

    /// The groups and versions under which the kind is served, the stored one first.
    pub fn served(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored = (&*self.id.group, &*self.version);
        std::iter::once(stored).chain(self.also.iter().map(|served| (served.group, served.version)))
    }

    /// How objects of a served group and version differ from stored ones; `None` if it is not served.
    pub fn conversion(&self, group: &str, version: &str) -> Option<Conversion> {
        if group == &*self.id.group && version == self.version {
            return Some(Conversion::NONE);
        }
        let served = self.also.iter().find(|served| served.group == group && served.version == version)?;
        Some(served.conversion)
    }

    /// Whether the objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The key of an object in the store.
    pub fn key(&self, name: &ObjectName) -> Key {
        let namespace = name.namespace().unwrap_or_default();
        Key::new(format!("{}{namespace}/{}", self.prefix(), name.name()))
    }

    /// The keys of all objects of the kind.
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(&self.prefix())
    }

    fn prefix(&self) -> String {
        let group = if self.id.group.is_empty() { "core" } else { &self.id.group };
        format!("/{group}/{}/", self.id.resource)
    }
}

/// Group and version as they stand in `apiVersion`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Group and version out of an `apiVersion`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The table of kinds.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    rows: Vec<Arc<Resource>>,
    by_id: HashMap<GroupResource, Arc<Resource>>,
    by_prefix: HashMap<Box<str>, Arc<Resource>>,
}

impl Kinds {
    /// A table of these rows, in the order in which discovery lists them. A later row replaces an earlier one of the
    /// same group and plural.
    pub fn new(rows: impl IntoIterator<Item = Resource>) -> Self {
        let mut kinds = Self::default();
        for row in rows {
            kinds.add(row);
        }
        kinds
    }

    /// Adds a kind.
    pub fn add(&mut self, row: Resource) {
        let row = Arc::new(row);
        self.rows.retain(|held| held.id != row.id);
        self.rows.push(Arc::clone(&row));
        self.by_prefix.insert(row.prefix().into(), Arc::clone(&row));
        self.by_id.insert(row.id.clone(), row);
    }

    /// Every kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.iter()
    }

    /// The kind of that group and plural, under the group it is stored in.
    pub fn get(&self, id: &GroupResource) -> Option<&Arc<Resource>> {
        self.by_id.get(id)
    }

    /// The kind served under a group, version and plural.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let mut named = self.rows.iter().filter(|row| &*row.id.resource == plural);
        named.find(|row| row.conversion(group, version).is_some())
    }

    /// The kind of that `apiVersion` and `kind`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = split_api_version(api_version);
        let mut named = self.rows.iter().filter(|row| row.kind == kind);
        named.find(|row| row.conversion(group, version).is_some())
    }

    /// The kind that a person means by a word, as `kubectl` reads it: the plural, the singular, a short name, the kind
    /// in any case, or the plural and the group, as in `deployments.apps`.
    pub fn named(&self, word: &str) -> Option<&Arc<Resource>> {
        let word = word.to_lowercase();
        let is_named = |row: &&Arc<Resource>| {
            *row.id.resource == *word || row.singular == word || row.short_names.contains(&word.as_str())
        };
        let qualified = |row: &&Arc<Resource>| {
            let (plural, group) = word.split_once('.').unwrap_or((&word, ""));
            *row.id.resource == *plural && *row.id.group == *group
        };
        self.rows.iter().find(is_named).or_else(|| self.rows.iter().find(qualified))
    }

    /// The kind and name that a store key stands for; `None` for a key that is not of an object.
    pub fn parse_key(&self, key: &Key) -> Option<(&Arc<Resource>, ObjectName)> {
        let text = key.as_str();
        let (rest, name) = text.rsplit_once('/')?;
        let (_, namespace) = rest.rsplit_once('/')?;
        let prefix = &rest[..rest.len() - namespace.len()];
        let resource = self.by_prefix.get(prefix)?;
        Some((resource, ObjectName::new((!namespace.is_empty()).then_some(namespace), name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Namespace, Pod};

    #[test]
    fn keys_lead_back_to_names() {
        let kinds = Kinds::new([Resource::plain::<Pod>(), Resource::plain::<Namespace>()]);
        for (id, name, key) in [
            (GroupResource::new("", "pods"), ObjectName::namespaced("a", "b"), "/core/pods/a/b"),
            (GroupResource::new("", "namespaces"), ObjectName::cluster("a"), "/core/namespaces//a"),
        ] {
            let row = kinds.get(&id).unwrap();
            assert_eq!(row.key(&name).as_str(), key);
            let (found, parsed) = kinds.parse_key(&Key::new(key)).unwrap();
            assert_eq!((&found.id, parsed), (&id, name));
        }
        assert!(kinds.parse_key(&Key::new("/~ips/10.96.0.1")).is_none());
    }
}
