//! What a pod has when its manifest does not say.
//!
//! Not here, because it depends on more than the pod: its service account, its priority, and the five minutes for
//! which it tolerates a node that is not ready. Those are admission's.

use serde_json::{Map, Value, json};

use super::CONTAINERS;
use crate::image_name::ImageName;
use crate::objects::json::Fields;
use crate::objects::quantities;

/// The mode of files in volumes made of objects: `rw-r--r--`.
const FILE_MODE: i32 = 0o644;

/// Fills in a pod.
pub(super) fn pod(object: &mut Value) {
    // A pod has a specification though its manifest has none.
    let Some(fields) = object.as_object_mut().and_then(|pod| pod.object_or_new("spec")) else { return };
    spec(fields);
    // A pod that was to end in less than no time ends after a second; a template is kept as it is written.
    if fields.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0)
    {
        fields.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    fields.or("enableServiceLinks", true);
    for list in ["containers", "initContainers"] {
        fields.each(list).for_each(requests_from_limits);
    }
    if fields.is_true("hostNetwork") {
        for list in ["containers", "initContainers"] {
            fields.each(list).for_each(host_ports);
        }
    }
}

/// Fills in what a pod and the template of one have in common.
pub(in crate::objects) fn spec(spec: &mut Map<String, Value>) {
    spec.or_text("dnsPolicy", "ClusterFirst");
    spec.or_text("restartPolicy", "Always");
    spec.or_text("schedulerName", "default-scheduler");
    spec.or("securityContext", json!({}));
    spec.or("terminationGracePeriodSeconds", 30);
    service_account(spec);
    for list in CONTAINERS {
        spec.each(list).for_each(container);
    }
    spec.each("volumes").for_each(volume);
    quantities::round_up(spec, "overhead");
    if let Some(resources) = spec.object("resources") {
        quantities::round_up(resources, "limits");
        quantities::round_up(resources, "requests");
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; an object has both.
fn service_account(spec: &mut Map<String, Value>) {
    let name = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount"),
        name => name,
    };
    if !name.is_empty() {
        let name = name.to_owned();
        spec.insert("serviceAccount".to_owned(), name.clone().into());
        spec.insert("serviceAccountName".to_owned(), name.into());
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(container.text("image"));
    container.or_text("imagePullPolicy", policy);
    container.or_text("terminationMessagePath", "/dev/termination-log");
    container.or_text("terminationMessagePolicy", "File");
    if let Some(resources) = container.object_or_new("resources") {
        quantities::round_up(resources, "limits");
        quantities::round_up(resources, "requests");
    }
    for port in container.each("ports") {
        port.or_text("protocol", "TCP");
    }
    for variable in container.each("env") {
        if let Some(source) = variable.object("valueFrom") {
            sources(source);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.object(kind).into_iter().for_each(probe);
    }
    if let Some(lifecycle) = container.object("lifecycle") {
        for hook in ["postStart", "preStop"] {
            lifecycle.object(hook).into_iter().for_each(handler);
        }
    }
}

fn probe(probe: &mut Map<String, Value>) {
    probe.or_number("timeoutSeconds", 1);
    probe.or_number("periodSeconds", 10);
    probe.or_number("successThreshold", 1);
    probe.or_number("failureThreshold", 3);
    handler(probe);
}

fn handler(handler: &mut Map<String, Value>) {
    if let Some(get) = handler.object("httpGet") {
        get.or_text("path", "/");
        get.or_text("scheme", "HTTP");
    }
    if let Some(grpc) = handler.object("grpc") {
        grpc.or("service", "");
    }
}

/// A value taken from a field or a resource of the pod.
fn sources(source: &mut Map<String, Value>) {
    if let Some(field) = source.object("fieldRef") {
        field.or_text("apiVersion", "v1");
    }
    if let Some(resource) = source.object("resourceFieldRef") {
        resource.or("divisor", "0");
    }
}

/// The policy for an image whose container names none. What is no name of an image has no tag, and so not the newest.
fn pull_policy(image: &str) -> &'static str {
    if ImageName::parse(image).is_ok_and(|name| name.is_latest()) { "Always" } else { "IfNotPresent" }
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.iter().all(|(field, value)| field == "name" || value.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.object(kind) {
            source.or("defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = volume.object("hostPath") {
        path.or("type", "");
    }
    if let Some(source) = volume.object("downwardAPI") {
        source.each("items").for_each(sources);
    }
    for source in volume.object("projected").into_iter().flat_map(|projected| projected.each("sources")) {
        if let Some(downward) = source.object("downwardAPI") {
            downward.each("items").for_each(sources);
        }
        if let Some(token) = source.object("serviceAccountToken") {
            token.or("expirationSeconds", 3600);
        }
    }
    if let Some(image) = volume.object("image") {
        let policy = pull_policy(image.text("reference"));
        image.or_text("pullPolicy", policy);
    }
    let claim = volume.object("ephemeral").and_then(|own| own.object("volumeClaimTemplate"));
    if let Some(claim) = claim.and_then(|claim| claim.object("spec")) {
        claim.or("volumeMode", "Filesystem");
    }
    network_volume(volume);
}

/// Volumes of storage systems, which this cluster keeps as they are written.
pub(in crate::objects) fn network_volume(volume: &mut Map<String, Value>) {
    if let Some(iscsi) = volume.object("iscsi") {
        iscsi.or_text("iscsiInterface", "default");
    }
    if let Some(rbd) = volume.object("rbd") {
        rbd.or_text("pool", "rbd");
        rbd.or_text("user", "admin");
        rbd.or_text("keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = volume.object("azureDisk") {
        disk.or("cachingMode", "ReadWrite");
        disk.or("fsType", "ext4");
        disk.or("kind", "Shared");
        disk.or("readOnly", false);
    }
    if let Some(scale_io) = volume.object("scaleIO") {
        scale_io.or_text("storageMode", "ThinProvisioned");
        scale_io.or_text("fsType", "xfs");
    }
}

/// What a container may use at most is what it asks for, unless it asks for something else. Of pods only: a template
/// is kept as it is written.
fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = container.object("resources") else { return };
    let Some(limits) = resources.object("limits").filter(|limits| !limits.is_empty()).cloned() else {
        return;
    };
    if let Some(requests) = resources.object_or_new("requests") {
        for (name, amount) in limits {
            requests.or(&name, amount);
        }
    }
}

/// On the network of the node, each port is that of the node.
fn host_ports(container: &mut Map<String, Value>) {
    for port in container.each("ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            port.or_number("hostPort", number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn the_name_says_when_to_pull() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("host:5000/nginx:latest", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
