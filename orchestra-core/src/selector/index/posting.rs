//! A set of slots: which objects carry one label.
//!
//! Slots come in blocks of [`BLOCK`]; a set is asked block by block, and answers with the block's bits. A set that
//! holds few of all slots is a sorted list (4 bytes a slot), a fuller one is bits (64 bytes a block), and one slot
//! alone needs no heap at all, since many labels are as individual as the object that carries them.

use std::slice;

/// Slots in a block: as many as one cache line has bits.
pub(super) const BLOCK: usize = 512;

/// Words in the bits of a block.
const WORDS: usize = BLOCK / 64;

/// Which slots of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    pub(super) fn set(&mut self, offset: u16) {
        if let Some(word) = self.0.get_mut(usize::from(offset) / 64) {
            *word |= 1 << (offset % 64);
        }
    }

    pub(super) fn clear(&mut self, offset: u16) {
        if let Some(word) = self.0.get_mut(usize::from(offset) / 64) {
            *word &= !(1 << (offset % 64));
        }
    }

    pub(super) fn has(&self, offset: u16) -> bool {
        self.0.get(usize::from(offset) / 64).is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn and(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn or(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn and_not(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// The first slot that is not in the set.
    pub(super) fn first_clear(&self) -> Option<u16> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != u64::MAX)?;
        Some((at * 64) as u16 + word.trailing_ones() as u16)
    }

    /// The slots in the set, in order.
    pub(super) fn offsets(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as u16)?;
                word &= word - 1;
                Some((at * 64) as u16 + bit)
            })
        })
    }
}

impl FromIterator<u16> for Bits {
    fn from_iter<I: IntoIterator<Item = u16>>(offsets: I) -> Self {
        let mut bits = Bits::default();
        offsets.into_iter().for_each(|offset| bits.set(offset));
        bits
    }
}

/// The number of a slot among all.
pub(super) fn slot(block: u32, offset: u16) -> u32 {
    block * BLOCK as u32 + u32::from(offset)
}

/// The block of a slot, and its place there.
pub(super) fn block_of(slot: u32) -> (u32, u16) {
    (slot / BLOCK as u32, (slot % BLOCK as u32) as u16)
}

/// A set of slots.
#[derive(Clone, Debug)]
pub(super) enum Posting {
    One(u32),
    Sparse(Vec<u32>),
    Dense { blocks: Vec<Bits>, len: usize },
}

impl Default for Posting {
    fn default() -> Self {
        Posting::Sparse(Vec::new())
    }
}

impl Posting {
    pub(super) fn len(&self) -> usize {
        match self {
            Posting::One(_) => 1,
            Posting::Sparse(slots) => slots.len(),
            Posting::Dense { len, .. } => *len,
        }
    }

    /// The slots as a sorted list, if that is how they are kept.
    pub(super) fn list(&self) -> Option<&[u32]> {
        match self {
            Posting::One(only) => Some(slice::from_ref(only)),
            Posting::Sparse(slots) => Some(slots),
            Posting::Dense { .. } => None,
        }
    }

    /// The slots of one block.
    pub(super) fn bits(&self, block: u32) -> Bits {
        match self {
            Posting::Dense { blocks, .. } => blocks.get(block as usize).copied().unwrap_or_default(),
            Posting::One(only) => {
                part(slice::from_ref(only), block).iter().map(|slot| block_of(*slot).1).collect()
            }
            Posting::Sparse(slots) => part(slots, block).iter().map(|slot| block_of(*slot).1).collect(),
        }
    }

    /// Puts a slot in; `blocks` is how many blocks there are in all.
    pub(super) fn insert(&mut self, slot: u32, blocks: usize) {
        match self {
            Posting::Sparse(slots) if slots.is_empty() => *self = Posting::One(slot),
            Posting::One(only) if *only == slot => {}
            Posting::One(only) => {
                let mut slots = vec![*only, slot];
                slots.sort_unstable();
                *self = Posting::Sparse(slots);
            }
            Posting::Sparse(slots) => {
                if let Err(at) = slots.binary_search(&slot) {
                    make_room(slots, 1);
                    slots.insert(at, slot);
                }
            }
            Posting::Dense { blocks, len } => {
                let (block, offset) = block_of(slot);
                let bits = dense_block(blocks, block);
                *len += usize::from(!bits.has(offset));
                bits.set(offset);
            }
        }
        self.choose_form(blocks);
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, slot: u32, blocks: usize) {
        match self {
            Posting::One(only) if *only == slot => *self = Posting::default(),
            Posting::One(_) => {}
            Posting::Sparse(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    slots.remove(at);
                }
            }
            Posting::Dense { blocks, len } => {
                let (block, offset) = block_of(slot);
                if let Some(bits) = blocks.get_mut(block as usize).filter(|bits| bits.has(offset)) {
                    bits.clear(offset);
                    *len -= 1;
                }
            }
        }
        self.choose_form(blocks);
    }

    /// Says anew which slots of a block are in the set.
    pub(super) fn replace(&mut self, block: u32, bits: Bits, blocks: usize) {
        if let Posting::One(only) = self {
            *self = Posting::Sparse(vec![*only]);
        }
        match self {
            Posting::One(_) => {}
            Posting::Sparse(slots) => {
                let start = slots.partition_point(|found| block_of(*found).0 < block);
                let end = start + part(slots, block).len();
                make_room(slots, bits.count());
                slots.splice(start..end, bits.offsets().map(|offset| slot(block, offset)));
            }
            Posting::Dense { blocks, len } => {
                let place = dense_block(blocks, block);
                *len = *len - place.count() + bits.count();
                *place = bits;
            }
        }
        self.choose_form(blocks);
    }

    /// Bits at a 32nd of all slots, where they begin to be smaller; a list again well below, so that a set at the
    /// border does not change its form with every change.
    fn choose_form(&mut self, blocks: usize) {
        let slots = blocks * BLOCK;
        match self {
            Posting::Sparse(list) if list.len() * 32 > slots => {
                let mut dense = Vec::with_capacity(blocks);
                for found in list.iter() {
                    let (block, offset) = block_of(*found);
                    dense_block(&mut dense, block).set(offset);
                }
                *self = Posting::Dense { len: list.len(), blocks: dense };
            }
            Posting::Dense { blocks, len } if *len * 64 < slots => {
                let mut list = Vec::with_capacity(*len);
                for (block, bits) in blocks.iter().enumerate() {
                    list.extend(bits.offsets().map(|offset| slot(block as u32, offset)));
                }
                *self = Posting::Sparse(list);
            }
            _ => {}
        }
    }
}

/// The part of a sorted list that lies in a block.
fn part(slots: &[u32], block: u32) -> &[u32] {
    let start = slots.partition_point(|slot| block_of(*slot).0 < block);
    let rest = slots.get(start..).unwrap_or_default();
    let end = rest.get(..BLOCK).unwrap_or(rest).partition_point(|slot| block_of(*slot).0 == block);
    rest.get(..end).unwrap_or_default()
}

/// Grows by an eighth and not by a half: there are very many lists, and most of them are small.
fn make_room(slots: &mut Vec<u32>, more: usize) {
    if slots.capacity() - slots.len() < more {
        slots.reserve_exact(more + slots.len() / 8);
    }
}

fn dense_block(blocks: &mut Vec<Bits>, block: u32) -> &mut Bits {
    let block = block as usize;
    if blocks.len() <= block {
        if blocks.capacity() <= block {
            blocks.reserve_exact(block + 1 - blocks.len() + blocks.len() / 8);
        }
        blocks.resize(block + 1, Bits::default());
    }
    &mut blocks[block]
}
