//! Which events of a watched kind matter.

use crate::watch::{Event, EventKind};

/// A condition on events. Closures are predicates; combinators build the rest.
///
/// A predicate saves runs, nothing else: an event that is let through in vain costs a run, one that is held back is
/// not seen, so in doubt let it through. Objects that are listed when the watch begins are always let through.
pub trait Predicate: Send + Sync + 'static {
    /// Whether an event matters.
    fn admits(&self, event: &Event) -> bool;

    /// This condition and another.
    fn and<P: Predicate>(self, other: P) -> impl Predicate
    where
        Self: Sized,
    {
        move |event: &Event| self.admits(event) && other.admits(event)
    }

    /// This condition or another.
    fn or<P: Predicate>(self, other: P) -> impl Predicate
    where
        Self: Sized,
    {
        move |event: &Event| self.admits(event) || other.admits(event)
    }

    /// The opposite.
    fn not(self) -> impl Predicate
    where
        Self: Sized,
    {
        move |event: &Event| !self.admits(event)
    }
}

impl<F: Fn(&Event) -> bool + Send + Sync + 'static> Predicate for F {
    fn admits(&self, event: &Event) -> bool {
        self(event)
    }
}

fn modified(event: &Event, differs: impl Fn(&crate::watch::Entry, &crate::watch::Entry) -> bool) -> bool {
    match &event.kind {
        EventKind::Modified(before) => differs(before, &event.object),
        EventKind::Added | EventKind::Deleted => true,
    }
}

/// The object came, went, or its desired state changed (`metadata.generation`): not its status. Every event of an
/// object that is being deleted passes, since whoever it waits for takes a finalizer away, and that changes no
/// generation.
pub fn generation_changed(event: &Event) -> bool {
    modified(event, |before, now| before.generation() != now.generation() || now.is_deleting())
}

/// The object came, went, or its labels changed.
pub fn labels_changed(event: &Event) -> bool {
    modified(event, |before, now| before.labels() != now.labels())
}

/// The object came, went, or the value of one of its indexed fields changed.
pub fn field_changed(path: &'static str) -> impl Predicate {
    move |event: &Event| modified(event, |before, now| before.field(path) != now.field(path))
}

/// The object went.
pub fn deleted(event: &Event) -> bool {
    matches!(event.kind, EventKind::Deleted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::meta::Revision;
    use crate::watch::{Entry, IndexedField};

    const FIELDS: &[IndexedField] = &[IndexedField::new("spec.nodeName")];

    fn deleting(finalizers: &[&str]) -> Arc<Entry> {
        let json = serde_json::json!({"metadata": {
            "name": "a", "uid": "u", "generation": 2, "finalizers": finalizers,
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        }});
        Arc::new(Entry::read(Bytes::from(json.to_string()), Revision(1), &FIELDS.into()).unwrap())
    }

    #[test]
    fn a_finalizer_that_is_taken_away_is_a_change_to_whoever_waits_for_it() {
        let before = deleting(&["mine", "other"]);
        let event = Event { kind: EventKind::Modified(before), object: deleting(&["mine"]) };
        assert!(generation_changed(&event));
    }

    fn entry(generation: i64, app: &str, node: &str) -> Arc<Entry> {
        let json = serde_json::json!({
            "metadata": {"name": "a", "uid": "u", "generation": generation, "labels": {"app": app}},
            "spec": {"nodeName": node},
        });
        Arc::new(Entry::read(Bytes::from(json.to_string()), Revision(1), &FIELDS.into()).unwrap())
    }

    #[test]
    fn predicates_compare_before_and_now() {
        let change = |before: Arc<Entry>, object| Event { kind: EventKind::Modified(before), object };
        let spec = change(entry(1, "a", ""), entry(2, "a", ""));
        let labels = change(entry(1, "a", ""), entry(1, "b", ""));
        let bound = change(entry(1, "a", ""), entry(1, "a", "n"));
        let added = Event { kind: EventKind::Added, object: entry(1, "a", "") };
        let gone = Event { kind: EventKind::Deleted, object: entry(1, "a", "") };
        let all = [&spec, &labels, &bound, &added, &gone];
        let check = |predicate: &dyn Fn(&Event) -> bool| all.map(predicate);
        assert_eq!(check(&generation_changed), [true, false, false, true, true]);
        assert_eq!(check(&labels_changed), [false, true, false, true, true]);
        let field = field_changed("spec.nodeName");
        assert_eq!(check(&|event| field.admits(event)), [false, false, true, true, true]);
        let either = generation_changed.or(labels_changed).and(deleted.not());
        assert_eq!(check(&|event| either.admits(event)), [true, true, false, true, false]);
    }
}
