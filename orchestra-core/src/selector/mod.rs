//! The label-selector engine: how everything in a cluster finds everything else.
//!
//! Begin with [`Selector`]. It is parsed, printed, compared and matched with plain maps of labels, and needs no
//! cluster:
//!
//! ```
//! use orchestra_core::selector::{Labels, Selector, selector};
//!
//! let selector = Selector::parse("app in (web, api), !legacy")?;
//! let pod = Labels::from([("app".into(), "web".into())]);
//! assert!(selector.matches(&pod));
//! assert_eq!(selector.to_string(), "app in (api,web),!legacy");
//! assert_eq!(selector, selector!(app in ["web", "api"], !legacy));
//! # Ok::<_, orchestra_core::selector::ParseError>(())
//! ```
//!
//! # What to use for what
//! | question | answer |
//! | --- | --- |
//! | does this one object match? | [`Selector::matches`] |
//! | does each of many objects, or many selectors? | [`Selector::compile`] once, [`LabelSet::new`] once an object, [`CompiledSelector::matches`]: no allocation, integers only |
//! | which of the objects I hold match? | [`LabelIndex`] ([module](index)): a set, a page in key order, one namespace |
//! | which of the selectors I hold match this object? | [`SelectorIndex`] |
//! | can anything match, can both, does one say all of the other? | [`Selector::is_satisfiable`], [`Selector::overlap`], [`Selector::contains`] |
//! | nothing matched: what was meant? | [`LabelIndex::nearest`] |
//! | fields, nodes | [`FieldSelector`], [`NodeSelector`] |
//! | may a label be called that? | [`key_faults`], [`value_faults`] |
//!
//! # Meaning
//! That of Kubernetes v1.36, in its words. A requirement that a label *not* be something holds for an object without
//! the label; one that it *be* something, or compare with a number, does not. The empty selector selects everything,
//! and a selector that is not there (a null `labelSelector`) nothing.
//!
//! # How it is put together
//! `grammar` is what a label may look like, and is shared with the macro crate; `requirement`, `parse`, `convert`,
//! `field`, `node` are the forms of selectors; `intern` gives labels numbers and takes them back when nobody uses
//! them; `compiled` matches numbers; `index` and `reverse` keep sets of them; `overlap` and `nearest` reason. What
//! each costs is measured in `BENCHMARKS.md`. The module needs nothing of the rest of this crate.

mod compiled;
mod convert;
mod field;
mod grammar;
pub mod index;
mod intern;
mod nearest;
mod node;
mod overlap;
mod parse;
mod requirement;
mod reverse;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use compiled::{CompiledSelector, LabelSet};
pub use convert::InvalidSelector;
pub use field::{FieldOperator, FieldParseError, FieldRequirement, FieldSelector};
pub use grammar::{Fault, MAX_NAME, MAX_PREFIX, key_faults, value_faults};
pub use index::{IndexKey, LabelIndex, Selected, Selection, SelectionIter};
pub use intern::Interned;
pub use nearest::Nearest;
pub use node::{CompiledNodeSelector, NodeSelector, NodeSelectorTerm};
pub use overlap::Overlap;
pub use parse::{Expected, ParseError, ParseFault};
pub use requirement::{InvalidRequirement, Operator, Requirement, RequirementFault};
pub use reverse::SelectorIndex;

/// A [`Selector`] that is checked while the program is compiled: its syntax, and that every key and value is one that
/// a label can have. It is the selector that parsing the same text would give.
///
/// Keys are words or strings, values are strings; `==`, `!=`, `in [..]`, `notin [..]`, `>`, `<`, a key alone, and
/// `!key`.
///
/// ```
/// use orchestra_core::selector::{Selector, selector};
///
/// let front = selector!(app == "web", "example.com/tier" in ["a", "b"], replicas > 2, !legacy);
/// assert_eq!(front, Selector::parse("app=web,example.com/tier in (a,b),replicas>2,!legacy")?);
/// # Ok::<_, orchestra_core::selector::ParseError>(())
/// ```
///
/// ```compile_fail
/// # use orchestra_core::selector::selector;
/// let bad = selector!(app == "-web");
/// ```
pub use orchestra_macros::selector;

/// What the [`selector!`] macro expands to: a selector of parts that the macro has checked.
#[doc(hidden)]
pub fn checked<const N: usize>(parts: [(&str, Operator, &[&str]); N]) -> Selector {
    let requirement = |(key, operator, values): (&str, Operator, &[&str])| {
        Requirement::unchecked(
            key.to_owned(),
            operator,
            values.iter().map(|value| (*value).to_owned()).collect(),
        )
    };
    Selector::of(parts.into_iter().map(requirement).collect())
}

/// What an object carries in `metadata.labels`.
pub type Labels = BTreeMap<String, String>;

/// Conditions on labels, all of which must hold.
///
/// `Display` is canonical: the requirements in the order of their keys, the values of a list in order, each once; and
/// parsing what was printed gives an equal selector. The one exception is [`Selector::nothing`], for which there is
/// no text: it prints as `<none>`, which does not parse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// None is the selector that nothing fulfils.
    requirements: Option<Vec<Requirement>>,
}

impl Selector {
    /// Reads the text form, as in `kubectl -l` and the `labelSelector` parameter. The empty text selects everything.
    ///
    /// # Errors
    /// The first fault, with the API server's message and its position.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }

    /// A selector of these requirements; of none, it selects everything.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        Self::of(requirements.into_iter().collect())
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        if !requirements.is_sorted_by(|a, b| a < b) {
            requirements.sort();
            requirements.dedup();
        }
        Selector { requirements: Some(requirements) }
    }

    /// The selector that every object fulfils, with labels or without.
    pub fn everything() -> Self {
        Selector { requirements: Some(Vec::new()) }
    }

    /// The selector that no object fulfils: the meaning of a selector that is not there.
    pub fn nothing() -> Self {
        Selector { requirements: None }
    }

    /// Whether this is [`everything`](Self::everything).
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether this is [`nothing`](Self::nothing). A selector that contradicts itself is not.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements, in canonical order; none for everything and for nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// Whether labels fulfil every requirement. For one match; for many, [`compile`](Self::compile).
    #[inline]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .as_ref()
            .is_some_and(|all| all.iter().all(|requirement| requirement.matches(labels)))
    }

    /// The form that is matched many times and that the indexes take.
    pub fn compile(&self) -> CompiledSelector {
        CompiledSelector::new(self)
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(requirements) = &self.requirements else { return f.write_str("<none>") };
        for (index, requirement) in requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}
