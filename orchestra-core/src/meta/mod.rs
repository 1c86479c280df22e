//! Identity: what an object is called, which one of that name it is, and which version of it was seen.
//!
//! Names, uids and revisions are types, so that none can be taken for another. [`Object`] is what a Rust type
//! must offer to be a kind of the cluster; every type of `k8s-openapi` that is a resource has it for free.

mod object;
mod owner;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use object::{Object, Scope};
#[doc(inline)]
pub use orchestra_macros::Object;
pub use owner::{OwnerRef, controller_of};

/// A point in the history of the whole cluster.
///
/// Every commit to the store gets the next one. It is what the wire calls `resourceVersion`; an object carries
/// the revision of the commit that last changed it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The identity of one object over all time: unlike its name, a uid is never given twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Uid(pub Arc<str>);

impl Uid {
    /// The uid in its text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an object of a known kind is called: its name, and its namespace when its kind has one.
///
/// Ordered as the text `namespace/name`, byte by byte: the order of a list, of the keys of the store, and so of Kubernetes, in
/// which the pods of `a-b` come before those of `a`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl ObjectName {
    /// The name of an object in a namespace.
    pub fn namespaced(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self { namespace: namespace.as_ref().into(), name: name.as_ref().into() }
    }

    /// The name of an object of the whole cluster.
    pub fn cluster(name: impl AsRef<str>) -> Self {
        Self { namespace: "".into(), name: name.as_ref().into() }
    }

    /// The name of an object, in a namespace when there is one.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        Self { namespace: namespace.unwrap_or_default().into(), name: name.into() }
    }

    /// What an object is called.
    pub fn of<K: Object>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
    }

    /// The namespace; `None` for an object of the whole cluster.
    pub fn namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(&*self.namespace)
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_namespaces(&self.namespace, &other.namespace).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of two namespaces, each with the slash that ends it.
fn cmp_namespaces(one: &str, other: &str) -> Ordering {
    if one == other {
        return Ordering::Equal;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let both = one.len().min(other.len());
    let after = |namespace: &[u8]| namespace.get(both).copied().unwrap_or(b'/');
    let begin = one[..both].cmp(&other[..both]).then_with(|| after(one).cmp(&after(other)));
    // A text that is no namespace may have the slash itself.
    begin.then(one.len().cmp(&other.len()))
}

impl crate::selector::IndexKey for ObjectName {
    fn cmp_namespace(&self, namespace: &str) -> Ordering {
        cmp_namespaces(&self.namespace, namespace)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which kind, without its version: what the wire calls a *group resource*, such as `deployments.apps`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The plural name, as in a URL.
    pub resource: Arc<str>,
}

impl GroupResource {
    /// The resource of that plural name in that group.
    pub fn new(group: impl Into<Arc<str>>, resource: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }

    /// The resource that a Rust type is an object of.
    pub fn of<K: Object>() -> Self {
        Self::new(K::GROUP, K::PLURAL)
    }

    /// Whether it is the resource that a Rust type is an object of.
    pub fn is<K: Object>(&self) -> bool {
        &*self.group == K::GROUP && &*self.resource == K::PLURAL
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

impl fmt::Debug for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_keys() {
        let namespaces = ["", "a", "a-b", "a0", "ab", "b", "default", "kube-system"];
        let names = ["", "a", "a-b", "a.b", "x"];
        let all = || {
            namespaces.iter().flat_map(|namespace| names.map(|name| ObjectName::new(Some(namespace), name)))
        };
        let key = |name: &ObjectName| format!("{}/{}", name.namespace, name.name);
        for (one, other) in all().flat_map(|one| all().map(move |other| (one.clone(), other))) {
            assert_eq!(one.cmp(&other), key(&one).cmp(&key(&other)), "{one} and {other}");
            let namespace = crate::selector::IndexKey::cmp_namespace(&one, &other.namespace);
            assert_eq!(namespace, format!("{}/", one.namespace).cmp(&format!("{}/", other.namespace)));
        }
    }
}
