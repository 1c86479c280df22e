use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::api::schema::table::Type as Held;

fn of(api_version: &str, kind: &str) -> Place {
    Place::Type(Held::find(api_version, kind).unwrap())
}

fn canonical(place: Place, value: &Value) -> Value {
    let mut value = value.clone();
    reduce(place, &mut value).unwrap();
    complete(place, &mut value);
    value
}

/// What is left of an object of a kind, before anything is filled in.
fn reduced(api_version: &str, kind: &str, mut value: Value) -> Result<Value, String> {
    reduce(of(api_version, kind), &mut value).map_err(|refusal| refusal.to_string())?;
    Ok(value)
}

#[test]
fn what_is_empty_is_not_kept_unless_a_pointer_leads_to_it() {
    let meta = json!({"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": [], "generation": 0,
        "creationTimestamp": null, "name": "n", "deletionGracePeriodSeconds": 0});
    assert_eq!(
        reduced("v1", "ConfigMap", json!({"metadata": meta, "data": {}, "immutable": false})),
        Ok(json!({"metadata": {"name": "n", "deletionGracePeriodSeconds": 0}, "immutable": false}))
    );
    let template = json!({"metadata": {"annotations": {}}, "spec": {
        "tolerations": [], "nodeSelector": {}, "volumes": [], "hostNetwork": false, "serviceAccountName": "",
        "affinity": {}, "securityContext": {}, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "env": [], "resources": {}, "ports": [{"containerPort": 1, "hostPort": 0}]}],
    }});
    let spec = json!({"minReadySeconds": 0, "paused": false, "replicas": 0, "strategy": {}, "template": template,
        "selector": {"matchExpressions": [], "matchLabels": {"a": ""}}});
    assert_eq!(
        reduced("apps/v1", "Deployment", json!({"spec": spec})),
        Ok(json!({"spec": {
            "replicas": 0,
            "strategy": {},
            "selector": {"matchLabels": {"a": ""}},
            "template": {"metadata": {}, "spec": {
                "affinity": {}, "securityContext": {}, "automountServiceAccountToken": false,
                "containers": [{"name": "c", "resources": {}, "ports": [{"containerPort": 1}]}],
            }},
        }}))
    );
}

#[test]
fn null_is_what_the_type_makes_of_it() {
    for (api_version, kind, given, kept) in [
        ("v1", "ConfigMap", json!({"data": {"a": null}}), json!({"data": {"a": ""}})),
        ("v1", "ConfigMap", json!({"binaryData": {"n": null}}), json!({"binaryData": {"n": ""}})),
        ("v1", "Secret", json!({"data": {"a": null, "b": "eA=="}}), json!({"data": {"a": "", "b": "eA=="}})),
        (
            "v1",
            "Pod",
            json!({"metadata": {"labels": {"l": null}}}),
            json!({"metadata": {"labels": {"l": ""}}}),
        ),
        ("v1", "Pod", json!({"metadata": {"finalizers": [null]}}), json!({"metadata": {"finalizers": [""]}})),
        ("v1", "Pod", json!({"spec": {"containers": [null]}}), json!({"spec": {"containers": [{}]}})),
        (
            "v1",
            "Pod",
            json!({"spec": {"overhead": {"cpu": null}}}),
            json!({"spec": {"overhead": {"cpu": "0"}}}),
        ),
        ("v1", "Pod", json!({"spec": null, "status": null}), json!({})),
        ("v1", "Service", json!({"spec": {"ports": null}}), json!({"spec": {}})),
        (
            "apps/v1",
            "ControllerRevision",
            json!({"data": {"a": null, "b": [null, {}]}}),
            json!({"data": {"a": null, "b": [null, {}]}}),
        ),
        (
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            json!({"spec": {"extra": {"a": [null, ""], "b": null}}}),
            json!({"spec": {"extra": {"a": ["", ""], "b": []}}}),
        ),
    ] {
        assert_eq!(reduced(api_version, kind, given), Ok(kept), "{kind}");
    }
}

#[test]
fn quantities_times_and_bytes_are_written_as_go_writes_them() {
    let pod = |limits: Value| json!({"spec": {"containers": [{"resources": {"limits": limits}}]}});
    assert_eq!(
        reduced("v1", "Pod", pod(json!({"cpu": 0.5, "memory": "1024Mi", "pods": 1000}))),
        Ok(pod(json!({"cpu": "500m", "memory": "1Gi", "pods": "1k"})))
    );
    for text in ["1Mi ", "lots", ""] {
        let why = reduced("v1", "Pod", pod(json!({"memory": text}))).unwrap_err();
        assert!(why.starts_with("quantities must match the regular expression"), "{text:?}: {why}");
    }
    let node = |taint: &str| json!({"spec": {"taints": [{"key": "k", "timeAdded": taint}]}});
    assert_eq!(reduced("v1", "Node", node("2022-06-23T20:10:50.5+02:00")), Ok(node("2022-06-23T18:10:50Z")));
    let lease = |time: &str| json!({"spec": {"renewTime": time}});
    let exact = lease("2022-06-23T18:10:50.278000Z");
    assert_eq!(reduced("coordination.k8s.io/v1", "Lease", exact.clone()), Ok(exact));
    for time in ["2022-06-23T18:10:50.278Z", "2022-06-23T18:10:50.123456789Z", "2022-06-23T18:10:50Z"] {
        let why = reduced("coordination.k8s.io/v1", "Lease", lease(time)).unwrap_err();
        assert!(why.starts_with("parsing time"), "{why}");
    }
    let secret = |text: &str| json!({"data": {"a": text}});
    assert_eq!(reduced("v1", "Secret", secret("aGVs\nbG8=\n")), Ok(secret("aGVsbG8=")));
    assert_eq!(reduced("v1", "Secret", secret("%")), Err("illegal base64 data at input byte 0".to_owned()));
}

#[test]
fn what_go_always_writes_is_added() {
    let deployment = json!({"spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}}});
    assert_eq!(
        canonical(of("apps/v1", "Deployment"), &deployment),
        json!({
            "metadata": {},
            "spec": {"selector": {}, "strategy": {}, "template": {
                "metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]},
            }},
            "status": {},
        })
    );
    assert_eq!(
        canonical(of("discovery.k8s.io/v1", "EndpointSlice"), &json!({"endpoints": [], "ports": []})),
        json!({"metadata": {}, "addressType": "", "endpoints": null, "ports": null})
    );
    let service = canonical(of("v1", "Service"), &json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(service["spec"]["ports"][0], json!({"port": 80, "targetPort": 0}));
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
    let mut added = json!({"spec": {"ports": null, "clusterIP": null, "type": "ExternalName"}});
    complete(of("v1", "Service"), &mut added);
    assert_eq!(added["spec"], json!({"type": "ExternalName"}), "null is not written where Go writes nothing");
    assert_eq!(
        canonical(of("v1", "Node"), &json!({}))["status"]["daemonEndpoints"],
        json!({"kubeletEndpoint": {"Port": 0}})
    );
    let variable = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "E", "valueFrom":
        {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}});
    let variable = canonical(of("v1", "Pod"), &variable);
    let divisor = variable.pointer("/spec/containers/0/env/0/valueFrom/resourceFieldRef/divisor");
    assert_eq!(divisor, Some(&json!("0")));
}

#[test]
fn of_another_kind_only_metadata_are_touched() {
    let given =
        json!({"metadata": {"labels": {"a": null}, "finalizers": []}, "spec": {"a": null, "b": [], "c": ""}});
    let kept = json!({"metadata": {"labels": {"a": ""}}, "spec": {"a": null, "b": [], "c": ""}});
    assert_eq!(canonical(Place::Object, &given), kept);
    assert_eq!(canonical(Place::Plain, &given), given);
}

/// Only then need nobody look at it again.
#[test]
fn what_is_seen_to_fit_is_said() {
    for (spec, fits) in [
        (
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}], "env": []}], "hostNetwork": true}),
            true,
        ),
        (json!({"overhead": {"cpu": 1}, "priority": null, "nodeSelector": {"a": null}}), true),
        (json!({"imagee": ""}), false),
        (json!({"containers": [{"name": 1}]}), false),
        (json!({"containers": {}}), false),
        (json!({"priority": 3_000_000_000_i64}), false),
    ] {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        assert_eq!(reduce(of("v1", "Pod"), &mut pod), Ok(fits), "{pod}");
    }
    let mut other = json!({"metadata": {"name": "o"}});
    assert_eq!(reduce(Place::Object, &mut other), Ok(false), "of others nothing is known");
}

#[test]
fn what_has_the_wrong_type_is_left_for_the_decoder() {
    for given in [
        json!({"metadata": {"labels": []}, "spec": {"paused": 0, "replicas": "", "template": 7}}),
        json!({"metadata": [], "spec": {"selector": "", "template": {"spec": {"containers": {}}}}}),
        json!({"metadata": {"creationTimestamp": 7}, "spec": {"minReadySeconds": 0.5, "strategy": []}}),
        json!("text"),
    ] {
        assert_eq!(reduced("apps/v1", "Deployment", given.clone()), Ok(given));
    }
}

/// Schemas of custom resources hold themselves, and may be a boolean instead.
#[test]
fn alternatives_are_told_apart_by_their_form() {
    let schema =
        |inner: Value| json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": inner}}]}});
    let given = schema(json!({"required": [], "additionalProperties": {"title": "", "type": "string"},
        "items": [{"title": ""}], "default": {"a": null}, "properties": {"p": {"additionalProperties": false}}}));
    let kept =
        schema(json!({"additionalProperties": {"type": "string"}, "items": [{}], "default": {"a": null},
        "properties": {"p": {"additionalProperties": false}}}));
    assert_eq!(reduced("apiextensions.k8s.io/v1", "CustomResourceDefinition", given), Ok(kept));
}

fn text(of: Kind) -> BoxedStrategy<Value> {
    let texts: &'static [&'static str] = match of {
        Kind::Quantity => &["1", "0.5", "1024Mi", "1000m", "0", "2e3"],
        Kind::Time => &["2022-06-23T18:10:50Z", "2022-06-23T18:10:50.5+01:00"],
        Kind::MicroTime => &["2022-06-23T18:10:50.278000Z", "2022-06-23T18:10:50.278001+01:00"],
        Kind::Bytes => &["", "eA==", "eHk=\n"],
        _ => &["", "a", "b"],
    };
    prop::sample::select(texts).prop_map(Value::from).boxed()
}

/// Values of a field as a client may send them: also empty, null, or with fields of which nothing is known.
fn field(held: &'static Field, depth: usize) -> BoxedStrategy<Value> {
    let one = one(held.of, depth);
    let some = match held.shape {
        Shape::Plain | Shape::Pointer => one,
        Shape::List => prop::collection::vec(one, 0..3).prop_map(Value::from).boxed(),
        Shape::Map => entries(one),
        Shape::MapOfLists => entries(prop::collection::vec(one, 0..3).prop_map(Value::from).boxed()),
    };
    prop_oneof![8 => some, 1 => Just(Value::Null)].boxed()
}

fn entries(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let entries = prop::collection::btree_map("[a-c]", value, 0..3);
    entries.prop_map(|entries| Value::Object(entries.into_iter().collect())).boxed()
}

fn one(of: Kind, depth: usize) -> BoxedStrategy<Value> {
    match of {
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Int32 | Kind::Int64 | Kind::Float64 => (0..3).prop_map(Value::from).boxed(),
        Kind::IntOrString => prop_oneof![Just(json!(0)), Just(json!(80)), Just(json!("50%"))].boxed(),
        Kind::Raw => prop_oneof![Just(json!({})), Just(json!({"a": null, "b": [""]}))].boxed(),
        Kind::Message(of) => object(of.get(), depth),
        Kind::Either(..) => Just(json!({"type": "string"})).boxed(),
        of => text(of),
    }
}

fn object(of: &'static Type, depth: usize) -> BoxedStrategy<Value> {
    let Some(depth) = depth.checked_sub(1) else { return Just(json!({})).boxed() };
    let names =
        prop::sample::subsequence((0..of.fields().len()).collect::<Vec<_>>(), 0..=of.fields().len().min(4));
    let known = names.prop_flat_map(move |names| {
        let fields = names.into_iter().map(|at| &of.fields()[at]);
        fields.map(|held| (Just(held.name.to_owned()), field(held, depth))).collect::<Vec<_>>()
    });
    (known, prop::option::weighted(0.2, prop::sample::select(vec![json!([]), json!(""), json!({"x": null})])))
        .prop_map(|(known, unknown)| {
            let unknown = unknown.map(|value| ("unknown".to_owned(), value));
            Value::Object(known.into_iter().chain(unknown).collect())
        })
        .boxed()
}

const KINDS: &[(&str, &str)] = &[
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Secret"),
    ("v1", "Node"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("coordination.k8s.io/v1", "Lease"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
];

fn unknowns(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "unknown" {
                    found.insert(format!("{path}={value}"));
                }
                unknowns(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| unknowns(item, &format!("{path}.{at}"), found));
        }
        _ => {}
    }
}

/// What the typed clients make of a document, as they write it again.
fn typed<K: DeserializeOwned + Serialize>(value: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<K>(value.clone()).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_form_of_the_form_is_the_form(
        (kind, given) in prop::sample::select(KINDS).prop_flat_map(|(version, kind)| {
            let held = Held::find(version, kind).unwrap();
            (Just((version, kind)), object(held, 7))
        })
    ) {
        let place = of(kind.0, kind.1);
        let once = canonical(place, &given);
        prop_assert_eq!(&canonical(place, &once), &once);
        let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
        unknowns(&given, "", &mut before);
        unknowns(&once, "", &mut after);
        prop_assert_eq!(before, after);
    }

    /// A typed client that writes an object back changes nothing, and sees in it what was sent.
    #[test]
    fn what_a_type_holds_is_kept(given in object(Held::find("v1", "Pod").unwrap(), 7)) {
        use k8s_openapi::api::core::v1::Pod;
        let place = of("v1", "Pod");
        let mut once = given;
        reduce(place, &mut once).unwrap();
        let full = canonical(place, &once);
        let written = typed::<Pod>(&full);
        prop_assert_eq!(canonical(place, &written), canonical(place, &typed::<Pod>(&once)));
        prop_assert_eq!(typed::<Pod>(&written), written);
    }

    #[test]
    fn no_value_makes_it_panic(value in "\\PC{0,40}", kind in prop::sample::select(KINDS)) {
        let mut value = json!({"metadata": {"creationTimestamp": value}, "data": {"a": value}, "spec": {
            "renewTime": value, "overhead": {"cpu": value}}});
        if reduce(of(kind.0, kind.1), &mut value).is_ok() {
            complete(of(kind.0, kind.1), &mut value);
        }
    }
}

#[test]
fn whole_numbers_have_no_point_and_others_keep_theirs() {
    let mut value: Value = serde_json::from_str(
        r#"{"a": 1.0, "b": [2.0, -3.0, 1e3, 0.5], "c": {"d": 7, "e": "1.0"}, "f": 1e21}"#,
    )
    .unwrap();
    write_whole_numbers(&mut value);
    assert_eq!(value.to_string(), r#"{"a":1,"b":[2,-3,1000,0.5],"c":{"d":7,"e":"1.0"},"f":1e+21}"#);
}
