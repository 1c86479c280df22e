//! Devices, classes of them and claims on them.

use serde_json::{Value, json};

use super::cells::cells;
use super::refused;
use super::stored;
use super::updates::changed;
use crate::api::field::Errors;

fn object(kind: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": "x" },
        "spec": spec,
    });
    if kind.starts_with("ResourceClaim") {
        object["metadata"]["namespace"] = json!("default");
    }
    object
}

fn claim(devices: Value) -> Value {
    object("ResourceClaim", json!({ "devices": devices }))
}

fn requests() -> Value {
    json!([
        { "name": "r", "exactly": { "deviceClassName": "gpu.example.com" } },
        { "name": "f", "firstAvailable": [{ "name": "s", "deviceClassName": "gpu.example.com" }] },
    ])
}

fn slice(fields: Value) -> Value {
    let mut spec = json!({
        "driver": "d.example.com",
        "pool": { "name": "p", "generation": 1, "resourceSliceCount": 1 },
        "nodeName": "n",
    });
    super::merge(&mut spec, fields);
    object("ResourceSlice", spec)
}

fn with_device(device: Value) -> Value {
    let mut all = json!({ "name": "d0" });
    super::merge(&mut all, device);
    slice(json!({ "devices": [all] }))
}

#[test]
fn one_device_is_meant_where_no_number_is_said() {
    let made = stored(&claim(json!({ "requests": requests() })));
    for at in ["0/exactly", "1/firstAvailable/0"] {
        let request = made.pointer(&format!("/spec/devices/requests/{at}")).unwrap();
        assert_eq!((&request["allocationMode"], &request["count"]), (&json!("ExactCount"), &json!(1)));
    }
    let inner = json!({ "devices": { "requests": requests() } });
    let made = stored(&object("ResourceClaimTemplate", json!({ "spec": inner })));
    assert_eq!(made.pointer("/spec/spec/devices/requests/0/exactly/count"), Some(&json!(1)));
}

#[test]
fn claims_are_refused_by_field() {
    let exactly = |fields: Value| {
        let mut all = json!({ "deviceClassName": "c" });
        super::merge(&mut all, fields);
        claim(json!({ "requests": [{ "name": "r", "exactly": all }] }))
    };
    let about = |name: &str| {
        claim(
            json!({ "requests": requests(), "constraints": [{ "requests": [name], "matchAttribute": "a.b/c" }] }),
        )
    };
    let unknown = |name: &str| {
        format!(
            "spec.devices.constraints[0].requests[0]: Invalid value: {name:?}: must be the name of a request in the \
             claim or the name of a request and a subrequest separated by '/'"
        )
    };
    let at = "spec.devices.requests[0]";
    refused([
        (claim(json!({ "requests": requests() })), vec![]),
        (about("r"), vec![]),
        (about("f/s"), vec![]),
        (about("f/t"), vec![&*unknown("f/t")]),
        (about("f/s/t"), vec![&*unknown("f/s/t")]),
        (
            claim(json!({ "requests": [{ "name": "r" }] })),
            vec![&*format!("{at}: Required value: exactly one of `exactly` or `firstAvailable` is required")],
        ),
        (
            exactly(json!({ "allocationMode": "All", "count": 2 })),
            vec![&*format!(
                "{at}.exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"
            )],
        ),
        (
            exactly(json!({ "deviceClassName": "", "selectors": [{}], "count": -1 })),
            vec![
                &*format!("{at}.exactly.deviceClassName: Required value"),
                &*format!("{at}.exactly.selectors[0].cel: Required value"),
                &*format!("{at}.exactly.count: Invalid value: -1: must be greater than zero"),
            ],
        ),
        (
            claim(json!({ "config": [{ "opaque": { "driver": "", "parameters": 7 } }] })),
            vec![
                "spec.devices.config[0].opaque.driver: Required value",
                "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON \
                 object",
            ],
        ),
        (
            object("DeviceClass", json!({ "selectors": [{}], "extendedResourceName": "cpu" })),
            vec![
                "spec.selectors[0].cel: Required value",
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
            ],
        ),
    ]);
}

#[test]
fn slices_are_refused_by_field() {
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    refused([
        (slice(json!({})), vec![]),
        (
            with_device(json!({ "attributes": { "a": { "int": 1 }, "a.b/v": { "version": "1.2.3" } } })),
            vec![],
        ),
        (slice(json!({ "nodeName": null })), vec![&*format!("spec: Required value: {one}")]),
        (
            slice(json!({ "allNodes": true })),
            vec![&*format!(
                "spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}, but multiple fields are set"
            )],
        ),
        (
            slice(
                json!({ "driver": "", "pool": { "name": "a//b", "generation": -1, "resourceSliceCount": 0 } }),
            ),
            vec![
                "spec.driver: Required value",
                "spec.pool.name: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case \
                 alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*\
                 [a-z0-9])?)*')",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ],
        ),
        (
            with_device(json!({ "attributes": { "a": {}, "v": { "version": "1" } } })),
            vec![
                "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with \
                 semver.org spec 2.0.0",
            ],
        ),
        (
            with_device(json!({ "allNodes": true })),
            vec![
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
                 `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            ],
        ),
        (
            with_device(
                json!({ "capacity": { "m": { "value": "1Gi", "requestPolicy": { "default": "1" } } } }),
            ),
            vec![
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
            ],
        ),
        (
            with_device(json!({ "taints": [{ "key": "k", "effect": "Odd" }] })),
            vec![
                "spec.devices[0].taints[0].effect: Unsupported value: \"Odd\": supported values: \"NoExecute\", \
                 \"NoSchedule\", \"None\"",
            ],
        ),
    ]);
}

#[test]
fn what_may_not_change_is_shown_as_kubernetes_has_it() {
    let old = stored(&claim(json!({ "requests": requests(), "config": [{
        "requests": ["r"], "opaque": { "driver": "d.example.com", "parameters": { "a": 1 } },
    }] })));
    let (_, faults) = changed(&old, |claim| claim["spec"]["devices"]["config"][0]["requests"] = json!(["f"]));
    let request = "\"Selectors\":null,\"AllocationMode\":\"ExactCount\",\"Count\":1";
    assert_eq!(
        faults,
        [format!(
            "spec: Invalid value: {{\"Devices\":{{\"Requests\":[{{\"Name\":\"r\",\"Exactly\":{{\"DeviceClassName\":\
             \"gpu.example.com\",{request},\"AdminAccess\":null,\"Tolerations\":null,\"Capacity\":null}},\
             \"FirstAvailable\":null}},{{\"Name\":\"f\",\"Exactly\":null,\"FirstAvailable\":[{{\"Name\":\"s\",\
             \"DeviceClassName\":\"gpu.example.com\",{request},\"Tolerations\":null,\"Capacity\":null}}]}}],\
             \"Constraints\":null,\"Config\":[{{\"Requests\":[\"f\"],\"Opaque\":{{\"Driver\":\"d.example.com\",\
             \"Parameters\":{{\"a\":1}}}}}}]}}}}: field is immutable"
        )]
    );
    // Of a template it is looked into once more what was changed to.
    let inner = json!({ "devices": { "requests": requests() } });
    let template = stored(&object("ResourceClaimTemplate", json!({ "spec": inner })));
    let (_, faults) = changed(&template, |template| {
        template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = json!("");
    });
    let class = "spec.spec.devices.requests[0].exactly.deviceClassName: Required value";
    assert_eq!((faults.len(), faults.iter().any(|fault| fault == class)), (2, true), "{faults:?}");
    let (_, faults) =
        changed(&stored(&slice(json!({}))), |slice| slice["spec"]["driver"] = json!("e.example.com"));
    assert_eq!(faults, ["spec.driver: Invalid value: \"e.example.com\": field is immutable"]);
}

/// What is wrong with a status of a claim for `r` and `f/s`, that had none.
fn given(status: Value) -> Vec<String> {
    let old = stored(&claim(json!({ "requests": requests() })));
    let mut new = old.clone();
    new["status"] = status;
    let mut errors = Errors::new();
    super::row(&old).rules.validate_status(&new, &old, &mut errors).unwrap();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_claim_is_given_was_asked_for() {
    let result = |request: &str| {
        json!({ "devices": { "results": [
            { "request": request, "driver": "d.example.com", "pool": "p", "device": "d0" },
        ] } })
    };
    let user = json!({ "resource": "pods", "name": "p", "uid": "1" });
    let device = |name: &str| json!({ "driver": "d.example.com", "pool": "p", "device": name });
    let none = Vec::<String>::new();
    assert_eq!(given(json!({ "allocation": result("f/s"), "reservedFor": [user] })), none);
    assert_eq!(given(json!({ "allocation": result("r"), "devices": [device("d0")] })), none);
    assert_eq!(given(json!({ "allocation": result("x") })).len(), 1);
    assert_eq!(
        given(json!({ "reservedFor": [user] })),
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
    );
    assert_eq!(
        given(json!({ "allocation": result("r"), "devices": [device("d1")] })),
        [
            "status.devices[0]: Invalid value: \"d.example.com/p/d1\": must be an allocated device in the claim"
        ]
    );
}

#[test]
fn a_row_of_each() {
    let state = |status: Value, deleted: bool| {
        let mut object = claim(json!({}));
        object["status"] = status;
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:30Z");
        }
        cells(&object)[1].clone()
    };
    let used = json!({ "allocation": {}, "reservedFor": [{ "resource": "pods", "name": "p", "uid": "1" }] });
    assert_eq!(state(json!({}), false), "pending");
    assert_eq!(state(json!({}), true), "deleted");
    assert_eq!(state(json!({ "allocation": {} }), false), "allocated");
    assert_eq!(state(used, true), "deleted,allocated,reserved");
    assert_eq!(cells(&slice(json!({})))[1..4], [json!("n"), json!("d.example.com"), json!("p")]);
}
