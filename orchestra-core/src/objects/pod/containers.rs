//! What is wrong with the containers of a pod.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, EphemeralContainer, PodSpec, Volume, VolumeDevice,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::volumes::Volumes;
use super::{env, probes, resources, security};
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say};
use crate::objects::names;

/// Says what is wrong with the containers of all three lists.
pub(super) fn all(spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let at = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(&at, "");
    }
    let mut seen = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let at = at.index(index);
        common(container, spec, volumes, &at, errors);
        probes::of_container(container, spec, &at, errors);
        restart_policy(container, &at, errors);
    }
    unique_names(spec.containers.iter().map(|container| container.name.as_str()), &at, &mut seen, errors);
    host_ports(&spec.containers, &at, errors);

    let init = spec.init_containers.as_deref().unwrap_or_default();
    let at = path.child("initContainers");
    for (index, container) in init.iter().enumerate() {
        common(container, spec, volumes, &at.index(index), errors);
        init_container(container, spec, &at.index(index), errors);
        host_ports(std::slice::from_ref(container), &at, errors);
    }
    unique_names(init.iter().map(|container| container.name.as_str()), &at, &mut seen, errors);
    ephemeral(spec, volumes, &path.child("ephemeralContainers"), seen, errors);
}

/// Rules of pods that templates need not follow.
pub(super) fn only_for_pods<'a>(
    containers: impl Iterator<Item = &'a Container>,
    path: &Path,
    errors: &mut Errors,
) {
    for (index, container) in containers.enumerate() {
        trimmed_image(container.image.as_deref().unwrap_or_default(), &path.index(index), errors);
    }
}

pub(super) fn trimmed_image(image: &str, path: &Path, errors: &mut Errors) {
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

/// What holds of every container.
fn common(container: &Container, spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    check::required_label(errors, &path.child("name"), &container.name);
    if container.image.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("image"), "");
    }
    let message_policy = container.termination_message_policy.as_deref().unwrap_or_default();
    check::one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        message_policy,
        &["File", "FallbackToLogsOnError"],
    );
    ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), errors);
    env::variables(container.env.as_deref().unwrap_or_default(), &path.child("env"), errors);
    env::sources(container.env_from.as_deref().unwrap_or_default(), &path.child("envFrom"), errors);
    mounts(container, volumes, &path.child("volumeMounts"), errors);
    devices(container, volumes, &path.child("volumeDevices"), errors);
    let pull_policy = container.image_pull_policy.as_deref().unwrap_or_default();
    check::one_of(errors, &path.child("imagePullPolicy"), pull_policy, &["Always", "IfNotPresent", "Never"]);
    if let Some(own) = &container.resources {
        resources::of_container(own, spec, &path.child("resources"), errors);
    }
    resize(container, spec, &path.child("resizePolicy"), errors);
    if let Some(context) = &container.security_context {
        security::of_container(context, spec, &path.child("securityContext"), errors);
    }
}

fn ports(ports: &[ContainerPort], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let faults = names::port(name);
            if faults.is_empty() {
                check::unique(errors, &mut seen, &path.child("name"), name);
            }
            say(errors, &path.child("name"), name, faults);
        }
        match port.container_port {
            0 => errors.required(&path.child("containerPort"), ""),
            number => check::port_number(errors, &path.child("containerPort"), number),
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            check::port_number(errors, &path.child("hostPort"), number);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        check::one_of(errors, &path.child("protocol"), protocol, check::PROTOCOLS);
    }
}

fn host_ports(containers: &[Container], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let key = format!("{}/{}/{number}", text(&port.protocol), text(&port.host_ip));
            if !seen.insert(key.clone()) {
                errors.duplicate(&path.index(index).child("ports").index(at).child("hostPort"), key);
            }
        }
    }
}

fn mounts(container: &Container, volumes: &Volumes<'_>, at: &Path, errors: &mut Errors) {
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    let mut seen = HashSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = at.index(index);
        if mount.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        let volume = volumes.get(mount.name.as_str());
        if volume.is_none() {
            errors.not_found(&path.child("name"), mount.name.clone());
        }
        if mount.mount_path.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !seen.insert(mount.mount_path.as_str()) {
            errors.invalid(&path.child("mountPath"), mount.mount_path.as_str(), "must be unique");
        }
        if devices.iter().any(|device| device.name == mount.name) {
            errors.invalid(
                &path.child("name"),
                mount.name.as_str(),
                "must not already exist in volumeDevices",
            );
        }
        if devices.iter().any(|device| device.device_path == mount.mount_path) {
            errors.invalid(
                &path.child("mountPath"),
                mount.mount_path.as_str(),
                "must not already exist as a path in volumeDevices",
            );
        }
        sub_path(mount, volume.copied(), &path, at, errors);
        propagation(mount, container, at, errors);
        read_only(mount, &at.child("recursiveReadOnly"), errors);
    }
}

/// What is wrong within a path is said of the list, as Kubernetes does; all else of the mount.
fn sub_path(mount: &VolumeMount, volume: Option<&Volume>, path: &Path, list: &Path, errors: &mut Errors) {
    let plain = mount.sub_path.as_deref().unwrap_or_default();
    let expanded = mount.sub_path_expr.as_deref().unwrap_or_default();
    for (field, value) in [("subPath", plain), ("subPathExpr", expanded)] {
        if value.is_empty() {
            continue;
        }
        if volume.is_some_and(|volume| volume.image.is_some()) {
            errors.invalid(&path.child(field), value, "not allowed in image volume sources");
        }
        check::descending_path(errors, &list.child(field), value);
    }
    if !plain.is_empty() && !expanded.is_empty() {
        errors.invalid(
            &path.child("subPathExpr"),
            expanded,
            "subPathExpr and subPath are mutually exclusive",
        );
    }
}

fn propagation(mount: &VolumeMount, container: &Container, path: &Path, errors: &mut Errors) {
    let Some(mode) = mount.mount_propagation.as_deref() else { return };
    let path = path.child("mountPropagation");
    let supported = ["Bidirectional", "HostToContainer", "None"];
    if !supported.contains(&mode) {
        errors.not_supported(&path, mode, &supported);
    }
    let privileged = container.security_context.as_ref().and_then(|context| context.privileged);
    if mode == "Bidirectional" && privileged != Some(true) {
        errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

/// A mount that is read-only all the way down is read-only, and is not passed on.
fn read_only(mount: &VolumeMount, path: &Path, errors: &mut Errors) {
    let Some(mode) = mount.recursive_read_only.as_deref() else { return };
    match mode {
        "Disabled" => {}
        "IfPossible" | "Enabled" => {
            if mount.read_only != Some(true) {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_deref().is_some_and(|propagation| propagation != "None") {
                errors
                    .forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn devices(container: &Container, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    for (index, device) in devices.iter().enumerate() {
        let VolumeDevice { name, device_path } = device;
        let path = path.index(index);
        let (at_name, at_path) = (path.child("name"), path.child("devicePath"));
        let before = &devices[..index];
        if name.is_empty() {
            errors.required(&at_name, "");
        } else if before.iter().any(|held| held.name == *name) {
            errors.invalid(&at_name, name.as_str(), "must be unique");
        }
        match volumes.get(name.as_str()) {
            None => errors.not_found(&at_name, name.clone()),
            Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => errors
                .invalid(
                    &at_name,
                    name.as_str(),
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ),
            Some(_) => {}
        }
        if device_path.is_empty() {
            errors.required(&at_path, "");
        } else if before.iter().any(|held| held.device_path == *device_path) {
            errors.invalid(&at_path, device_path.as_str(), "must be unique");
        }
        if device_path.split('/').any(|step| step == "..") {
            errors.invalid(&at_path, device_path.as_str(), "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| mount.name == *name) {
            errors.invalid(&at_name, name.as_str(), "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.mount_path == *device_path) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.invalid(&at_path, device_path.as_str(), detail);
        }
    }
}

fn resize(container: &Container, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let policies: &[ContainerResizePolicy] = container.resize_policy.as_deref().unwrap_or_default();
    let never = spec.restart_policy.as_deref() == Some("Never");
    for (index, policy) in policies.iter().enumerate() {
        check::unique(errors, &mut seen, &path.index(index), &policy.resource_name);
        check::one_of(errors, path, &policy.resource_name, &["cpu", "memory"]);
        check::one_of(errors, path, &policy.restart_policy, &["NotRequired", "RestartContainer"]);
        if never && policy.restart_policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path, policy.restart_policy.as_str(), detail);
        }
    }
}

fn restart_policy(container: &Container, path: &Path, errors: &mut Errors) {
    let supported = ["Always", "Never", "OnFailure"];
    if let Some(policy) = container.restart_policy.as_deref().filter(|policy| !supported.contains(policy)) {
        errors.not_supported(&path.child("restartPolicy"), policy, &supported);
    }
}

/// An init container is probed and has hooks only if it is a sidecar, which goes on running.
fn init_container(container: &Container, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    restart_policy(container, path, errors);
    if container.restart_policy.as_deref() == Some("Always") {
        probes::of_container(container, spec, path, errors);
        return;
    }
    for (field, given) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if given {
            errors.forbidden(
                &path.child(field),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn ephemeral<'a>(
    spec: &'a PodSpec,
    volumes: &Volumes<'_>,
    path: &Path,
    mut seen: HashSet<&'a str>,
    errors: &mut Errors,
) {
    let lasting = seen.clone();
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let path = path.index(index);
        common(&as_container(container), spec, volumes, &path, errors);
        trimmed_image(container.image.as_deref().unwrap_or_default(), &path, errors);
        check::unique(errors, &mut seen, &path.child("name"), &container.name);
        let target = container.target_container_name.as_deref().unwrap_or_default();
        if !target.is_empty() && !lasting.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for (field, given) in [
            ("ports", container.ports.as_ref().is_some_and(|ports| !ports.is_empty())),
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
            (
                "resources",
                container
                    .resources
                    .as_ref()
                    .is_some_and(|own| own.limits.is_some() || own.requests.is_some()),
            ),
            ("resizePolicy", container.resize_policy.is_some()),
            ("restartPolicy", container.restart_policy.is_some()),
        ] {
            if given {
                errors.forbidden(&path.child(field), "cannot be set for an Ephemeral Container");
            }
        }
        for (at, mount) in container.volume_mounts.iter().flatten().enumerate() {
            for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
                if value.as_deref().is_some_and(|value| !value.is_empty()) {
                    let path = path.child("volumeMounts").index(at).child(field);
                    errors.forbidden(&path, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// The annotation that is called by a prefix and the container's name, if there is one.
pub(super) fn annotation_about<'m>(
    container: &Container,
    prefix: &str,
    meta: &'m ObjectMeta,
) -> Option<&'m str> {
    let mut keys = meta.annotations.iter().flatten().map(|(key, _)| key.as_str());
    keys.find(|key| key.strip_prefix(prefix) == Some(&container.name))
}

/// The part of an ephemeral container that every container has.
pub(super) fn as_container(container: &EphemeralContainer) -> Container {
    let own = container.clone();
    Container {
        name: own.name,
        image: own.image,
        image_pull_policy: own.image_pull_policy,
        termination_message_policy: own.termination_message_policy,
        env: own.env,
        env_from: own.env_from,
        volume_mounts: own.volume_mounts,
        volume_devices: own.volume_devices,
        security_context: own.security_context,
        ..Container::default()
    }
}

/// Says of names that must be unique which stand twice.
fn unique_names<'a>(
    names: impl Iterator<Item = &'a str>,
    path: &Path,
    seen: &mut HashSet<&'a str>,
    errors: &mut Errors,
) {
    for (index, name) in names.enumerate().filter(|(_, name)| !name.is_empty()) {
        check::unique(errors, seen, &path.index(index).child("name"), name);
    }
}
