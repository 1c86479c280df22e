//! APIServices, webhooks and policies.

use serde_json::{Value, json};

use super::cells::cells;
use super::refused;
use super::stored;

fn service(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": "v1.example.com" },
        "spec": { "group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 15 },
    });
    super::merge(&mut object["spec"], fields);
    object
}

fn object(kind: &str, fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": "x" },
    });
    super::merge(&mut object, fields);
    object
}

fn hook(kind: &str, fields: Value) -> Value {
    let mut hook = json!({
        "name": "w.example.com",
        "clientConfig": { "url": "https://127.0.0.1:1/x" },
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    super::merge(&mut hook, fields);
    object(kind, json!({ "webhooks": [hook] }))
}

fn rule(fields: Value) -> Value {
    let mut rule = json!({ "operations": ["CREATE"], "apiGroups": ["a.b"], "apiVersions": ["v1"], "resources": ["things"] });
    super::merge(&mut rule, fields);
    rule
}

fn policy(kind: &str, fields: Value) -> Value {
    let mut spec = json!({ "matchConstraints": { "resourceRules": [rule(json!({}))] } });
    super::merge(&mut spec, fields);
    object(kind, json!({ "spec": spec }))
}

fn validating(fields: Value) -> Value {
    let mut all = json!({ "validations": [{ "expression": "true" }] });
    super::merge(&mut all, fields);
    policy("ValidatingAdmissionPolicy", all)
}

fn mutating(mutation: Value) -> Value {
    policy("MutatingAdmissionPolicy", json!({ "reinvocationPolicy": "Never", "mutations": [mutation] }))
}

#[test]
fn what_is_left_out_is_filled_in() {
    let made = stored(&service(json!({ "service": { "namespace": "n", "name": "s" } })));
    assert_eq!((&made["spec"]["service"]["port"], made.get("status")), (&json!(443), None));
    let local = stored(&service(json!({})));
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
    let made = stored(&hook("MutatingWebhookConfiguration", json!({ "rules": [rule(json!({}))] })));
    let hook = &made["webhooks"][0];
    let filled =
        ["failurePolicy", "matchPolicy", "timeoutSeconds", "reinvocationPolicy", "namespaceSelector"];
    let wanted = [json!("Fail"), json!("Equivalent"), json!(10), json!("Never"), json!({})];
    assert_eq!(filled.map(|field| hook[field].clone()), wanted);
    assert_eq!(hook["rules"][0]["scope"], "*");
    let made = stored(&validating(json!({})));
    assert_eq!(made["spec"]["failurePolicy"], "Fail");
    assert_eq!(made["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
    assert_eq!(made["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
}

#[test]
fn api_services_are_refused_by_field() {
    let remote = |fields: Value| {
        let mut all = json!({ "service": { "namespace": "n", "name": "s" } });
        super::merge(&mut all, fields);
        service(all)
    };
    let mut named = service(json!({}));
    named["metadata"]["generateName"] = json!("v");
    refused([
        (service(json!({})), vec![]),
        (
            service(json!({ "version": "v2", "versionPriority": 0, "groupPriorityMinimum": 20001 })),
            vec![
                "metadata.name: Invalid value: \"v1.example.com\": must be `spec.version+\".\"+spec.group`: \
                 \"v2.example.com\"",
                "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            ],
        ),
        (
            named,
            vec![
                "metadata.generateName: Invalid value: \"v\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
            ],
        ),
        (
            service(json!({ "insecureSkipTLSVerify": true, "caBundle": "YQ==" })),
            vec![
                "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have \
                 insecureSkipTLSVerify",
            ],
        ),
        (
            remote(json!({ "insecureSkipTLSVerify": true, "caBundle": "YQ==" })),
            vec!["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
        ),
        (
            remote(json!({ "service": { "name": "s", "port": 70000 } })),
            vec![
                "spec.service.namespace: Required value",
                "spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
            ],
        ),
    ]);
}

#[test]
fn webhooks_are_refused_by_field() {
    let hook = |fields: Value| hook("ValidatingWebhookConfiguration", fields);
    let url = |url: &str| hook(json!({ "clientConfig": { "url": url } }));
    let at_path = |path: &str| {
        let service = json!({ "namespace": "n", "name": "s", "path": path });
        hook(json!({ "clientConfig": { "service": service } }))
    };
    let resources = |list: Value| hook(json!({ "rules": [rule(json!({ "resources": list }))] }));
    let two = json!([{ "name": "a", "expression": "true" }, { "name": "a", "expression": " " }]);
    let form = "; desired format: https://host[/path]";
    refused([
        (hook(json!({})), vec![]),
        (
            hook(json!({ "name": "w", "sideEffects": "Some", "timeoutSeconds": 31 })),
            vec![
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "webhooks[0].name: Invalid value: \"w\": should be a domain with at least three segments separated by \
                 dots",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ],
        ),
        (
            hook(json!({ "sideEffects": null, "admissionReviewVersions": [] })),
            vec![
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ],
        ),
        (
            hook(json!({ "admissionReviewVersions": ["v2", "v2"] })),
            vec![
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, \
                 v1beta1",
            ],
        ),
        (
            url("http://me@host/x?a#b"),
            vec![
                &*format!(
                    "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme{form}"
                ),
                "webhooks[0].clientConfig.url: Invalid value: \"me\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"b\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"a\": query parameters are not permitted in the URL",
            ],
        ),
        (
            hook(json!({ "clientConfig": {} })),
            vec!["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (at_path("/a/b/"), vec![]),
        (
            at_path("/a//b"),
            vec![
                "webhooks[0].clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may not be empty",
            ],
        ),
        (
            resources(json!(["a/*", "a/b", "*", "c"])),
            vec![
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "webhooks[0].rules[0].resources: Invalid value: [\"a/*\",\"a/b\",\"*\",\"c\"]: if '*' is present, must \
                 not specify other resources without subresources",
            ],
        ),
        (
            hook(json!({ "matchConditions": two })),
            vec![
                "webhooks[0].matchConditions[1].expression: Required value",
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
            ],
        ),
    ]);
    let mut twice = hook(json!({}));
    let again = twice["webhooks"][0].clone();
    twice["webhooks"].as_array_mut().unwrap().push(again);
    assert_eq!(super::faults(&twice), ["webhooks[1].name: Duplicate value: \"w.example.com\""]);
}

#[test]
fn policies_are_refused_by_field() {
    let apply = |expression: &str| json!({ "expression": expression });
    let deleting = rule(json!({ "operations": ["DELETE"] }));
    let mut on_deletion =
        mutating(json!({ "patchType": "ApplyConfiguration", "applyConfiguration": apply("Object{}") }));
    on_deletion["spec"]["matchConstraints"]["resourceRules"] = json!([deleting]);
    refused([
        (validating(json!({})), vec![]),
        (
            validating(json!({ "validations": [], "matchConstraints": null })),
            vec![
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            validating(json!({ "paramKind": { "apiVersion": "a/b/c", "kind": "1" } })),
            vec![
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Invalid value: \"1\": may have mixed case, but should otherwise match: a DNS-1035 \
                 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
                 and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
                 '[a-z]([-a-z0-9]*[a-z0-9])?')",
            ],
        ),
        (
            validating(json!({ "variables": [{ "name": "in", "expression": " " }] })),
            vec![
                "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier",
                "spec.variables[0].expression: Required value: expression is not specified",
            ],
        ),
        (
            validating(json!({ "validations": [{ "expression": "", "message": "a\nb", "reason": "Odd" }] })),
            vec![
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"Odd\": supported values: \"Forbidden\", \"Invalid\", \
                 \"RequestEntityTooLarge\"",
            ],
        ),
        (
            validating(
                json!({ "auditAnnotations": [{ "key": "k" }, { "key": "k", "valueExpression": "1" }] }),
            ),
            vec![
                "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
                "spec.auditAnnotations[1].key: Duplicate value: \"k\"",
                "spec.auditAnnotations[1].valueExpression: Invalid value: \"1\": must evaluate to one of [string \
                 null_type] but got int",
            ],
        ),
        (
            mutating(json!({ "patchType": "JSONPatch", "applyConfiguration": apply("Object{}") })),
            vec![
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified \
                 when patchType is JSONPatch",
            ],
        ),
        (
            on_deletion,
            vec![
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \
                 \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            ],
        ),
    ]);
}

#[test]
fn bindings_are_refused_by_field() {
    let binding = |spec: Value| {
        let mut all = json!({ "policyName": "p", "validationActions": ["Deny"] });
        super::merge(&mut all, spec);
        object("ValidatingAdmissionPolicyBinding", json!({ "spec": all }))
    };
    let mutating = |spec: Value| object("MutatingAdmissionPolicyBinding", json!({ "spec": spec }));
    refused([
        (binding(json!({})), vec![]),
        (
            binding(json!({ "validationActions": ["Deny", "Warn", "Warn"] })),
            vec![
                "spec.validationActions[2]: Duplicate value: \"Warn\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Warn\"]: must not contain both Deny and \
                 Warn (repeating the same validation failure information in the API response and headers serves no \
                 purpose)",
            ],
        ),
        (
            binding(json!({ "paramRef": { "name": "a", "selector": {}, "parameterNotFoundAction": "Cry" } })),
            vec![
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Cry\": supported values: \"Deny\", \
                 \"Allow\"",
            ],
        ),
        (mutating(json!({})), vec!["spec.policyName: Required value"]),
        (
            mutating(json!({ "policyName": "p", "paramRef": {} })),
            vec![
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Required value",
            ],
        ),
    ]);
}

#[test]
fn a_row_of_each() {
    let local = stored(&service(json!({})));
    assert_eq!(cells(&local)[1..3], [json!("Local"), json!("True")]);
    let mut remote = service(json!({ "service": { "namespace": "n", "name": "s" } }));
    assert_eq!(cells(&remote)[1..3], [json!("n/s"), json!("Unknown")]);
    let missing = json!({ "type": "Available", "status": "False", "reason": "ServiceNotFound" });
    remote["status"] = json!({ "conditions": [missing] });
    assert_eq!(cells(&remote)[2], "False (ServiceNotFound)");
    assert_eq!(cells(&hook("ValidatingWebhookConfiguration", json!({})))[1], 1);
    let kind = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
    assert_eq!(cells(&validating(json!({ "paramKind": kind })))[1..3], [json!(1), json!("v1/ConfigMap")]);
    assert_eq!(cells(&validating(json!({})))[2], "<unset>");
    let binding = |param: Value| {
        let spec = json!({ "policyName": "p", "paramRef": param });
        cells(&object("MutatingAdmissionPolicyBinding", json!({ "spec": spec })))[1..3].to_vec()
    };
    assert_eq!(binding(json!({ "name": "a" })), [json!("p"), json!("*/a")]);
    assert_eq!(binding(json!({ "name": "a", "namespace": "n" }))[1], "n/a");
    assert_eq!(binding(json!({ "selector": { "matchLabels": { "k": "v" } } }))[1], "k=v");
}
