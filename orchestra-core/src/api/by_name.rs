//! Lists in the order of names, made for walks over documents whose fields are in that order too.

use std::ops::Deref;

/// What has a name by which it is found.
pub trait Named {
    /// The name.
    fn name(&self) -> &str;
}

/// What has names, in their order.
#[derive(Clone, Debug)]
pub struct ByName<T> {
    items: Box<[T]>,
    /// The [`head`] of each name.
    heads: Box<[u64]>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { items: Box::default(), heads: Box::default() }
    }
}

impl<T: Named> ByName<T> {
    /// Where the item of that name stands. `hint` is where it would stand if names are asked for one after the other, in
    /// their order; it is moved behind the one that is found.
    pub(crate) fn place_after(&self, hint: &mut usize, name: &str) -> Option<usize> {
        let head = head(name);
        let ahead = self.heads.get(*hint..).unwrap_or_default();
        let before = ahead.iter().take_while(|other| **other < head).count();
        let alike = ahead[before..].iter().take_while(|other| **other == head);
        let mut near = (*hint + before..).zip(alike).map(|(place, _)| place);
        let place =
            near.find(|place| is_same(self.items[*place].name(), name)).or_else(|| self.place(name))?;
        *hint = place + 1;
        Some(place)
    }

    /// The item of that name. `hint` is that of [`ByName::place_after`].
    pub(crate) fn get_after(&self, hint: &mut usize, name: &str) -> Option<&T> {
        self.items.get(self.place_after(hint, name)?)
    }

    /// The item of that name.
    pub fn named(&self, name: &str) -> Option<&T> {
        self.items.get(self.place(name)?)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.items.binary_search_by(|item| item.name().cmp(name)).ok()
    }
}

impl<T: Named> FromIterator<T> for ByName<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_by(|a, b| a.name().cmp(b.name()));
        Self { heads: items.iter().map(|item| head(item.name())).collect(), items: items.into() }
    }
}

impl<T> Deref for ByName<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

/// How many bytes of a name its [`head`] holds.
const HEAD: usize = 8;

/// The beginning of a name as a number, which is ordered as names are. Nearly all names differ in it, and to compare
/// numbers costs a fraction of what it costs to compare texts.
fn head(name: &str) -> u64 {
    let bytes = name.as_bytes();
    if let Some(first) = bytes.first_chunk::<HEAD>() {
        return u64::from_be_bytes(*first);
    }
    // What is missing counts as zero. To copy so few bytes one by one is faster than to ask for it.
    let held = bytes.iter().fold(0, |held, byte| held << 8 | u64::from(*byte));
    if bytes.is_empty() { 0 } else { held << (8 * (HEAD - bytes.len())) }
}

/// Whether names with the same [`head`] are the same.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.len() <= HEAD || one == other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Named for String {
        fn name(&self) -> &str {
            self
        }
    }

    proptest! {
        /// Whatever is asked for, and in which order, the answer is that of a search.
        #[test]
        fn a_hint_never_changes_what_is_found(
            held in proptest::collection::btree_set("[ab]{0,2}|terminat[ab]{0,3}", 0..12),
            asked in proptest::collection::vec("[abc]{0,2}|terminat[ab]{0,3}", 0..24),
        ) {
            let names: ByName<String> = held.iter().rev().cloned().collect();
            let mut hint = 0;
            for name in asked {
                let found = names.get_after(&mut hint, &name);
                prop_assert_eq!(found, names.named(&name));
                prop_assert_eq!(found.is_some(), held.contains(&name));
            }
        }
    }
}
