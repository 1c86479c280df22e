use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::api::ownership::managers::Held;
use crate::api::ownership::{Author, FieldSet, Ignored, Kind, NodeId, Schema, Versions, apply, update};
use crate::api::schema::Place;

/// An object that a manager applied and another changed.
static POD: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y", "z/w"]},
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "E", "value": "1"}], "args": ["x", "y"]},
                {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}]},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
    })
});

struct Alone;

impl Versions for Alone {
    fn convert(&self, _object: &Value, _api_version: &str) -> Option<Value> {
        None
    }

    fn schema(&self, _api_version: &str) -> (&Schema, NodeId) {
        (Schema::deduced(), NodeId::DEDUCED)
    }
}

fn by(manager: &str) -> Author<'_> {
    Author { manager, subresource: "", now: "2026-01-01T00:00:00Z" }
}

/// What is applied is there, and to apply it again changes nothing, whatever it is; with a schema and without one.
pub(super) fn check(input: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Value>(input) else { return };
    fields(&config);
    let builtin = Schema::builtin(Place::of_kind("v1", "Pod").expect("a kind of the table"));
    for (schema, node) in [builtin, (Schema::deduced(), NodeId::DEDUCED)] {
        let ignored = Ignored::These(FieldSet::of(["status"]));
        let empty = &json!({});
        let kind = Kind { api_version: "v1", schema, node, empty, ignored, versions: &Alone };
        let owned = update(&kind, None, &POD, (Held::Value(&Value::Null), &config), by("u"));
        let owners = owned.into_value().expect("who creates owns").unwrap_or_default();
        settles(&kind, Some(&POD), &owners, &config);
        settles(&kind, None, &Value::Null, &config);
    }
}

fn settles(kind: &Kind<'_>, live: Option<&Value>, owners: &Value, config: &Value) {
    let Ok(applied) = apply(kind, (live, owners), config, by("a"), true) else { return };
    let owners = applied.owners.into_value().map_or_else(|| owners.clone(), Option::unwrap_or_default);
    let Some(object) = applied.object.as_ref().or(live) else { return };
    let again = apply(kind, (Some(object), &owners), config, by("a"), false);
    // Who owns nothing is not noted, and then nobody is known to own anything.
    let again = again.expect("what was applied by force has no conflicts");
    assert_eq!(again.object, None, "applied twice");
}

/// Fields that can be read are written as they are read.
fn fields(value: &Value) {
    let (read, text) = (FieldSet::read(value), value.to_string());
    assert_eq!(serde_json::from_str::<FieldSet<'_>>(&text).ok(), read.clone().ok(), "as a text");
    let Ok(set) = read else { return };
    let written = set.write();
    assert_eq!(FieldSet::read(&written).as_ref(), Ok(&set));
    assert_eq!(serde_json::from_str::<Value>(&set.write_text()).expect("JSON"), written);
}
