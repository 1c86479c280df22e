//! What is telling of each kind, in a list of few lines.

use maud::{Markup, html};
use serde_json::Value;

use super::Shown;
use crate::pages::parts::{self, Bar, link};
use crate::route::{Place, Spot, core};
use crate::tell::{self, list, number, plain, text};

/// Whether there is a list for the kind.
pub(super) fn knows(shown: &Shown<'_>) -> bool {
    let place = &shown.spot.place;
    matches!(
        (&*place.group, &*place.resource),
        (
            "",
            "pods"
                | "nodes"
                | "services"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "namespaces"
                | "events"
                | "serviceaccounts"
        ) | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs")
    )
}

pub(super) fn of(shown: &Shown<'_>) -> Markup {
    let object = &shown.object;
    let rows: Vec<(&str, Markup)> = match (&*shown.spot.place.group, &*shown.spot.place.resource) {
        ("", "pods") => pod(object),
        ("", "nodes") => node(object),
        ("", "services") => service(shown),
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => workload(object),
        ("batch", "jobs") => job(object),
        ("batch", "cronjobs") => cron_job(shown),
        ("", "persistentvolumeclaims") => claim(object),
        ("", "persistentvolumes") => volume(object),
        ("", "secrets") => vec![("Type", told(text(object, "/type")))],
        _ => Vec::new(),
    };
    html! {
        @if !rows.is_empty() {
            dl.facts { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } }
        }
    }
}

fn told(text: &str) -> Markup {
    html! { @if text.is_empty() { span.quiet { "none" } } @else { (text) } }
}

fn pod(pod: &Value) -> Vec<(&'static str, Markup)> {
    let state = parts::pod_state(pod);
    let node = text(pod, "/spec/nodeName");
    let account = text(pod, "/spec/serviceAccountName");
    let namespace = text(pod, "/metadata/namespace");
    vec![
        ("Ready", html! { (tell::toned(&state.ready, tell::Tone::of_share(&state.ready))) }),
        ("Restarts", html! { (state.restarts) }),
        (
            "Node",
            html! { @if node.is_empty() { span.quiet { "none yet" } } @else { (link(&Spot::new(core("nodes"), "", node))) } },
        ),
        ("Address", told(text(pod, "/status/podIP"))),
        ("Class of service", told(text(pod, "/status/qosClass"))),
        (
            "Runs as",
            html! { @if !account.is_empty() { (link(&Spot::new(core("serviceaccounts"), namespace, account))) } },
        ),
        ("Uses", uses(pod, namespace)),
    ]
}

/// What a pod mounts and reads.
fn uses(pod: &Value, namespace: &str) -> Markup {
    let volumes = list(pod, "/spec/volumes").iter().filter_map(|volume| {
        let named = [
            ("configmaps", "/configMap/name"),
            ("secrets", "/secret/secretName"),
            ("persistentvolumeclaims", "/persistentVolumeClaim/claimName"),
        ];
        named
            .into_iter()
            .map(|(plural, path)| (plural, text(volume, path)))
            .find(|(_, name)| !name.is_empty())
    });
    let sources = list(pod, "/spec/containers").iter().flat_map(|container| {
        let whole = list(container, "/envFrom").iter().flat_map(|from| {
            [("configmaps", text(from, "/configMapRef/name")), ("secrets", text(from, "/secretRef/name"))]
        });
        let single = list(container, "/env").iter().flat_map(|env| {
            [
                ("configmaps", text(env, "/valueFrom/configMapKeyRef/name")),
                ("secrets", text(env, "/valueFrom/secretKeyRef/name")),
            ]
        });
        whole.chain(single).filter(|(_, name)| !name.is_empty())
    });
    let mut all: Vec<_> = volumes.chain(sources).collect();
    all.sort_unstable();
    all.dedup();
    html! {
        @if all.is_empty() { span.quiet { "none" } }
        @for (plural, name) in all {
            @let spot = Spot::new(core(plural), namespace, name);
            a href=(spot.link()) { (name) } " "
        }
    }
}

fn node(node: &Value) -> Vec<(&'static str, Markup)> {
    let info = &node["status"]["nodeInfo"];
    let taints: Vec<String> = list(node, "/spec/taints")
        .iter()
        .map(|taint| {
            let value = text(taint, "/value");
            let value = if value.is_empty() { String::new() } else { format!("={value}") };
            format!("{}{value}:{}", text(taint, "/key"), text(taint, "/effect"))
        })
        .collect();
    let addresses: Vec<&str> =
        list(node, "/status/addresses").iter().map(|address| text(address, "/address")).collect();
    let amounts = |field: &str| {
        let map = node["status"][field].as_object();
        map.map(|map| {
            map.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
        })
    };
    vec![
        (
            "Takes pods",
            html! { @if node["spec"]["unschedulable"] == true { (tell::toned("cordoned", tell::Tone::Busy)) } @else { "yes" } },
        ),
        ("Addresses", told(&addresses.join(", "))),
        ("Allocatable", told(&amounts("allocatable").unwrap_or_default())),
        ("Taints", told(&taints.join(", "))),
        ("Kubelet", told(text(info, "/kubeletVersion"))),
        ("Runtime", told(text(info, "/containerRuntimeVersion"))),
        ("System", told(&format!("{} {}", text(info, "/osImage"), text(info, "/architecture")))),
    ]
}

fn service(shown: &Shown<'_>) -> Vec<(&'static str, Markup)> {
    let service = &shown.object;
    let ports: Vec<(String, Option<String>)> = list(service, "/spec/ports")
        .iter()
        .map(|port| {
            let link = parts::port_link(shown.visit, &shown.spot, port, "/port");
            let node = number(port, "/nodePort");
            let node = if node > 0 { format!(" on nodes at {node}") } else { String::new() };
            let (number, protocol) = (number(port, "/port"), text(port, "/protocol"));
            (format!("{number}/{protocol} → {}{node}", plain(&port["targetPort"])), link)
        })
        .collect();
    let selector = tell::labels(&service["spec"]["selector"]);
    let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        ("Type", told(text(service, "/spec/type"))),
        ("Address", told(text(service, "/spec/clusterIP"))),
        (
            "Ports",
            html! {
                @for (port, link) in &ports {
                    div { (port) @if let Some(link) = link { " " a href=(link) target="_blank" rel="noopener" { "Open" } } }
                }
            },
        ),
        ("Selects", told(&selector.join(", "))),
    ]
}

fn images(template: &Value) -> Markup {
    html! { @for container in list(template, "/spec/containers") { div.image { (text(container, "/image")) } } }
}

fn workload(object: &Value) -> Vec<(&'static str, Markup)> {
    let wanted = match object["spec"]["replicas"].as_i64() {
        Some(wanted) => wanted,
        None => number(object, "/status/desiredNumberScheduled"),
    };
    let ready = number(object, "/status/readyReplicas") + number(object, "/status/numberReady");
    let updated =
        number(object, "/status/updatedReplicas") + number(object, "/status/updatedNumberScheduled");
    let strategy = match text(object, "/spec/strategy/type") {
        "" => text(object, "/spec/updateStrategy/type"),
        strategy => strategy,
    };
    vec![
        ("Ready", parts::bar(Bar::Progress, ready as f64, wanted as f64, &format!("{ready} of {wanted}"))),
        ("Up to date", html! { (updated) }),
        ("Images", images(&object["spec"]["template"])),
        ("Strategy", told(strategy)),
    ]
}

fn job(job: &Value) -> Vec<(&'static str, Markup)> {
    let done = number(job, "/status/succeeded");
    let wanted = job["spec"]["completions"].as_i64().unwrap_or(1);
    vec![
        ("Done", parts::bar(Bar::Progress, done as f64, wanted as f64, &format!("{done} of {wanted}"))),
        ("Active", html! { (number(job, "/status/active")) }),
        (
            "Failed",
            html! { (number(job, "/status/failed")) " of at most " (number(job, "/spec/backoffLimit")) },
        ),
        ("Images", images(&job["spec"]["template"])),
    ]
}

fn cron_job(shown: &Shown<'_>) -> Vec<(&'static str, Markup)> {
    let (object, namespace) = (&shown.object, &shown.spot.namespace);
    let active = list(object, "/status/active");
    vec![
        (
            "Schedule",
            html! { code { (text(object, "/spec/schedule")) } " " (text(object, "/spec/timeZone")) },
        ),
        ("Last ran", html! { (tell::when(text(object, "/status/lastScheduleTime"), shown.now)) }),
        (
            "Active",
            html! {
                @if active.is_empty() { span.quiet { "none" } }
                @for job in active {
                    @let spot = Spot::new(Place::new("batch", "v1", "jobs"), namespace, text(job, "/name"));
                    (link(&spot)) " "
                }
            },
        ),
        ("Images", images(&object["spec"]["jobTemplate"]["spec"]["template"])),
    ]
}

fn claim(claim: &Value) -> Vec<(&'static str, Markup)> {
    let volume = text(claim, "/spec/volumeName");
    vec![
        ("Phase", tell::state(text(claim, "/status/phase"))),
        (
            "Volume",
            html! { @if volume.is_empty() { span.quiet { "none yet" } } @else { (link(&Spot::new(core("persistentvolumes"), "", volume))) } },
        ),
        ("Asks for", told(text(claim, "/spec/resources/requests/storage"))),
        ("Class", told(text(claim, "/spec/storageClassName"))),
    ]
}

fn volume(volume: &Value) -> Vec<(&'static str, Markup)> {
    let claim = &volume["spec"]["claimRef"];
    vec![
        ("Phase", tell::state(text(volume, "/status/phase"))),
        ("Capacity", told(text(volume, "/spec/capacity/storage"))),
        (
            "Claim",
            html! { @if !claim.is_null() {
                (link(&Spot::new(core("persistentvolumeclaims"), text(claim, "/namespace"), text(claim, "/name"))))
            } },
        ),
        ("When released", told(text(volume, "/spec/persistentVolumeReclaimPolicy"))),
    ]
}
