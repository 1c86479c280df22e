use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use super::check;
use super::json::at;
use super::{pod, quantities};
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::api::{Column, Rules, table};

/// The rules of RuntimeClass objects. That a pod gets the overhead of the class it names is admission's to see to.
pub(super) struct RuntimeClassRules;

impl Rules for RuntimeClassRules {
    type Object = RuntimeClass;

    const CREATED_BY_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const ANY_FINALIZER: bool = true;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Handler", "What runs pods of the class."), Column::AGE];

    fn default(object: &mut Value) {
        if let Some(overhead) = at(object, &["overhead"]) {
            quantities::round_up(overhead, "podFixed");
        }
    }

    fn validate(object: &RuntimeClass, errors: &mut Errors) {
        check::required_label(errors, &Path::new("handler"), &object.handler);
        let overhead = object.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.as_ref());
        if let Some(amounts) = overhead {
            pod::validate_amounts(amounts, &Path::new("overhead.limits"), errors);
        }
        let Some(scheduling) = &object.scheduling else { return };
        let path = Path::new("scheduling");
        check::labels(errors, &path.child("nodeSelector"), scheduling.node_selector.as_ref());
        let list = scheduling.tolerations.as_deref().unwrap_or_default();
        tolerations(list, &path.child("tolerations"), errors);
    }

    fn validate_update(new: &RuntimeClass, old: &RuntimeClass, errors: &mut Errors) {
        check::unchanged(errors, &Path::new("handler"), &new.handler, &old.handler);
    }

    fn warnings(object: &RuntimeClass) -> Vec<String> {
        let scheduling = object.scheduling.as_ref();
        let keys = scheduling.and_then(|scheduling| scheduling.node_selector.as_ref());
        let labels = keys.into_iter().flatten().filter_map(|(key, _)| pod::old_node_label(key));
        labels.map(|said| format!("scheduling.nodeSelector: {said}")).collect()
    }

    fn cells(object: &RuntimeClass, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.handler.clone().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// Tolerations, none of which stands twice.
fn tolerations(list: &[Toleration], path: &Path, errors: &mut Errors) {
    pod::validate_tolerations(list, path, errors);
    let mut seen = HashSet::new();
    for (index, toleration) in list.iter().enumerate() {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let parts = [&toleration.key, &toleration.operator, &toleration.value, &toleration.effect].map(text);
        if seen.insert(parts.clone()) {
            continue;
        }
        let names = ["Key", "Operator", "Value", "Effect"];
        let fields = names.into_iter().zip(parts).map(|(name, text)| (name, Value::from(text).into()));
        let seconds = ("TolerationSeconds", Value::from(toleration.toleration_seconds).into());
        let shown = Shown::object(fields.chain([seconds]));
        errors.push(&path.index(index), Problem::Duplicate(shown, String::new()));
    }
}
