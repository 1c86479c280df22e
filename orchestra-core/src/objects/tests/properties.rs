use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::reduce;
use crate::api::field::Errors;
use crate::api::schema::{Place, canonical};
use crate::objects::builtin;

/// The names of fields that rules look at, so that random objects meet them.
const FIELDS: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "template",
    "containers",
    "initContainers",
    "volumes",
    "ports",
    "env",
    "valueFrom",
    "fieldRef",
    "resources",
    "limits",
    "requests",
    "cpu",
    "livenessProbe",
    "httpGet",
    "lifecycle",
    "preStop",
    "name",
    "image",
    "type",
    "labels",
    "selector",
    "strategy",
    "rollingUpdate",
    "hostNetwork",
    "containerPort",
    "data",
    "stringData",
    "subsets",
    "endpoints",
    "secret",
    "projected",
    "sources",
    "hostPath",
    "sessionAffinity",
    "clusterIP",
    "port",
    "protocol",
    "finalizers",
    "capacity",
    "involvedObject",
    "jobTemplate",
    "updateStrategy",
    "maxSurge",
    "volumeClaimTemplates",
    "podFailurePolicy",
    "successPolicy",
    "rules",
    "onExitCodes",
    "values",
    "schedule",
    "completions",
    "completionMode",
    "completedIndexes",
    "metrics",
    "behavior",
    "scaleUp",
    "minAvailable",
    "hard",
    "scopes",
    "default",
    "max",
    "dataSource",
    "accessModes",
    "iscsi",
    "csi",
    "nodeAffinity",
    "drivers",
    "tokenRequests",
    "allowedTopologies",
    "parameters",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..70_000).prop_map(Value::from),
        prop_oneof![Just(""), Just("a"), Just("1"), Just("None"), Just("ClientIP"), Just("nginx:latest")]
            .prop_map(Value::from),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    let value = leaf().prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            2 => btree_map(prop::sample::select(FIELDS), inner.clone(), 0..6).prop_map(fields),
            1 => vec(inner, 0..4).prop_map(Value::from),
        ]
    });
    btree_map(prop::sample::select(FIELDS), value, 0..6).prop_map(fields)
}

fn fields(map: std::collections::BTreeMap<&'static str, Value>) -> Value {
    Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// No object, however odd, makes a rule panic; and what is filled in once is not filled in again.
    #[test]
    fn defaulting_never_panics_and_never_changes_its_own_outcome(mut object in object()) {
        for row in builtin().iter() {
            if reduce(row, &mut object).is_err() {
                continue;
            }
            let mut once = object.clone();
            row.rules.default(&mut once);
            row.rules.prepare_create(&mut once);
            row.rules.default(&mut once);
            let mut twice = once.clone();
            reduce(row, &mut twice).unwrap();
            row.rules.default(&mut twice);
            let place = Place::of(row).unwrap();
            canonical::complete(place, &mut once);
            canonical::complete(place, &mut twice);
            prop_assert_eq!(&once, &twice, "{:?}", row);
            let mut updated = object.clone();
            row.rules.prepare_update(&mut updated, &once);
            row.rules.prepare_status(&mut updated, &once);
            row.rules.prepare_deletion(&mut updated);
            row.rules.holds(&updated);
            let _ = row.rules.edit("binding", &mut updated, &object, jiff::Timestamp::UNIX_EPOCH);
        }
    }

    /// What fits a kind's type before it is defaulted fits it after, and can be checked and printed.
    #[test]
    fn what_decodes_still_decodes_once_defaulted(object in object()) {
        for row in builtin().iter() {
            let mut object = object.clone();
            if reduce(row, &mut object).is_err() || row.rules.check(&mut object).is_err() {
                continue;
            }
            row.rules.default(&mut object);
            let decodes = row.rules.check(&mut object).map(|_| ());
            prop_assert_eq!(decodes, Ok(()), "{:?} {}", row, object);
            let mut errors = Errors::new();
            row.rules.validate(&object, &mut errors).unwrap();
            row.rules.validate_update(&object, &object, &mut errors).unwrap();
            row.rules.validate_status(&object, &object, &mut errors).unwrap();
            let bytes = serde_json::to_vec(&object).unwrap();
            let cells = row.rules.cells(&bytes, jiff::Timestamp::UNIX_EPOCH).unwrap();
            prop_assert_eq!(cells.len(), row.columns.len());
        }
    }
}
