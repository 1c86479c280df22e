//! Sets of paths do what sets of texts do.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::api::ownership::FieldSet;

type Paths = BTreeSet<Vec<&'static str>>;

fn paths() -> impl Strategy<Value = Paths> {
    let path = proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 1..4);
    proptest::collection::btree_set(path, 0..12)
}

fn set(paths: &Paths) -> FieldSet<'static> {
    let mut set = FieldSet::default();
    for path in paths {
        set = set.union(&FieldSet::of(path.iter().copied()));
    }
    set
}

/// As the set says them, in the order of texts.
fn told(set: &FieldSet<'_>) -> Vec<String> {
    let mut paths = set.paths();
    paths.sort();
    paths
}

fn expected<'p>(paths: impl IntoIterator<Item = &'p Vec<&'static str>>) -> Vec<String> {
    let mut paths: Vec<String> =
        paths.into_iter().map(|path| path.iter().map(|field| format!(".{field}")).collect()).collect();
    paths.sort();
    paths
}

proptest! {
    #[test]
    fn sets_of_paths_are_sets(ours in paths(), theirs in paths()) {
        let (one, other) = (set(&ours), set(&theirs));
        prop_assert_eq!(told(&one), expected(&ours));
        prop_assert_eq!(told(&one.union(&other)), expected(ours.union(&theirs)));
        prop_assert_eq!(told(&one.intersection(&other)), expected(ours.intersection(&theirs)));
        prop_assert_eq!(told(&one.difference(&other)), expected(ours.difference(&theirs)));
        let below = |path: &&Vec<&'static str>| !theirs.iter().any(|held| path.starts_with(held));
        prop_assert_eq!(told(&one.clone().without(&other)), expected(ours.iter().filter(below)));
        // Nothing empty stays behind, so that equal sets are equal.
        prop_assert_eq!(one.difference(&one), FieldSet::default());
        prop_assert_eq!(set(&ours.difference(&theirs).cloned().collect()), one.difference(&other));
    }
}
