//! Sets of completion indexes, as they stand in a status: `0-3,7`. Pure.

use std::collections::BTreeSet;
use std::fmt;

/// Indexes in increasing order, as intervals with both ends included. Two intervals neither meet nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// Reads a list. What is no interval is left out, and so is what is not below the number of completions.
    pub(super) fn parse(text: &str, completions: u32) -> Self {
        let last = completions.checked_sub(1);
        let intervals = text.split(',').filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
            let to = to.min(last?);
            (from <= to).then_some((from, to))
        });
        Self::of_intervals(intervals.collect())
    }

    fn of_intervals(mut intervals: Vec<(u32, u32)>) -> Self {
        intervals.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(intervals.len());
        for (from, to) in intervals {
            match merged.last_mut() {
                Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// All that are in one of the two.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self::of_intervals(self.0.iter().chain(&other.0).copied().collect())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|(from, to)| (to - from) as usize + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= index);
        after.checked_sub(1).is_some_and(|at| index <= self.0[at].1)
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> usize {
        let (mut one, mut two, mut count) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(one), other.0.get(two)) {
            let (from, to) = (a.0.max(b.0), a.1.min(b.1));
            if from <= to {
                count += (to - from) as usize + 1;
            }
            if a.1 <= b.1 {
                one += 1;
            }
            if b.1 <= a.1 {
                two += 1;
            }
        }
        count
    }

    /// The first `count` of those below `limit` that are not among these.
    pub(super) fn first_missing(&self, count: usize, limit: u32) -> Vec<u32> {
        let ends = [(limit, limit)];
        let mut missing = Vec::new();
        let mut next = 0;
        for (from, to) in self.0.iter().chain(&ends) {
            let left = count - missing.len();
            missing.extend((next..(*from).min(limit)).take(left));
            next = next.max(to.saturating_add(1));
        }
        missing
    }
}

impl FromIterator<u32> for Indexes {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        let sorted: BTreeSet<u32> = indexes.into_iter().collect();
        Self::of_intervals(sorted.into_iter().map(|index| (index, index)).collect())
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (from, to)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match to - from {
                0 => write!(f, "{from}")?,
                1 => write!(f, "{from},{to}")?,
                _ => write!(f, "{from}-{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, written) in [
            ("", ""),
            ("0", "0"),
            ("0,1", "0,1"),
            ("0,1,2", "0-2"),
            ("1-3,4,7", "1-4,7"),
            ("3-1,x,5-y,6", "6"),
            ("8-20", "8,9"),
            ("10,11", ""),
        ] {
            assert_eq!(Indexes::parse(text, 10).to_string(), written, "{text}");
        }
        assert_eq!(Indexes::parse("0", 0), Indexes::default());
    }

    proptest! {
        #[test]
        fn they_are_sets(one in prop::collection::btree_set(0..40u32, 0..30), two in prop::collection::btree_set(0..40u32, 0..30)) {
            let (a, b): (Indexes, Indexes) = (one.iter().copied().collect(), two.iter().copied().collect());
            prop_assert_eq!(a.len(), one.len());
            prop_assert_eq!(a.common(&b), one.intersection(&two).count());
            prop_assert_eq!(a.union(&b), one.union(&two).copied().collect::<Indexes>());
            prop_assert_eq!(Indexes::parse(&a.to_string(), 40), a.clone());
            let missing: Vec<u32> = (0..30).filter(|index| !one.contains(index)).take(7).collect();
            prop_assert_eq!(a.first_missing(7, 30), missing);
            for index in 0..40 {
                prop_assert_eq!(a.contains(index), one.contains(&index));
            }
        }
    }
}
