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
    /// The cost of a call, beside that of its arguments.
    pub(super) fn of(self, sizes: &[u64]) -> u64 {
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
        }
    }
}

/// The cost of looking for a pattern in a text.
pub(super) fn pattern(text: u64, pattern: u64) -> u64 {
    tenth(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4).max(1))
}

impl Size {
    /// The size that follows from those of the arguments; `element` is that of each element of the first.
    pub(super) fn of(self, sizes: &[u64], element: u64) -> u64 {
        match self {
            Self::One => 1,
            Self::Unknown => UNKNOWN,
            Self::Joined => {
                let between = sizes.get(1).copied().unwrap_or(0);
                sizes.first().map_or(0, |count| count.saturating_mul(element.saturating_add(between)))
            }
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
