use jiff::Timestamp;
use k8s_openapi::api::core::v1::ReplicationController;
use serde_json::{Value, json};

use super::json::{Fields, at, set};
use super::replicas::{self, COLUMNS, SCALE};
use super::{check, print, template};
use crate::api::field::{Errors, Path};
use crate::api::{Column, NameRule, Rules, ScalePaths, desires_otherwise};
use crate::watch::IndexedField;

/// The rules of ReplicationController objects.
pub(super) struct ReplicationControllerRules;

impl Rules for ReplicationControllerRules {
    type Object = ReplicationController;

    const SHORT_NAMES: &'static [&'static str] = &["rc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const NAME: NameRule = NameRule::LongName;
    const SCALE: Option<ScalePaths> = Some(SCALE);
    const FIELDS: &'static [IndexedField] = &[IndexedField::or("status.replicas", "0")];
    const COLUMNS: &'static [Column] = COLUMNS;
    const ORPHAN_BY_DEFAULT: bool = true;

    /// Selector and labels left out are those of the template.
    fn default(object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        let empty = |held: Option<&Value>| {
            held.is_none_or(|held| held.is_null() || held.as_object().is_some_and(serde_json::Map::is_empty))
        };
        if let Some(labels @ Value::Object(_)) = labels {
            for (path, field) in [("spec", "selector"), ("metadata", "labels")] {
                if let Some(fields) = at(object, &[path])
                    && empty(fields.get(field))
                {
                    fields.insert(field.to_owned(), labels.clone());
                }
            }
        }
        if let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) {
            spec.or("replicas", 1);
            if spec.has("template") {
                template::default(spec);
            }
        }
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({ "replicas": 0 }));
    }

    fn validate(object: &ReplicationController, errors: &mut Errors) {
        let spec = object.spec.clone().unwrap_or_default();
        let path = Path::new("spec");
        check::not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let selector = spec.selector.unwrap_or_default();
        if selector.is_empty() {
            errors.required(&path.child("selector"), "");
        }
        check::not_negative(errors, &path.child("replicas"), spec.replicas);
        let selector = crate::selector::Selector::from_map(&selector);
        let selects = |labels: &_| selector.matches(labels);
        let at = path.child("template");
        template::of_replicas(spec.template.as_ref(), "ReplicationController", selects, &at, errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    fn warnings(object: &ReplicationController) -> Vec<String> {
        let template = object.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template::warnings(template, &Path::new("spec.template"))
    }

    fn warnings_at_creation(object: &ReplicationController) -> Vec<String> {
        print::name_warning(&object.metadata)
    }

    fn cells(object: &ReplicationController, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.as_ref(), object.status.as_ref());
        let counts = [
            spec.and_then(|spec| spec.replicas),
            status.map(|status| status.replicas),
            status.and_then(|status| status.ready_replicas),
        ];
        let given = spec.and_then(|spec| spec.template.as_ref());
        let selector = print::labels(spec.and_then(|spec| spec.selector.as_ref()));
        replicas::cells(&object.metadata, counts, given, selector, now)
    }
}
