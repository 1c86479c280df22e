//! Cluster IPs and node ports.
//!
//! Each address that is given out is a record of its own in the store, created in the transaction that stores the
//! service and deleted in the one that removes it. So no address is ever given twice, whatever is killed when, and
//! however many masters share the store.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes};
use crate::api::field::{Errors, Path};
use crate::api::{Caches, Status};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, ObjectName};
use crate::store::{Key, Txn};
use crate::watch::Query;

/// The addresses that services may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRanges {
    network: Ipv4Addr,
    prefix: u8,
    node_ports: RangeInclusive<u16>,
}

/// Text that is not an IPv4 network fit for services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network of /8 to /28 such as 10.96.0.0/12")]
pub struct InvalidRange(String);

impl Default for ServiceRanges {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), prefix: 12, node_ports: 30_000..=32_767 }
    }
}

impl FromStr for ServiceRanges {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (network, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let prefix: u8 =
            prefix.parse().ok().filter(|prefix| (8..=28).contains(prefix)).ok_or_else(invalid)?;
        let network: Ipv4Addr = network.parse().map_err(|_| invalid())?;
        let network = Ipv4Addr::from(u32::from(network) & mask(prefix));
        Ok(Self { network, prefix, ..Self::default() })
    }
}

impl fmt::Display for ServiceRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

impl ServiceRanges {
    /// With another range for node ports.
    #[must_use]
    pub fn with_node_ports(mut self, node_ports: RangeInclusive<u16>) -> Self {
        self.node_ports = node_ports;
        self
    }

    /// The first address: that of the API server's own service.
    pub fn api_server(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.network)
    }

    /// How many addresses can be given out: not the network's own, not the broadcast address.
    fn size(&self) -> u32 {
        !mask(self.prefix) - 1
    }
}

/// Gives services their cluster IPs and node ports, and takes them back.
pub struct ServiceAllocation {
    caches: Caches,
    clock: SharedClock,
    ranges: ServiceRanges,
}

impl fmt::Debug for ServiceAllocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAllocation").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}

/// What allocation reads of a service.
#[derive(Clone, Debug, Default, Deserialize)]
struct View {
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<Port>,
    allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    port: i64,
    protocol: String,
    node_port: Option<i64>,
}

impl Spec {
    fn of(service: &Value) -> Self {
        View::deserialize(service).unwrap_or_default().spec
    }

    fn has_address(&self) -> bool {
        self.kind != "ExternalName" && self.cluster_ip != "None"
    }

    fn has_node_ports(&self) -> bool {
        self.kind == "NodePort"
            || self.kind == "LoadBalancer" && self.allocate_load_balancer_node_ports != Some(false)
    }

    /// What of this service is recorded as given out.
    fn held(&self) -> HashSet<Key> {
        let address =
            (self.has_address() && !self.cluster_ip.is_empty()).then(|| address_key(&self.cluster_ip));
        let ports =
            self.ports.iter().filter_map(|port| port.node_port.filter(|port| *port != 0)).map(port_key);
        address.into_iter().chain(ports).collect()
    }
}

fn address_key(address: &str) -> Key {
    Key::new(format!("/~cluster-ips/{address}"))
}

fn port_key(port: i64) -> Key {
    Key::new(format!("/~node-ports/{port}"))
}

impl ServiceAllocation {
    /// Over these caches, with these ranges.
    pub fn new(caches: &Caches, clock: SharedClock, ranges: ServiceRanges) -> Self {
        Self { caches: caches.clone(), clock, ranges }
    }

    /// What all services but one hold.
    fn held_by_others(&self, name: &ObjectName) -> HashSet<Key> {
        let services = self.caches.get(&GroupResource::of::<Service>());
        let all = services.map(|cache| cache.list(&Query::all())).unwrap_or_default();
        let others = all.iter().filter(|entry| entry.name() != name);
        others.filter_map(|entry| entry.view::<View>().ok()).flat_map(|view| view.spec.held()).collect()
    }

    /// Gives a service what it asks for, or keeps what it has.
    fn allocate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let old = attributes.old.map(Spec::of).unwrap_or_default();
        keep_what_it_has(object, &old);
        let taken = self.held_by_others(attributes.name);
        let mut errors = Errors::new();
        self.address(object, &taken, &mut errors);
        self.node_ports(object, &taken, &mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        let (id, kind) = (&attributes.resource.id, &attributes.resource.kind);
        Err(Status::invalid(&id.group, kind, attributes.name.name(), &errors))
    }

    fn address(&self, object: &mut Value, taken: &HashSet<Key>, errors: &mut Errors) {
        let spec = Spec::of(object);
        if spec.kind == "ExternalName" {
            if let Value::Object(fields) = &mut object["spec"] {
                for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                    fields.remove(field);
                }
            }
            return;
        }
        let path = Path::new("spec.clusterIPs");
        let address = match spec.cluster_ip.as_str() {
            "None" => "None".to_owned(),
            "" => match self.free_address(taken) {
                Some(address) => address.to_string(),
                None => {
                    return errors.invalid(&path, json!([]), "failed to allocate a serviceIP: range is full");
                }
            },
            given => {
                let parsed: Option<Ipv4Addr> = given.parse().ok();
                if !parsed.is_some_and(|address| self.ranges.contains(address)) {
                    let why = format!(
                        "failed to allocate IP {given}: the provided IP ({given}) is not in the valid range. The range \
                         of valid IPs is {}",
                        self.ranges
                    );
                    return errors.invalid(&path, json!([given]), why);
                }
                if taken.contains(&address_key(given)) {
                    let why = format!("failed to allocate IP {given}: provided IP is already allocated");
                    return errors.invalid(&path, json!([given]), why);
                }
                given.to_owned()
            }
        };
        let spec = &mut object["spec"];
        spec["clusterIP"] = address.as_str().into();
        spec["clusterIPs"] = json!([address]);
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
    }

    fn free_address(&self, taken: &HashSet<Key>) -> Option<Ipv4Addr> {
        let size = self.ranges.size();
        let start = self.clock.random() % u64::from(size);
        (0..size)
            .map(|step| 1 + ((start + u64::from(step)) % u64::from(size)) as u32)
            .map(|offset| Ipv4Addr::from(u32::from(self.ranges.network) + offset))
            .find(|address| {
                *address != self.ranges.api_server() && !taken.contains(&address_key(&address.to_string()))
            })
    }

    fn node_ports(&self, object: &mut Value, taken: &HashSet<Key>, errors: &mut Errors) {
        let spec = Spec::of(object);
        let Value::Array(ports) = &mut object["spec"]["ports"] else { return };
        if !spec.has_node_ports() && spec.kind != "LoadBalancer" {
            for port in ports.iter_mut().filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
            return;
        }
        let mut ours = HashSet::new();
        for (index, port) in ports.iter_mut().enumerate() {
            let path = Path::new("spec.ports").index(index).child("nodePort");
            let given = port["nodePort"].as_i64().unwrap_or(0);
            if given != 0 {
                if !u16::try_from(given).is_ok_and(|port| self.ranges.node_ports.contains(&port)) {
                    let (first, last) = (self.ranges.node_ports.start(), self.ranges.node_ports.end());
                    let why = format!(
                        "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                    );
                    errors.invalid(&path, given, why);
                } else if taken.contains(&port_key(given)) {
                    errors.invalid(&path, given, "provided port is already allocated");
                }
                ours.insert(given);
            } else if spec.has_node_ports() {
                match self.free_port(taken, &ours) {
                    Some(free) => {
                        port["nodePort"] = free.into();
                        ours.insert(free);
                    }
                    None => errors.invalid(&path, 0, "failed to allocate a nodePort: range is full"),
                }
            }
        }
    }

    fn free_port(&self, taken: &HashSet<Key>, ours: &HashSet<i64>) -> Option<i64> {
        let (first, last) =
            (i64::from(*self.ranges.node_ports.start()), i64::from(*self.ranges.node_ports.end()));
        let size = last - first + 1;
        let start = (self.clock.random() % size.unsigned_abs()) as i64;
        (0..size)
            .map(|step| first + (start + step) % size)
            .find(|port| !ours.contains(port) && !taken.contains(&port_key(*port)))
    }
}

/// An update that leaves out an address keeps the one that the service has.
fn keep_what_it_has(object: &mut Value, old: &Spec) {
    let new = Spec::of(object);
    if new.kind != "ExternalName"
        && old.kind != "ExternalName"
        && new.cluster_ip.is_empty()
        && !old.cluster_ip.is_empty()
    {
        object["spec"]["clusterIP"] = old.cluster_ip.as_str().into();
    }
    if !new.has_node_ports() || !old.has_node_ports() {
        return;
    }
    let given: HashSet<i64> = new.ports.iter().filter_map(|port| port.node_port).collect();
    let Value::Array(ports) = &mut object["spec"]["ports"] else { return };
    for (value, port) in ports.iter_mut().zip(&new.ports) {
        let same = |held: &&Port| held.port == port.port && held.protocol == port.protocol;
        let held = old.ports.iter().find(same).and_then(|held| held.node_port);
        if let (None | Some(0), Some(held)) = (port.node_port, held.filter(|held| !given.contains(held))) {
            value["nodePort"] = held.into();
        }
    }
}

/// Records what a service has that it had not, and frees what it has no more.
fn record(name: &ObjectName, before: &HashSet<Key>, after: &HashSet<Key>, txn: &mut Txn) {
    let owner = name.to_string();
    let given = after.difference(before);
    let with_given = given.fold(std::mem::take(txn), |txn, key| txn.create(key.clone(), owner.clone()));
    *txn = before.difference(after).cloned().fold(with_given, Txn::delete);
}

#[async_trait]
impl Admission for ServiceAllocation {
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.resource.id == GroupResource::of::<Service>() && attributes.subresource.is_none() {
            self.allocate(attributes, object)?;
        }
        Ok(Vec::new())
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        if attributes.resource.id == GroupResource::of::<Service>() {
            let held = |service: Option<&Value>| service.map(Spec::of).unwrap_or_default().held();
            record(attributes.name, &held(attributes.old), &held(new), txn);
        }
        Ok(Vec::new())
    }
}
