//! Cluster IPs and node ports.
//!
//! Each address that is given out is a record of its own in the store, created in the transaction that stores the
//! service and deleted in the one that removes it. So no address is ever given twice, whatever is killed when, and
//! however many masters share the store.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::service_ranges::{ServiceRanges, V4, V6, family_of};
use crate::api::admission::{Admission, Attributes};
use crate::api::field::{Errors, Path};
use crate::api::{Caches, Resource, Status};
use crate::clock::SharedClock;
use crate::meta::ObjectName;
use crate::objects::service::validate_cluster_ips;
use crate::store::{Key, Txn};
use crate::watch::Query;

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
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ip_families: Vec<String>,
    ports: Vec<Port>,
    allocate_load_balancer_node_ports: Option<bool>,
    external_traffic_policy: String,
    health_check_node_port: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
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

    fn has_health_port(&self) -> bool {
        self.kind == "LoadBalancer" && self.external_traffic_policy == "Local"
    }

    /// What of this service is recorded as given out.
    fn held(&self) -> BTreeSet<Key> {
        let addresses = self.addresses().iter().filter(|ip| self.has_address() && !ip.is_empty());
        let addresses = addresses.map(|ip| address_key(ip));
        let ports = self.ports.iter().filter_map(|port| port.node_port).chain(self.health_check_node_port);
        addresses.chain(ports.filter(|port| *port != 0).map(port_key)).collect()
    }

    /// Its addresses, the first one first.
    fn addresses(&self) -> &[String] {
        if self.cluster_ips.is_empty() { std::slice::from_ref(&self.cluster_ip) } else { &self.cluster_ips }
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
        let services = self.caches.of::<Service>();
        let all = services.map(|cache| cache.list(&Query::all())).unwrap_or_default();
        let others = all.iter().filter(|entry| entry.name() != name);
        others.filter_map(|entry| entry.view::<View>().ok()).flat_map(|view| view.spec.held()).collect()
    }

    /// Gives a service what it asks for.
    fn allocate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let taken = self.held_by_others(attributes.name);
        let mut errors = Errors::new();
        families(object, &self.ranges, &mut errors);
        if errors.is_empty() {
            self.address(object, &taken, &mut errors);
            self.node_ports(object, attributes.old, &taken, &mut errors);
        }
        if errors.is_empty() {
            return Ok(());
        }
        let (id, kind) = (&attributes.resource.id, &attributes.resource.kind);
        Err(Status::invalid(&id.group, kind, attributes.name.name(), &errors))
    }

    /// Gives a Service an address of each of its families.
    fn address(&self, object: &mut Value, taken: &HashSet<Key>, errors: &mut Errors) {
        let spec = Spec::of(object);
        if spec.kind == "ExternalName" {
            return;
        }
        let addresses = if spec.cluster_ip == "None" {
            vec!["None".to_owned()]
        } else {
            let given = |index: usize| spec.addresses().get(index).map(String::as_str).unwrap_or_default();
            let families = spec.ip_families.iter().enumerate();
            let one = |(index, family): (usize, &String)| self.one_address(family, given(index), taken);
            match families.map(one).collect::<Result<Vec<_>, _>>() {
                Ok(addresses) => addresses,
                Err((given, why)) => return errors.invalid(&Path::new("spec.clusterIPs"), given, why),
            }
        };
        if let Some(Value::Object(fields)) = object.get_mut("spec") {
            fields.insert("clusterIP".to_owned(), addresses.first().cloned().into());
            fields.insert("clusterIPs".to_owned(), json!(addresses));
        }
    }

    /// The address of a family that a Service asks for, or a free one. Where there is none, what was asked for and why.
    fn one_address(
        &self,
        family: &str,
        given: &str,
        taken: &HashSet<Key>,
    ) -> Result<String, (Value, String)> {
        if given.is_empty() {
            let full = || (json!([]), "failed to allocate a serviceIP: range is full".to_owned());
            return self.free_address(family, taken).map(|address| address.to_string()).ok_or_else(full);
        }
        let refused = |why: String| (json!([given]), format!("failed to allocate IP {given}: {why}"));
        if !given.parse().is_ok_and(|address| self.ranges.contains(family, address)) {
            return Err(refused(format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                self.ranges.cidr(family)
            )));
        }
        match taken.contains(&address_key(given)) {
            true => Err(refused("provided IP is already allocated".to_owned())),
            false => Ok(given.to_owned()),
        }
    }

    fn free_address(&self, family: &str, taken: &HashSet<Key>) -> Option<IpAddr> {
        let size = self.ranges.size(family);
        let start = self.clock.random() % size;
        let api_server = IpAddr::from(self.ranges.api_server());
        (0..size)
            // A range of version 6 may have as many addresses as there are numbers.
            .map(|step| self.ranges.nth(family, 1 + start.wrapping_add(step) % size))
            .find(|address| *address != api_server && !taken.contains(&address_key(&address.to_string())))
    }

    fn node_ports(&self, object: &mut Value, old: Option<&Value>, taken: &HashSet<Key>, errors: &mut Errors) {
        let spec = Spec::of(object);
        // Of a Service of another type they are refused, by its validation.
        if !matches!(&*spec.kind, "NodePort" | "LoadBalancer") {
            return;
        }
        let mut ours = HashSet::new();
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let path = Path::new("spec.ports").index(index).child("nodePort");
            let given = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
            if given != 0 {
                self.within_range(&path, given, errors);
                if taken.contains(&port_key(given)) {
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
        // The one that it has is not changed for another: validation says so.
        let has_one = old.map(Spec::of).is_some_and(|old| {
            old.has_health_port() && old.health_check_node_port.is_some_and(|port| port != 0)
        });
        if !has_one {
            self.health_port(&spec, object, taken, &mut ours, errors);
        }
    }

    /// The port at which nodes say whether they have a pod of the Service.
    fn health_port(
        &self,
        spec: &Spec,
        object: &mut Value,
        taken: &HashSet<Key>,
        ours: &mut HashSet<i64>,
        errors: &mut Errors,
    ) {
        if !spec.has_health_port() {
            return;
        }
        let path = Path::new("spec.healthCheckNodePort");
        match spec.health_check_node_port.filter(|port| *port != 0) {
            Some(given) if ours.contains(&given) || taken.contains(&port_key(given)) => {
                errors.invalid(&path, given, "provided port is already allocated");
            }
            Some(given) => self.within_range(&path, given, errors),
            None => match (self.free_port(taken, ours), object.get_mut("spec")) {
                (Some(free), Some(Value::Object(fields))) => {
                    fields.insert("healthCheckNodePort".to_owned(), free.into());
                }
                _ => errors.invalid(&path, 0, "failed to allocate a health check port: range is full"),
            },
        }
    }

    fn within_range(&self, path: &Path, given: i64, errors: &mut Errors) {
        if !u16::try_from(given).is_ok_and(|port| self.ranges.node_ports().contains(&port)) {
            let (first, last) = (self.ranges.node_ports().start(), self.ranges.node_ports().end());
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            );
            errors.invalid(path, given, why);
        }
    }

    fn free_port(&self, taken: &HashSet<Key>, ours: &HashSet<i64>) -> Option<i64> {
        let (first, last) =
            (i64::from(*self.ranges.node_ports().start()), i64::from(*self.ranges.node_ports().end()));
        let size = last - first + 1;
        let start = (self.clock.random() % size.unsigned_abs()) as i64;
        (0..size)
            .map(|step| first + (start + step) % size)
            .find(|port| !ours.contains(port) && !taken.contains(&port_key(*port)))
    }
}

/// Settles which families of addresses a Service has, and says which it asks for that this cluster has not. What is wrong
/// with them by themselves comes first, and is all that is said then.
fn families(object: &mut Value, ranges: &ServiceRanges, errors: &mut Errors) {
    let spec = object.get("spec").and_then(|spec| ServiceSpec::deserialize(spec).ok()).unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return;
    }
    let path = Path::new("spec");
    validate_cluster_ips(&spec, &path, errors);
    if !errors.is_empty() {
        return;
    }
    let (ips, mut families) = (spec.cluster_ips.unwrap_or_default(), spec.ip_families.unwrap_or_default());
    let policy = spec.ip_family_policy.as_deref().unwrap_or_default();
    let at = path.child("ipFamilyPolicy");
    for (what, count) in [("cluster IPs", ips.len()), ("IP families", families.len())] {
        if policy == "SingleStack" && count == 2 {
            let detail =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.invalid(&at, policy, detail);
        }
    }
    let headless = ips.first().is_some_and(|ip| ip == "None");
    for (index, ip) in ips.iter().enumerate().skip(families.len()).filter(|_| !headless) {
        let family = family_of(ip);
        if ranges.has(family) {
            families.push(family.to_owned());
        } else {
            let detail = format!("{family} is not configured on this cluster");
            errors.invalid(&path.child("clusterIPs").index(index), json!(ips), detail);
        }
    }
    if !errors.is_empty() || headless && spec.selector.is_none_or(|labels| labels.is_empty()) {
        return;
    }
    if policy == "RequireDualStack" && !ranges.is_dual() {
        errors.invalid(&at, policy, "this cluster is not configured for dual-stack services");
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| !ranges.has(family)) {
        let at = path.child("ipFamilies").index(index);
        errors.invalid(&at, family.as_str(), "not configured on this cluster");
    }
    if families.is_empty() {
        families.push(V4.to_owned());
    }
    if policy != "SingleStack" && ranges.is_dual() && families.len() == 1 {
        families.push(if families[0] == V4 { V6 } else { V4 }.to_owned());
    }
    if let Some(Value::Object(fields)) = object.get_mut("spec") {
        fields.insert("ipFamilies".to_owned(), json!(families));
    }
}

/// Records what a service has that it had not, and frees what it has no more.
fn record(name: &ObjectName, before: &BTreeSet<Key>, after: &BTreeSet<Key>, txn: &mut Txn) {
    let owner = name.to_string();
    let given = after.difference(before);
    let with_given = given.fold(std::mem::take(txn), |txn, key| txn.create(key.clone(), owner.clone()));
    *txn = before.difference(after).cloned().fold(with_given, Txn::delete);
}

#[async_trait]
impl Admission for ServiceAllocation {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Service>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.resource.id.is::<Service>() && attributes.subresource.is_none() {
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
        if attributes.resource.id.is::<Service>() {
            let held = |service: Option<&Value>| service.map(Spec::of).unwrap_or_default().held();
            record(attributes.name, &held(attributes.old), &held(new), txn);
        }
        Ok(Vec::new())
    }
}
