//! Node selectors: what node affinity and the node affinity of volumes are made of.
//!
//! Terms are alternatives, the requirements of a term must all hold. As in the scheduler, a selector without terms
//! and a term without requirements select no node.

use k8s_openapi::api::core::v1 as core;

use super::compiled::{CompiledSelector, LabelSet};
use super::convert::InvalidSelector;
use super::field::{FieldOperator, FieldRequirement, FieldSelector};
use super::requirement::{Operator, Requirement};
use super::{Labels, Selector};

/// Alternatives of conditions on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSelector {
    terms: Vec<NodeSelectorTerm>,
}

/// Conditions on a node's labels and fields that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSelectorTerm {
    labels: Selector,
    fields: FieldSelector,
}

impl NodeSelector {
    /// The alternatives, without those that are empty and so never hold.
    pub fn terms(&self) -> &[NodeSelectorTerm] {
        &self.terms
    }

    /// Whether a node with these labels and fields is selected. `field` knows at least `metadata.name`.
    pub fn matches<'a>(&self, labels: &Labels, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().any(|term| term.matches(labels, &field))
    }

    /// The form that is matched many times.
    pub fn compile(&self) -> CompiledNodeSelector {
        let compile = |term: &NodeSelectorTerm| (term.labels.compile(), term.fields.clone());
        CompiledNodeSelector { terms: self.terms.iter().map(compile).collect() }
    }
}

impl NodeSelectorTerm {
    /// What the labels must fulfil; nothing, in a term without requirements.
    pub fn labels(&self) -> &Selector {
        &self.labels
    }

    /// What the fields must fulfil.
    pub fn fields(&self) -> &FieldSelector {
        &self.fields
    }

    /// Whether a node with these labels and fields fulfils the term.
    pub fn matches<'a>(&self, labels: &Labels, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.labels.matches(labels) && self.fields.matches(field)
    }
}

/// A [`NodeSelector`] made ready to be matched with many nodes.
#[derive(Clone, Debug)]
pub struct CompiledNodeSelector {
    terms: Box<[(CompiledSelector, FieldSelector)]>,
}

impl CompiledNodeSelector {
    /// Whether a node with these labels and fields is selected.
    pub fn matches<'a>(&self, labels: &LabelSet, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().any(|(selector, fields)| selector.matches(labels) && fields.matches(&field))
    }
}

impl TryFrom<&core::NodeSelector> for NodeSelector {
    type Error = InvalidSelector;

    fn try_from(selector: &core::NodeSelector) -> Result<Self, Self::Error> {
        let mut terms = Vec::with_capacity(selector.node_selector_terms.len());
        for term in &selector.node_selector_terms {
            let term = NodeSelectorTerm::try_from(term)?;
            if !term.labels.is_nothing() {
                terms.push(term);
            }
        }
        Ok(NodeSelector { terms })
    }
}

impl TryFrom<&core::NodeSelectorTerm> for NodeSelectorTerm {
    type Error = InvalidSelector;

    fn try_from(term: &core::NodeSelectorTerm) -> Result<Self, Self::Error> {
        let labels = term.match_expressions.iter().flatten().map(label_requirement);
        let labels = labels.collect::<Result<Vec<_>, _>>()?;
        let fields = term.match_fields.iter().flatten().map(field_requirement);
        let fields = FieldSelector::new(fields.collect::<Result<Vec<_>, _>>()?);
        let empty = labels.is_empty() && fields.is_everything();
        let labels = if empty { Selector::nothing() } else { Selector::of(labels) };
        Ok(NodeSelectorTerm { labels, fields })
    }
}

fn label_requirement(requirement: &core::NodeSelectorRequirement) -> Result<Requirement, InvalidSelector> {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        other => return Err(unknown(other)),
    };
    Ok(Requirement::new(&requirement.key, operator, requirement.values.iter().flatten())?)
}

fn field_requirement(
    requirement: &core::NodeSelectorRequirement,
) -> Result<FieldRequirement, InvalidSelector> {
    let operator = match requirement.operator.as_str() {
        "In" => FieldOperator::Equals,
        "NotIn" => FieldOperator::NotEquals,
        other => return Err(unknown(other)),
    };
    let [value] = requirement.values.as_deref().unwrap_or_default() else {
        return Err(InvalidSelector::FieldValues { key: requirement.key.clone() });
    };
    Ok(FieldRequirement { path: requirement.key.clone(), operator, value: value.clone() })
}

fn unknown(operator: &str) -> InvalidSelector {
    InvalidSelector::Operator { operator: operator.to_owned(), family: "node" }
}
