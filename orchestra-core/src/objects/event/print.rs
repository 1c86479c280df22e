//! An event as `kubectl get events` shows it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::Value;

use crate::api::{Column, table};

pub(super) const COLUMNS: &[Column] = &[
    Column::new("Last Seen", "How long ago it was last seen."),
    Column::new("Type", "Whether it is as usual, or a warning."),
    Column::new("Reason", "What happened, in one word."),
    Column::new("Object", "What it happened to."),
    Column::new("Subobject", "Which part of that.").wide(),
    Column::new("Source", "Who says so.").wide(),
    Column::new("Message", "What happened."),
    Column::new("First Seen", "How long ago it was first seen.").wide(),
    Column::new("Count", "How often it was seen.").wide(),
    Column { priority: 1, ..Column::NAME },
];

pub(super) fn cells(event: &Event, now: Timestamp) -> Vec<Value> {
    let micro = |time: Option<&MicroTime>| table::since(time.map(|time| Time(time.0)).as_ref(), now);
    let first = match &event.first_timestamp {
        Some(time) => table::since(Some(time), now),
        None => micro(event.event_time.as_ref()),
    };
    let mut last = match &event.last_timestamp {
        Some(time) => table::since(Some(time), now),
        None => first.clone(),
    };
    // An event of the newer form that is not repeated has no count.
    let mut count = event.count.filter(|count| *count != 0).unwrap_or(1);
    if let Some(series) = &event.series {
        last = micro(series.last_observed_time.as_ref());
        count = series.count.unwrap_or_default();
    }
    vec![
        last.into(),
        event.type_.clone().unwrap_or_default().into(),
        event.reason.clone().unwrap_or_default().into(),
        object(event).into(),
        event.involved_object.field_path.clone().unwrap_or_default().into(),
        source(event).into(),
        event.message.as_deref().unwrap_or_default().trim().into(),
        first.into(),
        count.into(),
        event.metadata.name.clone().into(),
    ]
}

fn object(event: &Event) -> String {
    let kind = event.involved_object.kind.as_deref().unwrap_or_default().to_lowercase();
    match event.involved_object.name.as_deref().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Event) -> String {
    let source = event.source.clone().unwrap_or_default();
    let either = |first: Option<String>, second: &Option<String>| {
        first.filter(|text| !text.is_empty()).or_else(|| second.clone()).unwrap_or_default()
    };
    let component = either(source.component, &event.reporting_component);
    let instance = either(source.host, &event.reporting_instance);
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}
