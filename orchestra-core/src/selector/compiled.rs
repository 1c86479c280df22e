//! Label sets and selectors as integers, for matching many times.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::intern::{Key, Pair};
use super::requirement::{Operator, Requirement};
use super::{Labels, Selector};

/// The labels of one object, interned: made once when the object is read, then matched with any number of
/// [`CompiledSelector`]s and handed to the indexes. A clone shares the set.
///
/// Two sets are equal if and only if they hold the same labels; comparing them compares integers.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelSet(Arc<[Pair]>);

impl LabelSet {
    /// Interns labels. Costs a hash a label if all of them are in use somewhere already.
    pub fn new(labels: &Labels) -> Self {
        LabelSet(Pair::all(labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))).into())
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a label, if it is there.
    pub fn get(&self, key: &str) -> Option<String> {
        self.0.iter().find(|pair| pair.has_key(key)).map(|pair| pair.text().1)
    }

    /// Whether there is a label of that key.
    pub fn has_key(&self, key: &str) -> bool {
        self.0.iter().any(|pair| pair.has_key(key))
    }

    /// Whether a label is there with that value.
    pub fn has(&self, key: &str, value: &str) -> bool {
        self.0.iter().any(|pair| pair.is(key, value))
    }

    /// The labels as text, in the order of their keys.
    pub fn to_labels(&self) -> Labels {
        self.0.iter().map(Pair::text).collect()
    }

    /// The interned pairs, in the order of their keys.
    pub(super) fn pairs(&self) -> &[Pair] {
        &self.0
    }
}

impl Hash for LabelSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|pair| pair.id().hash(state));
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        LabelSet(Arc::from([]))
    }
}

impl From<&Labels> for LabelSet {
    fn from(labels: &Labels) -> Self {
        LabelSet::new(labels)
    }
}

impl From<Option<&Labels>> for LabelSet {
    /// None is no labels, as in an object's metadata.
    fn from(labels: Option<&Labels>) -> Self {
        labels.map(LabelSet::new).unwrap_or_default()
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_labels().fmt(f)
    }
}

/// A [`Selector`] made ready to be matched many times: its keys and pairs are interned, a match allocates nothing and
/// compares integers.
#[derive(Clone)]
pub struct CompiledSelector {
    selector: Selector,
    checks: Box<[Check]>,
    tests: Tests,
}

/// What is tried of labels.
#[derive(Clone)]
enum Tests {
    /// Whether a pair is there: what most selectors ask, of services and of workloads, and here without a look elsewhere.
    Pair(u32),
    /// All of these.
    All(Box<[Test]>),
}

/// So many tests are made without looking at the outcome of one before the next: which of them fails is what a
/// processor cannot foresee, and to guess wrong costs more than all four.
const AT_ONCE: usize = 4;

/// A check in the form in which it is made: numbers only, no steps that depend on the labels.
#[derive(Clone)]
enum Test {
    /// Whether this pair is there.
    Pair(u32, bool),
    /// Whether one of these pairs is there.
    Pairs(SmallVec<[u32; 4]>, bool),
    /// Whether this key is there.
    Key(u32, bool),
    /// The key's value is a number from the first to the second.
    Within(u32, i64, i64),
    Never,
}

/// A requirement over interned labels.
#[derive(Clone)]
pub(super) enum Check {
    /// One of these pairs is there.
    Any(Box<[Pair]>),
    /// None of these pairs is there.
    None(Box<[Pair]>),
    /// The key is there.
    Has(Key),
    /// The key is not there.
    Lacks(Key),
    /// The key is there with a number in this range, both ends included.
    Within(Key, i64, i64),
    /// Nothing fulfils this.
    Never,
}

impl CompiledSelector {
    pub(super) fn new(selector: &Selector) -> Self {
        let checks: Box<[Check]> = if selector.is_nothing() {
            [Check::Never].into()
        } else {
            selector.requirements().iter().map(Check::new).collect()
        };
        let tests: Box<[Test]> = checks.iter().map(Check::test).collect();
        let tests = match *tests {
            [Test::Pair(id, true)] => Tests::Pair(id),
            _ => Tests::All(tests),
        };
        CompiledSelector { selector: selector.clone(), tests, checks }
    }

    /// Whether a set of labels fulfils every requirement.
    #[inline]
    pub fn matches(&self, labels: &LabelSet) -> bool {
        let labels = labels.pairs();
        match &self.tests {
            Tests::Pair(id) => has_pair(labels, *id),
            Tests::All(tests) => {
                let hold = |tests: &[Test]| tests.iter().fold(true, |all, test| all & test.holds(labels));
                tests.chunks(AT_ONCE).all(hold)
            }
        }
    }

    /// The selector this was made of.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }
}

impl fmt::Debug for CompiledSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompiledSelector({})", self.selector)
    }
}

impl From<&Selector> for CompiledSelector {
    fn from(selector: &Selector) -> Self {
        CompiledSelector::new(selector)
    }
}

impl From<Selector> for CompiledSelector {
    fn from(selector: Selector) -> Self {
        CompiledSelector::new(&selector)
    }
}

impl Check {
    fn new(requirement: &Requirement) -> Self {
        let key = requirement.key();
        let pairs = || requirement.values().iter().map(|value| Pair::new(key, value)).collect();
        match (requirement.operator(), requirement.bound()) {
            (Operator::Exists, _) => Check::Has(Key::new(key)),
            (Operator::DoesNotExist, _) => Check::Lacks(Key::new(key)),
            (Operator::Equals | Operator::In, _) => Check::Any(pairs()),
            (Operator::NotEquals | Operator::NotIn, _) => Check::None(pairs()),
            (Operator::GreaterThan, Some(bound)) if bound < i64::MAX => {
                Check::Within(Key::new(key), bound + 1, i64::MAX)
            }
            (Operator::LessThan, Some(bound)) if bound > i64::MIN => {
                Check::Within(Key::new(key), i64::MIN, bound - 1)
            }
            (Operator::GreaterThan | Operator::LessThan, _) => Check::Never,
        }
    }

    fn test(&self) -> Test {
        let pairs = |pairs: &[Pair], wanted| match pairs {
            [only] => Test::Pair(only.id(), wanted),
            several => Test::Pairs(several.iter().map(Pair::id).collect(), wanted),
        };
        match self {
            Check::Any(wanted) => pairs(wanted, true),
            Check::None(unwanted) => pairs(unwanted, false),
            Check::Has(key) => Test::Key(key.id(), true),
            Check::Lacks(key) => Test::Key(key.id(), false),
            Check::Within(key, low, high) => Test::Within(key.id(), *low, *high),
            Check::Never => Test::Never,
        }
    }
}

impl Test {
    fn holds(&self, labels: &[Pair]) -> bool {
        match self {
            Test::Pair(id, wanted) => has_pair(labels, *id) == *wanted,
            Test::Pairs(ids, wanted) => {
                ids.iter().fold(false, |found, id| found | has_pair(labels, *id)) == *wanted
            }
            Test::Key(id, wanted) => {
                labels.iter().fold(false, |found, label| found | (label.key() == *id)) == *wanted
            }
            Test::Within(id, low, high) => {
                let number = labels.iter().find(|label| label.key() == *id).and_then(Pair::number);
                number.is_some_and(|number| (*low..=*high).contains(&number))
            }
            Test::Never => false,
        }
    }
}

fn has_pair(labels: &[Pair], id: u32) -> bool {
    labels.iter().fold(false, |found, label| found | (label.id() == id))
}
