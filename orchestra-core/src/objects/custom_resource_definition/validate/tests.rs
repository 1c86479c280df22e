use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{changed, created};
use crate::api::field::Errors;

fn definition() -> Value {
    json!({
        "metadata": {"name": "ws.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "s": {"type": "string"}, "n": {"type": "number"}, "l": {"type": "array", "items": {"type": "string"}},
                }}},
            }}}],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

/// The definition with these values at these pointers.
fn with(changes: &Value) -> Value {
    let mut definition = definition();
    for (pointer, value) in changes.as_object().unwrap() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        definition.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    definition
}

fn said(errors: &Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn at_creation(changes: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    created(&with(changes), &mut errors);
    said(&errors)
}

fn at_change(old: &Value, new: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    changed(&with(new), &with(old), &mut errors);
    said(&errors)
}

#[test]
fn a_definition_is_called_by_its_plural_and_group() {
    assert_eq!(at_creation(&json!({})), [""; 0]);
    const DETAIL: &str = "must be spec.names.plural+\".\"+spec.group";
    let wrong = at_creation(&json!({"/metadata": {"name": "x-1", "generateName": "x-"}}));
    let expected = [
        format!("metadata.generateName: Invalid value: \"x-\": {DETAIL}"),
        format!("metadata.name: Invalid value: \"x-1\": {DETAIL}"),
    ];
    assert_eq!(wrong, expected);
    assert_eq!(at_creation(&json!({"/metadata": {}})), [""; 0], "that there is none is said of every kind");
}

fn webhook(client: Value) -> Value {
    json!({"/spec/conversion": {"strategy": "Webhook", "webhook": {
        "clientConfig": client, "conversionReviewVersions": ["v1"]}}})
}

#[test]
fn a_conversion_by_webhook_says_where_it_is() {
    let service = json!({"name": "s", "namespace": "n", "port": 443, "path": "/convert"});
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for fine in [
        json!({"service": service}),
        json!({"url": "https://example.com:8443/convert"}),
        json!({"url": "https://example.com", "caBundle": STANDARD.encode(pem)}),
        json!({"url": "https://example.com", "caBundle": STANDARD.encode("  \n")}),
    ] {
        assert_eq!(at_creation(&webhook(fine.clone())), [""; 0], "{fine}");
    }
    const CLIENT: &str = "spec.conversion.webhookClientConfig";
    for (client, field, why) in [
        (json!(null), "", "Required value: required when strategy is set to Webhook"),
        (json!({}), "", "Required value: exactly one of url or service is required"),
        (
            json!({"url": "https://a", "service": service}),
            "",
            "Required value: exactly one of url or service is required",
        ),
        (
            json!({"url": "http://a"}),
            ".url",
            "Invalid value: \"http\": 'https' is the only allowed URL scheme",
        ),
        (
            json!({"url": "https://a?x=1"}),
            ".url",
            "Invalid value: \"x=1\": query parameters are not permitted in the URL",
        ),
        (json!({"service": {"name": "s", "port": 443}}), ".service.name", "Required value"),
        (
            json!({"service": {"name": "s", "namespace": "n", "port": 0}}),
            ".service.port",
            "Invalid value: 0: port is not valid",
        ),
        (
            json!({"service": {"name": "s", "namespace": "n", "port": 1, "path": "/a//b"}}),
            ".service.path",
            "Invalid value: \"/a//b\": segment[1] may not be empty",
        ),
        (
            json!({"url": "https://a", "caBundle": "bm8="}),
            ".caBundle",
            "Invalid value: \"bm8=\": unable to load root certificates",
        ),
    ] {
        let wrong = at_creation(&webhook(client.clone()));
        assert_eq!(wrong.len(), 1, "{client}: {wrong:?}");
        assert!(wrong[0].starts_with(&format!("{CLIENT}{field}: {why}")), "{client}: {wrong:?}");
    }
    let unknown = at_creation(&json!({"/spec/conversion": {"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v2"]}}}));
    let expected = "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, \
                    v1beta1";
    assert_eq!(unknown, [expected]);
    let unwanted = at_creation(&json!({"/spec/conversion": {"strategy": "None", "webhook": {
        "clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}}}));
    assert_eq!(unwanted.len(), 2, "{unwanted:?}");
}

#[test]
fn a_version_that_objects_may_be_kept_in_stays() {
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let both = json!([version("v1", false), version("v2", true)]);
    let fine = json!({"/spec/versions": both, "/status/storedVersions": ["v1", "v2"]});
    assert_eq!(at_change(&json!({}), &fine), [""; 0]);
    let gone = json!({"/spec/versions": [version("v2", true)], "/status/storedVersions": ["v1", "v2"]});
    let why = at_change(&fine, &gone);
    assert_eq!(why.len(), 1, "{why:?}");
    assert!(
        why[0].starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"),
        "{why:?}"
    );
    let migrated = json!({"/spec/versions": [version("v2", true)], "/status/storedVersions": ["v2"]});
    assert_eq!(at_change(&fine, &migrated), [""; 0]);
    let unsaid = json!({"/spec/versions": both, "/status/storedVersions": ["v1"]});
    assert_eq!(
        at_change(&fine, &unsaid),
        ["status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2"]
    );
    let none = json!({"/status/storedVersions": []});
    let expected = ["status.storedVersions: Invalid value: []: must have at least one stored version"];
    assert_eq!(at_change(&json!({}), &none), expected);
}

#[test]
fn what_is_established_keeps_its_kind_and_scope() {
    let established =
        json!({"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]});
    let other = json!({"/spec/scope": "Cluster", "/spec/names/kind": "X"});
    let mut from = json!({"/status": established});
    assert_eq!(at_change(&from, &other).len(), 2);
    from["/status"]["conditions"][0]["status"] = "False".into();
    assert_eq!(at_change(&from, &other), [""; 0]);
    let moved = at_change(&from, &json!({"/spec/group": "example.org", "/spec/names/plural": "vs"}));
    assert_eq!(moved.len(), 2, "{moved:?}");
}

#[test]
fn fields_to_select_by_are_scalars_of_the_schema() {
    let path = |path: &str| json!({"/spec/versions/0/selectableFields": [{"jsonPath": path}]});
    assert_eq!(at_creation(&path(".spec.s")), [""; 0]);
    for (given, why) in [
        (".spec.l", "must point to a field of type string, boolean or integer"),
        (".spec.n", "must point to a field of type string, boolean or integer"),
        (".spec.x", "is an invalid path"),
        (".metadata.name", "is an invalid path"),
    ] {
        let wrong = at_creation(&path(given));
        assert!(wrong.iter().any(|wrong| wrong.contains(why)), "{given}: {wrong:?}");
    }
    let twice =
        json!({"/spec/versions/0/selectableFields": [{"jsonPath": ".spec.s"}, {"jsonPath": ".spec.s"}]});
    assert_eq!(at_creation(&twice), ["spec.selectableFields[1].jsonPath: Duplicate value: \".spec.s\""]);
}

#[test]
fn that_a_schema_names_its_dialect_is_said_when_nothing_else_is_wrong() {
    const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
    const SAID: &str =
        "spec.validation.openAPIV3Schema: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported";
    let refused = |changes: Value| at_creation(&changes);
    for within in ["", "/properties/spec", "/properties/spec/properties/l/items"] {
        let dialect = json!({(format!("{SCHEMA}{within}/$schema")): "http://json-schema.org/schema#"});
        assert_eq!(refused(dialect), [SAID], "{within}");
    }
    let both = json!({(format!("{SCHEMA}/$schema")): "x", (format!("{SCHEMA}/id")): "x"});
    assert_eq!(refused(both), ["spec.validation.openAPIV3Schema.id: Forbidden: id is not supported"]);
    assert_eq!(refused(json!({(format!("{SCHEMA}/$schema")): ""})), [""; 0]);
}
