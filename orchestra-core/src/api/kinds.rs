//! The table of kinds: one row each, from which routes, discovery, printing, garbage collection and the client follow.
//!
//! A table is a value. What is looked up while requests are served is a hash; the hashes are made anew when a kind comes
//! or goes, which is rare.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::{Resource, split_api_version};
use crate::meta::{GroupResource, ObjectName};
use crate::store::Key;

/// The table of kinds.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    generation: u64,
    rows: Vec<Arc<Resource>>,
    index: Index,
}

/// The rows by everything that they are looked up by.
#[derive(Clone, Debug, Default)]
struct Index {
    by_id: HashMap<GroupResource, Arc<Resource>>,
    by_prefix: HashMap<Box<str>, Arc<Resource>>,
    /// By group, version and plural, for every version that is served.
    served: HashMap<Names<Arc<str>, 3>, Arc<Resource>>,
    /// By group and kind, for every group that serves it.
    by_kind: HashMap<Names<Arc<str>, 2>, Arc<Resource>>,
    by_word: HashMap<Arc<str>, Arc<Resource>>,
}

/// Several names as one key, looked up by borrowed text.
#[derive(Clone, Debug)]
struct Names<S, const N: usize>([S; N]);

impl<S: AsRef<str>, const N: usize> Names<S, N> {
    fn texts(&self) -> [&str; N] {
        self.0.each_ref().map(AsRef::as_ref)
    }
}

impl<S: AsRef<str>, const N: usize> Hash for Names<S, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

impl<S: AsRef<str>, const N: usize> PartialEq for Names<S, N> {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl<S: AsRef<str>, const N: usize> Eq for Names<S, N> {}

impl<const N: usize> Equivalent<Names<Arc<str>, N>> for Names<&str, N> {
    fn equivalent(&self, key: &Names<Arc<str>, N>) -> bool {
        self.texts() == key.texts()
    }
}

impl Index {
    /// Of rows in the order in which discovery lists them: where two rows have a name in common, the first has it.
    fn of(rows: &[Arc<Resource>]) -> Self {
        let mut index = Self::default();
        for row in rows {
            index.by_id.insert(row.id.clone(), Arc::clone(row));
            index.by_prefix.insert(row.prefix().into(), Arc::clone(row));
            for (group, version) in row.served() {
                let mut also = row.also.iter();
                let served = also.find(|served| (&*served.group, &*served.version) == (group, version));
                let by = served.and_then(|served| served.own.as_ref()).unwrap_or(row);
                let (group, version): (Arc<str>, Arc<str>) = (group.into(), version.into());
                let path = Names([Arc::clone(&group), version, Arc::clone(&row.id.resource)]);
                index.served.entry(path).or_insert_with(|| Arc::clone(by));
                let kind = Names([group, Arc::clone(&row.kind)]);
                index.by_kind.entry(kind).or_insert_with(|| Arc::clone(row));
            }
            let words = [&row.id.resource, &row.singular].into_iter().chain(row.short_names.iter());
            for word in words {
                index.by_word.entry(Arc::clone(word)).or_insert_with(|| Arc::clone(row));
            }
        }
        index
    }
}

impl Kinds {
    /// A table of these rows, in the order in which discovery lists them. A later row replaces an earlier one of the
    /// same group and plural.
    pub fn new(rows: impl IntoIterator<Item = Resource>) -> Self {
        let mut kinds = Self::default();
        for row in rows {
            kinds.put(row);
        }
        kinds.index = Index::of(&kinds.rows);
        kinds
    }

    /// Adds a kind, or changes the one of the same group and plural.
    pub fn add(&mut self, row: Resource) {
        self.put(row);
        self.changed();
    }

    /// Adds several kinds, as [`Kinds::add`] does one.
    pub fn add_all(&mut self, rows: impl IntoIterator<Item = Resource>) {
        for row in rows {
            self.put(row);
        }
        self.changed();
    }

    /// Takes a kind out of the table, and gives its row.
    pub fn remove(&mut self, id: &GroupResource) -> Option<Arc<Resource>> {
        let at = self.rows.iter().position(|row| row.id == *id)?;
        let row = self.rows.remove(at);
        self.changed();
        Some(row)
    }

    fn put(&mut self, row: Resource) {
        let row = Arc::new(row);
        self.rows.retain(|held| held.id != row.id);
        self.rows.push(row);
    }

    fn changed(&mut self) {
        self.index = Index::of(&self.rows);
        self.generation += 1;
    }

    /// How often the table has changed: what is made from it is good as long as this stays.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.iter()
    }

    /// The kind of that group and plural, under the group it is stored in.
    pub fn get(&self, id: &GroupResource) -> Option<&Arc<Resource>> {
        self.index.by_id.get(id)
    }

    /// The kind served under a group, version and plural.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.index.served.get(&Names([group, version, plural]))
    }

    /// The kind of that group and `kind`, whatever the version.
    pub fn by_group_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.index.by_kind.get(&Names([group, kind]))
    }

    /// The kind of that `apiVersion` and `kind`, if it is served in that version.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = split_api_version(api_version);
        self.by_group_kind(group, kind).filter(|row| row.conversion(group, version).is_some())
    }

    /// The kind that a person means by a word, as `kubectl` reads it: the plural, the singular, a short name, the kind
    /// in any case, or the plural and the group, as in `deployments.apps`.
    pub fn named(&self, word: &str) -> Option<&Arc<Resource>> {
        let word = word.to_lowercase();
        self.index.by_word.get(&*word).or_else(|| {
            let (plural, group) = word.split_once('.').unwrap_or((&word, ""));
            self.get(&GroupResource::new(group, plural))
        })
    }

    /// The kind and name that a store key stands for; `None` for a key that is not of an object.
    pub fn parse_key(&self, key: &Key) -> Option<(&Arc<Resource>, ObjectName)> {
        let text = key.as_str();
        let (rest, name) = text.rsplit_once('/')?;
        let (_, namespace) = rest.rsplit_once('/')?;
        let prefix = &rest[..rest.len() - namespace.len()];
        let resource = self.index.by_prefix.get(prefix)?;
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

    #[test]
    fn a_table_changes_and_its_look_ups_with_it() {
        let mut kinds = Kinds::new([Resource::plain::<Namespace>()]);
        let before = kinds.generation();
        kinds.add(Resource::plain::<Pod>().also("old.example.org", "v1beta1", crate::api::Conversion::NONE));
        let (id, pods) = (GroupResource::new("", "pods"), kinds.by_kind("v1", "Pod").cloned().unwrap());
        assert!(kinds.generation() > before);
        for found in [
            kinds.get(&id),
            kinds.served("", "v1", "pods"),
            kinds.served("old.example.org", "v1beta1", "pods"),
            kinds.by_kind("old.example.org/v1beta1", "Pod"),
            kinds.by_group_kind("", "Pod"),
            kinds.named("Pods"),
            kinds.named("pod"),
        ] {
            assert!(Arc::ptr_eq(found.unwrap(), &pods));
        }
        for none in [
            kinds.served("", "v2", "pods"),
            kinds.by_kind("v2", "Pod"),
            kinds.named("pods.apps"),
            kinds.by_group_kind("apps", "Pod"),
        ] {
            assert!(none.is_none());
        }
        assert!(kinds.remove(&id).is_some() && kinds.remove(&id).is_none());
        assert!(kinds.named("pods").is_none() && kinds.served("", "v1", "pods").is_none());
        assert!(kinds.parse_key(&Key::new("/core/pods/a/b")).is_none());
    }
}
