use serde_json::{Value, json};

use crate::objects::builtin;

#[test]
fn old_manifests_become_what_the_later_versions_say() {
    let kinds = builtin();
    let manifest = json!({
        "metadata": { "name": "web" },
        "spec": { "template": { "metadata": { "labels": { "app": "web" } } } },
    });
    let stored = |group: &str, version: &str| {
        let row = kinds.served(group, version, "deployments").unwrap();
        let mut object = manifest.clone();
        (row.conversion(group, version).unwrap().to_stored)(&mut object);
        object
    };
    let oldest = stored("extensions", "v1beta1");
    assert_eq!(oldest["metadata"]["labels"], json!({ "app": "web" }));
    assert_eq!(oldest["spec"]["selector"], json!({ "matchLabels": { "app": "web" } }));
    assert_eq!(
        oldest["spec"]["strategy"],
        json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } })
    );
    assert_eq!(oldest["spec"]["revisionHistoryLimit"], i32::MAX);
    assert_eq!(stored("apps", "v1beta1")["spec"]["revisionHistoryLimit"], 2);
    assert_eq!(stored("apps", "v1beta2"), manifest, "apps/v1beta2 wants its selector");
    assert_eq!(stored("apps", "v1"), manifest);
}

#[test]
fn an_event_goes_by_the_names_of_the_group_it_is_asked_for_in() {
    let kinds = builtin();
    let row = kinds.served("events.k8s.io", "v1", "events").unwrap();
    let conversion = row.conversion("events.k8s.io", "v1").unwrap();
    let served = json!({
        "regarding": { "kind": "Pod" },
        "note": "hello",
        "reportingController": "test",
        "deprecatedCount": 2,
        "reason": "Said",
    });
    let mut object = served.clone();
    (conversion.to_stored)(&mut object);
    let stored = json!({
        "involvedObject": { "kind": "Pod" },
        "message": "hello",
        "reportingComponent": "test",
        "count": 2,
        "reason": "Said",
    });
    assert_eq!(object, stored);
    (conversion.from_stored)(&mut object);
    assert_eq!(object, served);
    assert_eq!((conversion.field)("regarding.name"), Some("involvedObject.name"));
    assert_eq!((conversion.field)("type"), Some("type"));
    assert_eq!((conversion.field)("involvedObject.name"), None);
}

#[test]
fn every_kind_says_as_many_cells_as_columns() {
    let kinds = builtin();
    for row in kinds.iter() {
        let mut object: Value = json!({ "metadata": { "name": "a" }, "spec": {} });
        row.rules.default(&mut object);
        let bytes = serde_json::to_vec(&object).unwrap();
        let cells = row.rules.cells(&bytes, jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(cells.len(), row.columns.len(), "{row:?}");
    }
}
