//! Selectors from the forms they have inside objects.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::requirement::{InvalidRequirement, Operator, Requirement};
use super::{Labels, Selector};

/// Why a selector inside an object is none. `Display` is the API server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSelector {
    /// An operator that this kind of selector does not have.
    Operator {
        /// The operator as given.
        operator: String,
        /// Which operators are meant: those of a `label` or of a `node` selector.
        family: &'static str,
    },
    /// A requirement with a bad key or bad values.
    Requirement(InvalidRequirement),
    /// A field of a node is compared with more than one value, or with none.
    FieldValues {
        /// The field's path.
        key: String,
    },
}

impl fmt::Display for InvalidSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidSelector::Operator { operator, family } => {
                write!(f, "{operator:?} is not a valid {family} selector operator")
            }
            InvalidSelector::Requirement(invalid) => invalid.fmt(f),
            InvalidSelector::FieldValues { key } => {
                write!(
                    f,
                    "unexpected number of values for node field selector {key:?}: exactly one is required"
                )
            }
        }
    }
}

impl std::error::Error for InvalidSelector {}

impl From<InvalidRequirement> for InvalidSelector {
    fn from(invalid: InvalidRequirement) -> Self {
        InvalidSelector::Requirement(invalid)
    }
}

impl Selector {
    /// The selector that a plain map means: every pair must be there. An empty map selects everything.
    ///
    /// Pairs are taken as they are, as the API server does for maps inside objects that it validated before. A
    /// Service without a selector selects nothing by itself: that is the caller's rule, not this function's.
    pub fn from_map(map: &Labels) -> Selector {
        Selector::of(map.iter().map(equality).collect())
    }

    /// The selector that `matchLabels` and `matchExpressions` mean together. None selects nothing, an empty one
    /// everything.
    ///
    /// # Errors
    /// An unknown operator, or a key or values that no label can have.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Selector, InvalidSelector> {
        let Some(selector) = selector else { return Ok(Selector::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, [value])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(InvalidSelector::Operator { operator: other.to_owned(), family: "label" });
                }
            };
            requirements.push(Requirement::new(
                &expression.key,
                operator,
                expression.values.iter().flatten(),
            )?);
        }
        Ok(Selector::of(requirements))
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = InvalidSelector;

    fn try_from(selector: &LabelSelector) -> Result<Self, Self::Error> {
        Selector::from_label_selector(Some(selector))
    }
}

fn equality((key, value): (&String, &String)) -> Requirement {
    Requirement::unchecked(key.clone(), Operator::Equals, vec![value.clone()])
}
