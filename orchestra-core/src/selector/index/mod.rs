//! The index of objects by label.
//!
//! # What a cache does with it
//! A cache holds one [`LabelIndex`] for each kind, under the keys it lists by, and the [`LabelSet`] of each object
//! beside the object. It tells the index of every change, and asks it for every list by label:
//!
//! ```
//! use orchestra_core::selector::{LabelIndex, LabelSet, Labels, Selector};
//!
//! let labels = |pairs: &[(&str, &str)]| {
//!     LabelSet::new(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Labels>())
//! };
//! let (web, db) = (labels(&[("app", "web"), ("env", "prod")]), labels(&[("app", "db"), ("env", "prod")]));
//!
//! let mut index = LabelIndex::new();
//! index.insert(("default", "web-1"), &web);
//! index.insert(("default", "db-1"), &db);
//! index.insert(("other", "web-1"), &web);
//!
//! // A list: in key order, in one namespace or in all, page by page.
//! let selector = Selector::parse("env=prod,app!=db")?.compile();
//! let all: Vec<_> = index.select(&selector, None).iter().collect();
//! assert_eq!(all, [&("default", "web-1"), &("other", "web-1")]);
//! let rest = index.select(&selector, None).after(&("default", "web-1"));
//! assert_eq!(rest.iter().take(500).count(), 1);
//! # drop(rest);
//! assert_eq!(index.select(&selector, Some("default")).count(), 1);
//!
//! // An update: nothing to do if the labels are the same, else only what differs is touched.
//! index.update(&("default", "web-1"), &web, &db);
//! assert_eq!(index.select(&selector, Some("default")).count(), 0);
//! # Ok::<_, orchestra_core::selector::ParseError>(())
//! ```
//!
//! # How it works
//! Objects have slots, cut into blocks in the order of their keys. For every pair that an object carries, and for
//! every key, there is a set of slots. A selection goes through the blocks in order and combines the sets' bits of
//! one block at a time, so a page costs what the page's part of the keys costs, a namespace is a range of blocks,
//! and a selector with a rare label looks only at the blocks in which that label is.

mod blocks;
mod posting;
mod select;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::blocks::{Blocks, Pairs, Row};
use self::posting::{Bits, Posting, slot};
use super::compiled::{CompiledSelector, LabelSet};
use super::intern::Pair;
pub use select::{Selected, Selection, SelectionIter};

/// What objects are indexed under: ordered by namespace first, and within a namespace as a list is to be ordered.
pub trait IndexKey: Ord + Hash + Clone {
    /// Where the key's namespace stands among the keys' namespaces, seen from another; that of an object of the cluster is
    /// empty.
    fn cmp_namespace(&self, namespace: &str) -> Ordering;
}

impl<N: AsRef<str> + Ord + Hash + Clone, M: Ord + Hash + Clone> IndexKey for (N, M) {
    fn cmp_namespace(&self, namespace: &str) -> Ordering {
        self.0.as_ref().cmp(namespace)
    }
}

impl<K: IndexKey> IndexKey for Arc<K> {
    fn cmp_namespace(&self, namespace: &str) -> Ordering {
        K::cmp_namespace(self, namespace)
    }
}

/// Objects by label, kept up to date one change at a time. See the [module](self) for how to use it.
#[derive(Clone, Debug)]
pub struct LabelIndex<K> {
    blocks: Blocks<K>,
    pairs: FxHashMap<u32, PairEntry>,
    keys: FxHashMap<u32, KeyEntry>,
    /// Room for the blocks that a change moves, kept to be used again.
    moved: Vec<u32>,
}

#[derive(Clone, Debug)]
struct PairEntry {
    /// Keeps the pair's number from being given to another pair while it stands in the index.
    pair: Pair,
    slots: Posting,
}

#[derive(Clone, Debug, Default)]
struct KeyEntry {
    slots: Posting,
    /// The numbers of the pairs with this key.
    pairs: BTreeSet<u32>,
}

impl<K> Default for LabelIndex<K> {
    fn default() -> Self {
        let (pairs, keys) = (FxHashMap::default(), FxHashMap::default());
        LabelIndex { blocks: Blocks::default(), pairs, keys, moved: Vec::new() }
    }
}

impl<K: IndexKey> LabelIndex<K> {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many objects are in the index.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether no object is in the index.
    pub fn is_empty(&self) -> bool {
        self.blocks.len() == 0
    }

    /// Whether an object is in the index.
    pub fn contains(&self, key: &K) -> bool {
        self.blocks.find(key).is_some()
    }

    /// Puts an object in; one that is in it is given these labels. What it had and keeps is not touched.
    pub fn insert(&mut self, key: K, labels: &LabelSet) {
        match self.blocks.find(&key) {
            Some((block, offset)) => self.relabel(block, offset, labels),
            None => self.add(key, labels),
        }
    }

    /// Follows an update of an object. Costs a comparison of integers if no label changed; otherwise the same as
    /// [`insert`](Self::insert), which goes by what the index holds and not by `old`.
    pub fn update(&mut self, key: &K, old: &LabelSet, new: &LabelSet) {
        if old != new {
            match self.blocks.find(key) {
                Some((block, offset)) => self.relabel(block, offset, new),
                None => self.add(key.clone(), new),
            }
        }
    }

    /// Takes an object out; false if it was not there.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some((block, offset)) = self.blocks.find(key) else { return false };
        let mut moved = std::mem::take(&mut self.moved);
        if let Some(row) = self.blocks.remove(block, offset, &mut moved) {
            let slot = slot(block, offset);
            for pair in &row.pairs {
                self.unlist(*pair, slot, true);
            }
        }
        self.settle(moved);
        true
    }

    /// The objects that a selector selects, in one namespace or in all, in the order of their keys.
    ///
    /// Nothing is evaluated before it is asked for: a page of the selection costs a page.
    pub fn select<'a>(&'a self, selector: &CompiledSelector, namespace: Option<&str>) -> Selection<'a, K> {
        Selection::new(self, selector, namespace)
    }

    /// The different labels in the index, those of one key together.
    pub(super) fn pairs_by_key(&self) -> impl Iterator<Item = Vec<&Pair>> {
        let pair = |id: &u32| self.pairs.get(id).map(|entry| &entry.pair);
        self.keys.values().map(move |key| key.pairs.iter().filter_map(pair).collect())
    }

    fn add(&mut self, key: K, labels: &LabelSet) {
        let mut pairs: Pairs = labels.pairs().iter().map(Pair::id).collect();
        pairs.sort_unstable();
        let mut moved = std::mem::take(&mut self.moved);
        let (block, offset) = self.blocks.insert(Row { key, pairs }, &mut moved);
        for pair in labels.pairs() {
            self.list(pair, slot(block, offset), true);
        }
        self.settle(moved);
    }

    fn relabel(&mut self, block: u32, offset: u16, labels: &LabelSet) {
        let mut new: Pairs = labels.pairs().iter().map(Pair::id).collect();
        new.sort_unstable();
        let Some(pairs) = self.blocks.pairs_mut(block, offset) else { return };
        let old = std::mem::replace(pairs, new.clone());
        let slot = slot(block, offset);
        let key_of = |pair: &u32| self.pairs.get(pair).map(|entry| entry.pair.key());
        let old_keys: Pairs = old.iter().filter_map(key_of).collect();
        let keeps = |key: u32| labels.pairs().iter().any(|pair| pair.key() == key);
        for pair in labels.pairs().iter().filter(|pair| old.binary_search(&pair.id()).is_err()) {
            self.list(pair, slot, !old_keys.contains(&pair.key()));
        }
        // Only now, or a key that the object keeps could be forgotten with its last pair.
        for (pair, key) in old.iter().zip(&old_keys).filter(|(pair, _)| new.binary_search(pair).is_err()) {
            self.unlist(*pair, slot, !keeps(*key));
        }
    }

    /// Says that an object carries a pair, and that the pair's key is new to it.
    fn list(&mut self, pair: &Pair, slot: u32, new_key: bool) {
        let blocks = self.blocks.numbers();
        let key = self.keys.entry(pair.key()).or_default();
        let entry = self.pairs.entry(pair.id()).or_insert_with(|| {
            key.pairs.insert(pair.id());
            PairEntry { pair: pair.clone(), slots: Posting::default() }
        });
        entry.slots.insert(slot, blocks);
        if new_key {
            key.slots.insert(slot, blocks);
        }
    }

    /// Says that an object no longer carries a pair, nor its key if `whole_key`.
    fn unlist(&mut self, pair: u32, slot: u32, whole_key: bool) {
        let blocks = self.blocks.numbers();
        let Some(entry) = self.pairs.get_mut(&pair) else { return };
        entry.slots.remove(slot, blocks);
        let (key, gone) = (entry.pair.key(), entry.slots.len() == 0);
        if let Some(entry) = self.keys.get_mut(&key) {
            if whole_key {
                entry.slots.remove(slot, blocks);
            }
            if gone {
                entry.pairs.remove(&pair);
            }
            if entry.pairs.is_empty() {
                self.keys.remove(&key);
            }
        }
        if gone {
            self.pairs.remove(&pair);
        }
    }

    /// Brings the sets up to date after rows of these blocks were given other slots.
    fn settle(&mut self, mut moved: Vec<u32>) {
        if !moved.is_empty() {
            let mut pairs: FxHashMap<u32, Vec<Bits>> = FxHashMap::default();
            let mut keys: FxHashMap<u32, Vec<Bits>> = FxHashMap::default();
            for (at, number) in moved.iter().enumerate() {
                for (offset, row) in self.blocks.block(*number).into_iter().flat_map(|block| block.rows()) {
                    for pair in &row.pairs {
                        let Some(entry) = self.pairs.get(pair) else { continue };
                        for (map, id) in [(&mut pairs, *pair), (&mut keys, entry.pair.key())] {
                            map.entry(id).or_insert_with(|| vec![Bits::default(); moved.len()])[at]
                                .set(offset);
                        }
                    }
                }
            }
            let blocks = self.blocks.numbers();
            let replace = |slots: &mut Posting, bits: Vec<Bits>| {
                moved.iter().zip(bits).for_each(|(number, bits)| slots.replace(*number, bits, blocks));
            };
            for (id, bits) in pairs {
                self.pairs.entry(id).and_modify(|entry| replace(&mut entry.slots, bits));
            }
            for (id, bits) in keys {
                self.keys.entry(id).and_modify(|entry| replace(&mut entry.slots, bits));
            }
            moved.clear();
        }
        self.moved = moved;
    }
}
