//! What is wrong with an event. The older version of the API asks little; the newer asks all of it, also where it is the
//! older one in which the event is stored.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use serde::Deserialize as _;
use serde_json::Value;

use crate::api::check::{self, say, shown};
use crate::api::field::{Errors, Path, Shown};
use crate::api::{NameRule, metadata, names};
use crate::meta::Scope;

/// What both versions ask for. `controller` is what the version calls the field of who reports.
pub(super) fn event(event: &Event, controller: &str, errors: &mut Errors) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let about = event.involved_object.namespace.as_deref().unwrap_or_default();
    // What is about the cluster is kept in the namespace `default`, or where the cluster's own are.
    let fits = match (event.event_time.is_some(), about) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, about) => about == namespace,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        errors.invalid(&Path::new("involvedObject.namespace"), about, "does not match event.namespace");
    }
    if event.event_time.is_some() {
        texts(event, controller, errors);
    }
}

/// What an event that has a time of its own must say.
fn texts(event: &Event, controller: &str, errors: &mut Errors) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (reporter, path) = (text(&event.reporting_component), Path::new(controller));
    if reporter.is_empty() {
        errors.required(&path, "");
    }
    say(errors, &path, &reporter, names::qualified(&reporter));
    for (field, text) in [
        ("reportingInstance", text(&event.reporting_instance)),
        ("action", text(&event.action)),
        ("reason", text(&event.reason)),
    ] {
        match text.len() {
            0 => errors.required(&Path::new(field), ""),
            length => at_most(128, field, length, errors),
        }
    }
    at_most(1024, "message", text(&event.message).len(), errors);
}

fn at_most(most: usize, field: &str, length: usize, errors: &mut Errors) {
    if length > most {
        errors.invalid(&Path::new(field), "", format!("can have at most {most} characters"));
    }
}

/// What `events.k8s.io/v1` asks for.
///
/// # Errors
/// When one of them is no event.
pub(super) fn strictly(
    new: &Value,
    old: Option<&Value>,
    errors: &mut Errors,
) -> Result<(), serde_json::Error> {
    let new = Event::deserialize(new)?;
    event(&new, "reportingController", errors);
    match old {
        Some(old) => {
            metadata::validate_finalizers(&new.metadata, errors);
            let old = Event::deserialize(old)?;
            metadata::validate_update(&new.metadata, &old.metadata, errors);
            unchanged(&new, &old, errors);
        }
        None => created(&new, errors),
    }
    Ok(())
}

fn created(event: &Event, errors: &mut Errors) {
    metadata::validate(&event.metadata, Scope::Namespaced, NameRule::Subdomain, errors);
    metadata::validate_finalizers(&event.metadata, errors);
    series(event, errors);
    if event.event_time.is_none() {
        errors.required(&Path::new("eventTime"), "");
    }
    let kind = event.type_.as_deref().unwrap_or_default();
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    let source = event.source.clone().unwrap_or_default();
    let has_source = [source.component, source.host].into_iter().flatten().any(|text| !text.is_empty());
    for (field, is_set) in [
        ("firstTimestamp", event.first_timestamp.is_some()),
        ("lastTimestamp", event.last_timestamp.is_some()),
        ("count", event.count.is_some_and(|count| count != 0)),
        ("source", has_source),
    ] {
        if is_set {
            errors.invalid(&Path::new(field), "", "needs to be unset");
        }
    }
}

fn series(event: &Event, errors: &mut Errors) {
    let Some(series) = &event.series else { return };
    if series.count.unwrap_or_default() < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if series.last_observed_time.is_none() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

/// Only the series of an event goes on.
fn unchanged(new: &Event, old: &Event, errors: &mut Errors) {
    if new.series != old.series {
        series(new, errors);
    }
    let mut same = Same(errors);
    let reference = |held: &ObjectReference| {
        let ObjectReference { kind, namespace, name, uid, api_version, resource_version, field_path } = held;
        Shown::object([
            ("Kind", text(kind)),
            ("Namespace", text(namespace)),
            ("Name", text(name)),
            ("UID", text(uid)),
            ("APIVersion", text(api_version)),
            ("ResourceVersion", text(resource_version)),
            ("FieldPath", text(field_path)),
        ])
    };
    let source = |held: &Option<EventSource>| {
        let held = held.clone().unwrap_or_default();
        Shown::object([("Component", text(&held.component)), ("Host", text(&held.host))])
    };
    let json = |held: Value| Shown::from(held);
    same.field("involvedObject", &new.involved_object, &old.involved_object, reference);
    same.field("reason", &new.reason, &old.reason, text);
    same.field("message", &new.message, &old.message, text);
    same.field("source", &new.source, &old.source, source);
    same.field("firstTimestamp", &new.first_timestamp, &old.first_timestamp, |time| json(shown(time)));
    same.field("lastTimestamp", &new.last_timestamp, &old.last_timestamp, |time| json(shown(time)));
    same.field("count", &new.count, &old.count, |count| json(count.unwrap_or_default().into()));
    // Kubernetes asks that one twice.
    same.field("reason", &new.reason, &old.reason, text);
    same.field("type", &new.type_, &old.type_, text);
    same.field("eventTime", &new.event_time, &old.event_time, |time| json(shown(time)));
    same.field("action", &new.action, &old.action, text);
    same.field("related", &new.related, &old.related, |related| {
        related.as_ref().map_or_else(|| json(Value::Null), reference)
    });
    same.field("reportingController", &new.reporting_component, &old.reporting_component, text);
    same.field("reportingInstance", &new.reporting_instance, &old.reporting_instance, text);
}

fn text(held: &Option<String>) -> Shown {
    Value::from(held.as_deref().unwrap_or_default()).into()
}

struct Same<'e>(&'e mut Errors);

impl Same<'_> {
    fn field<T: PartialEq>(&mut self, name: &str, new: &T, old: &T, show: impl FnOnce(&T) -> Shown) {
        if new != old {
            self.0.invalid_object(&Path::new(name), show(new), check::IMMUTABLE);
        }
    }
}
