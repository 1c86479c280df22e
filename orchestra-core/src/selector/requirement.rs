//! One requirement of a selector: a key, an operator, and the values it compares with.

use std::fmt;

use super::Labels;
use super::grammar::{Fault, key_faults, value_faults};

/// How a [`Requirement`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `key`: the label is there, with whatever value.
    Exists,
    /// `!key`: the label is not there.
    DoesNotExist,
    /// `key=value` (and `key==value`): the label is there and has this value.
    Equals,
    /// `key!=value`: the label has another value or is not there.
    NotEquals,
    /// `key in (a,b)`: the label is there and has one of these values.
    In,
    /// `key notin (a,b)`: the label has none of these values or is not there.
    NotIn,
    /// `key>7`: the label is there, is a 64-bit integer, and is greater.
    GreaterThan,
    /// `key<7`: the label is there, is a 64-bit integer, and is less.
    LessThan,
}

impl Operator {
    /// How `kubectl` and the API server write the operator in a selector.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Exists => "exists",
            Operator::DoesNotExist => "!",
            Operator::Equals => "=",
            Operator::NotEquals => "!=",
            Operator::In => "in",
            Operator::NotIn => "notin",
            Operator::GreaterThan => "gt",
            Operator::LessThan => "lt",
        }
    }
}

/// One condition on one label. A [`Selector`](super::Selector) is the conjunction of several.
///
/// Values are kept sorted and without repetition, so that two requirements that say the same with the same operator
/// are equal. The order of requirements is by key, then operator, then values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// A checked requirement.
    ///
    /// # Errors
    /// All that the API server would find wrong, with its messages: a key or value that no label can have, a number
    /// of values that does not fit the operator, or a bound that is not an integer.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, InvalidRequirement> {
        let requirement = Self::unchecked(key.into(), operator, values.into_iter().map(Into::into).collect());
        let mut faults = Vec::new();
        let key_messages = key_faults(&requirement.key);
        if !key_messages.is_empty() {
            faults.push(RequirementFault::Key { key: requirement.key.clone(), faults: key_messages });
        }
        requirement.check_values(&mut faults);
        if faults.is_empty() { Ok(requirement) } else { Err(InvalidRequirement { faults }) }
    }

    /// A requirement whose parts are known to be good, or that is only to be compared and not printed.
    pub(super) fn unchecked(key: String, operator: Operator, mut values: Vec<String>) -> Self {
        if values.len() > 1 {
            values.sort_unstable();
            values.dedup();
        }
        Requirement { key, operator, values }
    }

    /// Appends what is wrong with the values; the key was looked at before.
    pub(super) fn check_values(&self, faults: &mut Vec<RequirementFault>) {
        let count = self.values.len();
        let fits = match self.operator {
            Operator::Exists | Operator::DoesNotExist => count == 0,
            Operator::In | Operator::NotIn => count > 0,
            _ => count == 1,
        };
        if !fits {
            faults.push(RequirementFault::Count { operator: self.operator, values: self.values.clone() });
        }
        if matches!(self.operator, Operator::GreaterThan | Operator::LessThan) {
            for (index, value) in self.values.iter().enumerate().filter(|(_, value)| number(value).is_none())
            {
                faults.push(RequirementFault::Bound { index, value: value.clone() });
            }
        }
        for (index, value) in self.values.iter().enumerate() {
            let found = value_faults(value);
            if !found.is_empty() {
                let (key, value) = (self.key.clone(), value.clone());
                faults.push(RequirementFault::Value { key, index, value, faults: found });
            }
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the label is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values to compare with: none, one, or several, sorted and distinct, as the operator asks for.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether labels fulfil this requirement alone.
    #[inline]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.admits(labels.get(self.key.as_str()).map(String::as_str))
    }

    /// Whether the label's value, or its absence, fulfils the requirement.
    // Inlined into callers in other crates: a match takes some nanoseconds, and a call is one of them.
    #[inline]
    pub fn admits(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| match &self.values[..] {
            [only] => only == value,
            several => several.iter().any(|wanted| wanted == value),
        };
        match self.operator {
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Equals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::GreaterThan => self.compare(value, |have, bound| have > bound),
            Operator::LessThan => self.compare(value, |have, bound| have < bound),
        }
    }

    /// The bound of a numeric requirement.
    pub(super) fn bound(&self) -> Option<i64> {
        self.values.first().and_then(|bound| number(bound))
    }

    fn compare(&self, value: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        match (value.and_then(number), self.bound()) {
            (Some(have), Some(bound)) => holds(have, bound),
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, operator, values } = self;
        let first = values.first().map_or("", String::as_str);
        match operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={first}"),
            Operator::NotEquals => write!(f, "{key}!={first}"),
            Operator::GreaterThan => write!(f, "{key}>{first}"),
            Operator::LessThan => write!(f, "{key}<{first}"),
            Operator::In | Operator::NotIn => write!(f, "{key} {} ({})", operator.as_str(), values.join(",")),
        }
    }
}

/// A label value as a number: base 10, an optional sign, 64 bits, nothing else.
pub(super) fn number(value: &str) -> Option<i64> {
    value.parse().ok()
}

/// Why a requirement cannot be. `Display` is the API server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequirement {
    pub(super) faults: Vec<RequirementFault>,
}

impl InvalidRequirement {
    /// Every single fault, in the order the API server reports them; never empty.
    pub fn faults(&self) -> &[RequirementFault] {
        &self.faults
    }
}

/// One fault of a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequirementFault {
    /// The key is not a label key.
    Key {
        /// The key as given.
        key: String,
        /// What is wrong with it.
        faults: Vec<Fault>,
    },
    /// The number of values does not fit the operator.
    Count {
        /// The operator.
        operator: Operator,
        /// The values as given.
        values: Vec<String>,
    },
    /// `>` or `<` was given something that is not a 64-bit integer.
    Bound {
        /// Which of the values, from 0.
        index: usize,
        /// The value as given.
        value: String,
    },
    /// A value is not a label value.
    Value {
        /// The key it was to be compared with.
        key: String,
        /// Which of the values, from 0.
        index: usize,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        faults: Vec<Fault>,
    },
}

impl fmt::Display for RequirementFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequirementFault::Key { key, faults } => {
                write!(f, "key: Invalid value: {key:?}: {}", joined(faults, "; "))
            }
            RequirementFault::Count { operator, values } => {
                let rule = match operator {
                    Operator::In | Operator::NotIn => {
                        "for 'in', 'notin' operators, values set can't be empty"
                    }
                    Operator::Equals | Operator::NotEquals => {
                        "exact-match compatibility requires one single value"
                    }
                    Operator::Exists | Operator::DoesNotExist => {
                        "values set must be empty for exists and does not exist"
                    }
                    _ => "for 'Gt', 'Lt' operators, exactly one value is required",
                };
                write!(f, "values: Invalid value: {values:?}: {rule}")
            }
            RequirementFault::Bound { index, value } => write!(
                f,
                "values[{index}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ),
            RequirementFault::Value { key, index, value, faults } => {
                write!(f, "values[{index}][{key}]: Invalid value: {value:?}: {}", joined(faults, "; "))
            }
        }
    }
}

impl fmt::Display for InvalidRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [only] => only.fmt(f),
            several => write!(f, "[{}]", joined(several, ", ")),
        }
    }
}

impl std::error::Error for InvalidRequirement {}

pub(super) fn joined<T: fmt::Display>(items: &[T], separator: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}
