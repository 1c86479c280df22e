//! The objects of an index, in the order of their keys.
//!
//! Like the leaves of a B-tree: keys in order are cut into blocks of up to [`BLOCK`] objects, and each object has a
//! slot in its block. The blocks have an order too, so that going through a selection in key order is going through
//! blocks in order and through each block's bits. An object keeps its slot until its block is divided or merged.

use smallvec::SmallVec;

use super::posting::{BLOCK, Bits};

/// A block this empty is merged with a neighbour that has room.
const POOR: usize = BLOCK / 8;

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
    /// The offsets of the rows, in the order of their keys.
    sorted: Vec<u16>,
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
    len: usize,
}

impl<K> Default for Block<K> {
    fn default() -> Self {
        Block { rows: Vec::new(), sorted: Vec::new(), live: Bits::default(), in_order: true }
    }
}

impl<K> Default for Blocks<K> {
    fn default() -> Self {
        Blocks { blocks: Vec::new(), order: Vec::new(), places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<K: Ord> Block<K> {
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
        if self.in_order || bits.count() == 1 {
            offsets.extend(bits.offsets());
        } else {
            offsets.extend(self.sorted.iter().filter(|offset| bits.has(**offset)));
        }
    }

    fn insert(&mut self, rank: usize, row: Row<K>) -> Option<u16> {
        let offset = self.live.first_clear()?;
        match self.rows.get_mut(usize::from(offset)) {
            Some(free) => *free = Some(row),
            None => {
                if self.rows.len() == self.rows.capacity() {
                    self.rows.reserve_exact((self.rows.len() / 4).clamp(4, BLOCK / 4));
                }
                self.rows.push(Some(row));
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

    fn remove(&mut self, rank: usize) -> Option<(u16, Row<K>)> {
        let offset = *self.sorted.get(rank)?;
        self.sorted.remove(rank);
        self.live.clear(offset);
        Some((offset, self.rows.get_mut(usize::from(offset))?.take()?))
    }

    /// Takes all rows out, in the order of their keys.
    fn drain(&mut self) -> impl Iterator<Item = Row<K>> {
        let Block { mut rows, sorted, .. } = std::mem::take(self);
        sorted.into_iter().filter_map(move |offset| rows.get_mut(usize::from(offset))?.take())
    }

    /// A block of rows that come in the order of their keys.
    fn of(rows: Vec<Row<K>>) -> Self {
        let sorted: Vec<u16> = (0..rows.len() as u16).collect();
        let live = sorted.iter().copied().collect();
        Block { rows: rows.into_iter().map(Some).collect(), sorted, live, in_order: true }
    }
}

impl<K: Ord> Blocks<K> {
    pub(super) fn len(&self) -> usize {
        self.len
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

    /// The place of a key, its block's number, and its row, if it is there.
    pub(super) fn find(&self, key: &K) -> Option<(Place, u32, u16)> {
        let mut place = self.seek(|found| found < key);
        if place.rank == self.at(place.block)?.len() {
            place = Place { block: place.block + 1, rank: 0 };
        }
        let (offset, row) = self.at(place.block)?.at(place.rank)?;
        (row.key == *key).then(|| (place, self.order[place.block], offset))
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
        let offset = self.blocks[number as usize].insert(place.rank, row).unwrap_or_default();
        self.len += 1;
        (number, offset)
    }

    /// Where a row may go that was to go into a full block. Past the block's end the next one may have room, and if
    /// it has not, a new one is begun: keys that arrive in order fill every block. Else the block is divided.
    fn make_room(&mut self, place: Place, moved: &mut Vec<u32>) -> Place {
        if place.rank == BLOCK || self.order.is_empty() {
            let next = if self.order.is_empty() { 0 } else { place.block + 1 };
            if self.at(next).is_none_or(|block| block.len() == BLOCK) {
                self.add_block(next, Block::default());
            }
            return Place { block: next, rank: 0 };
        }
        let number = self.order[place.block];
        let mut lower: Vec<_> = self.blocks[number as usize].drain().collect();
        let upper = lower.split_off(BLOCK / 2);
        self.blocks[number as usize] = Block::of(lower);
        let added = self.add_block(place.block + 1, Block::of(upper));
        moved.extend([number, added]);
        match place.rank.checked_sub(BLOCK / 2) {
            Some(rank) if rank > 0 => Place { block: place.block + 1, rank },
            _ => place,
        }
    }

    /// Takes a row out, and appends to `moved` the blocks whose rows had to move.
    pub(super) fn remove(&mut self, place: Place, moved: &mut Vec<u32>) -> Option<(u32, u16, Row<K>)> {
        let number = *self.order.get(place.block)?;
        let block = &mut self.blocks[number as usize];
        let (offset, row) = block.remove(place.rank)?;
        self.len -= 1;
        if block.len() == 0 {
            self.drop_block(place.block);
        } else if block.len() < POOR {
            self.merge(place.block, moved);
        }
        Some((number, offset, row))
    }

    /// Moves the rows of a poor block into a neighbour that stays far enough from being divided again.
    fn merge(&mut self, place: usize, moved: &mut Vec<u32>) {
        let room = |at: &usize| self.at(*at).is_some_and(|block| block.len() <= BLOCK / 2);
        let before = place.checked_sub(1).filter(room);
        let Some((left, right)) =
            before.map(|left| (left, place)).or(Some((place, place + 1)).filter(|(_, right)| room(right)))
        else {
            return;
        };
        let (into, from) = (self.order[left], self.order[right]);
        let mut rows: Vec<_> = self.blocks[into as usize].drain().collect();
        rows.extend(self.blocks[from as usize].drain());
        self.blocks[into as usize] = Block::of(rows);
        self.drop_block(right);
        moved.extend([into, from]);
    }

    fn add_block(&mut self, place: usize, block: Block<K>) -> u32 {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.blocks.push(Block::default());
                self.places.push(0);
                (self.blocks.len() - 1) as u32
            }
        };
        self.blocks[number as usize] = block;
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
