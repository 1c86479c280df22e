use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::*;
use crate::api::schema::Place;
use crate::api::{PatchKind, Resource};
use crate::meta::{Object, Scope};
use crate::objects::builtin;

fn document(path: &str) -> Value {
    let openapi = OpenApi::new(builtin());
    serde_json::from_slice(&openapi.group_version(path).unwrap().bytes).unwrap()
}

fn property<'d>(document: &'d Value, definition: &str, field: &str) -> &'d Value {
    &document["components"]["schemas"][definition]["properties"][field]
}

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

#[test]
fn fields_carry_descriptions_types_and_how_they_merge() {
    let core = document("api/v1");
    let containers = property(&core, POD_SPEC, "containers");
    assert_eq!(containers["items"]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Container");
    assert!(containers["description"].as_str().unwrap().starts_with("List of containers"));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let volumes = property(&core, POD_SPEC, "volumes");
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(property(&core, POD_SPEC, "tolerations")["x-kubernetes-list-type"], "atomic");
    assert_eq!(property(&core, POD_SPEC, "nodeSelector")["x-kubernetes-map-type"], "atomic");
    let spec = property(&core, "io.k8s.api.core.v1.Pod", "spec");
    assert_eq!(spec["allOf"][0]["$ref"], format!("#/components/schemas/{POD_SPEC}"));
}

#[test]
fn a_version_with_fields_of_its_own_has_them() {
    let events = document("apis/events.k8s.io/v1");
    assert!(property(&events, "io.k8s.api.events.v1.Event", "regarding").is_object());
    let core = document("api/v1");
    assert!(property(&core, "io.k8s.api.core.v1.Event", "involvedObject").is_object());
}

#[test]
fn writes_declare_field_validation_and_the_patches_they_take() {
    let core = document("api/v1");
    let one = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    let many = &core["paths"]["/api/v1/namespaces/{namespace}/pods"];
    for operation in [&one["patch"], &one["put"], &many["post"]] {
        let names: Vec<_> =
            operation["parameters"].as_array().unwrap().iter().map(|held| &held["name"]).collect();
        assert!(names.contains(&&json!("fieldValidation")) && names.contains(&&json!("dryRun")), "{names:?}");
        assert_eq!(operation["x-kubernetes-group-version-kind"]["kind"], "Pod");
    }
    let patches = one["patch"]["requestBody"]["content"].as_object().unwrap();
    assert!(patches.contains_key(PatchKind::Strategic.content_type()));
}

#[test]
fn what_is_empty_is_left_out() {
    let openapi = OpenApi::new(builtin());
    let mut documents = vec![openapi.v2().bytes];
    documents.extend(openapi.versions.keys().map(|path| openapi.group_version(path).unwrap().bytes));
    for document in documents {
        let text = String::from_utf8_lossy(&document);
        for empty in ["\"required\":[]", "\"parameters\":[]"] {
            assert!(!text.contains(empty), "{empty}");
        }
    }
}

/// Every reference leads somewhere, and every kind that is served can be found by its group, version and kind.
#[test]
fn documents_are_whole() {
    let openapi = OpenApi::new(builtin());
    let v2: Value = serde_json::from_slice(&openapi.v2().bytes).unwrap();
    let mut documents = vec![(v2, "definitions", "#/definitions/")];
    for path in openapi.versions.keys() {
        let mut v3 = document(path);
        documents.push((v3["components"].take(), "schemas", "#/components/schemas/"));
    }
    let mut kinds = BTreeSet::new();
    for (document, place, prefix) in &documents {
        let schemas = document[*place].as_object().unwrap();
        for target in references(document) {
            assert!(schemas.contains_key(target.strip_prefix(prefix).unwrap()), "{target}");
        }
        for kind in schemas.values().filter_map(|schema| schema["x-kubernetes-group-version-kind"].as_array())
        {
            kinds.extend(kind.iter().map(ToString::to_string));
        }
    }
    for row in openapi.rows() {
        for wanted in [row.group_version_kind(), row.list_group_version_kind()] {
            assert!(kinds.contains(&wanted.to_string()), "{wanted}");
        }
    }
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The table of types and those of k8s-openapi say the same: every field stands in both, a list is one in both, and
/// what leads to a type leads to the same one.
#[test]
fn the_table_fits_the_types() {
    let mut checked = 0;
    for path in OpenApi::new(builtin()).versions.keys() {
        let document = document(path);
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let Place::Type(held) = Place::of_definition(name) else { continue };
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            for field in held.fields() {
                assert!(properties.contains_key(field.name), "{name} has no field {}", field.name);
            }
            let properties =
                properties.iter().filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind"));
            for (field, property) in properties {
                let step = Place::Type(held).step(field);
                assert!(step.facts.is_some(), "the table does not have {name}.{field}");
                assert_eq!(step.facts.unwrap().is_list(), property["type"] == "array", "{name}.{field}");
                // A schema or a truth value, a schema or names: of these k8s-openapi has types, and Kubernetes' JSON has not.
                let either = |target: &&str| !target.contains("JSONSchemaPropsOr");
                for target in references(property).into_iter().filter(|target| either(&&**target)) {
                    let target = Place::of_definition(target.trim_start_matches("#/components/schemas/"));
                    let names = [target, step.place].map(|place| match place {
                        Place::Type(held) => held.name(),
                        _ => "",
                    });
                    assert_eq!(names[0], names[1], "{name}.{field}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "only {checked} fields were checked");
}

#[derive(Serialize, Deserialize)]
struct Website {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
}

impl Object for Website {
    const GROUP: &'static str = "example.org";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Website";
    const PLURAL: &'static str = "websites";
    const SCOPE: Scope = Scope::Cluster;

    fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &mut self.metadata
    }
}

#[test]
fn kinds_of_the_embedder_let_every_field_pass() {
    let openapi = OpenApi::new(Kinds::new([Resource::plain::<Website>()]));
    let document: Value =
        serde_json::from_slice(&openapi.group_version("apis/example.org/v1").unwrap().bytes).unwrap();
    let schema = &document["components"]["schemas"]["org.example.v1.Website"];
    assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["group"], "example.org");
    let patches =
        &document["paths"]["/apis/example.org/v1/websites/{name}"]["patch"]["requestBody"]["content"];
    assert!(patches.get(PatchKind::Strategic.content_type()).is_none());
    assert!(openapi.group_version("apis/example.org/v2").is_none());
}

#[test]
fn the_index_leads_to_every_version_by_its_content() {
    let openapi = OpenApi::new(builtin());
    let index: Value = serde_json::from_slice(&openapi.index().bytes).unwrap();
    for (path, entry) in index["paths"].as_object().unwrap() {
        let tag = openapi.group_version(path).unwrap().tag;
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={tag}"));
    }
    let other = OpenApi::new(Kinds::new([Resource::plain::<Website>()]));
    assert_ne!(other.index().tag, openapi.index().tag);
}

#[test]
fn fields_that_are_called_as_a_schema_says_things_are_fields() {
    let v2: Value = serde_json::from_slice(&OpenApi::new(builtin()).v2().bytes).unwrap();
    let definition = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let fields = v2["definitions"][definition]["properties"].as_object().unwrap();
    for name in ["allOf", "anyOf", "oneOf", "nullable", "type"] {
        assert!(fields.get(name).is_some_and(Value::is_object), "{name}: {:?}", fields.get(name));
    }
}

#[test]
fn version_2_says_nothing_of_a_custom_kind_that_keeps_every_field() {
    let schema = json!({"type": "object", "description": "d", "properties": {"a": {"type": "string"}}});
    let mut open = schema.clone();
    open["x-kubernetes-preserve-unknown-fields"] = true.into();
    assert_eq!(schemas::custom(open.clone(), Dialect::V2), json!({"type": "object"}));
    assert_eq!(schemas::custom(open.clone(), Dialect::V3), open);
    assert_eq!(schemas::custom(schema.clone(), Dialect::V2), schema);
}
