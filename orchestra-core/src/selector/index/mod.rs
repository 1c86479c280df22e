//! The index of objects by label.

use std::collections::BTreeMap;

use super::compiled::{CompiledSelector, LabelSet};
use crate::meta::ObjectName;

/// What objects are indexed under: ordered by namespace first, and within a namespace as a list is to be ordered.
pub trait IndexKey: Ord + Clone {
    /// The namespace; empty for an object of the cluster.
    fn namespace(&self) -> &str;
}

impl IndexKey for ObjectName {
    fn namespace(&self) -> &str {
        ObjectName::namespace(self).unwrap_or_default()
    }
}

impl<N: AsRef<str> + Ord + Clone, M: Ord + Clone> IndexKey for (N, M) {
    fn namespace(&self) -> &str {
        self.0.as_ref()
    }
}

impl<K: IndexKey> IndexKey for std::sync::Arc<K> {
    fn namespace(&self) -> &str {
        K::namespace(self)
    }
}

/// Objects by label.
#[derive(Clone, Debug)]
pub struct LabelIndex<K> {
    objects: BTreeMap<K, LabelSet>,
}

impl<K: IndexKey> LabelIndex<K> {
    /// An empty index.
    pub fn new() -> Self {
        LabelIndex { objects: BTreeMap::new() }
    }

    /// How many objects are in the index.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether no object is in the index.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Puts an object in, or gives one that is in it other labels.
    pub fn insert(&mut self, key: K, labels: &LabelSet) {
        self.objects.insert(key, labels.clone());
    }

    /// Follows an update of an object that is in the index. Costs a comparison of integers if no label changed.
    pub fn update(&mut self, key: &K, old: &LabelSet, new: &LabelSet) {
        if old != new {
            self.insert(key.clone(), new);
        }
    }

    /// Takes an object out; false if it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        self.objects.remove(key).is_some()
    }

    /// The objects that a selector selects, in one namespace or in all, in the order of their keys.
    pub fn select<'a>(
        &'a self,
        selector: &'a CompiledSelector,
        namespace: Option<&'a str>,
    ) -> Selection<'a, K> {
        Selection { index: self, selector, namespace, after: None }
    }
}

impl<K: IndexKey> Default for LabelIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The objects that a selector selects.
pub struct Selection<'a, K> {
    index: &'a LabelIndex<K>,
    selector: &'a CompiledSelector,
    namespace: Option<&'a str>,
    after: Option<K>,
}

impl<'a, K: IndexKey> Selection<'a, K> {
    /// Only those after this key: the next page. The key itself need not be in the index.
    #[must_use]
    pub fn after(mut self, key: &K) -> Self {
        self.after = Some(key.clone());
        self
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// In the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &'a K> + use<'a, '_, K> {
        let within = |key: &K| {
            self.namespace.is_none_or(|namespace| namespace == key.namespace())
                && self.after.as_ref().is_none_or(|after| key > after)
        };
        let selected = move |(key, labels): (&'a K, &LabelSet)| {
            (within(key) && self.selector.matches(labels)).then_some(key)
        };
        self.index.objects.iter().filter_map(selected)
    }
}
