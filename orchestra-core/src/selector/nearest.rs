//! A selector that selects nothing is most often a slip of the finger: which label was meant?

use std::collections::BTreeMap;
use std::fmt;

use super::index::{IndexKey, LabelIndex};
use super::requirement::{Operator, Requirement};
use super::{Selector, intern::Pair};

/// How many labels that look alike are tried before giving up.
const TRIES: usize = 16;

/// A label that exists and is spelled almost as one that a selector asks for, and with which it would select
/// something. `Display` is a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// What the selector asks for: `app=wbe`, or a key alone.
    pub wanted: String,
    /// What there is instead: `app=web`, or a key alone.
    pub found: String,
    /// How many objects the selector would select with it.
    pub objects: usize,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nearest { wanted, found, objects } = self;
        let objects = if *objects == 1 { "1 object".to_owned() } else { format!("{objects} objects") };
        write!(f, "nothing is labelled {wanted}; did you mean {found}, which selects {objects}?")
    }
}

/// One way to put a requirement right.
struct Candidate {
    distance: usize,
    wanted: String,
    instead: Requirement,
}

impl<K: IndexKey> LabelIndex<K> {
    /// For a selector that selects nothing in a namespace, or anywhere: the label that was probably meant. None if
    /// the selector does select something, or if nothing looks like it.
    ///
    /// Costs a comparison with every key in the index and with the values of those keys that look alike, so it is
    /// for answers to people, not for controllers that wait for an object to appear.
    ///
    /// ```
    /// use orchestra_core::selector::{LabelIndex, LabelSet, Labels, Selector};
    ///
    /// let mut pods = LabelIndex::new();
    /// pods.insert(("default", "web-1"), &LabelSet::new(&Labels::from([("app".into(), "web".into())])));
    /// let nearest = pods.nearest(&Selector::parse("app=wbe")?, Some("default")).unwrap();
    /// assert_eq!(nearest.to_string(), "nothing is labelled app=wbe; did you mean app=web, which selects 1 object?");
    /// # Ok::<_, orchestra_core::selector::ParseError>(())
    /// ```
    pub fn nearest(&self, selector: &Selector, namespace: Option<&str>) -> Option<Nearest> {
        if selector.is_nothing() || !self.select(&selector.compile(), namespace).is_empty() {
            return None;
        }
        let keys = self.keys_with_values();
        let mut candidates: Vec<_> = selector
            .requirements()
            .iter()
            .enumerate()
            .flat_map(|(at, requirement)| {
                candidates(requirement, &keys).into_iter().map(move |found| (at, found))
            })
            .collect();
        candidates.sort_by(|(_, a), (_, b)| (a.distance, &a.instead).cmp(&(b.distance, &b.instead)));
        candidates.into_iter().take(TRIES).find_map(|(at, Candidate { wanted, instead, .. })| {
            let others = selector.requirements().iter().enumerate().filter(|(other, _)| *other != at);
            let mended = Selector::new(others.map(|(_, other)| other.clone()).chain([instead.clone()]));
            let objects = self.select(&mended.compile(), namespace).count();
            (objects > 0).then(|| Nearest { wanted, found: instead.to_string(), objects })
        })
    }

    fn keys_with_values(&self) -> BTreeMap<String, Vec<&Pair>> {
        let mut keys = BTreeMap::new();
        for pairs in self.pairs_by_key() {
            if let Some(first) = pairs.first() {
                keys.insert(first.text().0, pairs);
            }
        }
        keys
    }
}

/// What could have been meant instead of a requirement that asks for a label to be there.
fn candidates(requirement: &Requirement, keys: &BTreeMap<String, Vec<&Pair>>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (key, pairs) in keys {
        let Some(key_distance) = near(requirement.key(), key) else { continue };
        let mut add = |distance: usize, wanted: String, operator, values: Vec<String>| {
            let instead = Requirement::unchecked(key.clone(), operator, values);
            found.extend((distance > 0).then_some(Candidate { distance, wanted, instead }));
        };
        match requirement.operator() {
            Operator::Exists => add(key_distance, requirement.to_string(), Operator::Exists, Vec::new()),
            Operator::Equals | Operator::In => {
                let values: Vec<_> = pairs.iter().map(|pair| pair.text().1).collect();
                for (wanted, value) in requirement
                    .values()
                    .iter()
                    .flat_map(|wanted| values.iter().map(move |value| (wanted, value)))
                {
                    if let Some(value_distance) = near(wanted, value) {
                        let wanted = format!("{}={wanted}", requirement.key());
                        add(key_distance + value_distance, wanted, Operator::Equals, vec![value.clone()]);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// In how many places two words differ, if they are as like as a word and its misspelling: up to one place in three.
fn near(wanted: &str, found: &str) -> Option<usize> {
    let limit = (wanted.chars().count() / 3).max(1);
    // Nothing is not misspelled.
    if wanted.is_empty() {
        return found.is_empty().then_some(0);
    }
    if wanted.len().abs_diff(found.len()) > limit {
        return None;
    }
    Some(distance(wanted, found)).filter(|distance| *distance <= limit)
}

/// How many letters must be changed, added, left out, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Row i holds the distances of the first i letters of `a` from the first letters of `b`.
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut best =
                (rows[i][j] + usize::from(letter != other)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
