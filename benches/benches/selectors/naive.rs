//! The baseline: what one writes for selectors in an afternoon. Maps of strings, and a scan.

use std::collections::{BTreeMap, BTreeSet};

use orchestra_core::selector::{Labels, Operator, Selector};

/// A selector over maps of strings.
pub struct Naive(Vec<Requirement>);

enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Missing(String),
}

impl Naive {
    pub fn of(selector: &Selector) -> Self {
        let requirement = |found: &orchestra_core::selector::Requirement| {
            let (key, values) = (found.key().to_owned(), found.values().iter().cloned().collect());
            match found.operator() {
                Operator::In | Operator::Equals => Requirement::In(key, values),
                Operator::NotIn | Operator::NotEquals => Requirement::NotIn(key, values),
                Operator::Exists => Requirement::Exists(key),
                Operator::DoesNotExist => Requirement::Missing(key),
                other => panic!("the benches do not use {other:?}"),
            }
        };
        Naive(selector.requirements().iter().map(requirement).collect())
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => !labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

/// Reads a selector by cutting the text up, without validation.
pub fn parse(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut depth = 0;
    let parts = text.split(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        character == ',' && depth == 0
    });
    let term = |part: &str| {
        let part = part.trim().to_owned();
        if let Some((key, list)) = part.split_once(" in ") {
            let values = list.trim_matches(['(', ')']).split(',').map(|value| value.trim().to_owned());
            (key.to_owned(), ("in".to_owned(), values.collect()))
        } else if let Some((key, value)) = part.split_once("!=") {
            (key.to_owned(), ("!=".to_owned(), BTreeSet::from([value.to_owned()])))
        } else if let Some((key, value)) = part.split_once('=') {
            (key.to_owned(), ("=".to_owned(), BTreeSet::from([value.to_owned()])))
        } else {
            (part, ("exists".to_owned(), BTreeSet::new()))
        }
    };
    parts.map(term).collect()
}
