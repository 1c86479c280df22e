use serde_json::json;

use super::policy::Version;
use super::*;

fn pod(spec: Value) -> Subject {
    let mut pod = json!({"metadata": {}, "spec": spec});
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([{"name": "c"}]);
    }
    subject(&pod).unwrap()
}

fn standard(level: Level, minor: u32) -> Standard {
    Standard { level, version: Version::Minor(minor) }
}

fn hardened() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
    })
}

/// What a pod violates of `baseline`.
#[test]
fn baseline_names_what_gives_rights_over_the_node() {
    let cases = [
        (json!({}), ""),
        (hardened(), ""),
        (json!({"securityContext": {"runAsUser": 0}}), ""),
        (json!({"hostNetwork": true, "hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (
            json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}],
                "containers": [{"name": "c", "securityContext": {"privileged": true}}]}),
            r#"privileged (containers "i", "c" must not set securityContext.privileged=true)"#,
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 1, "hostPort": 9}]}]}),
            r#"hostPort (container "c" uses hostPorts 80, 9)"#,
        ),
        (
            json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]}),
            r#"hostPath volumes (volume "h")"#,
        ),
        (
            json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN", "BPF"]}}}]}),
            r#"non-default capabilities (container "c" must not include "BPF", "SYS_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}, "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
            r#"forbidden sysctls (kernel.msgmax), seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "role": "r"}}}),
            r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; role may not be set)"#,
        ),
        (
            json!({"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "1.2.3.4", "port": 1}}}]}),
            r#"probe or lifecycle host (container "c" uses probe or lifecycle host "1.2.3.4")"#,
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            r#"forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")"#,
        ),
    ];
    for (spec, expected) in cases {
        let found = details(&judge(&standard(Level::Baseline, 36), &pod(spec.clone())));
        assert_eq!(found, expected, "{spec}");
        assert_eq!(judge(&standard(Level::Privileged, 36), &pod(spec)), []);
    }
}

#[test]
fn restricted_names_what_is_not_hardened() {
    let all = concat!(
        r#"allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), "#,
        r#"unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), "#,
        r#"runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), "#,
        r#"seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
    );
    let mut root = hardened();
    root["securityContext"]["runAsUser"] = 0.into();
    root["securityContext"]["runAsNonRoot"] = false.into();
    let mut mounted = hardened();
    mounted["volumes"] =
        json!([{"name": "a", "nfs": {"server": "s", "path": "/"}}, {"name": "b", "secret": {}}]);
    let cases = [
        (json!({}), all),
        (hardened(), ""),
        (
            root,
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), \
             runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (mounted, r#"restricted volume types (volume "a" uses restricted volume type "nfs")"#),
    ];
    for (spec, expected) in cases {
        let found = details(&judge(&standard(Level::Restricted, 36), &pod(spec.clone())));
        assert_eq!(found, expected, "{spec}");
    }
}

/// A stricter level lets no pod pass that a weaker one refuses.
#[test]
fn what_baseline_refuses_restricted_refuses() {
    let specs = [
        json!({"hostPID": true}),
        json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}),
        json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
        json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["BPF"]}}}]}),
    ];
    for spec in specs {
        for minor in 19..=36 {
            assert!(
                !judge(&standard(Level::Baseline, minor), &pod(spec.clone())).is_empty(),
                "{spec} {minor}"
            );
            assert!(
                !judge(&standard(Level::Restricted, minor), &pod(spec.clone())).is_empty(),
                "{spec} {minor}"
            );
        }
    }
}

#[test]
fn a_version_keeps_the_rules_of_its_time() {
    let reserved =
        json!({"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}});
    let own_users = {
        let mut spec = hardened();
        spec["hostUsers"] = false.into();
        spec["securityContext"]["runAsNonRoot"] = false.into();
        spec
    };
    for (level, minor, spec, passes) in [
        (Level::Baseline, 26, reserved.clone(), false),
        (Level::Baseline, 27, reserved, true),
        (Level::Restricted, 34, own_users.clone(), false),
        (Level::Restricted, 36, own_users, true),
    ] {
        assert_eq!(judge(&standard(level, minor), &pod(spec.clone())).is_empty(), passes, "{minor} {spec}");
    }
}

#[test]
fn labels_are_read_and_wrong_ones_named() {
    let read = |labels: &[(&str, &'static str)]| {
        let label = |key: &str| {
            let key = key.strip_prefix("pod-security.kubernetes.io/")?;
            labels.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        };
        let (policy, wrong) = Policy::read(label);
        (
            policy.enforce.to_string(),
            policy.warn.to_string(),
            wrong.into_iter().map(|label| label.value).collect::<Vec<_>>(),
        )
    };
    let told = |enforce: &str, warn: &str, wrong: &[&str]| {
        (enforce.to_owned(), warn.to_owned(), wrong.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    };
    let p = "privileged:latest";
    assert_eq!(read(&[]), told(p, p, &[]));
    assert_eq!(read(&[("enforce", "baseline")]), told("baseline:latest", "baseline:latest", &[]));
    assert_eq!(read(&[("enforce", "baseline"), ("warn", "privileged")]), told("baseline:latest", p, &[]));
    assert_eq!(read(&[("warn", "restricted"), ("warn-version", "v1.20")]), told(p, "restricted:v1.20", &[]));
    // Nobody is warned of what only a slip asks for.
    assert_eq!(read(&[("enforce", "bogus")]), told("restricted:latest", p, &["bogus"]));
    assert_eq!(read(&[("warn", "bogus")]), told(p, p, &["bogus"]));
    assert_eq!(
        read(&[("enforce", "baseline"), ("warn-version", "v1.20")]),
        told("baseline:latest", "baseline:v1.20", &[])
    );
    for version in ["1.20", "v1.020", "v2.0", "v1.", "v1.x", ""] {
        let version: &'static str = version;
        assert_eq!(read(&[("enforce-version", version)]).2, [version]);
    }
}

#[test]
fn only_a_stricter_standard_is_held_against_pods_that_are_there() {
    use Level::{Baseline, Privileged, Restricted};
    let latest = |level| Standard { level, version: Version::Latest };
    for (new, old, stricter) in [
        (latest(Baseline), latest(Privileged), true),
        (latest(Restricted), latest(Baseline), true),
        (latest(Baseline), latest(Restricted), false),
        (latest(Baseline), latest(Baseline), false),
        (latest(Privileged), latest(Restricted), false),
        (standard(Baseline, 20), latest(Baseline), true),
    ] {
        assert_eq!(new.is_stricter_than(&old), stricter, "{new} {old}");
    }
}

#[test]
fn an_update_that_changes_no_image_is_not_judged() {
    let pod = |image: &str| json!({"metadata": {"labels": {"image": image}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    assert!(asks_the_same(&pod("a"), &pod("b")));
    let mut other = pod("a");
    other["spec"]["containers"][0]["image"] = "b".into();
    assert!(!asks_the_same(&pod("a"), &other));
    let mut more = pod("a");
    more["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "a"}]);
    assert!(!asks_the_same(&pod("a"), &more));
}
