//! The index of selectors by label: who selects this object.

use std::collections::BTreeMap;

use super::Selector;
use super::compiled::{CompiledSelector, LabelSet};

/// Selectors under ids of the caller's, by namespace.
#[derive(Clone, Debug)]
pub struct SelectorIndex<Id> {
    selectors: BTreeMap<String, BTreeMap<Id, CompiledSelector>>,
}

impl<Id: Ord + Clone> SelectorIndex<Id> {
    /// An empty index.
    pub fn new() -> Self {
        SelectorIndex { selectors: BTreeMap::new() }
    }

    /// Puts a selector in, in place of the one that stood under the same id in the same namespace.
    pub fn insert(&mut self, namespace: &str, id: Id, selector: &Selector) {
        self.selectors.entry(namespace.to_owned()).or_default().insert(id, selector.compile());
    }

    /// Takes a selector out; false if it was not there.
    pub fn remove(&mut self, namespace: &str, id: &Id) -> bool {
        self.selectors.get_mut(namespace).is_some_and(|selectors| selectors.remove(id).is_some())
    }

    /// The ids of the selectors of a namespace that select these labels, in no particular order.
    pub fn matching<'a>(
        &'a self,
        namespace: &str,
        labels: &'a LabelSet,
    ) -> impl Iterator<Item = &'a Id> + use<'a, Id> {
        let selectors = self.selectors.get(namespace).into_iter().flatten();
        selectors.filter(|(_, selector)| selector.matches(labels)).map(|(id, _)| id)
    }
}

impl<Id: Ord + Clone> Default for SelectorIndex<Id> {
    fn default() -> Self {
        Self::new()
    }
}
