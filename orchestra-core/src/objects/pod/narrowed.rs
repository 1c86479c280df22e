//! A pod that waits at a gate may yet be told to run on fewer nodes, and on no others.

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use serde_json::Value;

use super::scheduling::REQUIRED;
use crate::api::field::{Errors, Path, Shown};
use crate::objects::check::shown;

/// Says what is wrong with what a pod asks of its node, and takes it back.
pub(super) fn take_back(spec: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let lost = old.node_selector.iter().flatten().any(|(key, value)| {
        spec.node_selector.as_ref().and_then(|selector| selector.get(key)) != Some(value)
    });
    if lost {
        errors.invalid(
            &path.child("nodeSelector"),
            shown(&spec.node_selector),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    spec.node_selector.clone_from(&old.node_selector);
    let of_nodes =
        |spec: &PodSpec| spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    let (now, before) = (of_nodes(spec), of_nodes(old));
    if now == before {
        return;
    }
    affinity(now.as_ref(), before.as_ref(), &path.child("affinity.nodeAffinity"), errors);
    match (&mut spec.affinity, before) {
        (None, None) => {}
        (None, before) => spec.affinity.get_or_insert_default().node_affinity = before,
        (Some(held), _)
            if old.affinity.is_none() && held.pod_affinity.is_none() && held.pod_anti_affinity.is_none() =>
        {
            spec.affinity = None;
        }
        (Some(held), before) => held.node_affinity = before,
    }
}

fn affinity(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path, errors: &mut Errors) {
    let terms = |affinity: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        let required =
            affinity.and_then(|held| held.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|nodes| nodes.node_selector_terms.clone()).unwrap_or_default()
    };
    let (now, before) = (terms(new), terms(old));
    let at = path.child(REQUIRED).child("nodeSelectorTerms");
    if !before.is_empty() && now.len() != before.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if now.is_empty() { Value::Null.into() } else { Shown::list(now.iter().map(shown_term)) };
        return errors.invalid_object(&at, shown, detail);
    }
    for (index, (now, before)) in now.iter().zip(&before).enumerate() {
        if !only_adds(now, before) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid_object(&at.index(index), shown_term(now), detail);
        }
    }
}

/// Whether a term asks for all that it asked for before. One that asked for nothing selects nothing, and goes on so.
fn only_adds(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    fn held(list: &Option<Vec<NodeSelectorRequirement>>) -> &[NodeSelectorRequirement] {
        list.as_deref().unwrap_or_default()
    }
    let [labels, fields] = [held(&new.match_expressions), held(&new.match_fields)];
    let [old_labels, old_fields] = [held(&old.match_expressions), held(&old.match_fields)];
    let selected_nothing = old_labels.is_empty() && old_fields.is_empty();
    let selects_nothing = labels.is_empty() && fields.is_empty();
    (!selected_nothing || selects_nothing) && labels.starts_with(old_labels) && fields.starts_with(old_fields)
}

/// A term as errors show it.
pub(in crate::objects) fn shown_term(term: &NodeSelectorTerm) -> Shown {
    let requirements = |list: &Option<Vec<NodeSelectorRequirement>>| {
        let Some(list) = list else { return Value::Null.into() };
        Shown::list(list.iter().map(|requirement| {
            Shown::object([
                ("Key", shown(&requirement.key).into()),
                ("Operator", shown(&requirement.operator).into()),
                ("Values", shown(&requirement.values).into()),
            ])
        }))
    };
    Shown::object([
        ("MatchExpressions", requirements(&term.match_expressions)),
        ("MatchFields", requirements(&term.match_fields)),
    ])
}
