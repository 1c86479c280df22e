use k8s_openapi::api::batch::v1::{Job, JobSpec};
use serde_json::Value;

use super::labels_of;
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, shown};
use crate::objects::json::{Fields, at};
use crate::selector::{Labels, Selector};

const UID: &str = "batch.kubernetes.io/controller-uid";
/// What pods say of their Job: the label, an older name of it, and whether it is the uid rather than the name.
const LABELS: [(&str, bool); 4] =
    [("controller-uid", true), ("job-name", false), (UID, true), ("batch.kubernetes.io/job-name", false)];

/// Gives a new Job a selector that only its own pods fit, unless it brings its own.
pub(super) fn selector(object: &mut Value) {
    let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (uid, name) = (meta("uid"), meta("name"));
    let is_manual = at(object, &["spec"]).is_some_and(|spec| spec.is_true("manualSelector"));
    if !is_manual {
        if let Some(labels) = labels_of(object, &["spec", "template"]) {
            for (label, is_uid) in LABELS {
                labels.or(label, if is_uid { uid.as_str() } else { name.as_str() });
            }
        }
        let selector = at(object, &["spec"]).and_then(|spec| spec.object_or_new("selector"));
        if let Some(labels) = selector.and_then(|selector| selector.object_or_new("matchLabels")) {
            labels.or(UID, uid);
        }
    }
    // With what was added to them.
    labels(object);
}

/// A Job without labels has those of its template.
pub(super) fn labels(object: &mut Value) {
    let template = object.pointer("/spec/template/metadata/labels").cloned();
    if let Some(given @ Value::Object(_)) = template
        && !has_labels(object, "/metadata/labels")
        && let Some(meta) = at(object, &["metadata"])
    {
        meta.insert("labels".to_owned(), given);
    }
}

fn has_labels(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_object).is_some_and(|labels| !labels.is_empty())
}

/// Says what is wrong with a selector that was to be generated: somebody else's labels were there before.
pub(super) fn validate(object: &Job, spec: &JobSpec, errors: &mut Errors) {
    let Some(selector) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else {
        return;
    };
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let held = spec.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    let path = Path::new("spec.template.metadata.labels");
    let mut expected = Labels::new();
    for (label, is_uid) in LABELS {
        let value = if is_uid { uid } else { name };
        expected.insert(label.to_owned(), value.to_owned());
        match held.and_then(|held| held.get(label)) {
            None => errors.required(&path.key(label), format!("must be '{value}'")),
            Some(given) if given != value => {
                errors.invalid(&path.key(label), shown(&held), format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    if Selector::try_from(selector).is_ok_and(|compiled| !compiled.matches(&expected)) {
        let at = Path::new("spec.selector");
        errors.invalid_object(&at, check::shown_selector(selector), "`selector` not auto-generated");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_job_shares_the_labels_of_its_template_only_if_it_has_none() {
        let job = |own: Value, template: Value| {
            let mut job = json!({
                "metadata": { "name": "j", "uid": "u", "labels": own },
                "spec": { "template": { "metadata": { "labels": template } } },
            });
            selector(&mut job);
            job["metadata"]["labels"].as_object().map_or(0, Map::len)
        };
        assert_eq!(job(json!({}), json!({ "a": "b" })), 5);
        assert_eq!(job(json!({ "a": "b" }), json!({ "a": "b" })), 1);
        assert_eq!(job(json!({}), json!({})), 4);
    }
}
