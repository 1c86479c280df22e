//! What expressions cost: estimated before there are values, and counted as they are evaluated, in the same units.
//!
//! A unit is one step: a name, a field, a call. Work that grows with its input costs more: a tenth of a unit for each
//! byte of text, one for each element of a list. These are the units and the factors of Kubernetes.

use std::sync::Arc;

use super::error::EvalError;
use super::types::Declared;

/// A size of which nothing is known.
pub(super) const UNKNOWN: u64 = u64::MAX;

pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const OBJECT: u64 = 40;
const CALL: u64 = 1;
/// What the pattern of a format costs for each ten bytes: it is taken for one of 128 bytes.
const FORMAT: u64 = 32;

/// What is known of the cost and the size of an expression's values.
#[derive(Clone, Debug, Default)]
pub(super) struct Estimate {
    /// The most that it costs.
    pub(super) cost: u64,
    /// The most elements or bytes that its value has; 1 for what has none.
    pub(super) size: u64,
    /// What is declared of the value.
    pub(super) declared: Option<Arc<Declared>>,
}

/// What is known of the elements of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// Whether they are texts or bytes; `None` if there is no list.
    pub(super) is_text: Option<bool>,
    /// How large each may be.
    pub(super) size: u64,
}

impl Element {
    pub(super) const NONE: Self = Self { is_text: None, size: UNKNOWN };
}

/// How the cost of a call follows from the sizes of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Price {
    /// One unit.
    One,
    /// So many units.
    Units(u64),
    /// A text is gone through.
    Text(usize),
    /// Two texts are, one within the other.
    TextIn,
    /// Two are compared.
    Compare,
    /// Each element of a list is looked at.
    Elements(usize),
    /// A pattern is looked for.
    Pattern,
    /// Two texts become one.
    Concat,
    /// Each element of a list is compared with each of another.
    Product,
    /// A text is gone through, and another one made of it.
    Rewrite,
    /// Each element of a list is compared once, or a text is gone through.
    Search,
    /// The texts of a list are put together.
    Join,
    /// A list is made of another one.
    Copy,
    /// A list is made by comparing its elements with each other.
    Distinct,
    /// The same, to bring them in order.
    Sort,
    /// A text is held against the pattern of a format.
    Format,
}

/// How the size of what a call gives follows from the sizes of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// It has none to speak of.
    One,
    /// Nothing is known of it.
    Unknown,
    /// It is at most as large as an argument.
    Like(usize),
    /// It is as large as all together.
    Sum,
    /// It is the texts of a list, with another between them.
    Joined,
}

/// A tenth, rounded up.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

impl Price {
    /// The cost of a call, beside that of its arguments. What the elements of the first argument are is asked only where
    /// it matters: to find out may be as much work as the call.
    pub(super) fn of(self, sizes: &[u64], element: impl FnOnce() -> Element) -> u64 {
        let size = |index: usize| sizes.get(index).copied().unwrap_or(1);
        match self {
            Self::One => 1,
            Self::Units(units) => units,
            Self::Text(index) => tenth(size(index)).max(1),
            Self::TextIn => tenth(size(0)).max(1).saturating_mul(tenth(size(1)).max(1)),
            Self::Compare => tenth(size(0).min(size(1))),
            Self::Elements(index) => size(index).max(1),
            Self::Pattern => pattern(size(0), size(1)),
            Self::Concat => tenth(size(0).saturating_add(size(1))).max(1),
            Self::Product => size(0).max(1).saturating_mul(size(1).max(1)),
            Self::Rewrite => tenth(size(0).saturating_mul(2)),
            Self::Search => match element() {
                Element { is_text: Some(true), size: each } => {
                    size(0).saturating_mul(1u64.saturating_add(tenth(each)))
                }
                Element { is_text: Some(false), .. } => size(0),
                Element { is_text: None, .. } => tenth(size(0)),
            },
            // Texts without a byte are gone through as well.
            Self::Join => tenth(joined(sizes, element()).max(size(0))),
            Self::Copy => size(0).saturating_add(CALL + LIST),
            Self::Distinct => size(0).saturating_mul(size(0)).saturating_mul(2).saturating_add(CALL + LIST),
            Self::Sort => {
                let pairs = size(0).saturating_mul(size(0));
                let texts = if element().is_text == Some(true) { tenth(pairs) } else { 0 };
                sum([pairs, pairs, texts, CALL + LIST])
            }
            Self::Format => tenth(size(1)).saturating_mul(FORMAT),
        }
    }
}

fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

/// The bytes of the texts of a list, with another text between each two.
fn joined(sizes: &[u64], element: Element) -> u64 {
    let count = sizes.first().copied().unwrap_or(0);
    let between = sizes.get(1).copied().unwrap_or(0).saturating_mul(count.saturating_sub(1));
    count.saturating_mul(element.size).saturating_add(between)
}

/// The cost of looking for a pattern in a text.
pub(super) fn pattern(text: u64, pattern: u64) -> u64 {
    tenth(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4).max(1))
}

impl Size {
    /// The size that follows from those of the arguments; `element` is that of each element of the first.
    pub(super) fn of(self, sizes: &[u64], element: Element) -> u64 {
        match self {
            Self::One => 1,
            Self::Unknown => UNKNOWN,
            Self::Joined => joined(sizes, element),
            Self::Like(index) => sizes.get(index).copied().unwrap_or(UNKNOWN),
            Self::Sum => sizes.iter().fold(0, |sum, size| sum.saturating_add(*size)),
        }
    }
}

/// How much an evaluation may still cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
    used: u64,
}

impl Budget {
    /// What one expression may cost, as in Kubernetes.
    pub const CALL: u64 = 1_000_000;
    /// What all expressions of a policy may cost for one request, as in Kubernetes.
    pub const POLICY: u64 = 10_000_000;
    /// What all conditions of a webhook or a policy may cost for one request, as in Kubernetes.
    pub const CONDITIONS: u64 = 2_500_000;

    /// A budget of so many units.
    pub fn new(units: u64) -> Self {
        Self { left: units, used: 0 }
    }

    /// How much has been used.
    pub fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn pay(&mut self, units: u64) -> Result<(), EvalError> {
        self.used = self.used.saturating_add(units);
        self.left = self.left.checked_sub(units).ok_or(EvalError::TooExpensive)?;
        Ok(())
    }
}
