//! The objects of an index, in the order of their keys.
//!
//! Like the leaves of a B-tree: keys in order are cut into blocks of up to [`BLOCK`] objects, and each object has a
//! slot in its block. The blocks have an order too, so that going through a selection in key order is going through
//! blocks in order and through each block's bits. An object keeps its slot until its block is divided or merged.
//! A hash table of slots finds an object by its key without comparing its way down the order.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::posting::{BLOCK, Bits, block_of, slot};

/// A block this empty is merged with a neighbour that has room.
const POOR: usize = BLOCK / 8;

/// Up to so many of a block are put in order by sorting their ranks; more, by going through all.
const FEW: usize = 48;

/// Labels of one object, as the numbers of their pairs in ascending order.
pub(super) type Pairs = SmallVec<[u32; 6]>;

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Row<K> {
    pub(super) key: K,
    pub(super) pairs: Pairs,
}

#[derive(Clone, Debug)]
pub(super) struct Block<K> {
    rows: Vec<Option<Row<K>>>,
    /// The offsets of the rows, in the order of their keys; and the other way round, the rank of each offset.
    sorted: Vec<u16>,
    ranks: Vec<u16>,
    live: Bits,
    /// Whether the order of offsets is the order of keys.
    in_order: bool,
}

/// Where an object stands in the order of keys: the place of its block among the blocks, and its rank in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) rank: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Blocks<K> {
    blocks: Vec<Block<K>>,
    /// The numbers of the blocks that are in use, in the order of their keys.
    order: Vec<u32>,
    /// The place in `order` of each block, by its number.
    places: Vec<u32>,
    free: Vec<u32>,
    hasher: RandomState,
    /// The slots of all objects, by the hash of their keys.
    table: HashTable<u32>,
}

impl<K> Default for Block<K> {
    fn default() -> Self {
        let (sorted, ranks) = (Vec::new(), Vec::new());
        Block { rows: Vec::new(), sorted, ranks, live: Bits::default(), in_order: true }
    }
}

impl<K> Default for Blocks<K> {
    fn default() -> Self {
        let (order, places, free) = (Vec::new(), Vec::new(), Vec::new());
        Blocks {
            blocks: Vec::new(),
            order,
            places,
            free,
            hasher: RandomState::default(),
            table: HashTable::new(),
        }
    }
}

impl<K: Ord + Hash> Block<K> {
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn live(&self) -> Bits {
        self.live
    }

    pub(super) fn row(&self, offset: u16) -> Option<&Row<K>> {
        self.rows.get(usize::from(offset))?.as_ref()
    }

    /// All rows with their offsets, in the order of their keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u16, &Row<K>)> {
        self.sorted.iter().filter_map(|offset| Some((*offset, self.row(*offset)?)))
    }

    fn at(&self, rank: usize) -> Option<(u16, &Row<K>)> {
        let offset = *self.sorted.get(rank)?;
        Some((offset, self.row(offset)?))
    }

    /// The slots of the rows from rank `start` up to, not including, `end`.
    pub(super) fn ranks(&self, start: usize, end: usize) -> Bits {
        let end = end.min(self.sorted.len());
        self.sorted.get(start..end).unwrap_or_default().iter().copied().collect()
    }

    /// Appends the given slots in the order of their keys.
    pub(super) fn in_key_order(&self, bits: Bits, offsets: &mut Vec<u16>) {
        let count = bits.count();
        if self.in_order || count == 1 {
            offsets.extend(bits.offsets());
        } else if count <= FEW {
            let start = offsets.len();
            offsets.extend(bits.offsets().filter_map(|offset| self.ranks.get(usize::from(offset))));
            let ranks = offsets.get_mut(start..).unwrap_or_default();
            ranks.sort_unstable();
            ranks
                .iter_mut()
                .for_each(|rank| *rank = self.sorted.get(usize::from(*rank)).copied().unwrap_or_default());
        } else {
            offsets.extend(self.sorted.iter().filter(|offset| bits.has(**offset)));
        }
    }

    fn insert(&mut self, rank: usize, row: Row<K>) -> Option<u16> {
        let offset = self.live.first_clear()?;
        // Also the ranks of offsets without a row, which mean nothing: this way it is one pass without a branch.
        let shift = |found: &mut u16| *found = found.wrapping_add(u16::from(usize::from(*found) >= rank));
        self.ranks.iter_mut().for_each(shift);
        match self.rows.get_mut(usize::from(offset)) {
            Some(free) => {
                *free = Some(row);
                self.ranks[usize::from(offset)] = rank as u16;
            }
            None => {
                if self.rows.len() == self.rows.capacity() {
                    let more = (self.rows.len() / 4).clamp(4, BLOCK / 4);
                    self.rows.reserve_exact(more);
                    self.ranks.reserve_exact(more);
                    self.sorted.reserve_exact(more);
                }
                self.rows.push(Some(row));
                self.ranks.push(rank as u16);
            }
        }
        self.live.set(offset);
        let before = rank.checked_sub(1).and_then(|left| self.sorted.get(left));
        let after = self.sorted.get(rank);
        self.in_order &=
            before.is_none_or(|left| *left < offset) && after.is_none_or(|right| offset < *right);
        self.sorted.insert(rank, offset);
        Some(offset)
    }

    fn remove(&mut self, offset: u16) -> Option<Row<K>> {
        let row = self.rows.get_mut(usize::from(offset))?.take()?;
        let rank = usize::from(self.ranks[usize::from(offset)]);
        self.sorted.remove(rank);
        self.ranks.iter_mut().for_each(|found| *found -= u16::from(usize::from(*found) > rank));
        self.live.clear(offset);
        Some(row)
    }

    /// Takes all rows out, in the order of their keys, with the offsets they had.
    fn drain(&mut self) -> Vec<(u16, Row<K>)> {
        let Block { mut rows, sorted, .. } = std::mem::take(self);
        sorted
            .into_iter()
            .filter_map(|offset| Some((offset, rows.get_mut(usize::from(offset))?.take()?)))
            .collect()
    }

    /// A block of rows that come in the order of their keys.
    fn of(rows: Vec<Row<K>>) -> Self {
        let sorted: Vec<u16> = (0..rows.len() as u16).collect();
        let live = sorted.iter().copied().collect();
        Block {
            rows: rows.into_iter().map(Some).collect(),
            ranks: sorted.clone(),
            sorted,
            live,
            in_order: true,
        }
    }
}

impl<K: Ord + Hash> Blocks<K> {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many block numbers there are, used or free: no slot is in a block beyond.
    pub(super) fn numbers(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn block(&self, number: u32) -> Option<&Block<K>> {
        self.blocks.get(number as usize)
    }

    /// The numbers of the blocks in the order of their keys.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    /// The place of a block in that order.
    pub(super) fn place_of(&self, number: u32) -> usize {
        self.places.get(number as usize).map_or(0, |place| *place as usize)
    }

    pub(super) fn at(&self, place: usize) -> Option<&Block<K>> {
        self.order.get(place).and_then(|number| self.block(*number))
    }

    /// The first place whose key is not before what `before` says is before. A place behind the last row of a block
    /// means the same as the first of the next.
    pub(super) fn seek(&self, before: impl Fn(&K) -> bool) -> Place {
        let first_is_before = |number: &u32| {
            self.block(*number).and_then(|block| block.at(0)).is_some_and(|(_, row)| before(&row.key))
        };
        let block = self.order.partition_point(first_is_before).saturating_sub(1);
        let rank = self.at(block).map_or(0, |found| {
            found.sorted.partition_point(|offset| found.row(*offset).is_some_and(|row| before(&row.key)))
        });
        Place { block, rank }
    }

    /// The block and the offset of a key, if it is there.
    pub(super) fn find(&self, key: &K) -> Option<(u32, u16)> {
        let same = |slot: &u32| self.row(*slot).is_some_and(|row| row.key == *key);
        self.table.find(self.hasher.hash_one(key), same).map(|slot| block_of(*slot))
    }

    fn row(&self, slot: u32) -> Option<&Row<K>> {
        let (number, offset) = block_of(slot);
        self.block(number)?.row(offset)
    }

    pub(super) fn pairs_mut(&mut self, number: u32, offset: u16) -> Option<&mut Pairs> {
        let row = self.blocks.get_mut(number as usize)?.rows.get_mut(usize::from(offset))?.as_mut()?;
        Some(&mut row.pairs)
    }

    /// Puts a row in whose key is not there, and says where it stands. The blocks whose rows had to move for it are
    /// appended to `moved`; the row is among them if its block is.
    pub(super) fn insert(&mut self, row: Row<K>, moved: &mut Vec<u32>) -> (u32, u16) {
        let mut place = self.seek(|found| *found < row.key);
        let len = self.at(place.block).map_or(BLOCK, Block::len);
        if len == BLOCK {
            place = self.make_room(place, moved);
        }
        let number = self.order[place.block];
        let hash = self.hasher.hash_one(&row.key);
        let offset = self.blocks[number as usize].insert(place.rank, row).unwrap_or_default();
        self.register(hash, slot(number, offset));
        (number, offset)
    }

    /// Where a row may go that was to go into a full block. Past the block's end the next one may have room, and if
    /// it has not, a new one is begun: keys that arrive in order fill every block. Else the block is divided.
    fn make_room(&mut self, place: Place, moved: &mut Vec<u32>) -> Place {
        if place.rank == BLOCK || self.order.is_empty() {
            let next = if self.order.is_empty() { 0 } else { place.block + 1 };
            if self.at(next).is_none_or(|block| block.len() == BLOCK) {
                self.add_block(next);
            }
            return Place { block: next, rank: 0 };
        }
        let number = self.order[place.block];
        let mut lower = self.empty(number);
        let upper = lower.split_off(BLOCK / 2);
        self.fill(number, lower);
        let added = self.add_block(place.block + 1);
        self.fill(added, upper);
        moved.extend([number, added]);
        match place.rank.checked_sub(BLOCK / 2) {
            Some(rank) if rank > 0 => Place { block: place.block + 1, rank },
            _ => place,
        }
    }

    /// Takes a row out, and appends to `moved` the blocks whose rows had to move.
    pub(super) fn remove(&mut self, number: u32, offset: u16, moved: &mut Vec<u32>) -> Option<Row<K>> {
        let row = self.blocks.get_mut(number as usize)?.remove(offset)?;
        self.unregister(self.hasher.hash_one(&row.key), slot(number, offset));
        let (place, len) = (self.place_of(number), self.blocks[number as usize].len());
        if len == 0 {
            self.drop_block(place);
        } else if len < POOR {
            self.merge(place, moved);
        }
        Some(row)
    }

    /// Moves the rows of a poor block and of a neighbour into one, if that stays far enough from being divided again.
    fn merge(&mut self, place: usize, moved: &mut Vec<u32>) {
        let room = |at: &usize| self.at(*at).is_some_and(|block| block.len() <= BLOCK / 2);
        let before = place.checked_sub(1).filter(room).map(|left| (left, place));
        let Some((left, right)) = before.or(Some((place, place + 1)).filter(|(_, right)| room(right))) else {
            return;
        };
        let (into, from) = (self.order[left], self.order[right]);
        let mut rows = self.empty(into);
        rows.extend(self.empty(from));
        self.fill(into, rows);
        self.drop_block(right);
        moved.extend([into, from]);
    }

    /// Takes all rows out of a block, in the order of their keys.
    fn empty(&mut self, number: u32) -> Vec<Row<K>> {
        let rows = self.blocks[number as usize].drain();
        for (offset, row) in &rows {
            self.unregister(self.hasher.hash_one(&row.key), slot(number, *offset));
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Puts rows, in the order of their keys, into an empty block.
    fn fill(&mut self, number: u32, rows: Vec<Row<K>>) {
        let hashes: Vec<_> = rows.iter().map(|row| self.hasher.hash_one(&row.key)).collect();
        self.blocks[number as usize] = Block::of(rows);
        for (offset, hash) in hashes.into_iter().enumerate() {
            self.register(hash, slot(number, offset as u16));
        }
    }

    fn register(&mut self, hash: u64, slot: u32) {
        let (blocks, hasher) = (&self.blocks, &self.hasher);
        let rehash = |slot: &u32| {
            let (number, offset) = block_of(*slot);
            blocks
                .get(number as usize)
                .and_then(|block| block.row(offset))
                .map_or(0, |row| hasher.hash_one(&row.key))
        };
        self.table.insert_unique(hash, slot, rehash);
    }

    fn unregister(&mut self, hash: u64, slot: u32) {
        if let Ok(entry) = self.table.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
    }

    /// A new block at a place in the order.
    fn add_block(&mut self, place: usize) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(Block::default());
            self.places.push(0);
            (self.blocks.len() - 1) as u32
        });
        self.order.insert(place, number);
        self.renumber(place);
        number
    }

    fn drop_block(&mut self, place: usize) {
        let number = self.order.remove(place);
        self.blocks[number as usize] = Block::default();
        self.free.push(number);
        self.renumber(place);
    }

    fn renumber(&mut self, from: usize) {
        for (place, number) in self.order.iter().enumerate().skip(from) {
            self.places[*number as usize] = place as u32;
        }
    }
}
