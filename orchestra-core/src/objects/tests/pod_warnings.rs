//! What is accepted of pods and of templates, and warned of.

use serde_json::{Value, json};

use super::{complete, deployment, pod, row, stored};
use crate::api::field::Errors;

fn warnings(manifest: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    let told = row(manifest).rules.validate(&complete(stored(manifest)), &mut errors).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    told
}

#[test]
fn files_that_are_in_each_others_way() {
    let key = |path: &str| json!({ "key": "k", "path": path });
    let field = |path: &str| json!({ "path": path, "fieldRef": { "fieldPath": "metadata.name" } });
    let told = warnings(&pod(json!({ "serviceAccountName": "s", "volumes": [
        { "name": "a", "configMap": { "name": "m", "items": [key("p"), key("p/q"), key("pq")] } },
        { "name": "b", "secret": { "secretName": "s", "items": [key("p"), key("p")] } },
        { "name": "c", "downwardAPI": { "items": [field("p"), field("p")] } },
        { "name": "d", "projected": { "sources": [
            { "serviceAccountToken": { "path": "t" } },
            { "configMap": { "name": "m", "items": [key("t/u")] } },
            {},
        ] } },
    ] })));
    assert_eq!(
        told,
        [
            "volume \"a\" (ConfigMap \"m\"): overlapping paths: \"p/q\" with \"p\"",
            "volume \"b\" (Secret \"s\"): overlapping paths: \"p\" with \"p\"",
            "volume \"c\" (DownwardAPI): overlapping paths: \"p\" with \"p\"",
            "volume \"d\" (Projected): overlapping paths: \"t/u\" (ConfigMap \"m\") with \"t\" (ServiceAccountToken)",
            "volume \"d\" (Projected) has no sources provided",
        ]
    );
}

#[test]
fn selectors_that_select_nothing_and_labels_of_old() {
    let term = json!({ "topologyKey": "zone" });
    let told = warnings(&pod(json!({ "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "beta.kubernetes.io/os", "operator": "Exists" }] }] },
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "preference":
                { "matchExpressions": [{ "key": "a", "operator": "In", "values": ["b", "-"] }] } }],
        },
        "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": term }] },
    } })));
    let affinity = "spec.affinity";
    assert_eq!(
        told[0],
        format!(
            "{affinity}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: \
             beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead"
        )
    );
    let value = format!(
        "{affinity}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[1]: - is \
         invalid, a valid label must be an empty string"
    );
    assert!(told[1].starts_with(&value), "{told:?}");
    let blind = "a null labelSelector results in matching no pod";
    assert_eq!(
        told[2..],
        [
            format!(
                "{affinity}.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: {blind}"
            ),
            format!(
                "{affinity}.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: \
                 {blind}"
            ),
        ]
    );
}

#[test]
fn ports_that_are_said_again() {
    let port = |fields: Value| {
        let mut port = json!({ "containerPort": 80 });
        super::merge(&mut port, fields);
        port
    };
    let container = |name: &str, ports: Value| json!({ "name": name, "image": "i", "ports": ports });
    let told = warnings(&pod(json!({ "containers": [
        container("a", json!([port(json!({ "name": "w", "hostPort": 1 })), port(json!({ "hostIP": "1.2.3.4", "hostPort": 1 }))])),
        container("b", json!([port(json!({ "name": "w" })), { "containerPort": 81, "hostIP": "1.2.3.4" }])),
    ] })));
    let [a, b] = ["spec.containers[0].ports", "spec.containers[1].ports"];
    assert_eq!(
        told,
        [
            format!("{a}[1]: dangerously ambiguous port definition with {a}[0]"),
            format!("{b}[0]: overlapping port definition with {a}[0]"),
            format!("{b}[0]: overlapping port definition with {a}[1]"),
            format!(
                "{b}[1]: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:1.2.3.4}}"
            ),
            format!(
                "{b}[0]: duplicate port name \"w\" with {a}[0], services and probes that select ports by name will use {a}[0]"
            ),
        ]
    );
}

#[test]
fn what_hides_what_it_was_before_and_what_is_of_old() {
    let told = warnings(&pod(json!({
        "overhead": { "memory": "100m" },
        "containers": [{ "name": "c", "image": "i", "env": [
            { "name": "A", "value": "a" }, { "name": "A", "value": "$(A)b" }, { "name": "A", "value": "$(A)" }] }],
        "volumes": [{ "name": "v", "rbd": { "monitors": ["m"], "image": "i" } },
            { "name": "w", "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1" }, "limits": { "storage": "100m" } } } } } }],
        "hostAliases": [{ "ip": "::0:1", "hostnames": ["a"] }],
    })));
    assert_eq!(
        told,
        [
            "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            "spec.volumes[1].ephemeral.volumeClaimTemplate.spec.resources.limits[storage]: fractional byte value \"100m\" is \
             invalid, must be an integer",
            "spec.overhead[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.hostAliases[0].ip: IPv6 address \"::0:1\" should be in RFC 5952 canonical format (\"::1\")",
        ]
    );
}

#[test]
fn a_pod_takes_over_what_annotations_say_of_profiles() {
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    let mut object = pod(json!({}));
    object["metadata"]["annotations"] = json!({ key: "localhost/p" });
    let said = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    assert_eq!(warnings(&object), [format!("metadata.annotations[{key}]: {said}")]);
    assert_eq!(
        stored(&object)["spec"]["containers"][0]["securityContext"]["appArmorProfile"],
        json!({ "type": "Localhost", "localhostProfile": "p" })
    );
    let mut template = deployment(json!({}));
    template["spec"]["template"]["metadata"]["annotations"] = json!({ key: "unconfined" });
    let at = "spec.template.metadata.annotations";
    assert_eq!(warnings(&template), [format!("{at}[{key}]: {said}")]);
    template["spec"]["template"]["spec"]["securityContext"] =
        json!({ "appArmorProfile": { "type": "Unconfined" } });
    assert_eq!(warnings(&template), Vec::<String>::new());
}
