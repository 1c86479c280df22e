//! The index of selectors by label: who selects this object?
//!
//! A selector stands in this index under one thing that a label set must have for the selector to match: one of its
//! pairs (or the pairs of one `in`), or else one of its keys. Of these it stands under what the fewest selectors of
//! the namespace ask for, so that a label set with a common label (`tier=web`) does not have to look at all of the
//! selectors that ask for it and for something rarer besides. A selector that asks for nothing to be there, such as
//! `!legacy`, is looked at for every label set; it is the kind that selects almost everything.
//!
//! ```
//! use orchestra_core::selector::{LabelSet, Labels, Selector, SelectorIndex};
//!
//! let mut services = SelectorIndex::new();
//! services.insert("default", "web", &Selector::parse("app=web")?);
//! services.insert("default", "front", &Selector::parse("tier in (web,cdn),!legacy")?);
//! services.insert("other", "web", &Selector::parse("app=web")?);
//!
//! let pod = Labels::from([("app".into(), "web".into()), ("tier".into(), "cdn".into())]);
//! let mut found: Vec<_> = services.matching("default", &LabelSet::new(&pod)).copied().collect();
//! found.sort();
//! assert_eq!(found, ["front", "web"]);
//! # Ok::<_, orchestra_core::selector::ParseError>(())
//! ```

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rustc_hash::FxHashMap;

use super::Selector;
use super::compiled::{Check, CompiledSelector, LabelSet};
use super::intern::Pair;
use super::overlap::Overlap;

/// Selectors by what they select, under ids of the caller's choice, each in a namespace.
///
/// The empty namespace stands for the whole cluster and is one among the others: a caller that has selectors of both
/// kinds asks for both.
#[derive(Clone, Debug)]
pub struct SelectorIndex<Id> {
    namespaces: HashMap<String, Namespace<Id>, RandomState>,
}

#[derive(Clone, Debug)]
struct Namespace<Id> {
    ids: BTreeMap<Id, u32>,
    selectors: Vec<Option<Entry<Id>>>,
    free: Vec<u32>,
    by_pair: FxHashMap<u32, Bucket>,
    by_key: FxHashMap<u32, Bucket>,
    /// Selectors that can match whatever labels are there.
    anywhere: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry<Id> {
    id: Id,
    selector: CompiledSelector,
    anchor: Anchor,
    /// Whether a label set that has the anchor matches for that alone.
    sure: bool,
}

/// Which requirement a selector stands under, by its place among the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Check(usize),
    Anywhere,
    /// Nothing can match it.
    Nowhere,
}

/// What is known of a pair or key that selectors ask for.
#[derive(Clone, Debug, Default)]
struct Bucket {
    /// The selectors that stand here.
    selectors: Vec<u32>,
    /// How many selectors ask for it, wherever they stand.
    wanted: usize,
}

impl<Id> Default for Namespace<Id> {
    fn default() -> Self {
        let (by_pair, by_key) = (FxHashMap::default(), FxHashMap::default());
        let (selectors, free, anywhere) = (Vec::new(), Vec::new(), Vec::new());
        Namespace { ids: BTreeMap::new(), selectors, free, by_pair, by_key, anywhere }
    }
}

impl<Id> Default for SelectorIndex<Id> {
    fn default() -> Self {
        SelectorIndex { namespaces: HashMap::default() }
    }
}

impl<Id: Ord + Clone> SelectorIndex<Id> {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many selectors are in the index.
    pub fn len(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.ids.len()).sum()
    }

    /// Whether no selector is in the index.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Puts a selector in, in place of the one that stood under the same id in the same namespace. Costs a
    /// comparison if that is the same selector.
    pub fn insert(&mut self, namespace: &str, id: Id, selector: &Selector) {
        if self.get(namespace, &id) != Some(selector) {
            self.remove(namespace, &id);
            self.namespaces.entry_ref(namespace).or_default().insert(id, selector.compile());
        }
    }

    /// Takes a selector out; false if it was not there.
    pub fn remove(&mut self, namespace: &str, id: &Id) -> bool {
        let Some(found) = self.namespaces.get_mut(namespace) else { return false };
        let removed = found.remove(id);
        if found.ids.is_empty() {
            self.namespaces.remove(namespace);
        }
        removed
    }

    /// The selector that stands under an id.
    pub fn get(&self, namespace: &str, id: &Id) -> Option<&Selector> {
        let namespace = self.namespaces.get(namespace)?;
        Some(namespace.entry(*namespace.ids.get(id)?)?.selector.selector())
    }

    /// The ids of the selectors of a namespace that select these labels, each once, in no particular order.
    ///
    /// Allocates nothing; costs a look-up for each label and a match for each selector that stands under one of them.
    pub fn matching<'a>(
        &'a self,
        namespace: &str,
        labels: &'a LabelSet,
    ) -> impl Iterator<Item = &'a Id> + use<'a, Id> {
        let namespace = self.namespaces.get(namespace);
        namespace.into_iter().flat_map(move |namespace| namespace.matching(labels))
    }

    /// The selectors of a namespace that can select an object together with this one, in the order of their ids,
    /// each with labels that both select.
    ///
    /// It is a scan with a proof for each selector, meant for the moment a controller is created.
    pub fn overlapping<'a>(
        &'a self,
        namespace: &str,
        selector: &'a Selector,
    ) -> impl Iterator<Item = Overlap<'a, Id>> + use<'a, Id> {
        let namespace = self.namespaces.get(namespace);
        namespace.into_iter().flat_map(move |namespace| {
            namespace.ids.iter().filter_map(move |(id, number)| {
                let other = namespace.entry(*number)?.selector.selector();
                Some(Overlap { id, selector: other, example: selector.overlap(other)? })
            })
        })
    }
}

impl<Id: Ord + Clone> Namespace<Id> {
    fn entry(&self, number: u32) -> Option<&Entry<Id>> {
        self.selectors.get(number as usize)?.as_ref()
    }

    fn insert(&mut self, id: Id, selector: CompiledSelector) {
        for bucket in selector.checks().iter().flat_map(Check::anchors) {
            self.bucket(bucket).wanted += 1;
        }
        let anchor = self.choose(&selector);
        let sure = match (anchor, selector.checks()) {
            (Anchor::Check(_), [only]) => matches!(only, Check::Any(_) | Check::Has(_)),
            (_, checks) => checks.is_empty(),
        };
        let number = self.free.pop().unwrap_or(self.selectors.len() as u32);
        self.stand(&selector, anchor, |selectors| selectors.push(number));
        self.ids.insert(id.clone(), number);
        let entry = Some(Entry { id, selector, anchor, sure });
        match self.selectors.get_mut(number as usize) {
            Some(place) => *place = entry,
            None => self.selectors.push(entry),
        }
    }

    fn remove(&mut self, id: &Id) -> bool {
        let Some(number) = self.ids.remove(id) else { return false };
        let Some(entry) = self.selectors.get_mut(number as usize).and_then(Option::take) else {
            return false;
        };
        self.free.push(number);
        self.stand(&entry.selector, entry.anchor, |selectors| {
            if let Some(at) = selectors.iter().position(|found| *found == number) {
                selectors.swap_remove(at);
            }
        });
        for bucket in entry.selector.checks().iter().flat_map(Check::anchors) {
            let found = self.bucket(bucket);
            found.wanted -= 1;
            if found.wanted == 0 {
                match bucket {
                    Label::Pair(pair) => self.by_pair.remove(&pair),
                    Label::Key(key) => self.by_key.remove(&key),
                };
            }
        }
        true
    }

    fn bucket(&mut self, label: Label) -> &mut Bucket {
        match label {
            Label::Pair(pair) => self.by_pair.entry(pair).or_default(),
            Label::Key(key) => self.by_key.entry(key).or_default(),
        }
    }

    /// The check that asks for the least wanted labels; a key only if there is no pair.
    fn choose(&self, selector: &CompiledSelector) -> Anchor {
        let wanted = |label| match label {
            Label::Pair(pair) => (0, self.by_pair.get(&pair).map_or(0, |bucket| bucket.wanted)),
            Label::Key(key) => (1, self.by_key.get(&key).map_or(0, |bucket| bucket.wanted)),
        };
        if selector.checks().iter().any(|check| matches!(check, Check::Never)) {
            return Anchor::Nowhere;
        }
        let cost =
            |check: &Check| check.anchors().map(wanted).reduce(|(kind, sum), (_, count)| (kind, sum + count));
        let costs = selector.checks().iter().enumerate().filter_map(|(at, check)| Some((cost(check)?, at)));
        costs.min().map_or(Anchor::Anywhere, |(_, at)| Anchor::Check(at))
    }

    /// Calls for every list that a selector with this anchor stands in.
    fn stand(&mut self, selector: &CompiledSelector, anchor: Anchor, mut change: impl FnMut(&mut Vec<u32>)) {
        match anchor {
            Anchor::Nowhere => {}
            Anchor::Anywhere => change(&mut self.anywhere),
            Anchor::Check(at) => {
                for label in selector.checks().get(at).into_iter().flat_map(Check::anchors) {
                    change(&mut self.bucket(label).selectors);
                }
            }
        }
    }

    fn matching<'a>(&'a self, labels: &'a LabelSet) -> impl Iterator<Item = &'a Id> {
        let by_pair = labels.pairs().iter().filter_map(|pair| self.by_pair.get(&pair.id()));
        // Most namespaces have no selector that stands under a key.
        let keyed: &[Pair] = if self.by_key.is_empty() { &[] } else { labels.pairs() };
        let by_key = keyed.iter().filter_map(|pair| self.by_key.get(&pair.key()));
        let standing = by_pair.chain(by_key).map(|bucket| bucket.selectors.as_slice());
        standing.chain([self.anywhere.as_slice()]).flatten().filter_map(|number| {
            let entry = self.entry(*number)?;
            (entry.sure || entry.selector.matches(labels)).then_some(&entry.id)
        })
    }
}

/// What a label set must have, as a number.
#[derive(Clone, Copy)]
pub(super) enum Label {
    Pair(u32),
    Key(u32),
}

impl Check {
    /// The labels of which one must be there; none if the check can hold without.
    fn anchors(&self) -> impl Iterator<Item = Label> {
        let (pairs, key): (&[Pair], _) = match self {
            Check::Any(pairs) => (pairs, None),
            Check::Has(key) | Check::Within(key, ..) => (&[], Some(key)),
            Check::None(_) | Check::Lacks(_) | Check::Never => (&[], None),
        };
        pairs.iter().map(|pair| Label::Pair(pair.id())).chain(key.map(|key| Label::Key(key.id())))
    }
}
