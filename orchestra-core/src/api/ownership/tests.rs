mod first;
mod properties;
mod set;
mod structural;

use serde_json::{Value, json};

use properties::schema;

use super::types::{Field, List, Map, Node, Relation};
use super::*;
use crate::api::schema::{Place, canonical};

const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-02T00:00:00Z";

struct Alone;

impl Versions for Alone {
    fn convert(&self, _object: &Value, _api_version: &str) -> Option<Value> {
        None
    }

    fn schema(&self, _api_version: &str) -> (&Schema, NodeId) {
        (Schema::deduced(), NodeId::DEDUCED)
    }
}

fn kind(schema: &Schema, node: NodeId) -> Kind<'_> {
    let ignored = Ignored::These(FieldSet::of(["status"]));
    Kind {
        api_version: "v1",
        schema,
        node,
        empty: canonical::nothing(Place::Plain),
        ignored,
        versions: &Alone,
    }
}

fn pods() -> Kind<'static> {
    let (schema, node) = Schema::builtin(Place::of_kind("v1", "Pod").unwrap());
    kind(schema, node)
}

fn by(manager: &str) -> Author<'_> {
    Author { manager, subresource: "", now: NOW }
}

/// An object with who owns what of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    object: Option<Value>,
    owners: Value,
}

impl Held {
    fn applied(
        &self,
        kind: &Kind<'_>,
        author: Author<'_>,
        config: &Value,
        force: bool,
    ) -> Result<Self, ApplyError> {
        let applied = apply(kind, (self.object.as_ref(), &self.owners), config, author, force)?;
        let object = applied.object.or_else(|| self.object.clone()).or_else(|| Some(json!({})));
        Ok(Self { object, owners: owners(applied.owners, &self.owners) })
    }

    fn updated(&self, kind: &Kind<'_>, author: Author<'_>, new: Value) -> Self {
        let noted = update(
            kind,
            self.object.as_ref(),
            &new,
            (managers::Held::Value(&self.owners), &Value::Null),
            author,
        );
        if !self.owners.is_null() {
            // As they are stored, they are not all read.
            let text = self.owners.to_string();
            let held = managers::Held::Text(&text);
            let of_text = update(kind, self.object.as_ref(), &new, (held, &Value::Null), author);
            assert_eq!(of_text.clone().into_value(), noted.clone().into_value(), "of {text}");
            assert_eq!(says_anything_new(&of_text), says_anything_new(&noted), "of {text}");
        }
        Self { object: Some(new), owners: owners(noted, &self.owners) }
    }

    fn fields(&self, manager: &str) -> Value {
        let entries = self.owners.as_array().into_iter().flatten();
        entries.filter(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"].clone()).collect()
    }
}

fn says_anything_new(owners: &Owners) -> bool {
    matches!(owners, Owners::Are(_) | Owners::Text { is_new: true, .. })
}

fn owners(noted: Owners, held: &Value) -> Value {
    noted.into_value().map_or_else(|| held.clone(), Option::unwrap_or_default)
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn who_creates_owns_what_was_given_and_what_identifies_it_is_nobodys() {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "1"}, "finalizers": ["a/b"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}], "tolerations": []},
        "status": {"phase": "Running"},
    });
    let held = Held::default().updated(&pods(), by("me"), object);
    let expected = json!([{
        "f:metadata": {
            "f:labels": {".": {}, "f:a": {}},
            "f:finalizers": {".": {}, "v:\"a/b\"": {}},
        },
        "f:spec": {
            ".": {},
            "f:containers": {".": {}, "k:{\"name\":\"c\"}": {
                ".": {}, "f:image": {}, "f:name": {},
                "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }},
            "f:tolerations": {},
        },
    }]);
    assert_eq!(held.fields("me"), expected, "{}", held.owners);
}

#[test]
fn a_write_takes_what_it_changes_and_a_write_without_effect_takes_nothing() {
    let kind = pods();
    let one = Held::default()
        .applied(&kind, by("a"), &pod(json!({"nodeName": "x", "hostname": "h"})), false)
        .unwrap();
    let same = one.updated(&kind, Author { now: LATER, ..by("b") }, one.object.clone().unwrap());
    assert_eq!(same, one);
    let mut new = one.object.clone().unwrap();
    new["spec"]["hostname"] = "other".into();
    let two = one.updated(&kind, by("b"), new);
    assert_eq!(two.fields("a"), json!([{"f:spec": {"f:nodeName": {}}}]));
    assert_eq!(two.fields("b"), json!([{"f:spec": {"f:hostname": {}}}]));
    let mut gone = two.object.clone().unwrap();
    gone["spec"].as_object_mut().unwrap().remove("nodeName");
    let three = two.updated(&kind, by("c"), gone);
    assert_eq!((three.fields("a"), three.fields("c")), (json!([]), json!([])));
}

#[test]
fn what_is_given_up_goes_unless_another_owns_it() {
    let kind = pods();
    let both = json!({"nodeName": "x", "hostname": "h", "subdomain": "s"});
    let held = Held::default()
        .applied(&kind, by("a"), &pod(both), false)
        .and_then(|held| held.applied(&kind, by("b"), &pod(json!({"hostname": "h"})), false))
        .and_then(|held| held.applied(&kind, by("a"), &pod(json!({"nodeName": "x"})), false))
        .unwrap();
    assert_eq!(held.object.as_ref().unwrap()["spec"], json!({"nodeName": "x", "hostname": "h"}));
    assert_eq!(held.fields("a"), json!([{"f:spec": {"f:nodeName": {}}}]));
}

#[test]
fn a_list_element_goes_with_its_defaults_when_its_only_applier_gives_it_up() {
    let kind = pods();
    let config = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        pod(json!({"containers": containers}))
    };
    let mut held = Held::default().applied(&kind, by("a"), &config(&["x", "y"]), false).unwrap();
    held.object.as_mut().unwrap()["spec"]["containers"][1]["imagePullPolicy"] = "Always".into();
    let held = held.applied(&kind, by("a"), &config(&["x"]), false).unwrap();
    assert_eq!(held.object.unwrap()["spec"]["containers"], json!([{"name": "x", "image": "i"}]));
}

#[test]
fn conflicts_name_owner_and_field_and_yield_to_force() {
    let kind = pods();
    let held = Held::default()
        .applied(
            &kind,
            by("a"),
            &pod(json!({"containers": [{"name": "c", "image": "1"}], "hostname": "h"})),
            false,
        )
        .unwrap();
    let config = pod(json!({"containers": [{"name": "c", "image": "2"}], "hostname": "g"}));
    let refused = held.applied(&kind, by("b"), &config, false).unwrap_err().to_string();
    assert_eq!(
        refused,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.hostname\n- .spec.containers[name=\"c\"].image"
    );
    let forced = held.applied(&kind, by("b"), &config, true).unwrap();
    assert_eq!(
        forced.fields("a"),
        json!([{"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}}])
    );
    let unforced = forced.applied(&kind, by("a"), &config, false).unwrap();
    assert_eq!(unforced.fields("a"), unforced.fields("b"), "who sets the same owns it too");
}

#[test]
fn what_does_not_fit_the_schema_is_refused_in_kubernetes_words() {
    let kind = pods();
    let refused =
        |spec: Value| Held::default().applied(&kind, by("a"), &pod(spec), false).unwrap_err().to_string();
    for (spec, why) in [
        (json!({"nodeName": 1}), ".spec.nodeName: expected string, got &value.valueUnstructured{Value:1}"),
        (json!({"priority": "1"}), ".spec.priority: expected numeric (int or float), got string"),
        (json!({"hostNetwork": "x"}), ".spec.hostNetwork: expected boolean, got &{x}"),
        (json!({"containers": {}}), ".spec.containers: expected list, got &{map[]}"),
        (json!({"nodeSelector": []}), ".spec.nodeSelector: expected map, got &{[]}"),
        (json!({"no": 1}), ".spec.no: field not declared in schema"),
        (
            json!({"containers": [{"name": "a"}, {"name": "a"}]}),
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            json!({"containers": [null]}),
            ".spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (
            json!({"hostNetwork": 1, "nodeName": 2}),
            "errors:\n  .spec.hostNetwork: expected boolean, got &{1}\n  .spec.nodeName: expected string, got \
             &value.valueUnstructured{Value:2}",
        ),
    ] {
        assert_eq!(refused(spec), format!("failed to create typed patch object (/p; /v1, Kind=Pod): {why}"));
    }
}

#[test]
fn who_owns_a_version_that_is_not_served_owns_nothing() {
    let kind = pods();
    let fields = json!({"f:spec": {"f:nodeName": {}}});
    let entry = json!({"manager": "old", "operation": "Update", "apiVersion": "v0", "fieldsType": "FieldsV1", "fieldsV1": fields});
    let held = Held { object: Some(pod(json!({"nodeName": "x"}))), owners: json!([entry]) };
    let held = held.updated(&kind, by("b"), pod(json!({"nodeName": "x", "hostname": "h"})));
    assert_eq!((held.fields("old"), held.fields("b")), (json!([]), json!([{"f:spec": {"f:hostname": {}}}])));
}

#[test]
fn what_nobody_was_noted_to_own_belongs_to_before_the_first_apply() {
    let kind = pods();
    let object = Some(pod(json!({"nodeName": "x", "hostname": "h"})));
    let held = Held { object, owners: Value::Null };
    let untracked = held.updated(&kind, by("b"), pod(json!({"nodeName": "y", "hostname": "h"})));
    assert_eq!(untracked.owners, Value::Null, "an update begins nothing");
    let refused =
        held.applied(&kind, by("a"), &pod(json!({"hostname": "g"})), false).unwrap_err().to_string();
    assert!(refused.ends_with("conflict with \"before-first-apply\" using v1: .spec.hostname"), "{refused}");
}

#[test]
fn requests_may_clear_and_replace_the_owners() {
    let kind = pods();
    let held = Held::default().applied(&kind, by("a"), &pod(json!({"nodeName": "x"})), false).unwrap();
    let object = held.object.clone().unwrap();
    let given = |given: Value| {
        owners(
            update(&kind, Some(&object), &object, (managers::Held::Value(&held.owners), &given), by("b")),
            &held.owners,
        )
    };
    assert_eq!(given(json!([])), Value::Null);
    assert_eq!(given(json!([{}])), Value::Null);
    assert_eq!(given(json!([{"manager": "damaged"}])), held.owners);
    let mut renamed = held.owners.clone();
    renamed[0]["manager"] = "c".into();
    assert_eq!(given(renamed.clone()), renamed);
}

#[test]
fn the_oldest_of_many_updaters_are_put_together() {
    let kind = pods();
    let mut held = Held::default().updated(&kind, by("first"), pod(json!({})));
    for number in 0..12 {
        let mut object = held.object.clone().unwrap();
        object["metadata"]["labels"][format!("l{number}")] = "x".into();
        let (name, now) = (format!("m{number:02}"), format!("2026-01-01T00:00:{:02}Z", number + 1));
        held = held.updated(&kind, Author { manager: &name, subresource: "", now: &now }, object);
    }
    let names: Vec<&str> =
        held.owners.as_array().unwrap().iter().filter_map(|entry| entry["manager"].as_str()).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[0], "ancient-changes");
    let ancient = held.fields("ancient-changes");
    assert!(ancient[0]["f:metadata"]["f:labels"]["f:l0"].is_object(), "{ancient}");
    assert_eq!(names[9], "m11");
}

#[test]
fn kubectl_takes_over_what_it_applied_by_itself() {
    let kind = pods();
    let applied = pod(json!({"nodeName": "x"}));
    let mut object = applied.clone();
    object["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{applied}\n")});
    let held = Held::default().updated(&kind, by("kubectl-client-side-apply"), object);
    let config = pod(json!({"nodeName": "y"}));
    assert!(held.applied(&kind, by("other"), &config, false).is_err());
    let held = held.applied(&kind, by("kubectl"), &config, false).unwrap();
    let object = held.object.unwrap();
    assert_eq!(object["spec"]["nodeName"], "y");
    let annotation = &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation.as_str().unwrap(), format!("{config}\n"));
}

#[test]
fn the_count_of_a_scale_is_owned_where_the_object_has_it() {
    let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
    let whole = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
    let held = json!([
        entry("a", "Apply", whole.clone()),
        entry("b", "Update", json!({"f:spec": {"f:paused": {}}}))
    ]);
    let path = ["spec", "replicas"];
    let in_scale = scale::to_scale(&held, &path).unwrap();
    assert_eq!(in_scale[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(
        (in_scale.as_array().unwrap().len(), &in_scale[0]["fieldsV1"]),
        (1, &json!({"f:spec": {"f:replicas": {}}}))
    );
    assert_eq!(scale::to_parent(&held, &in_scale, &path, "apps/v1").unwrap(), Some(held.clone()));
    let mut scaler = entry("s", "Update", json!({"f:spec": {"f:replicas": {}}}));
    scaler["subresource"] = "scale".into();
    let taken = scale::to_parent(&held, &json!([scaler]), &path, "apps/v1").unwrap().unwrap();
    assert_eq!(taken[0]["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(taken[2], scaler);
}

#[test]
fn keys_stand_in_kubernetes_order_in_the_text() {
    let fields = json!({"f:p": {
        ".": {}, "k:{\"port\":8080}": {}, "k:{\"port\":80}": {".": {}, "f:a": {}}, "k:{\"port\":9}": {}, "f:z": {}, "x:?": {},
    }});
    let set = FieldSet::read(&fields).unwrap();
    assert_eq!(
        set.write_text(),
        r#"{"f:p":{".":{},"f:z":{},"k:{\"port\":9}":{},"k:{\"port\":80}":{".":{},"f:a":{}},"k:{\"port\":8080}":{}}}"#
    );
    assert_eq!(set.to_string(), ".p\n.p.z\n.p[port=9]\n.p[port=80]\n.p[port=8080]\n.p[port=80].a");
}

#[test]
fn damaged_fields_are_refused() {
    for fields in [
        json!({"f": {}}),
        json!({"fx:a": {}}),
        json!({"k:{": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 1}),
        json!([]),
    ] {
        assert!(FieldSet::read(&fields).is_err(), "{fields}");
    }
}

#[test]
fn merged_lists_keep_their_order_where_it_is_not_told() {
    let (schema, node) = schema();
    let list =
        |names: &str| -> Value { names.chars().map(|name| json!({"name": name.to_string()})).collect() };
    let names = |value: &Value| -> String {
        value["spec"]["items"].as_array().unwrap().iter().filter_map(|item| item["name"].as_str()).collect()
    };
    for (live, config, expected) in [
        ("abc", "b", "abc"),
        ("abc", "cb", "acb"),
        ("abc", "xb", "axbc"),
        ("abc", "bx", "abcx"),
        ("abcd", "dxa", "bcdxa"),
        ("", "ba", "ba"),
        ("aab", "a", "ab"),
    ] {
        let (live, config) =
            (json!({"spec": {"items": list(live)}}), json!({"spec": {"items": list(config)}}));
        let merged = merge(&schema, node, live.clone(), &config);
        assert_eq!(names(&merged), expected, "{live} {config}");
    }
}

#[test]
fn what_became_one_value_is_owned_as_one() {
    let (schema, node) = schema();
    let fields = json!({"f:spec": {
        "f:whole": {".": {}, "f:a": {}}, "f:array": {"v:\"x\"": {}}, "f:texts": {"f:a": {}}, "f:any": {"f:a": {"f:b": {}}},
    }});
    let set = FieldSet::read(&fields).unwrap().reconciled(&schema, node);
    let expected = json!({"f:spec": {
        "f:whole": {}, "f:array": {}, "f:texts": {"f:a": {}}, "f:any": {"f:a": {"f:b": {}}},
    }});
    assert_eq!(set.write(), expected);
}

#[test]
fn who_owns_what_is_the_same_as_a_text_and_as_a_value() {
    let from = managers::read;
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a\"b": {}, "f:ü/x": null}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\\\"d\"}": {".": {}, "f:image": {}}, "v:\"w\"": {}, "i:3": {}, "x:later": {}}},
        "f:status": {},
    });
    let entry = |manager: &str, operation: &str, subresource: &str| {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": subresource,
        })
    };
    let held = json!([entry("a\n\"b", "Update", "status"), entry("c", "Apply", ""), entry("c", "Apply", "")]);
    let text = held.to_string();
    let (of_value, of_text) = (from(&held).unwrap(), managers::Held::Text(&text).read().unwrap());
    assert_eq!(of_value, of_text);
    assert_eq!(of_text.len(), 2, "of two of one manager the last counts");
    let written = managers::write_text(of_text.clone()).unwrap();
    assert_eq!(managers::write(of_value), serde_json::from_str(&written).unwrap());
    assert_eq!(managers::Held::Text(&written).read().unwrap().len(), 2);
    assert_eq!(managers::write_text(Vec::new()), None);

    for wrong in [
        json!([{"operation": "Guess", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"operation": "Update", "fieldsType": "FieldsV1"}]),
        json!([{"operation": "Update", "apiVersion": "v1"}]),
        json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
        json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f": {}}}]),
    ] {
        let text = wrong.to_string();
        assert!(from(&wrong).is_err() && managers::Held::Text(&text).read().is_err(), "{wrong}");
    }
}
