//! Events: what happened to an object, kept for a while and in memory.

mod print;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use serde_json::Value;

use super::check::say;
use super::names;
use crate::api::field::{Errors, Path};
use crate::api::{Column, Conversion, Resource, Rules};
use crate::store::Durability;
use crate::watch::IndexedField;

/// The rules of Event objects.
pub(super) struct EventRules;

impl Rules for EventRules {
    type Object = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const DURABILITY: Durability = Durability::Volatile;
    const FIELDS: &'static [IndexedField] = &[
        IndexedField::new("involvedObject.kind"),
        IndexedField::new("involvedObject.namespace"),
        IndexedField::new("involvedObject.name"),
        IndexedField::new("involvedObject.uid").lookup(),
        IndexedField::new("involvedObject.apiVersion"),
        IndexedField::new("involvedObject.resourceVersion"),
        IndexedField::new("involvedObject.fieldPath"),
        IndexedField::new("reason"),
        IndexedField::new("reportingComponent"),
        IndexedField::new("source").at("source.component"),
        IndexedField::new("type"),
    ];
    const COLUMNS: &'static [Column] = print::COLUMNS;

    fn validate(object: &Event, errors: &mut Errors) {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let about = object.involved_object.namespace.as_deref().unwrap_or_default();
        // What is about the cluster is kept in the namespace `default`.
        let fits = if about.is_empty() { matches!(namespace, "" | "default") } else { about == namespace };
        if !fits {
            errors.invalid(&Path::new("involvedObject.namespace"), about, "does not match event.namespace");
        }
        if object.event_time.is_some() {
            newer(object, errors);
        }
    }

    fn cells(object: &Event, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }
}

/// What an event of the newer form, which has a time of its own, must say.
fn newer(event: &Event, errors: &mut Errors) {
    let texts = [
        ("reportingComponent", &event.reporting_component, 253),
        ("reportingInstance", &event.reporting_instance, 128),
        ("action", &event.action, 128),
        ("reason", &event.reason, 128),
    ];
    for (field, text, most) in texts {
        let path = Path::new(field);
        match text.as_deref().unwrap_or_default() {
            text if text.is_empty() => {
                errors.required(&path, "");
                // A name that is not there is no good name either.
                if field == "reportingComponent" {
                    say(errors, &path, text, names::qualified(text));
                }
            }
            text if text.len() > most => {
                errors.invalid(&path, "", format!("can have at most {most} characters"));
            }
            text if field == "reportingComponent" => say(errors, &path, text, names::qualified(text)),
            _ => {}
        }
    }
    if event.message.as_deref().unwrap_or_default().len() > 1024 {
        errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
    }
}

/// The row of events, which are served in two groups.
pub(super) fn row() -> Resource {
    Resource::of::<EventRules>().also_as::<k8s_openapi::api::events::v1::Event>(EVENTS_V1)
}

/// `events.k8s.io/v1`, which has other names for much the same.
const EVENTS_V1: Conversion = Conversion {
    to_stored: |object| rename(object, |(stored, served)| (served, stored)),
    from_stored: |object| rename(object, |(stored, served)| (stored, served)),
    field: |name| match name.split_once('.') {
        Some(("regarding", "kind")) => "involvedObject.kind",
        Some(("regarding", "namespace")) => "involvedObject.namespace",
        Some(("regarding", "name")) => "involvedObject.name",
        Some(("regarding", "uid")) => "involvedObject.uid",
        Some(("regarding", "apiVersion")) => "involvedObject.apiVersion",
        Some(("regarding", "resourceVersion")) => "involvedObject.resourceVersion",
        Some(("regarding", "fieldPath")) => "involvedObject.fieldPath",
        _ if name == "reportingController" => "reportingComponent",
        _ => name,
    },
    same_shape: false,
};

/// What fields are called in core/v1 and in events.k8s.io/v1.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, direction: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in NAMES.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}
