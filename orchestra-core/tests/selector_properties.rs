//! Every way to answer a selector must give the answer of the simplest: match each object's map by itself.

use std::collections::{BTreeMap, BTreeSet};

use orchestra_core::selector::{
    LabelIndex, LabelSet, Labels, Operator, Requirement, Selector, SelectorIndex,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Few keys and values, so that selectors and labels meet; some values are numbers, one of them in two spellings.
const KEYS: [&str; 5] = ["app", "example.com/tier", "env", "in", "n"];
const VALUES: [&str; 8] = ["", "a", "b", "notin", "3", "7", "07", "12"];

fn labels() -> impl Strategy<Value = Labels> {
    let (keys, values) = (select(&KEYS[..]), select(&VALUES[..]));
    proptest::collection::btree_map(
        keys.prop_map(str::to_owned),
        values.prop_map(str::to_owned),
        0..KEYS.len(),
    )
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = select(vec![
        Operator::Exists,
        Operator::DoesNotExist,
        Operator::Equals,
        Operator::NotEquals,
        Operator::In,
        Operator::NotIn,
        Operator::GreaterThan,
        Operator::LessThan,
    ]);
    let bounds = select(vec!["0", "3", "7", "11", "12", "9223372036854775807"]);
    (select(&KEYS[..]), operator, vec(select(&VALUES[..]), 1..4), bounds).prop_map(
        |(key, operator, values, bound)| {
            let values = match operator {
                Operator::Exists | Operator::DoesNotExist => vec![],
                Operator::In | Operator::NotIn => values,
                Operator::GreaterThan | Operator::LessThan => vec![bound],
                _ => values[..1].to_vec(),
            };
            Requirement::new(key, operator, values).expect("made of good parts")
        },
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![9 => vec(requirement(), 0..5).prop_map(Selector::new), 1 => Just(Selector::nothing())]
}

/// A change of an index of objects; a name is a number, so that names come up again.
#[derive(Clone, Debug)]
enum Change {
    Insert(u16, Labels),
    Update(u16, Labels),
    Remove(u16),
}

fn change(names: u16) -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => (0..names, labels()).prop_map(|(name, labels)| Change::Insert(name, labels)),
        2 => (0..names, labels()).prop_map(|(name, labels)| Change::Update(name, labels)),
        3 => (0..names).prop_map(Change::Remove),
    ]
}

type Key = (String, String);

/// Three namespaces; the order of names is not the order of numbers.
fn key(name: u16) -> Key {
    (format!("ns{}", name % 3), format!("{:x}", u32::from(name).wrapping_mul(2_654_435_761)))
}

fn apply(change: &Change, index: &mut LabelIndex<Key>, model: &mut BTreeMap<Key, Labels>) {
    match change {
        Change::Insert(name, labels) => {
            index.insert(key(*name), &LabelSet::new(labels));
            model.insert(key(*name), labels.clone());
        }
        Change::Update(name, labels) => {
            if let Some(old) = model.get_mut(&key(*name)) {
                index.update(&key(*name), &LabelSet::new(old), &LabelSet::new(labels));
                *old = labels.clone();
            }
        }
        Change::Remove(name) => {
            assert_eq!(index.remove(&key(*name)), model.remove(&key(*name)).is_some());
        }
    }
}

fn expected<'a>(
    model: &'a BTreeMap<Key, Labels>,
    selector: &Selector,
    namespace: Option<&str>,
) -> Vec<&'a Key> {
    let within = |key: &Key| namespace.is_none_or(|namespace| namespace == key.0);
    model.iter().filter(|(key, labels)| within(key) && selector.matches(labels)).map(|(key, _)| key).collect()
}

/// All that an index can be asked about a selector, against the scan.
fn check(index: &LabelIndex<Key>, model: &BTreeMap<Key, Labels>, selector: &Selector) {
    let compiled = selector.compile();
    for namespace in [None, Some("ns0"), Some("ns1"), Some("ns2"), Some("ns3"), Some("")] {
        let wanted = expected(model, selector, namespace);
        let selection = index.select(&compiled, namespace);
        assert_eq!(selection.iter().collect::<Vec<_>>(), wanted, "{selector} in {namespace:?}");
        assert_eq!(selection.count(), wanted.len());
        assert_eq!(selection.is_empty(), wanted.is_empty());
        let set = selection.to_set();
        assert_eq!(set.iter().collect::<Vec<_>>(), wanted);
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        for key in model.keys().step_by(1 + model.len() / 20) {
            assert_eq!(set.contains(key), wanted.contains(key));
            let after: Vec<_> = selection.clone().after(key).iter().collect();
            assert_eq!(after, wanted.iter().copied().filter(|found| *found > key).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #[test]
    fn compiled_matching_never_differs(selector in selector(), sets in vec(labels(), 1..20)) {
        let compiled = selector.compile();
        for labels in &sets {
            prop_assert_eq!(compiled.matches(&LabelSet::new(labels)), selector.matches(labels));
        }
    }

    #[test]
    fn what_was_printed_parses_to_the_same(selector in vec(requirement(), 0..6).prop_map(Selector::new)) {
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn parsing_never_panics_and_is_stable(
        text in "[a-z!=<>(), \t./_\\-é0-9]{0,40}|(a|b|in|notin|=|!=|,|\\(|\\)|!| |>|<|1){0,12}"
    ) {
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector)),
            Err(error) => {
                prop_assert!(error.position() <= text.len());
                error.point_in(&text);
            }
        }
    }

    #[test]
    fn index_answers_as_a_scan_after_any_history(
        changes in vec(change(60), 0..120),
        selectors in vec(selector(), 1..6),
    ) {
        let (mut index, mut model) = (LabelIndex::new(), BTreeMap::new());
        for change in &changes {
            apply(change, &mut index, &mut model);
        }
        prop_assert_eq!(index.len(), model.len());
        for selector in &selectors {
            check(&index, &model, selector);
        }
    }

    #[test]
    fn overlap_is_exact(a in selector(), b in selector(), sets in vec(labels(), 30)) {
        let both = a.overlap(&b);
        match &both {
            Some(example) => prop_assert!(a.matches(example) && b.matches(example), "{:?}", example),
            None => prop_assert!(!sets.iter().any(|labels| a.matches(labels) && b.matches(labels))),
        }
        prop_assert_eq!(both.is_some(), b.overlap(&a).is_some());
        match a.example() {
            Some(example) => prop_assert!(a.is_satisfiable() && a.matches(&example)),
            None => prop_assert!(!sets.iter().any(|labels| a.matches(labels))),
        }
    }

    #[test]
    fn containment_is_exact(a in selector(), b in selector(), sets in vec(labels(), 30)) {
        if a.contains(&b) {
            prop_assert!(sets.iter().all(|labels| a.matches(labels) || !b.matches(labels)));
        } else {
            // Something fulfils `b` and not `a`: some requirement of `a`, turned around, overlaps `b`.
            let escapes = |not: &Selector| not.overlap(&b).is_some_and(|example| !a.matches(&example));
            prop_assert!(a.is_nothing() || a.requirements().iter().flat_map(negations).any(|not| escapes(&not)));
        }
        prop_assert!(a.contains(&a));
    }

    #[test]
    fn reverse_index_answers_as_a_scan_after_any_history(
        history in vec((0..40u8, proptest::option::weighted(0.7, selector()), 0..2u8), 0..150),
        sets in vec(labels(), 1..10),
    ) {
        let (mut index, mut model) = (SelectorIndex::new(), BTreeMap::new());
        for (id, selector, namespace) in &history {
            let namespace = format!("ns{namespace}");
            match selector {
                Some(selector) => {
                    index.insert(&namespace, *id, selector);
                    model.insert((namespace, *id), selector.clone());
                }
                None => {
                    let was_there = index.remove(&namespace, id);
                    prop_assert_eq!(was_there, model.remove(&(namespace, *id)).is_some());
                }
            }
        }
        prop_assert_eq!(index.len(), model.len());
        for labels in &sets {
            let set = LabelSet::new(labels);
            for namespace in ["ns0", "ns1"] {
                let mut found: Vec<_> = index.matching(namespace, &set).copied().collect();
                found.sort_unstable();
                let selects = |(at, _): &(String, u8), selector: &Selector| at == namespace && selector.matches(labels);
                let wanted = model.iter().filter(|(at, selector)| selects(at, selector)).map(|((_, id), _)| *id);
                prop_assert_eq!(found, wanted.collect::<Vec<_>>());
            }
        }
    }
}

/// Selectors that together select what a requirement does not, as far as the values of these tests go.
fn negations(requirement: &Requirement) -> Vec<Selector> {
    let make = |operator, values: &[String]| {
        Selector::new([Requirement::new(requirement.key(), operator, values).expect("made of good parts")])
    };
    let bound = || requirement.values()[0].parse::<i64>().expect("a bound is a number");
    let not_a_number = || vec![make(Operator::DoesNotExist, &[]), make(Operator::Equals, &["x".into()])];
    match requirement.operator() {
        Operator::Exists => vec![make(Operator::DoesNotExist, &[])],
        Operator::DoesNotExist => vec![make(Operator::Exists, &[])],
        Operator::Equals | Operator::In => vec![make(Operator::NotIn, requirement.values())],
        Operator::NotEquals | Operator::NotIn => vec![make(Operator::In, requirement.values())],
        Operator::GreaterThan => {
            let mut not = not_a_number();
            not.extend(VALUES.map(|value| make(Operator::Equals, &[value.into()])));
            not.push(make(Operator::Equals, &[bound().to_string()]));
            not.extend(bound().checked_add(1).map(|above| make(Operator::LessThan, &[above.to_string()])));
            not
        }
        Operator::LessThan => {
            let mut not = not_a_number();
            not.extend(VALUES.map(|value| make(Operator::Equals, &[value.into()])));
            not.push(make(Operator::Equals, &[bound().to_string()]));
            let below = bound().checked_sub(1).filter(|below| *below >= 0);
            not.extend(below.map(|below| make(Operator::GreaterThan, &[below.to_string()])));
            not
        }
    }
}

/// Enough objects to divide, fill and merge blocks, which the short histories above never do.
#[test]
fn index_answers_as_a_scan_when_it_grows_and_shrinks() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut index, mut model) = (LabelIndex::new(), BTreeMap::new());
    let selectors =
        ["", "app=a", "app in (a,b),!env", "env!=7", "rare=r", "n>3,n<12", "app,env notin (a,b,3)", "n"];
    let selectors = selectors.map(|text| Selector::parse(text).expect("good"));
    for round in 0..6 {
        let shrinking = round % 2 == 1;
        for _ in 0..4000 {
            let name = (next() % 5000) as u16;
            let mut labels = Labels::new();
            for key in KEYS {
                let pick = next() as usize % (VALUES.len() * 2);
                labels.extend(VALUES.get(pick).map(|value| (key.to_owned(), (*value).to_owned())));
            }
            if next() % 500 == 0 {
                labels.insert("rare".into(), "r".into());
            }
            labels.insert("own".into(), name.to_string());
            let change = match next() % 10 {
                0..8 if shrinking => Change::Remove(name),
                0..8 => Change::Insert(name, labels),
                _ => Change::Update(name, labels),
            };
            apply(&change, &mut index, &mut model);
        }
        selectors.iter().for_each(|selector| check(&index, &model, selector));
        let mut rebuilt = LabelIndex::new();
        model.iter().for_each(|(key, labels)| rebuilt.insert(key.clone(), &LabelSet::new(labels)));
        selectors.iter().for_each(|selector| check(&rebuilt, &model, selector));
    }
    let keys: Vec<_> = model.keys().cloned().collect();
    assert!(keys.iter().all(|key| index.remove(key)));
    assert!(index.is_empty());
    assert_eq!(index.select(&Selector::everything().compile(), None).count(), 0);
}
