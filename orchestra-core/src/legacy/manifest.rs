//! Containers and volumes as `v1beta1` and `v1beta2` had them: a `ContainerManifest`.

use serde_json::{Value, json};

use super::parts::{New, Old, Tell};

/// Moves what a manifest says of a pod to its spec. Its name is taken by whoever knows what it is for.
pub(super) fn pod_spec(mut manifest: Old, spec: &mut New, tell: &mut Tell) {
    // A mark of the form, and no more.
    manifest.ignore(&["version"]);
    manifest.lose("uuid", "uids are given by the cluster", tell);
    for name in [
        "terminationGracePeriodSeconds",
        "activeDeadlineSeconds",
        "dnsPolicy",
        "hostNetwork",
        "imagePullSecrets",
    ] {
        manifest.carry(name, spec, tell);
    }
    restart_policy(&mut manifest, spec, tell);
    let containers = manifest.objects("containers", tell).into_iter().enumerate();
    let containers =
        containers.map(|(index, old)| container(old, spec.element("containers", index), tell)).collect();
    spec.put_all("containers", containers);
    let volumes = manifest.objects("volumes", tell).into_iter().enumerate();
    let volumes = volumes.map(|(index, old)| volume(old, spec.element("volumes", index), tell)).collect();
    spec.put_all("volumes", volumes);
    manifest.end(tell);
}

fn restart_policy(manifest: &mut Old, spec: &mut New, tell: &mut Tell) {
    let mut policy = manifest.object("restartPolicy", tell);
    let stated = [("always", "Always"), ("onFailure", "OnFailure"), ("never", "Never")]
        .into_iter()
        .filter(|(old, _)| policy.take(old).is_some())
        .map(|(_, new)| new)
        .collect::<Vec<_>>();
    match stated[..] {
        [] => {}
        [one] => spec.set("restartPolicy", one),
        _ => tell.wrong(&manifest.path("restartPolicy"), "more than one of always, onFailure and never"),
    }
    policy.end(tell);
}

fn container(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    name(&mut old, "name", &mut new, tell);
    // `command` was what is given to the image's entrypoint.
    old.carry_as("entrypoint", "command", &mut new, tell);
    old.carry_as("command", "args", &mut new, tell);
    for name in ["image", "workingDir", "terminationMessagePath", "lifecycle"] {
        old.carry(name, &mut new, tell);
    }
    let ports = old.objects("ports", tell).into_iter().enumerate();
    let ports = ports
        .map(|(index, mut port)| {
            let mut to = new.element("ports", index);
            name(&mut port, "name", &mut to, tell);
            for name in ["containerPort", "hostIP"] {
                port.carry(name, &mut to, tell);
            }
            // Zero was what nobody set.
            to.set_some("hostPort", port.take("hostPort").filter(|port| *port != 0));
            let protocol = port.text("protocol", tell).map(|protocol| protocol.to_uppercase());
            to.set_some("protocol", protocol);
            port.end(tell);
            to
        })
        .collect();
    new.put_all("ports", ports);
    environment(&mut old, &mut new, tell);
    resources(&mut old, &mut new, tell);
    mounts(&mut old, &mut new, tell);
    for probe in ["livenessProbe", "readinessProbe"] {
        let (mut held, mut to) = (old.object(probe, tell), new.below(probe));
        // Which of the three it is, is said by which of the three is there.
        held.ignore(&["type"]);
        for name in ["httpGet", "tcpSocket", "exec", "initialDelaySeconds", "timeoutSeconds"] {
            held.carry(name, &mut to, tell);
        }
        held.end(tell);
        new.put(probe, to);
    }
    if let Some(policy) = old.text("imagePullPolicy", tell) {
        match policy.strip_prefix("Pull").unwrap_or(&policy) {
            policy @ ("Always" | "Never" | "IfNotPresent") => new.set("imagePullPolicy", policy),
            _ => tell
                .wrong(&old.path("imagePullPolicy"), "it is none of PullAlways, PullNever, PullIfNotPresent"),
        }
    }
    security(&mut old, &mut new, tell);
    old.end(tell);
    new
}

/// What a container may do, which stood beside everything else before it had a place of its own.
pub(super) fn security(old: &mut Old, new: &mut New, tell: &mut Tell) {
    let (mut context, mut to) = (old.object("securityContext", tell), new.below("securityContext"));
    for name in ["capabilities", "privileged", "seLinuxOptions", "runAsUser", "runAsNonRoot"] {
        context.carry(name, &mut to, tell);
    }
    context.end(tell);
    if old.truth("privileged", tell) && !to.fields.contains_key("privileged") {
        to.set("privileged", true);
    }
    let (mut capabilities, mut sets) = (old.object("capabilities", tell), to.below("capabilities"));
    for name in ["add", "drop"] {
        capabilities.carry(name, &mut sets, tell);
    }
    capabilities.end(tell);
    if !to.fields.contains_key("capabilities") {
        to.put("capabilities", sets);
    }
    new.put("securityContext", to);
}

fn environment(old: &mut Old, new: &mut New, tell: &mut Tell) {
    let variables = old.objects("env", tell).into_iter().enumerate();
    let variables = variables
        .map(|(index, mut variable)| {
            let mut to = new.element("env", index);
            either(&mut variable, "name", "key", &mut to, tell);
            variable.carry("value", &mut to, tell);
            let mut source = variable.object("valueFrom", tell);
            let mut reference = source.object("fieldRef", tell);
            let was_v1 = reference.text("apiVersion", tell).is_some_and(|version| version == "v1");
            if let Some(path) = reference.text("fieldPath", tell) {
                match path.as_str() {
                    "id" | "name" => to.set("valueFrom", field_reference("metadata.name")),
                    "namespace" => to.set("valueFrom", field_reference("metadata.namespace")),
                    "currentState.podIP" => to.set("valueFrom", field_reference("status.podIP")),
                    "desiredState.host" | "currentState.host" => {
                        to.set("valueFrom", field_reference("spec.nodeName"));
                    }
                    path if was_v1 || path.starts_with("metadata.") => {
                        to.set("valueFrom", field_reference(path))
                    }
                    _ => {
                        tell.wrong(&reference.path("fieldPath"), "it is not known which field that is today")
                    }
                }
            }
            reference.end(tell);
            source.end(tell);
            variable.end(tell);
            to
        })
        .collect();
    new.put_all("env", variables);
}

fn field_reference(path: &str) -> Value {
    json!({"fieldRef": {"fieldPath": path}})
}

/// Carries the field that is there, the first before the second.
fn either(old: &mut Old, preferred: &str, other: &str, new: &mut New, tell: &mut Tell) {
    let used = if old.has(preferred) { preferred } else { other };
    old.carry_as(used, preferred, new, tell);
    let unused = if used == preferred { other } else { preferred };
    old.lose(unused, &format!("{used} is there, and was the one that counted"), tell);
}

fn resources(old: &mut Old, new: &mut New, tell: &mut Tell) {
    let (mut held, mut to) = (old.object("resources", tell), new.below("resources"));
    held.carry("requests", &mut to, tell);
    let mut limits = to.below("limits");
    let mut stated = held.object("limits", tell);
    for (name, quantity) in
        [("cpu", amount(old, "cpu", "m", tell)), ("memory", amount(old, "memory", "", tell))]
    {
        match quantity {
            Some(_) if stated.has(name) => {
                tell.note(
                    &old.path(name),
                    &format!("resources.limits.{name} is there, and was the one that counted"),
                );
            }
            quantity => limits.set_some(name, quantity),
        }
    }
    // Of resources any may be limited.
    for name in stated.names() {
        stated.carry(&name, &mut limits, tell);
    }
    held.end(tell);
    to.put("limits", limits);
    new.put("resources", to);
}

/// A whole number of thousandths or bytes, as a quantity; zero was no limit.
fn amount(old: &mut Old, name: &str, unit: &str, tell: &mut Tell) -> Option<String> {
    let value = old.take(name)?;
    match value.as_i64() {
        Some(0) => None,
        Some(number) if number > 0 => Some(format!("{number}{unit}")),
        _ => {
            tell.wrong(&old.path(name), "it is not a whole number above zero");
            None
        }
    }
}

fn mounts(old: &mut Old, new: &mut New, tell: &mut Tell) {
    let mounts = old.objects("volumeMounts", tell).into_iter().enumerate();
    let mounts = mounts
        .map(|(index, mut mount)| {
            let mut to = new.element("volumeMounts", index);
            name(&mut mount, "name", &mut to, tell);
            mount.carry("readOnly", &mut to, tell);
            either(&mut mount, "mountPath", "path", &mut to, tell);
            match mount.text("mountType", tell).as_deref() {
                None | Some("LOCAL") => {}
                Some(_) => {
                    tell.wrong(&mount.path("mountType"), "where a volume is, is said by its source today")
                }
            }
            mount.end(tell);
            to
        })
        .collect();
    new.put_all("volumeMounts", mounts);
}

fn volume(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    name(&mut old, "name", &mut new, tell);
    let mut source = old.object("source", tell);
    if let Some(mut secret) = source.has("secret").then(|| source.object("secret", tell)) {
        let mut target = secret.object("target", tell);
        // A reference said more than the name, all of which the volume says by being one of a secret.
        target.ignore(&["kind", "namespace", "apiVersion"]);
        let named = target.text("name", tell).or_else(|| target.text("id", tell));
        let named = named.map(|named| super::name(&named));
        target.end(tell);
        secret.end(tell);
        new.set("secret", json!({"secretName": named}));
    }
    for (was, is) in [
        ("emptyDir", "emptyDir"),
        ("hostDir", "hostPath"),
        ("persistentDisk", "gcePersistentDisk"),
        ("awsElasticBlockStore", "awsElasticBlockStore"),
        ("gitRepo", "gitRepo"),
        ("nfs", "nfs"),
        ("iscsi", "iscsi"),
        ("glusterfs", "glusterfs"),
        ("rbd", "rbd"),
        ("persistentVolumeClaim", "persistentVolumeClaim"),
    ] {
        source.carry_as(was, is, &mut new, tell);
    }
    source.end(tell);
    if new.fields.keys().all(|name| name == "name") {
        // One that said nothing was an empty directory.
        new.set("emptyDir", json!({}));
    }
    old.end(tell);
    new
}

/// Moves a name, made one of today.
pub(super) fn name(old: &mut Old, field: &str, new: &mut New, tell: &mut Tell) {
    let Some(text) = old.text(field, tell) else { return };
    let today = super::name(&text);
    if today != text {
        tell.note(&old.path(field), &format!("{text:?} is no name today; it is {today:?}"));
    }
    new.set("name", today);
}
