//! Answering a selector from the index.

use smallvec::SmallVec;

use super::blocks::Place;
use super::posting::{Bits, Posting, block_of};
use super::{IndexKey, LabelIndex};
use crate::selector::compiled::{Check, CompiledSelector};

type Postings<'a> = SmallVec<[&'a Posting; 4]>;

/// The objects of a [`LabelIndex`] that a selector selects.
#[derive(Clone, Debug)]
pub struct Selection<'a, K> {
    index: &'a LabelIndex<K>,
    /// An object must be in one set of each of these. The first is the one with the fewest objects.
    every: SmallVec<[Postings<'a>; 4]>,
    /// An object must be in none of these.
    none: Postings<'a>,
    start: Place,
    end: Place,
}

impl<'a, K: IndexKey> Selection<'a, K> {
    pub(super) fn new(
        index: &'a LabelIndex<K>,
        selector: &CompiledSelector,
        namespace: Option<&str>,
    ) -> Self {
        let start = Place { block: 0, rank: 0 };
        let end = Place { block: index.blocks.order().len(), rank: 0 };
        let mut selection = Selection { index, every: SmallVec::new(), none: SmallVec::new(), start, end };
        if let Some(namespace) = namespace {
            selection.start = index.blocks.seek(|key| key.cmp_namespace(namespace).is_lt());
            selection.end = index.blocks.seek(|key| key.cmp_namespace(namespace).is_le());
        }
        if !selector.checks().iter().all(|check| selection.require(check)) {
            selection.end = selection.start;
        }
        let size = |postings: &Postings<'_>| postings.iter().map(|posting| posting.len()).sum::<usize>();
        selection.every.sort_by_key(size);
        selection
    }

    /// Adds a requirement; false if nothing in the index can fulfil it.
    fn require(&mut self, check: &Check) -> bool {
        let index = self.index;
        let pair = |id: u32| index.pairs.get(&id).map(|entry| &entry.slots);
        let wanted: Postings<'a> = match check {
            Check::Any(pairs) => pairs.iter().filter_map(|found| pair(found.id())).collect(),
            Check::Has(key) => index.keys.get(&key.id()).map(|entry| &entry.slots).into_iter().collect(),
            Check::Within(key, low, high) => {
                let in_range = |id: &&u32| {
                    let number = index.pairs.get(id).and_then(|entry| entry.pair.number());
                    number.is_some_and(|number| (*low..=*high).contains(&number))
                };
                let pairs = index.keys.get(&key.id()).into_iter().flat_map(|entry| &entry.pairs);
                pairs.filter(in_range).filter_map(|id| pair(*id)).collect()
            }
            Check::None(pairs) => {
                self.none.extend(pairs.iter().filter_map(|found| pair(found.id())));
                return true;
            }
            Check::Lacks(key) => {
                self.none.extend(index.keys.get(&key.id()).map(|entry| &entry.slots));
                return true;
            }
            Check::Never => return false,
        };
        let possible = !wanted.is_empty();
        self.every.push(wanted);
        possible
    }

    /// Only those after this key: the next page. The key itself need not be in the index any more.
    #[must_use]
    pub fn after(mut self, key: &K) -> Self {
        self.start = self.start.max(self.index.blocks.seek(|found| found <= key));
        self
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.blocks().map(|(_, bits)| bits.count()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks().next().is_none()
    }

    /// In the order of their keys, found as the iterator goes.
    pub fn iter(&self) -> SelectionIter<'a, '_, K> {
        SelectionIter {
            index: self.index,
            blocks: Box::new(self.blocks()),
            block: 0,
            offsets: Vec::new(),
            next: 0,
        }
    }

    /// All of them at once, as a set that is asked again and again.
    pub fn to_set(&self) -> Selected<'a, K> {
        let blocks: Vec<_> = self.blocks().collect();
        let len = blocks.iter().map(|(_, bits)| bits.count()).sum();
        Selected { index: self.index, blocks, len }
    }

    /// The blocks with something selected, in order, each with what is.
    fn blocks(&self) -> impl Iterator<Item = (u32, Bits)> + use<'a, '_, K> {
        let order = self.index.blocks.order();
        let last = if self.end.rank == 0 { self.end.block } else { self.end.block + 1 };
        let range = self.start.block.min(order.len())..last.min(order.len());
        let few = self.few_blocks(&range);
        let all = few.is_none().then_some(range);
        let places = few.into_iter().flatten().chain(all.into_iter().flatten());
        places.filter_map(move |place| {
            let number = *order.get(place)?;
            let bits = self.narrow(place, self.evaluate(number));
            (!bits.is_empty()).then_some((number, bits))
        })
    }

    /// The places of the blocks that hold the rarest label, if they are fewer than those to look at otherwise.
    fn few_blocks(&self, range: &std::ops::Range<usize>) -> Option<Vec<usize>> {
        let rarest = self.every.first()?;
        let size: usize = rarest.iter().map(|posting| posting.len()).sum();
        if size >= range.len() {
            return None;
        }
        let mut places = Vec::with_capacity(size);
        for posting in rarest {
            let numbers = posting.list()?.iter().map(|slot| block_of(*slot).0);
            places.extend(numbers.map(|number| self.index.blocks.place_of(number)));
        }
        places.retain(|place| range.contains(place));
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// What is selected of a block, without regard to the range of keys.
    fn evaluate(&self, number: u32) -> Bits {
        let mut every = self.every.iter();
        let mut bits = match every.next() {
            Some(rarest) => union(rarest, number),
            None => self.index.blocks.block(number).map(|block| block.live()).unwrap_or_default(),
        };
        for postings in every {
            if bits.is_empty() {
                return bits;
            }
            bits.and(&union(postings, number));
        }
        for posting in &self.none {
            bits.and_not(&posting.bits(number));
        }
        bits
    }

    /// Takes away what is before the start or behind the end, in the blocks where these lie.
    fn narrow(&self, place: usize, mut bits: Bits) -> Bits {
        let starts_within = place == self.start.block && self.start.rank > 0;
        let ends_within = place == self.end.block;
        if (starts_within || ends_within)
            && !bits.is_empty()
            && let Some(block) = self.index.blocks.at(place)
        {
            let start = if starts_within { self.start.rank } else { 0 };
            let end = if ends_within { self.end.rank } else { block.len() };
            bits.and(&block.ranks(start, end));
        }
        bits
    }
}

fn union(postings: &[&Posting], block: u32) -> Bits {
    match postings {
        [only] => only.bits(block),
        several => several.iter().fold(Bits::default(), |mut bits, posting| {
            bits.or(&posting.bits(block));
            bits
        }),
    }
}

/// Goes through a [`Selection`] in the order of keys.
pub struct SelectionIter<'a, 's, K> {
    index: &'a LabelIndex<K>,
    blocks: Box<dyn Iterator<Item = (u32, Bits)> + 's>,
    block: u32,
    /// The selected offsets of the block, in the order of their keys, and which of them is next.
    offsets: Vec<u16>,
    next: usize,
}

impl<'a, K: IndexKey> Iterator for SelectionIter<'a, '_, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        while self.next == self.offsets.len() {
            let (number, bits) = self.blocks.next()?;
            (self.block, self.next) = (number, 0);
            self.offsets.clear();
            self.index.blocks.block(number)?.in_key_order(bits, &mut self.offsets);
        }
        let offset = *self.offsets.get(self.next)?;
        self.next += 1;
        Some(&self.index.blocks.block(self.block)?.row(offset)?.key)
    }
}

/// The objects that a selector selected, as a set.
#[derive(Clone, Debug)]
pub struct Selected<'a, K> {
    index: &'a LabelIndex<K>,
    blocks: Vec<(u32, Bits)>,
    len: usize,
}

impl<'a, K: IndexKey> Selected<'a, K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether an object is among them.
    pub fn contains(&self, key: &K) -> bool {
        let Some((number, offset)) = self.index.blocks.find(key) else { return false };
        let place_of = |number: u32| self.index.blocks.place_of(number);
        let at = self.blocks.binary_search_by_key(&place_of(number), |(found, _)| place_of(*found));
        at.ok().and_then(|at| self.blocks.get(at)).is_some_and(|(_, bits)| bits.has(offset))
    }

    /// In the order of their keys.
    pub fn iter(&self) -> SelectionIter<'a, '_, K> {
        let blocks = Box::new(self.blocks.iter().copied());
        SelectionIter { index: self.index, blocks, block: 0, offsets: Vec::new(), next: 0 }
    }
}
