mod properties;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde_json::{Value, json};

use super::*;
use crate::api::schema::Place;

fn patch(resource: &Resource, kind: PatchKind, current: &Value, patch: &Value) -> Result<Value, Status> {
    apply(resource, kind, current.clone(), patch.to_string().as_bytes())
}

fn pods() -> Resource {
    Resource::plain::<Pod>()
}

#[test]
fn strategic_patches_merge_lists_by_their_keys() {
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    let held = json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1", "env": [{"name": "X", "value": "1"}]}]);
    for (name, change, want) in [
        (
            "an element is merged",
            json!([{"name": "b", "image": "b:2"}]),
            json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2", "env": [{"name": "X", "value": "1"}]}]),
        ),
        (
            "a nested list is merged too",
            json!([{"name": "b", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": null}]}]),
            json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1", "env": [{"name": "Y", "value": "2"}, {"name": "X"}]}]),
        ),
        (
            "an element goes",
            json!([{"name": "a", "$patch": "delete"}]),
            json!([{"name": "b", "image": "b:1", "env": [{"name": "X", "value": "1"}]}]),
        ),
        (
            "the whole list is replaced",
            json!([{"$patch": "replace"}, {"name": "c", "image": "c:1", "tty": null}]),
            json!([{"name": "c", "image": "c:1"}]),
        ),
        (
            "an element is added before those the server has",
            json!([{"name": "c", "image": "c:1"}]),
            json!([{"name": "c", "image": "c:1"}, {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1", "env": [{"name": "X", "value": "1"}]}]),
        ),
    ] {
        let patched = patch(&pods(), PatchKind::Strategic, &pod(held.clone()), &pod(change)).unwrap();
        assert_eq!(patched, pod(want), "{name}");
    }
}

/// A request may carry this many elements; comparing each with each would take minutes.
#[test]
fn long_lists_are_merged_in_no_time() {
    let env = |value: &str, count: usize| -> Vec<Value> {
        (0..count).rev().map(|index| json!({"name": format!("e{index}"), "value": value})).collect()
    };
    let pod = |env: Vec<Value>| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
    let patched =
        patch(&pods(), PatchKind::Strategic, &pod(env("1", 60_000)), &pod(env("2", 50_000))).unwrap();
    let merged = patched["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(merged.len(), 60_000);
    assert_eq!(merged.iter().filter(|item| item["value"] == "2").count(), 50_000);
}

#[test]
fn directives_do_what_they_say() {
    for (name, current, change, want) in [
        (
            "null deletes, and is not kept where there was nothing",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": null}, "annotations": {"d": null, "e": "5"}}}),
            json!({"metadata": {"labels": {"b": "2"}, "annotations": {"e": "5"}}}),
        ),
        (
            "a map is replaced",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}}}),
        ),
        (
            "what replaces a map keeps its nulls",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": null}}}),
            json!({"metadata": {"labels": {"b": null}}}),
        ),
        (
            "the kind stays what it is",
            json!({"apiVersion": "v1", "kind": "Pod"}),
            json!({"apiVersion": "v2", "kind": "Service", "metadata": {}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
        ),
        (
            "null changes nothing",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!(null),
            json!({"metadata": {"labels": {"a": "1"}}}),
        ),
        (
            "a map is emptied",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            "primitives are merged and deleted",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
        ),
        (
            "only the named keys are kept",
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        ),
        (
            "an order is set",
            json!({"spec": {"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}}),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
                "containers": [{"name": "c"}],
            }}),
            json!({"spec": {"containers": [{"name": "c"}, {"name": "s"}, {"name": "b"}, {"name": "a"}]}}),
        ),
        (
            "a list that has no key is replaced",
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            "what replaces it is taken as it is",
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"$patch": "delete", "key": "a"}]}}),
            json!({"spec": {"tolerations": [{"$patch": "delete", "key": "a"}]}}),
        ),
        (
            "where there is nothing to merge with, one directive takes its value away, and the others are fields",
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"$retainKeys": ["a"], "a": "1"}, "annotations": {"$patch": "replace", "a": "1"}},
            "spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "$setElementOrder/env": [], "env": [{"name": "X"}, {"name": "Y", "$patch": "delete"}]}],
            }}),
            json!({"metadata": {"labels": {"$retainKeys": ["a"], "a": "1"}},
            "spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "$setElementOrder/env": [], "env": [{"name": "X"}]}],
            }}),
        ),
        (
            "what is to be taken out of no list, or is no list, takes nothing out",
            json!({"metadata": {"name": "a", "finalizers": ["a"], "labels": {"a": "1"}, "annotations": {"a": "1"}}}),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": "a",
                "$deleteFromPrimitiveList/ownerReferences": ["a"],
                "$deleteFromPrimitiveList/labels": {"b": "2"},
                "$deleteFromPrimitiveList/annotations": null,
                "$deleteFromPrimitiveList/name": "b",
            }}),
            json!({"metadata": {"name": "b", "finalizers": ["a"], "labels": {"a": "1", "b": "2"}}}),
        ),
    ] {
        assert_eq!(patch(&pods(), PatchKind::Strategic, &current, &change).unwrap(), want, "{name}");
    }
}

#[test]
fn unions_and_conditions_merge_as_kubernetes_has_them() {
    let deployments = Resource::plain::<Deployment>();
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let change = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = patch(&deployments, PatchKind::Strategic, &current, &change).unwrap();
    assert_eq!(patched, json!({"spec": {"strategy": {"type": "Recreate"}}}));

    let current = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Disk", "status": "True"}]}});
    let change = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let patched = patch(&Resource::plain::<Node>(), PatchKind::Strategic, &current, &change).unwrap();
    assert_eq!(patched["status"]["conditions"][0], json!({"type": "Ready", "status": "True"}));
    assert_eq!(patched["status"]["conditions"][1], json!({"type": "Disk", "status": "True"}));

    let current = json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}});
    let change = json!({"spec": {"ports": [{"port": 81, "nodePort": 30000}]}});
    let patched = patch(&Resource::plain::<Service>(), PatchKind::Strategic, &current, &change).unwrap();
    assert_eq!(patched, json!({"spec": {"ports": [{"port": 80}, {"port": 81, "nodePort": 30000}]}}));
}

#[test]
fn what_cannot_be_applied_is_refused_with_kubernetes_codes() {
    let current = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}});
    let many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/metadata/name", "value": "a"})).collect();
    let bomb: Vec<Value> = (0..40)
        .map(|step| json!({"op": "copy", "from": "/spec", "path": format!("/spec/x{step}")}))
        .collect();
    let tower: Vec<Value> =
        (0..200).map(|_| json!({"op": "copy", "from": "/spec", "path": "/spec/x"})).collect();
    let strategic = |spec: Value, code| (PatchKind::Strategic, json!({"spec": spec}).to_string(), code);
    for (kind, body, code) in [
        (PatchKind::Json, "{".to_owned(), 400),
        (PatchKind::Json, r#"{"op":"add"}"#.to_owned(), 400),
        (PatchKind::Json, r#"[{"op":"fly","path":"/a"}]"#.to_owned(), 422),
        (PatchKind::Json, r#"[{"op":"test","path":"/metadata/name","value":"b"}]"#.to_owned(), 422),
        (PatchKind::Json, r#"[{"op":"remove","path":"/metadata/labels"}]"#.to_owned(), 422),
        (PatchKind::Json, r#"[{"op":"add","path":"/metadata/labels/x","value":"1"}]"#.to_owned(), 422),
        (PatchKind::Json, json!(many).to_string(), 413),
        (PatchKind::Json, json!(bomb).to_string(), 422),
        (PatchKind::Json, json!(tower).to_string(), 422),
        (PatchKind::Merge, "[]".to_owned(), 400),
        (PatchKind::Merge, "{".to_owned(), 400),
        (PatchKind::Strategic, "7".to_owned(), 400),
        strategic(json!({"containers": [{"image": "b"}]}), 500),
        strategic(json!({"containers": [{"name": "a"}, 7]}), 500),
        strategic(json!({"containers": [{"name": "a", "$patch": "explode"}]}), 500),
        strategic(json!({"containers": [{"name": "a", "$patch": "merge"}]}), 500),
        strategic(json!({"$patch": "merge"}), 500),
        strategic(json!({"$retainKeys": ["a"], "b": 1}), 400),
        strategic(json!({"$retainKeys": 7}), 400),
        strategic(
            json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "c"}]}),
            500,
        ),
        strategic(json!({"$setElementOrder/nosuch": []}), 500),
        strategic(json!({"$deleteFromPrimitiveList/containers": ["a"]}), 500),
        strategic(json!({"$deleteFromPrimitiveList": ["a"]}), 400),
        strategic(json!({"$setElementOrder": []}), 400),
        (PatchKind::Apply, "{}".to_owned(), 415),
    ] {
        let outcome = apply(&pods(), kind, current.clone(), body.as_bytes()).map_err(|error| error.code());
        assert_eq!(outcome.err(), Some(code), "{kind:?} {}", &body[..body.len().min(100)]);
    }
}

/// Kubernetes says that an operation failed, and neither which nor why.
#[test]
fn a_failed_operation_is_answered_with_kubernetes_sentence_alone() {
    let change = json!([{"op": "add", "path": "/a", "value": 1}, {"op": "remove", "path": "/b"}]);
    let error = patch(&pods(), PatchKind::Json, &json!({}), &change).unwrap_err();
    assert_eq!(error.message(), "the server rejected our request due to an error in our request");
    assert_eq!(error.details().and_then(|details| details.causes.as_ref()), None);
}

#[test]
fn json_patches_are_as_liberal_as_kubernetes_own() {
    let current = json!({"a": [1, 2, 3], "b": {"c": null}, "x/y": {"~": 1}});
    for (operation, want) in [
        (json!({"op": "replace", "path": "/a/-1", "value": 9}), Some(json!([1, 2, 9]))),
        (json!({"op": "remove", "path": "/a/-3"}), Some(json!([2, 3]))),
        (json!({"op": "remove", "path": "/a/-4"}), None),
        (json!({"op": "add", "path": "/a/-1", "value": 9}), Some(json!([1, 2, 3, 9]))),
        (json!({"op": "add", "path": "/a/00", "value": 9}), Some(json!([9, 1, 2, 3]))),
        (json!({"op": "add", "path": "/a/+1", "value": 9}), Some(json!([1, 9, 2, 3]))),
        (json!({"op": "add", "path": "/a/3", "value": 9}), Some(json!([1, 2, 3, 9]))),
        (json!({"op": "add", "path": "/a/4", "value": 9}), None),
        (json!({"op": "add", "path": "/a/1e0", "value": 9}), None),
        (json!({"op": "replace", "path": "/a/-", "value": 9}), None),
        (json!({"op": "replace", "path": "/b/new", "value": 9}), Some(json!([1, 2, 3]))),
        (json!({"op": "remove", "path": "/b/new"}), None),
        (json!({"op": "test", "path": "/b/c", "value": null}), Some(json!([1, 2, 3]))),
        (json!({"op": "test", "path": "/b/missing", "value": null}), Some(json!([1, 2, 3]))),
        (json!({"op": "test", "path": "/missing/d", "value": null}), None),
        (json!({"op": "test", "path": "/x~1y/~0", "value": 1}), Some(json!([1, 2, 3]))),
        (json!({"op": "move", "from": "/a/0", "path": "/a/-"}), Some(json!([2, 3, 1]))),
        (json!({"op": "copy", "from": "/b/c", "path": "/a/0"}), Some(json!([null, 1, 2, 3]))),
        (json!({"op": "add", "path": "", "value": {"a": []}}), None),
        (json!({"op": "replace", "path": "", "value": {"a": []}}), Some(json!([]))),
        (json!({"op": "replace", "path": "", "value": 7}), None),
        (json!({"op": "add", "path": "/b/c/d", "value": 7}), None),
        (json!({"op": "ADD", "path": "/a/0", "value": 7}), None),
        (json!({"path": "/a/0", "value": 7}), None),
    ] {
        let patched = patch(&pods(), PatchKind::Json, &current, &json!([operation]));
        assert_eq!(patched.ok().map(|patched| patched["a"].clone()), want, "{operation}");
    }
    let unchanged = apply(&pods(), PatchKind::Json, current.clone(), b"null").unwrap();
    assert_eq!(unchanged, current);
    let mistyped = patch(&pods(), PatchKind::Json, &current, &json!([{"op": "add", "path": 7}])).unwrap_err();
    assert_eq!(
        mistyped.message(),
        "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string"
    );
}

#[test]
fn merge_patches_drop_the_nulls_of_what_they_add() {
    let current = json!({"a": {"b": 1}, "list": [1]});
    for (change, want) in [
        (json!({"a": {"b": null, "c": {"d": null}}}), json!({"a": {"c": {}}, "list": [1]})),
        (json!({"list": [{"x": null, "y": 1}, null]}), json!({"a": {"b": 1}, "list": [{"y": 1}, null]})),
        (json!({"a": [{"x": null}]}), json!({"a": [{"x": null}], "list": [1]})),
        (json!({"a": 7}), json!({"a": 7, "list": [1]})),
    ] {
        assert_eq!(patch(&pods(), PatchKind::Merge, &current, &change).unwrap(), want, "{change}");
    }
    let null = patch(&pods(), PatchKind::Merge, &current, &Value::Null).unwrap_err();
    assert_eq!(null.message(), "Invalid JSON Patch");
}

#[test]
fn the_outcome_of_a_strategic_patch_is_put_into_structs_as_go_does() {
    let place = Place::of(&pods()).unwrap();
    let mut pod = json!({"spec": {
        "terminationGracePeriodSeconds": 30.0,
        "containers": [{"name": "c", "ports": [{"containerPort": 80.0}], "resources": {"limits": {"cpu": 1.5}}}],
    }});
    unstructured::convert(place, &mut pod).unwrap();
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"].as_i64(), Some(30));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_i64(), Some(80));
    for (spec, says) in [
        (json!({"nodeName": 5}), "cannot convert int64 to string"),
        (json!({"nodeName": 5.5}), "unrecognized type: string"),
        (json!({"hostNetwork": "yes"}), "unrecognized type: bool"),
        (json!({"priority": 1.5}), "cannot convert float64 to int32"),
        (json!({"priority": "1"}), "unrecognized type: int32"),
        (json!({"containers": {}}), "cannot restore slice from map"),
        (json!({"containers": [7]}), "cannot restore struct from: int64"),
        (json!({"nodeSelector": []}), "cannot restore map from slice"),
        (json!({"nodeSelector": {"a": true}}), "unrecognized type: string"),
        (json!("x"), "cannot restore struct from: string"),
    ] {
        assert_eq!(unstructured::convert(place, &mut json!({"spec": spec})), Err(says.to_owned()), "{spec}");
    }
}

#[test]
fn strategic_patches_are_refused_in_kubernetes_words() {
    let current = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}});
    for (spec, says) in [
        (
            json!({"containers": [{"image": "b"}]}),
            "map: map[image:b] does not contain declared merge key: name",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "s"}], "containers": [{"name": "c", "image": "z"}]}),
            "The order in patch list:\n[map[image:z name:c]]\n doesn't match $setElementOrder list:\n[map[name:s]]\n",
        ),
        (json!({"$patch": "bogus"}), "unknown patch type: bogus in map: map[$patch:bogus]"),
        (
            json!({"containers": [{"name": "c", "$patch": "bogus"}]}),
            "unknown patch type: bogus in map: map[$patch:bogus name:c]",
        ),
        (json!({"containers": ["c"]}), "list element types are not identical: [[map[name:a]] [c]]"),
        (
            json!({"$deleteFromPrimitiveList/containers": ["c"]}),
            "list element types are not identical: [[map[name:a]] [c]]",
        ),
        (
            json!({"$setElementOrder/nosuch": ["a"]}),
            "unable to find api field in struct PodSpec for the json field \"nosuch\"",
        ),
        (json!({"$retainKeys": "x"}), "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": "a"}), "expected a []interface {}, but received a string"),
        (
            json!({"$setElementOrder/containers": null}),
            "expected a []interface {}, but received a %!s(<nil>)",
        ),
        (
            json!({"$setElementOrder/containers": [], "containers": {}}),
            "expected a []interface {}, but received a map[string]interface {}",
        ),
    ] {
        let refused = patch(&pods(), PatchKind::Strategic, &current, &json!({"spec": spec})).unwrap_err();
        assert_eq!(refused.message(), says);
    }
}

#[test]
fn custom_kinds_take_no_strategic_patches() {
    let mut custom = pods();
    custom.id = crate::meta::GroupResource::new("example.org", "websites");
    let error = patch(&custom, PatchKind::Strategic, &json!({}), &json!({})).unwrap_err();
    assert_eq!(error.code(), 415);
    assert_eq!(PatchKind::accepted(&custom), [PatchKind::Json, PatchKind::Merge, PatchKind::Apply]);
    assert!(patch(&custom, PatchKind::Merge, &json!({"a": 1}), &json!({"a": null})).unwrap() == json!({}));
}

#[test]
fn content_types_lead_back_to_the_form() {
    for kind in PatchKind::ALL {
        let header = format!("{}; charset=utf-8", kind.content_type());
        assert_eq!(PatchKind::from_content_type(&header), Some(kind));
    }
    assert_eq!(PatchKind::from_content_type("application/json"), None);
}
