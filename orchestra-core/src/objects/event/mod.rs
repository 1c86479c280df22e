//! Events: what happened to an object, kept for a while and in memory.

mod print;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use serde_json::Value;

use crate::api::field::Errors;
use crate::api::{Column, Conversion, NameRule, Resource, Rules};
use crate::store::Durability;
use crate::watch::IndexedField;

/// The rules of Event objects.
pub(super) struct EventRules;

impl Rules for EventRules {
    type Object = Event;

    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const DURABILITY: Durability = Durability::Volatile;
    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const ANY_FINALIZER: bool = true;
    const METADATA_CHECKED_ONCE: bool = true;
    const METADATA_LAST: bool = true;
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
        IndexedField::new("source").at("source.component").or_at("reportingComponent"),
        IndexedField::new("type"),
    ];
    const COLUMNS: &'static [Column] = print::COLUMNS;

    fn validate(object: &Event, errors: &mut Errors) {
        validate::event(object, "reportingComponent", errors);
    }

    fn cells(object: &Event, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
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
    field: |name| {
        Some(match name {
            "regarding.kind" => "involvedObject.kind",
            "regarding.namespace" => "involvedObject.namespace",
            "regarding.name" => "involvedObject.name",
            "regarding.uid" => "involvedObject.uid",
            "regarding.apiVersion" => "involvedObject.apiVersion",
            "regarding.resourceVersion" => "involvedObject.resourceVersion",
            "regarding.fieldPath" => "involvedObject.fieldPath",
            "reportingController" => "reportingComponent",
            "reason" | "type" | "metadata.name" | "metadata.namespace" => name,
            _ => return None,
        })
    },
    validate: Some(validate::strictly),
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
