use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::Kind;
use crate::meta::GroupResource;
use crate::watch::Cache;

/// The kinds that are served, with their caches, as they were found last.
#[derive(Clone, Debug, Default)]
pub struct EveryKind {
    by_id: BTreeMap<GroupResource, (Arc<Kind>, Cache)>,
    /// By group and name of the kind, as references to owners have them.
    by_kind: BTreeMap<(Arc<str>, Arc<str>), GroupResource>,
}

impl EveryKind {
    pub(super) fn insert(&mut self, kind: Arc<Kind>, cache: Cache) {
        let name = (Arc::clone(&kind.id.group), Arc::clone(&kind.kind));
        self.by_kind.insert(name, kind.id.clone());
        self.by_id.insert(kind.id.clone(), (kind, cache));
    }

    /// The kinds, in the order of their groups and plurals.
    pub fn iter(&self) -> impl Iterator<Item = &(Arc<Kind>, Cache)> {
        self.by_id.values()
    }

    /// A kind and its cache, by its group and plural.
    pub fn get(&self, id: &GroupResource) -> Option<&(Arc<Kind>, Cache)> {
        self.by_id.get(id)
    }

    /// A kind and its cache, by its group and name.
    pub fn named(&self, group: &str, kind: &str) -> Option<&(Arc<Kind>, Cache)> {
        let id = self.by_kind.get(&(Arc::from(group), Arc::from(kind)))?;
        self.by_id.get(id)
    }
}
