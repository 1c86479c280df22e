use std::sync::Arc;

use crate::meta::{GroupResource, Object, ObjectName, Scope};

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
        Self::collection((K::GROUP, K::VERSION, K::PLURAL), namespace)
    }

    /// The collection of a kind by its group, version and plural, in a namespace or everywhere.
    pub fn collection((group, version, resource): (&str, &str, &str), namespace: Option<&str>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
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
