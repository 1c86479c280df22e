use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::selector::{CompiledSelector, LabelSet, Selector};

/// A role, as far as others gather its rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'r> {
    pub(super) name: &'r str,
    pub(super) labels: &'r LabelSet,
    pub(super) rules: &'r [Value],
}

/// The rules that a role gathers from those that its selectors select: selector by selector, role by role in the order
/// of their names, each rule once.
pub(super) fn gather<'r>(
    name: &str,
    selectors: &[LabelSelector],
    roles: impl Iterator<Item = Part<'r>> + Clone,
) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        // What is no selector selects nothing; it was refused when the role was written.
        let Ok(selector) = Selector::from_label_selector(Some(selector)) else { continue };
        let selector = CompiledSelector::from(&selector);
        let mut parts: Vec<_> =
            roles.clone().filter(|role| role.name != name && selector.matches(role.labels)).collect();
        parts.sort_by_key(|role| role.name);
        for rule in parts.iter().flat_map(|role| role.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_gathered_once_in_the_order_of_names() {
        let label = |key: &str| LabelSet::new(&[(key.to_owned(), "true".to_owned())].into());
        let (x, y, none) = (label("x"), label("y"), LabelSet::new(&Default::default()));
        let rules = [json!({"verbs": ["a"]}), json!({"verbs": ["b"]}), json!({"verbs": ["c"]})];
        let [a, b, c] = [0, 1, 2].map(|index| &rules[index..=index]);
        let roles = [
            Part { name: "z", labels: &x, rules: a },
            Part { name: "m", labels: &x, rules: b },
            Part { name: "n", labels: &y, rules: b },
            Part { name: "o", labels: &y, rules: c },
            Part { name: "other", labels: &none, rules: c },
            Part { name: "itself", labels: &x, rules: c },
        ];
        let selector = |key: &str| LabelSelector {
            match_labels: Some([(key.to_owned(), "true".to_owned())].into()),
            ..LabelSelector::default()
        };
        for (selectors, expected) in [
            (vec![], vec![]),
            (vec![selector("x")], vec![&b[0], &a[0]]),
            (vec![selector("y"), selector("x")], vec![&b[0], &c[0], &a[0]]),
            (vec![selector("w")], vec![]),
        ] {
            let gathered = gather("itself", &selectors, roles.iter().copied());
            assert_eq!(gathered.iter().collect::<Vec<_>>(), expected, "{selectors:?}");
        }
    }
}
