//! The Node object: what the agent says of its machine. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::config::Config;
use super::plugins::Devices;
use super::pressure::{Pressure, Short};
use crate::api::schema::{Place, canonical};
use crate::quantity::{Format, Quantity};
use crate::runtime::{Image, MachineInfo, RuntimeInfo};

/// Whether the node can run pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// It cannot; why.
    NotReady(String),
}

/// Most images a node names, the largest of those it has.
const IMAGES: usize = 50;

/// The labels every node has.
fn labels(name: &str, machine: &MachineInfo, config: &Config) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", &machine.os),
        ("kubernetes.io/arch", &machine.arch),
        ("beta.kubernetes.io/os", &machine.os),
        ("beta.kubernetes.io/arch", &machine.arch),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// The annotations every node has: volumes are attached for it.
fn annotations(config: &Config) -> BTreeMap<String, String> {
    let mut annotations = config.annotations.clone();
    annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach".into(), "true".into());
    annotations
}

/// The node as it registers.
pub fn new_node(name: &str, machine: &MachineInfo, config: &Config) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels(name, machine, config)),
            annotations: Some(annotations(config)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

/// The labels and annotations that a node which was there before must be given. `None` when it has them all.
pub fn missing_metadata(node: &Node, name: &str, machine: &MachineInfo, config: &Config) -> Option<Value> {
    let missing = |wanted: BTreeMap<String, String>, has: &Option<BTreeMap<String, String>>| {
        let held = |key: &String| has.as_ref().and_then(|has| has.get(key));
        wanted.into_iter().filter(|(key, value)| held(key) != Some(value)).collect::<BTreeMap<_, _>>()
    };
    let labels = missing(labels(name, machine, config), &node.metadata.labels);
    let annotations = missing(annotations(config), &node.metadata.annotations);
    let complete = labels.is_empty() && annotations.is_empty();
    (!complete).then(|| json!({"labels": labels, "annotations": annotations}))
}

/// What a node's status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The node's name.
    pub name: &'a str,
    /// The machine.
    pub machine: &'a MachineInfo,
    /// The runtime.
    pub runtime: &'a RuntimeInfo,
    /// What is on the machine.
    pub images: &'a [Image],
    /// What was set.
    pub config: &'a Config,
    /// What the node runs short of.
    pub pressure: &'a Pressure,
    /// The devices that it can give, by the names of their resources.
    pub devices: &'a BTreeMap<String, Devices>,
    /// The volumes that have to be attached, as far as it uses them.
    pub in_use: &'a [String],
}

/// The status of a node. What others have written into it is kept.
pub fn node_status(old: &NodeStatus, facts: Facts<'_>, health: &Health, now: Timestamp) -> NodeStatus {
    let Facts { name, machine, runtime, images, config, pressure, devices, in_use } = facts;
    let mut capacity = capacity(machine, config);
    let mut allocatable = capacity.clone();
    for (what, kept) in [("cpu", config.reserved.0), ("memory", config.reserved.1)] {
        let amount =
            if what == "cpu" { machine.cpu_millis } else { machine.memory_bytes }.saturating_sub(kept);
        allocatable.insert(what.to_owned(), if what == "cpu" { milli(amount) } else { bytes(amount) });
    }
    for (resource, devices) in devices {
        let (healthy, all) = (devices.healthy.len(), devices.healthy.len() + devices.unhealthy.len());
        capacity.insert(resource.clone(), Text(all.to_string()));
        allocatable.insert(resource.clone(), Text(healthy.to_string()));
    }
    keep_extended(&mut capacity, old.capacity.as_ref());
    keep_extended(&mut allocatable, old.allocatable.as_ref());
    NodeStatus {
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        addresses: Some(addresses(name, config)),
        conditions: Some(conditions(old, health, pressure, now)),
        node_info: Some(system_info(machine, runtime)),
        daemon_endpoints: config.endpoint_port.map(|port| NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }),
        }),
        images: Some(images_shown(images)).filter(|images| !images.is_empty()),
        volumes_in_use: Some(in_use.to_vec()).filter(|volumes| !volumes.is_empty()),
        ..old.clone()
    }
}

fn capacity(machine: &MachineInfo, config: &Config) -> BTreeMap<String, Text> {
    BTreeMap::from([
        ("cpu".to_owned(), milli(machine.cpu_millis)),
        ("memory".to_owned(), bytes(machine.memory_bytes)),
        ("ephemeral-storage".to_owned(), bytes(machine.ephemeral_storage_bytes)),
        ("pods".to_owned(), Text(config.max_pods.unwrap_or(machine.pods).to_string())),
    ])
}

/// Keeps what others say that the node has: resources with a domain in their names.
fn keep_extended(new: &mut BTreeMap<String, Text>, old: Option<&BTreeMap<String, Text>>) {
    for (name, amount) in old.into_iter().flatten().filter(|(name, _)| name.contains('/')) {
        new.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn milli(amount: u64) -> Text {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    Text(Quantity::from_milli(amount, Format::DecimalSi).to_string())
}

/// Whole KiB, as kubelets write them, in the form in which the API keeps a quantity: what comes back must be what was
/// written, or every heartbeat would find something new to say.
fn bytes(amount: u64) -> Text {
    let whole = i64::try_from(amount / 1024 * 1024).unwrap_or(i64::MAX);
    Text(Quantity::from_value(whole, Format::BinarySi).to_string())
}

fn addresses(name: &str, config: &Config) -> Vec<NodeAddress> {
    let internal =
        config.addresses.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.to_string() });
    let host = NodeAddress { type_: "Hostname".into(), address: name.to_owned() };
    internal.chain([host]).collect()
}

fn system_info(machine: &MachineInfo, runtime: &RuntimeInfo) -> NodeSystemInfo {
    NodeSystemInfo {
        architecture: machine.arch.clone(),
        boot_id: machine.boot_id.clone(),
        container_runtime_version: runtime.reported(),
        kernel_version: machine.kernel_version.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        machine_id: machine.machine_id.clone(),
        operating_system: machine.os.clone(),
        os_image: machine.os_image.clone(),
        system_uuid: machine.system_uuid.clone(),
        ..NodeSystemInfo::default()
    }
}

/// The Kubernetes version the agent behaves as, with its own behind it.
const KUBELET_VERSION: &str = concat!("v1.36.0+orchestra-", env!("CARGO_PKG_VERSION"));

fn images_shown(images: &[Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
    let shown = images.into_iter().take(IMAGES).map(|image| ContainerImage {
        names: Some(image.digests.iter().chain(&image.tags).cloned().collect()),
        size_bytes: i64::try_from(image.size_bytes).ok(),
    });
    shown.collect()
}

/// The four conditions of a node, and those that others have written.
fn conditions(old: &NodeStatus, health: &Health, pressure: &Pressure, now: Timestamp) -> Vec<NodeCondition> {
    let (ready, reason, message) = match health {
        Health::Ready => ("True", "KubeletReady", "kubelet is posting ready status".to_owned()),
        Health::NotReady(why) => ("False", "KubeletNotReady", why.clone()),
    };
    let of =
        |short, type_, [reason, enough]: [&'static str; 2], [short_reason, lacking]: [&'static str; 2]| {
            match pressure.holds(short) {
                true => (type_, "True", short_reason, format!("kubelet has {lacking}")),
                false => (type_, "False", reason, format!("kubelet has {enough}")),
            }
        };
    let ours = [
        of(
            Short::Memory,
            "MemoryPressure",
            ["KubeletHasSufficientMemory", "sufficient memory available"],
            ["KubeletHasInsufficientMemory", "insufficient memory available"],
        ),
        of(
            Short::Disk,
            "DiskPressure",
            ["KubeletHasNoDiskPressure", "no disk pressure"],
            ["KubeletHasDiskPressure", "disk pressure"],
        ),
        of(
            Short::Processes,
            "PIDPressure",
            ["KubeletHasSufficientPID", "sufficient PID available"],
            ["KubeletHasInsufficientPID", "insufficient PID available"],
        ),
        ("Ready", ready, reason, message),
    ];
    let known = old.conditions.as_deref().unwrap_or_default();
    let ours_too: Vec<&str> = ours.iter().map(|(type_, ..)| *type_).collect();
    let foreign = known.iter().filter(|c| !ours_too.contains(&c.type_.as_str())).cloned();
    let ours = ours.map(|(type_, status, reason, message)| {
        let same = known.iter().find(|known| known.type_ == type_ && known.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: same
                .and_then(|known| known.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    });
    foreign.chain(ours).collect()
}

/// The merge patch of a status: of volumes it says which the node uses, none too, and leaves to others which it has.
pub fn status_patch(status: &NodeStatus) -> Value {
    let mut patch = json!(status);
    patch["volumesInUse"] = json!(status.volumes_in_use);
    if let Some(fields) = patch.as_object_mut() {
        fields.remove("volumesAttached");
    }
    patch
}

/// Whether a status says something new, beside the time at which it was said.
pub fn says_something_new(old: &NodeStatus, new: &NodeStatus) -> bool {
    let timeless = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    let (old, new) = (timeless(old), timeless(new));
    old != new && stored(&old) != stored(&new)
}

/// A status as it is stored, which has fields that an agent leaves out, such as the endpoint of its daemon.
fn stored(status: &NodeStatus) -> Option<serde_json::Value> {
    canonical::form(Place::of_kind("v1", "NodeStatus")?, status)
}

/// What an event says of each condition of ours that has changed: `NodeReady`, `NodeHasNoDiskPressure` …
pub fn changes(old: &NodeStatus, new: &NodeStatus) -> Vec<String> {
    let of = |status: &NodeStatus, type_: &str| {
        let found = status.conditions.iter().flatten().find(|known| known.type_ == type_);
        found.map(|condition| condition.status.clone())
    };
    let changed =
        new.conditions.iter().flatten().filter(|new| of(old, &new.type_).as_ref() != Some(&new.status));
    let reason = |condition: &NodeCondition| {
        Some(format!("Node{}", condition.reason.as_deref()?.strip_prefix("Kubelet")?))
    };
    changed.filter_map(reason).collect()
}

/// Whether a node's status was written by another machine. Machines that do not know who they are count as one.
pub fn is_another_machine(node: &Node, machine: &MachineInfo) -> bool {
    let Some(info) = node.status.as_ref().and_then(|status| status.node_info.as_ref()) else { return false };
    let differs = |theirs: &str, ours: &str| !theirs.is_empty() && !ours.is_empty() && theirs != ours;
    differs(&info.machine_id, &machine.machine_id) || differs(&info.system_uuid, &machine.system_uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(old: &NodeStatus, health: &Health, second: i64) -> NodeStatus {
        let machine =
            MachineInfo { cpu_millis: 2500, memory_bytes: (1 << 30) + 1023, ..MachineInfo::default() };
        let runtime = RuntimeInfo { name: "fake".into(), version: "1".into() };
        let config = Config { reserved: (500, 1 << 20), ..Config::default() };
        let now = Timestamp::from_second(second).unwrap();
        let pressure = &Pressure::default();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let dongles = Devices { healthy: set(&["1", "2"]), unhealthy: set(&["3"]) };
        let devices = BTreeMap::from([("a.io/dongle".to_owned(), dongles)]);
        let facts = Facts {
            name: "n1",
            machine: &machine,
            runtime: &runtime,
            images: &[],
            config: &config,
            pressure,
            devices: &devices,
            in_use: &[],
        };
        node_status(old, facts, health, now)
    }

    #[test]
    fn devices_are_counted_and_what_others_have_said_stays() {
        let mut old = NodeStatus::default();
        let said = |name: &str, amount: &str| (name.to_owned(), Text(amount.to_owned()));
        old.capacity = Some([said("a.io/dongle", "9"), said("b.io/hand", "3"), said("odd", "1")].into());
        old.allocatable = Some([said("b.io/hand", "2")].into());
        let new = status(&old, &Health::Ready, 0);
        let of = |map: &Option<BTreeMap<String, Text>>, what: &str| {
            map.as_ref()?.get(what).map(|text| text.0.clone())
        };
        let figures = |what: &str| (of(&new.capacity, what), of(&new.allocatable, what));
        assert_eq!(figures("a.io/dongle"), (Some("3".into()), Some("2".into())));
        assert_eq!(figures("b.io/hand"), (Some("3".into()), Some("2".into())));
        assert_eq!(figures("odd"), (None, None));
        assert!(!says_something_new(&new, &status(&new, &Health::Ready, 10)));
    }

    #[test]
    fn what_is_reserved_is_not_allocatable() {
        let status = status(&NodeStatus::default(), &Health::Ready, 0);
        let of = |map: &Option<BTreeMap<String, Text>>, what: &str| map.as_ref().unwrap()[what].0.clone();
        assert_eq!(
            (of(&status.capacity, "cpu"), of(&status.allocatable, "cpu")),
            ("2500m".into(), "2".into())
        );
        assert_eq!(
            (of(&status.capacity, "memory"), of(&status.allocatable, "memory")),
            ("1Gi".into(), "1023Mi".into())
        );
        assert_eq!(of(&status.capacity, "pods"), "110");
        let addresses: Vec<_> = status.addresses.unwrap().into_iter().map(|a| (a.type_, a.address)).collect();
        assert_eq!(
            addresses,
            [("InternalIP".to_owned(), "127.0.0.1".to_owned()), ("Hostname".to_owned(), "n1".to_owned())]
        );
    }

    #[test]
    fn a_node_that_was_there_is_given_what_it_lacks_and_nothing_else() {
        let machine = MachineInfo { os: "linux".into(), arch: "amd64".into(), ..MachineInfo::default() };
        let mut config = Config::default();
        config.annotations.insert("a".into(), "1".into());
        let mut node = new_node("n1", &machine, &config);
        assert_eq!(missing_metadata(&node, "n1", &machine, &config), None);
        node.metadata.annotations.get_or_insert_default().insert("of/others".into(), "x".into());
        assert_eq!(missing_metadata(&node, "n1", &machine, &config), None);
        config.annotations.insert("a".into(), String::new());
        config.labels.insert("b".into(), "2".into());
        let missing = json!({"labels": {"b": "2"}, "annotations": {"a": ""}});
        assert_eq!(missing_metadata(&node, "n1", &machine, &config), Some(missing));
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let first = status(&NodeStatus::default(), &Health::Ready, 10);
        let second = status(&first, &Health::Ready, 20);
        assert!(!says_something_new(&first, &second), "only the heartbeat differs");
        let third = status(&second, &Health::NotReady("container runtime is down".into()), 30);
        assert!(says_something_new(&second, &third));
        let ready = |status: &NodeStatus| {
            let found = status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == "Ready").unwrap();
            let since = found.last_transition_time.as_ref().unwrap().0.as_second();
            (found.status.clone(), since)
        };
        assert_eq!((ready(&second), ready(&third)), (("True".into(), 10), ("False".into(), 30)));
    }

    /// What is stored has fields that the agent leaves out; they are no news, or each heartbeat would be written durably.
    #[test]
    fn what_the_server_gives_back_says_nothing_new() {
        let sent = status(&NodeStatus::default(), &Health::Ready, 10);
        let given_back: NodeStatus = serde_json::from_value(stored(&sent).unwrap()).unwrap();
        assert_ne!(sent, given_back);
        assert!(!says_something_new(&given_back, &status(&given_back, &Health::Ready, 20)));
    }

    #[test]
    fn conditions_of_others_stay() {
        let mut old = NodeStatus::default();
        let foreign = NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: "False".into(),
            ..NodeCondition::default()
        };
        old.conditions = Some(vec![foreign.clone()]);
        let new = status(&old, &Health::Ready, 0).conditions.unwrap();
        assert_eq!((new.len(), &new[0]), (5, &foreign));
    }
}
