//! Ingresses and their classes, network policies, addresses and the ranges they are out of.

use serde_json::{Value, json};

use super::cells::cells;
use super::refused;
use super::stored;
use super::updates::changed;

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    })
}

fn cluster(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = object(kind, name, spec);
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    object
}

fn backend() -> Value {
    json!({ "service": { "name": "s", "port": { "number": 80 } } })
}

fn ingress(path: Value) -> Value {
    object("Ingress", "web", json!({ "rules": [{ "host": "a.example.com", "http": { "paths": [path] } }] }))
}

#[test]
fn what_is_left_out_is_filled_in() {
    let class = cluster(
        "IngressClass",
        "c",
        json!({ "controller": "example.com/c", "parameters": { "kind": "P", "name": "p" } }),
    );
    assert_eq!(stored(&class)["spec"]["parameters"]["scope"], "Cluster");
    let policy = |spec: Value| stored(&object("NetworkPolicy", "p", spec))["spec"].clone();
    assert_eq!(policy(json!({ "podSelector": {} }))["policyTypes"], json!(["Ingress"]));
    let outward = policy(json!({ "podSelector": {}, "egress": [{ "ports": [{ "port": 53 }] }] }));
    assert_eq!(outward["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(outward["egress"][0]["ports"][0]["protocol"], "TCP");
}

#[test]
fn ingresses_are_refused_by_field() {
    let path = |fields: Value| {
        let mut path = json!({ "path": "/", "pathType": "Prefix", "backend": backend() });
        super::merge(&mut path, fields);
        ingress(path)
    };
    let with = |backend: Value| object("Ingress", "web", json!({ "defaultBackend": backend }));
    let mut annotated =
        object("Ingress", "web", json!({ "defaultBackend": backend(), "ingressClassName": "a" }));
    annotated["metadata"]["annotations"] = json!({ "kubernetes.io/ingress.class": "b" });
    refused([
        (with(backend()), vec![]),
        (path(json!({})), vec![]),
        (
            object("Ingress", "web", json!({})),
            vec!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            path(json!({ "path": "a//b/..", "pathType": "Exact" })),
            vec![
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ],
        ),
        (
            path(json!({ "path": "a", "pathType": "ImplementationSpecific" })),
            vec!["spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path"],
        ),
        (
            path(json!({ "pathType": null })),
            vec!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            path(json!({ "pathType": "" })),
            vec![
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"\": supported values: \"Exact\", \
                 \"ImplementationSpecific\", \"Prefix\"",
            ],
        ),
        (
            with(json!({})),
            vec!["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"],
        ),
        (
            with(json!({ "service": { "name": "s", "port": { "number": 80, "name": "http" } } })),
            vec!["spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number"],
        ),
        (
            with(json!({ "resource": { "kind": "a/b", "name": "" } })),
            vec![
                "spec.defaultBackend.resource.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.defaultBackend.resource.name: Required value",
            ],
        ),
        (
            object("Ingress", "web", json!({ "rules": [{ "host": "10.0.0.1", "http": { "paths": [] } }] })),
            vec![
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                "spec.rules[0].http.paths: Required value",
            ],
        ),
        (
            annotated,
            vec![
                "annotations.kubernetes.io/ingress.class: Invalid value: \"b\": must match `ingressClassName` when \
                 both are specified",
            ],
        ),
    ]);
}

#[test]
fn classes_and_policies_are_refused_by_field() {
    let class = |spec: Value| cluster("IngressClass", "c", spec);
    let parameters = |fields: Value| {
        let mut parameters = json!({ "kind": "P", "name": "p" });
        super::merge(&mut parameters, fields);
        class(json!({ "controller": "a.b/c", "parameters": parameters }))
    };
    let policy = |spec: Value| object("NetworkPolicy", "p", spec);
    let block =
        |block: Value| policy(json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": block }] }] }));
    let port = |port: Value| policy(json!({ "podSelector": {}, "egress": [{ "ports": [port] }] }));
    refused([
        (class(json!({})), vec!["spec.controller: Required value"]),
        (
            class(json!({ "controller": "c" })),
            vec![
                "spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ],
        ),
        (
            class(json!({ "controller": "a.b/c d" })),
            vec![
                "spec.controller: Invalid value: \"c d\": Invalid path (regex used for validation is \
                 '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
            ],
        ),
        (
            parameters(json!({ "scope": "Namespace" })),
            vec!["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        ),
        (
            parameters(json!({ "namespace": "n" })),
            vec!["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
        (
            parameters(json!({ "scope": "World" })),
            vec![
                "spec.parameters.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespace\"",
            ],
        ),
        (
            block(json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/16", "10.1.0.0/16"] })),
            vec![
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of \
                 `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of \
                 `cidr`",
            ],
        ),
        (
            block(json!({ "cidr": "10.0.0.1/8" })),
            vec![
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond \
                 the prefix length",
            ],
        ),
        (block(json!({ "cidr": "" })), vec!["spec.ingress[0].from[0].ipBlock.cidr: Required value"]),
        (
            port(json!({ "port": 80, "endPort": 70 })),
            vec![
                "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
            ],
        ),
        (
            port(json!({ "endPort": 70 })),
            vec![
                "spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is not specified",
            ],
        ),
        (
            policy(json!({ "podSelector": {}, "policyTypes": ["Sideways"] })),
            vec![
                "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
            ],
        ),
    ]);
}

#[test]
fn addresses_and_ranges_are_refused_by_field() {
    let parent = json!({ "resource": "services", "namespace": "n", "name": "s" });
    let ranges = |ranges: Value| cluster("ServiceCIDR", "r", json!({ "cidrs": ranges }));
    refused([
        (cluster("IPAddress", "10.0.0.1", json!({ "parentRef": parent })), vec![]),
        (cluster("IPAddress", "10.0.0.1", json!({})), vec!["spec.parentRef: Required value"]),
        (
            cluster("IPAddress", "10.0.0.1", json!({ "parentRef": {} })),
            vec!["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"],
        ),
        (ranges(json!(["10.0.0.0/24", "fd00::/112"])), vec![]),
        (ranges(json!([])), vec!["spec.cidrs: Required value: at least one CIDR required"]),
        (
            ranges(json!(["10.0.0.0/24", "10.0.1.0/24"])),
            vec![
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one IP for \
                 each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ],
        ),
        (
            ranges(json!(["FD00::/64"])),
            vec!["spec.cidrs[0]: Invalid value: \"FD00::/64\": must be in canonical form (\"fd00::/64\")"],
        ),
    ]);
}

#[test]
fn what_may_not_change() {
    let class = stored(&cluster("IngressClass", "c", json!({ "controller": "a.b/c" })));
    let (_, faults) = changed(&class, |class| class["spec"]["controller"] = json!("a.b/d"));
    assert_eq!(faults, ["spec.controller: Invalid value: \"a.b/d\": field is immutable"]);
    let range = stored(&cluster("ServiceCIDR", "r", json!({ "cidrs": ["10.0.0.0/24"] })));
    for (cidrs, fault) in [
        (json!(["10.0.0.0/24", "fd00::/112"]), None),
        (json!(["10.0.1.0/24"]), Some("spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable")),
        (json!([]), Some("spec.cidrs: Invalid value: null: field is immutable")),
        (
            json!(["10.0.0.0/24", "10.0.1.0/24"]),
            Some(
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one IP for each IP \
                 family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ),
        ),
    ] {
        let (_, faults) = changed(&range, |range| range["spec"]["cidrs"] = cidrs);
        assert_eq!(
            faults.iter().map(String::as_str).collect::<Vec<_>>(),
            fault.into_iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_row_of_each() {
    let mut ingress = ingress(json!({ "path": "/", "pathType": "Prefix", "backend": backend() }));
    ingress["spec"]["tls"] = json!([{ "hosts": ["a.example.com"] }]);
    ingress["status"] =
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.100" }, { "hostname": "b.c" }] } });
    assert_eq!(
        cells(&ingress),
        [
            json!("web"),
            json!("<none>"),
            json!("a.example.com"),
            json!("192.0.2.100,b.c"),
            json!("80, 443"),
            json!("60s")
        ]
    );
    let hosts = ["a", "b", "c", "d", "e"].map(|host| json!({ "host": host }));
    let many = object("Ingress", "web", json!({ "ingressClassName": "x", "rules": hosts }));
    assert_eq!(cells(&many)[1..3], [json!("x"), json!("a,b,c + 2 more...")]);
    let mut class = cluster(
        "IngressClass",
        "c",
        json!({ "controller": "a.b/c", "parameters": { "apiGroup": "k.io", "kind": "P", "name": "p" } }),
    );
    class["metadata"]["annotations"] = json!({ "ingressclass.kubernetes.io/is-default-class": "true" });
    assert_eq!(cells(&class)[..3], [json!("c (default)"), json!("a.b/c"), json!("P.k.io/p")]);
    let policy = object("NetworkPolicy", "p", json!({ "podSelector": { "matchLabels": { "a": "b" } } }));
    assert_eq!(cells(&policy)[..2], [json!("p"), json!("a=b")]);
    let parent = json!({ "group": "k.io", "resource": "things", "namespace": "n", "name": "s" });
    let address = cluster("IPAddress", "10.0.0.1", json!({ "parentRef": parent }));
    assert_eq!(cells(&address), [json!("10.0.0.1"), json!("things.k.io/n/s")]);
    let range = cluster("ServiceCIDR", "r", json!({ "cidrs": ["10.0.0.0/24", "fd00::/112"] }));
    assert_eq!(cells(&range)[1], "10.0.0.0/24,fd00::/112");
}
