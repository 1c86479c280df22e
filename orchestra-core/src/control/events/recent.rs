use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that forgets what was not touched for longest once it holds more than so many.
pub(super) struct Recent<K, V> {
    held: HashMap<K, (u64, V)>,
    touched: BTreeMap<u64, K>,
    turn: u64,
    most: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { held: HashMap::new(), touched: BTreeMap::new(), turn: 0, most }
    }

    /// The value under a key, made if there is none. It is the most recent now.
    pub(super) fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.turn += 1;
        if let Some((before, _)) = self.held.get(&key) {
            self.touched.remove(before);
        } else if self.held.len() >= self.most
            && let Some((_, oldest)) = self.touched.pop_first()
        {
            self.held.remove(&oldest);
        }
        self.touched.insert(self.turn, key.clone());
        let turn = self.turn;
        let (touched, value) = self.held.entry(key).or_insert_with(|| (turn, make()));
        *touched = turn;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_least_recent_goes_first() {
        let mut recent = Recent::new(2);
        *recent.touch('a', || 0) += 1;
        recent.touch('b', || 0);
        *recent.touch('a', || 0) += 1;
        recent.touch('c', || 0);
        assert_eq!(*recent.touch('a', || 0), 2);
        assert_eq!(*recent.touch('b', || 7), 7);
    }
}
