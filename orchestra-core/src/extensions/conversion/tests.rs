use serde_json::{Value, json};

use super::review::{Review, version_of};

const WANTED: &str = "example.com/v2";

fn object(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "W", "spec": {"hostPort": "a:1"},
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "labels": {"a": "1"}, "finalizers": ["example.com/f"]}})
}

fn converted(name: &str) -> Value {
    let mut object = object(name);
    object["apiVersion"] = WANTED.into();
    object["spec"] = json!({"host": "a", "port": 1});
    object
}

fn review(version: &'static str, names: &[&str]) -> Review<'static> {
    let objects = names.iter().map(|name| object(name)).collect();
    Review { uid: "u1".to_owned(), version, wanted: WANTED, objects }
}

fn answer(objects: &[Value]) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {"uid": "u1", "result": {"status": "Success"}, "convertedObjects": objects}})
}

fn read(version: &'static str, names: &[&str], answer: &Value) -> Result<Vec<Value>, String> {
    review(version, names).read(answer.to_string().as_bytes())
}

#[test]
fn a_question_says_which_objects_are_wanted_in_which_version() {
    let expected = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u1", "desiredAPIVersion": WANTED, "objects": [object("x"), object("y")]}});
    assert_eq!(review("v1", &["x", "y"]).body(), expected);
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        version_of(&named(&["v2", "v1beta1", "v1"])),
        Some("v1beta1"),
        "the webhook says which it prefers"
    );
    assert_eq!(version_of(&named(&["v2"])), None);
}

#[test]
fn an_answer_keeps_what_a_webhook_may_not_change() {
    let mut changed = converted("x");
    changed["metadata"]["finalizers"] = json!([]);
    changed["metadata"]["resourceVersion"] = "8".into();
    changed["metadata"]["labels"] = json!({"b": "2"});
    changed["metadata"]["annotations"] = json!({"c": "3"});
    let objects = read("v1", &["x"], &answer(&[changed])).unwrap();
    let mut expected = converted("x");
    expected["metadata"]["labels"] = json!({"b": "2"});
    expected["metadata"]["annotations"] = json!({"c": "3"});
    assert_eq!(objects, [expected]);
}

#[test]
fn several_objects_come_back_in_their_order() {
    let objects = read("v1", &["x", "y"], &answer(&[converted("x"), converted("y")])).unwrap();
    assert_eq!(objects, [converted("x"), converted("y")]);
}

/// What is said of one object, for an answer that has it changed so.
fn refused(change: impl Fn(&mut Value)) -> String {
    let mut object = converted("x");
    change(&mut object);
    read("v1", &["x"], &answer(&[object])).unwrap_err()
}

#[test]
fn a_webhook_that_lies_is_refused_in_kubernetes_words() {
    const OF: &str = "conversion webhook for example.com/v1, Kind=W";
    for (change, why) in [
        (
            json!({"/apiVersion": "example.com/v3"}),
            "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
        ),
        (json!({"/kind": "X"}), "returned invalid object at index 0: invalid kind (expected W, received X)"),
        (json!({"/metadata/name": "y"}), "returned invalid object: must have the same name: x != y"),
        (
            json!({"/metadata/namespace": "m"}),
            "returned invalid object: must have the same namespace: n != m",
        ),
        (json!({"/metadata/uid": "z"}), "returned invalid object: must have the same UID: uid-x != z"),
        (
            json!({"/metadata/labels": 1}),
            "returned invalid metadata: invalid metadata.labels of type int64 in converted object",
        ),
        (
            json!({"/metadata/labels": {"a": 1}}),
            "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
    ] {
        let said = refused(|object| {
            for (pointer, value) in change.as_object().unwrap() {
                *object.pointer_mut(pointer).unwrap() = value.clone();
            }
        });
        assert_eq!(said, format!("{OF} {why}"), "{change}");
    }
    let said = refused(|object| object["metadata"]["labels"] = json!({"a": "not a label"}));
    assert!(
        said.starts_with(&format!("{OF} returned invalid metadata: metadata.labels: Invalid value:")),
        "{said}"
    );
    let said = refused(|object| drop(object.as_object_mut().unwrap().remove("metadata")));
    assert!(said.contains("must have the same name: x != "), "{said}");
}

#[test]
fn an_answer_to_another_question_is_none() {
    const FAILED: &str = "conversion webhook for example.com/v1, Kind=W failed: ";
    let good = answer(&[converted("x")]);
    for (pointer, value, why) in [
        ("/response/uid", json!("u2"), "expected response.uid=\"u1\", got \"u2\""),
        ("/response", json!(null), "no response provided"),
        ("/response/result", json!({"status": "Failure", "message": "I cannot"}), "I cannot"),
        (
            "/response/result",
            json!({"status": "Failure"}),
            "response.result.status was 'Failure', not 'Success'",
        ),
        (
            "/kind",
            json!("Other"),
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, \
             Kind=Other",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert_eq!(read("v1", &["x"], &bad).unwrap_err(), format!("{FAILED}{why}"));
    }
    let none = read("v1", &["x"], &answer(&[])).unwrap_err();
    assert_eq!(none, "conversion webhook for example.com/v1, Kind=W returned 0 objects, expected 1");
    let garbage = review("v1", &["x"]).read(b"<html>").unwrap_err();
    assert!(
        garbage.starts_with(&format!("{FAILED}couldn't get version/kind; json parse error: ")),
        "{garbage}"
    );
    let mut old = good.clone();
    old["response"]["uid"] = "other".into();
    assert!(read("v1beta1", &["x"], &old).is_ok(), "the older form of a review did not look at the uid");
}

#[test]
fn of_several_the_wrong_one_is_named() {
    let mut other = converted("y");
    other["kind"] = "X".into();
    let why = read("v1", &["x", "y"], &answer(&[converted("x"), other])).unwrap_err();
    let expected = "conversion webhook for example.com/v1, Kind=W returned invalid converted object at index 1: invalid \
                    kind (expected W, received X)";
    assert_eq!(why, expected);
    let why = read("v1", &["x", "y"], &answer(&[converted("x"), json!(null)])).unwrap_err();
    assert!(why.ends_with("invalid converted object at index 1: unexpected end of JSON input"), "{why}");
}
