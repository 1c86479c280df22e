//! Reasoning about selectors: can anything fulfil one, can one object fulfil two, does one say all that another says?
//!
//! Every requirement speaks of one key, and what a selector says about a key comes down to a [`Domain`]: may the
//! label be absent, and which values may it have. Keys are independent, so a selector can be fulfilled if each of its
//! domains can, two overlap if their domains do key by key, and one contains the other if its domains do.
//!
//! All answers are exact with regard to the labels an object can have: `a>5,a<6` is not satisfiable, as no integer
//! lies between, and neither is `a<0`, as no label value begins with a sign.

use std::collections::BTreeMap;
use std::fmt;

use super::grammar::MAX_NAME;
use super::requirement::{Operator, Requirement, number};
use super::{Labels, Selector};

/// A selector that overlaps another, as [`SelectorIndex::overlapping`](super::SelectorIndex::overlapping) finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap<'a, Id> {
    /// Under what the other selector stands.
    pub id: &'a Id,
    /// The other selector.
    pub selector: &'a Selector,
    /// Labels that both select.
    pub example: Labels,
}

impl<Id: fmt::Display> fmt::Display for Overlap<'_, Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { id, selector, example } = self;
        write!(f, "the selector overlaps with that of {id} ({selector}): both select an object ")?;
        match Selector::from_map(example) {
            none if none.is_everything() => write!(f, "without labels"),
            labels => write!(f, "labelled {labels}"),
        }
    }
}

/// What is asked of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Domain<'a> {
    /// Whether the label may be missing.
    absent: bool,
    values: Values<'a>,
}

/// Which values a label may have if it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values<'a> {
    /// One of these.
    Listed(Vec<&'a str>),
    /// Any but these.
    Except(Vec<&'a str>),
    /// An integer from the first to the second, both included, but not written as one of these. The first is never
    /// below 0: no label value begins with a sign.
    Integer(i64, i64, Vec<&'a str>),
}

impl Selector {
    /// Whether some label set fulfils the selector.
    ///
    /// ```
    /// # use orchestra_core::selector::Selector;
    /// assert!(Selector::parse("a in (x,y),a!=x")?.is_satisfiable());
    /// assert!(!Selector::parse("a in (x,y),a notin (x,y)")?.is_satisfiable());
    /// # Ok::<_, orchestra_core::selector::ParseError>(())
    /// ```
    pub fn is_satisfiable(&self) -> bool {
        self.example().is_some()
    }

    /// The smallest label set that fulfils the selector, if any does.
    pub fn example(&self) -> Option<Labels> {
        example(&self.domains()?)
    }

    /// Labels that both selectors select, if there can be such an object.
    ///
    /// ```
    /// # use orchestra_core::selector::Selector;
    /// let (a, b) = (Selector::parse("app=web,tier!=db")?, Selector::parse("tier in (db,cache)")?);
    /// let both = a.overlap(&b).unwrap();
    /// assert_eq!((both["app"].as_str(), both["tier"].as_str()), ("web", "cache"));
    /// assert_eq!(a.overlap(&Selector::parse("app=api")?), None);
    /// # Ok::<_, orchestra_core::selector::ParseError>(())
    /// ```
    pub fn overlap(&self, other: &Selector) -> Option<Labels> {
        let mut domains = self.domains()?;
        for (key, domain) in other.domains()? {
            domains.entry(key).and_modify(|mine| mine.narrow(&domain)).or_insert(domain);
        }
        example(&domains)
    }

    /// Whether everything that `other` selects is selected by this one too.
    ///
    /// ```
    /// # use orchestra_core::selector::Selector;
    /// assert!(Selector::parse("app in (web,api)")?.contains(&Selector::parse("app=web,env=prod")?));
    /// # Ok::<_, orchestra_core::selector::ParseError>(())
    /// ```
    pub fn contains(&self, other: &Selector) -> bool {
        if !other.is_satisfiable() {
            return true;
        }
        let (Some(mine), Some(theirs)) = (self.domains(), other.domains()) else { return false };
        let free = Domain::free();
        mine.iter().all(|(key, domain)| domain.contains(theirs.get(key).unwrap_or(&free)))
    }

    /// What is asked of each key; none for the selector that nothing fulfils.
    fn domains(&self) -> Option<BTreeMap<&str, Domain<'_>>> {
        if self.is_nothing() {
            return None;
        }
        let mut domains = BTreeMap::new();
        for requirement in self.requirements() {
            domains.entry(requirement.key()).or_insert_with(Domain::free).narrow(&Domain::of(requirement));
        }
        Some(domains)
    }
}

/// The smallest label set in all of the domains.
fn example(domains: &BTreeMap<&str, Domain<'_>>) -> Option<Labels> {
    let mut labels = Labels::new();
    for (key, domain) in domains.iter().filter(|(_, domain)| !domain.absent) {
        labels.insert((*key).to_owned(), domain.values.example()?);
    }
    Some(labels)
}

impl<'a> Domain<'a> {
    /// What nothing is asked of.
    fn free() -> Self {
        Domain { absent: true, values: Values::Except(Vec::new()) }
    }

    fn of(requirement: &'a Requirement) -> Self {
        let listed = || requirement.values().iter().map(String::as_str).collect();
        let (absent, values) = match (requirement.operator(), requirement.bound()) {
            (Operator::Exists, _) => (false, Values::Except(Vec::new())),
            (Operator::DoesNotExist, _) => (true, Values::Listed(Vec::new())),
            (Operator::Equals | Operator::In, _) => (false, Values::Listed(listed())),
            (Operator::NotEquals | Operator::NotIn, _) => (true, Values::Except(listed())),
            (Operator::GreaterThan, Some(bound)) if bound < i64::MAX => {
                (false, Values::Integer((bound + 1).max(0), i64::MAX, Vec::new()))
            }
            (Operator::LessThan, Some(bound)) if bound > 0 => {
                (false, Values::Integer(0, bound - 1, Vec::new()))
            }
            (Operator::GreaterThan | Operator::LessThan, _) => (false, Values::Listed(Vec::new())),
        };
        Domain { absent, values }
    }

    /// Leaves what is in both.
    fn narrow(&mut self, other: &Domain<'a>) {
        self.absent &= other.absent;
        self.values = self.values.intersect(&other.values);
    }

    fn contains(&self, other: &Domain<'a>) -> bool {
        (self.absent || !other.absent) && self.values.contains(&other.values)
    }
}

impl<'a> Values<'a> {
    fn admits(&self, value: &str) -> bool {
        match self {
            Values::Listed(listed) => listed.contains(&value),
            Values::Except(except) => !except.contains(&value),
            Values::Integer(low, high, except) => {
                number(value).is_some_and(|number| (*low..=*high).contains(&number))
                    && !except.contains(&value)
            }
        }
    }

    fn intersect(&self, other: &Values<'a>) -> Values<'a> {
        match (self, other) {
            (Values::Listed(listed), filter) | (filter, Values::Listed(listed)) => {
                Values::Listed(listed.iter().copied().filter(|value| filter.admits(value)).collect())
            }
            (Values::Except(a), Values::Except(b)) => Values::Except(union(a, b)),
            (Values::Integer(low, high, a), Values::Except(b))
            | (Values::Except(b), Values::Integer(low, high, a)) => Values::Integer(*low, *high, union(a, b)),
            (Values::Integer(low, high, a), Values::Integer(other_low, other_high, b)) => {
                Values::Integer(*low.max(other_low), *high.min(other_high), union(a, b))
            }
        }
    }

    fn contains(&self, other: &Values<'a>) -> bool {
        match (self, other) {
            (_, Values::Listed(listed)) => listed.iter().all(|value| self.admits(value)),
            (Values::Except(mine), other) => !mine.iter().any(|value| other.admits(value)),
            // There are more words than any list has, and than there are integers.
            (_, Values::Except(_)) => false,
            (Values::Listed(mine), Values::Integer(low, high, except)) => {
                lists_all(mine, *low, *high, except)
            }
            (Values::Integer(my_low, my_high, mine), Values::Integer(low, high, except)) => {
                let empty = |low, high| Values::Integer(low, high, except.clone()).example().is_none();
                let below = (*low, *high.min(&my_low.saturating_sub(1)));
                let above = (*low.max(&my_high.saturating_add(1)), *high);
                (*my_low <= *low || empty(below.0, below.1))
                    && (*high <= *my_high || empty(above.0, above.1))
                    && !mine.iter().any(|value| other.admits(value))
            }
        }
    }

    /// One value, as short and as simple as can be.
    fn example(&self) -> Option<String> {
        match self {
            Values::Listed(listed) => listed.iter().min().map(|value| (*value).to_owned()),
            Values::Except(except) => words(except.len() + 1).find(|word| !except.contains(&word.as_str())),
            // No more integers need be tried than can have been taken out.
            Values::Integer(low, high, except) => {
                (*low..=*high).take(except.len() + 1).flat_map(spellings).find(|text| self.admits(text))
            }
        }
    }
}

/// Whether all ways to write the integers of a range, but those in `except`, are in a list. There are many ways to
/// write one, so a list is never long enough for a range that would take long to go through.
fn lists_all(list: &[&str], low: i64, high: i64, except: &[&str]) -> bool {
    let mut all = (low..=high).flat_map(spellings);
    all.all(|text| list.contains(&text.as_str()) || except.contains(&text.as_str()))
}

fn union<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<&'a str> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// Every way to write an integer that is a label value: with leading zeros, up to the longest value.
fn spellings(integer: i64) -> impl Iterator<Item = String> {
    (integer.to_string().len()..=MAX_NAME).map(move |width| format!("{integer:0width$}"))
}

/// Some words, different from each other.
fn words(count: usize) -> impl Iterator<Item = String> {
    ["x".to_owned()].into_iter().chain((1..count).map(|number| format!("x{number}")))
}
