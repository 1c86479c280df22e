//! What of a pod's status may be said, and what of it may not change any more.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use serde_json::Value;

use crate::api::field::{Errors, Path, Shown};
use crate::api::names;
use crate::objects::check::{self, say};

const NOT_NEGATIVE: &str = "must be a non-negative integer";

/// Says what is wrong with a new status of a pod.
pub(super) fn validate(new: &Pod, old: &Pod, errors: &mut Errors) {
    let (no_status, no_spec) = (PodStatus::default(), PodSpec::default());
    let (now, before) =
        (new.status.as_ref().unwrap_or(&no_status), old.status.as_ref().unwrap_or(&no_status));
    let spec = old.spec.as_ref().unwrap_or(&no_spec);
    let path = Path::new("status");
    conditions(now, &path.child("conditions"), errors);
    nominated(now, before, spec, &path.child("nominatedNodeName"), errors);
    if let Some(seen) = now.observed_generation.filter(|seen| *seen < 0) {
        errors.invalid(&path.child("observedGeneration"), seen, NOT_NEGATIVE);
    }
    if before.qos_class.is_some() {
        check::unchanged(errors, &path.child("qosClass"), &now.qos_class, &before.qos_class);
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let init = spec.init_containers.as_deref().unwrap_or_default();
    // Those that begin a pod run once more after its machine was started again, unless nothing of it does.
    let of_init = if policy == "Never" { policy } else { "Always" };
    let no_containers: &[Container] = &[];
    for (field, now, before, containers, policy) in [
        ("containerStatuses", &now.container_statuses, &before.container_statuses, &*spec.containers, policy),
        (
            "initContainerStatuses",
            &now.init_container_statuses,
            &before.init_container_statuses,
            init,
            of_init,
        ),
        (
            "ephemeralContainerStatuses",
            &now.ephemeral_container_statuses,
            &before.ephemeral_container_statuses,
            no_containers,
            policy,
        ),
    ] {
        let (now, before) = (now.as_deref().unwrap_or_default(), before.as_deref().unwrap_or_default());
        ended(now, before, containers, policy, &path.child(field), errors);
    }
    claims(now, spec, &path.child("resourceClaimStatuses"), errors);
    let addresses: Vec<&str> = now.pod_ips.iter().flatten().map(|held| &*held.ip).collect();
    one_of_each_family(&addresses, &path.child("podIPs"), errors);
    let addresses: Vec<&str> = now.host_ips.iter().flatten().map(|held| &*held.ip).collect();
    if let Some(first) =
        addresses.first().filter(|first| **first != now.host_ip.as_deref().unwrap_or_default())
    {
        let path = path.child("hostIPs").index(0).child("ip");
        errors.invalid(&path, *first, "must be equal to `hostIP`");
    }
    one_of_each_family(&addresses, &path.child("hostIPs"), errors);
}

fn conditions(status: &PodStatus, path: &Path, errors: &mut Errors) {
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        let path = path.index(index);
        if let Some(seen) = condition.observed_generation.filter(|seen| *seen < 0) {
            errors.invalid(&path.child("observedGeneration"), seen, NOT_NEGATIVE);
        }
        say(errors, &path.child("Type"), &condition.type_, names::qualified(&condition.type_));
    }
}

/// A node is nominated for a pod that has none.
fn nominated(now: &PodStatus, before: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let node = now.nominated_node_name.as_deref().unwrap_or_default();
    if node.is_empty() || before.nominated_node_name.as_deref() == Some(node) {
        return;
    }
    say(errors, path, node, names::subdomain(node));
    if spec.node_name.as_deref().is_some_and(|bound| !bound.is_empty()) {
        errors.forbidden(path, "may not be set on pods that are already bound to a node");
    }
}

/// What has ended for good does not run again.
fn ended(
    new: &[ContainerStatus],
    old: &[ContainerStatus],
    containers: &[Container],
    policy: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let end = |container: &ContainerStatus| {
        container.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    for (index, before) in old.iter().enumerate() {
        let Some(code) = end(before) else { continue };
        let container = containers.iter().find(|container| container.name == before.name);
        let may_run = container.is_some_and(|container| restarts(container, policy, code));
        let runs = new.iter().any(|now| now.name == before.name && end(now).is_none());
        if runs && !may_run {
            errors.forbidden(
                &path.index(index).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

/// Whether a container starts again that ended with `code`: its own rules come before its own policy, and that before its pod's.
fn restarts(container: &Container, policy: &str, code: i32) -> bool {
    if let Some(own) = container.restart_policy.as_deref() {
        let rules = container.restart_policy_rules.iter().flatten();
        let mut codes = rules.filter_map(|rule| rule.exit_codes.as_ref());
        let matched = codes.any(|codes| {
            let listed = codes.values.as_deref().unwrap_or_default().contains(&code);
            listed == (codes.operator == "In")
        });
        return matched || by_policy(own, code);
    }
    by_policy(policy, code)
}

fn by_policy(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

fn claims(status: &PodStatus, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let statuses = status.resource_claim_statuses.as_deref().unwrap_or_default();
    for (index, status) in statuses.iter().enumerate() {
        let path = path.index(index);
        let name = status.name.as_str();
        if !spec.resource_claims.iter().flatten().any(|claim| claim.name == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&path.child("name"), name, why);
        }
        if statuses.iter().take(index).any(|earlier| earlier.name == name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(claim) = status.resource_claim_name.as_deref() {
            say(errors, &path.child("resourceClaimName"), claim, names::subdomain(claim));
        }
    }
}

fn one_of_each_family(addresses: &[&str], path: &Path, errors: &mut Errors) {
    let mut parsed: Vec<IpAddr> = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        parsed.extend(check::ip(errors, &path.index(index), address));
    }
    let both = matches!(&*parsed, [one, other] if one.is_ipv4() != other.is_ipv4());
    if addresses.len() > 1 && !both {
        let shown = addresses.iter().map(|address| Shown::object([("IP", Value::from(*address).into())]));
        errors.invalid_object(path, Shown::list(shown), "may specify no more than one IP for each IP family");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(spec: Value, old: Value, new: Value) -> Vec<String> {
        let pod =
            |status| -> Pod { serde_json::from_value(json!({"spec": spec, "status": status})).unwrap() };
        let mut errors = Errors::new();
        validate(&pod(new), &pod(old), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_cannot_be_said_of_a_pod_is_refused() {
        let spec = || json!({"containers": [], "resourceClaims": [{"name": "gpu"}]});
        let families = "may specify no more than one IP for each IP family";
        for (status, message) in [
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), String::new()),
            (
                json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": -1}]}),
                format!("status.conditions[0].observedGeneration: Invalid value: -1: {NOT_NEGATIVE}"),
            ),
            (
                json!({"observedGeneration": -2}),
                format!("status.observedGeneration: Invalid value: -2: {NOT_NEGATIVE}"),
            ),
            (
                json!({"podIPs": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}]}),
                format!("status.podIPs: Invalid value: [{{\"IP\":\"1.1.1.1\"}},{{\"IP\":\"1.1.1.2\"}}]: {families}"),
            ),
            (json!({"podIPs": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}]}), String::new()),
            (
                json!({"hostIPs": [{"ip": "1.1.1.1"}]}),
                "status.hostIPs[0].ip: Invalid value: \"1.1.1.1\": must be equal to `hostIP`".into(),
            ),
            (json!({"hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.1"}]}), String::new()),
            (json!({"resourceClaimStatuses": [{"name": "gpu"}]}), String::new()),
            (
                json!({"resourceClaimStatuses": [{"name": "gpu"}, {"name": "gpu"}]}),
                "status.resourceClaimStatuses[1].name: Duplicate value: \"gpu\"".into(),
            ),
            (
                json!({"resourceClaimStatuses": [{"name": "other"}]}),
                "status.resourceClaimStatuses[0].name: Invalid value: \"other\": must match the name of an entry in \
                 `spec.resourceClaims`"
                    .into(),
            ),
        ] {
            assert_eq!(wrong(spec(), json!({}), status.clone()).join("\n"), message, "{status}");
        }
        let found = wrong(spec(), json!({}), json!({"conditions": [{"type": "A b", "status": "True"}]}));
        assert!(found[0].starts_with("status.conditions[0].Type: Invalid value: \"A b\""), "{found:?}");
        let found = wrong(spec(), json!({}), json!({"nominatedNodeName": "A_"}));
        assert!(found[0].starts_with("status.nominatedNodeName: Invalid value: \"A_\""), "{found:?}");
        let bound = json!({"containers": [], "nodeName": "n"});
        let found = wrong(bound, json!({}), json!({"nominatedNodeName": "m"}));
        let why = "may not be set on pods that are already bound to a node";
        assert_eq!(found, [format!("status.nominatedNodeName: Forbidden: {why}")]);
    }

    #[test]
    fn what_has_ended_runs_again_if_its_own_policy_or_its_pods_lets_it() {
        let status = |list: &str, state: Value| {
            let held = json!({"name": "c", "ready": false, "restartCount": 0, "state": state});
            json!({list: [held]})
        };
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]);
        for (list, policy, container, code, may) in [
            ("containerStatuses", "Always", json!({}), 0, true),
            ("containerStatuses", "OnFailure", json!({}), 0, false),
            ("containerStatuses", "OnFailure", json!({}), 1, true),
            ("containerStatuses", "Never", json!({}), 1, false),
            ("containerStatuses", "Never", json!({"restartPolicy": "Always"}), 0, true),
            ("containerStatuses", "Always", json!({"restartPolicy": "Never"}), 1, false),
            (
                "containerStatuses",
                "Never",
                json!({"restartPolicy": "Never", "restartPolicyRules": rules}),
                3,
                true,
            ),
            (
                "containerStatuses",
                "Never",
                json!({"restartPolicy": "Never", "restartPolicyRules": rules}),
                4,
                false,
            ),
            ("initContainerStatuses", "Never", json!({}), 0, false),
            ("initContainerStatuses", "OnFailure", json!({}), 0, true),
            ("initContainerStatuses", "Never", json!({"restartPolicy": "Always"}), 0, true),
            ("ephemeralContainerStatuses", "Always", json!({}), 0, false),
        ] {
            let mut container = container;
            container["name"] = "c".into();
            let spec =
                json!({"restartPolicy": policy, "containers": [container], "initContainers": [container]});
            let old = status(list, json!({"terminated": {"exitCode": code}}));
            let found = wrong(spec, old, status(list, json!({"running": {}})));
            let why =
                format!("status.{list}[0].state: Forbidden: may not be transitioned to non-terminated state");
            let expected = if may { Vec::new() } else { vec![why] };
            assert_eq!(found, expected, "{list} {policy} {container} {code}");
        }
    }
}
