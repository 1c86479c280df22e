use serde_json::Value;

use crate::api::schema::{Place, canonical};

const KINDS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Secret"),
    ("v1", "Node"),
    ("apps/v1", "Deployment"),
    ("coordination.k8s.io/v1", "Lease"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("authorization.k8s.io/v1", "SubjectAccessReview"),
];

/// The first byte says of which kind the JSON after it is.
pub(super) fn check(bytes: &[u8]) {
    let Some((first, json)) = bytes.split_first() else { return };
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return };
    let (api_version, kind) = KINDS[usize::from(*first) % KINDS.len()];
    let place = Place::of_kind(api_version, kind).expect("a kind of the table");
    settles(place, value.clone());
    settles(Place::Object, value);
}

/// The form of the form is the form.
pub(super) fn settles(place: Place, mut value: Value) {
    if canonical::reduce(place, &mut value).is_err() {
        return;
    }
    let reduced = value.clone();
    canonical::reduce(place, &mut value).expect("what was written is read");
    assert_eq!(value, reduced, "reducing again changes something");
    canonical::complete(place, &mut value);
    let complete = value.clone();
    canonical::reduce(place, &mut value).expect("what was written is read");
    canonical::complete(place, &mut value);
    assert_eq!(value, complete, "the form of the form is another");
}
