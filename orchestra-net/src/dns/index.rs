//! What the cluster's services and endpoint slices say about names, kept in step with them one object at a time.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use hickory_proto::rr::Name;
use serde::Deserialize;

/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A service, as names see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceView {
    pub(super) metadata: Meta,
    pub(super) spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: HashMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    external_name: String,
    ports: Vec<PortView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PortView {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

impl Spec {
    /// The service's own addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'_> {
        let texts = match self.cluster_ips.is_empty() {
            true => std::slice::from_ref(&self.cluster_ip),
            false => &self.cluster_ips,
        };
        texts.iter().filter_map(|text| text.parse().ok())
    }
}

/// An endpoint slice, as names see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceView {
    metadata: Meta,
    endpoints: Option<Vec<EndpointView>>,
    ports: Option<Vec<PortView>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EndpointView {
    addresses: Vec<String>,
    hostname: Option<String>,
    conditions: ConditionsView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConditionsView {
    ready: Option<bool>,
}

/// A port of a service or of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: String,
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: String,
    pub(super) port: u16,
}

impl Port {
    fn of(view: &PortView) -> Option<Self> {
        Some(Self {
            name: view.name.clone().unwrap_or_default(),
            protocol: view.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            port: view.port?,
        })
    }
}

/// What a service's name stands for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// These addresses.
    Cluster(Vec<IpAddr>),
    /// The addresses of its endpoints.
    Headless,
    /// Another name.
    External(Name),
}

/// A service with what its slices say.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) target: Target,
    pub(super) ports: Vec<Port>,
}

/// One that stands behind a service and is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Its own label below the service's name: its host name, or its address with dashes.
    pub(super) label: String,
    pub(super) address: IpAddr,
}

#[derive(Debug)]
pub(super) struct Slice {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ports: Vec<Port>,
}

type ByName<T> = HashMap<String, T>;
/// Namespace and name.
type Key = (String, String);

/// The services of a cluster by name and by address.
#[derive(Debug, Default)]
pub(super) struct Index {
    services: ByName<ByName<Service>>,
    /// By namespace and service, then by the slice's own name.
    slices: ByName<ByName<ByName<Slice>>>,
    /// Whose each slice is, by namespace and its own name.
    owners: HashMap<Key, String>,
    service_addresses: HashMap<IpAddr, Key>,
    /// The slices that an address is in.
    endpoint_addresses: HashMap<IpAddr, BTreeSet<Key>>,
}

impl Index {
    /// Takes a service as it is now.
    pub(super) fn put_service(&mut self, view: &ServiceView) {
        let Meta { name, namespace, .. } = &view.metadata;
        self.remove_service(namespace, name);
        let Some(target) = target(&view.spec) else { return };
        if let Target::Cluster(addresses) = &target {
            for address in addresses {
                self.service_addresses.insert(*address, (namespace.clone(), name.clone()));
            }
        }
        let ports = view.spec.ports.iter().filter_map(Port::of).collect();
        let services = self.services.entry(namespace.clone()).or_default();
        services.insert(name.clone(), Service { target, ports });
    }

    /// Forgets a service.
    pub(super) fn remove_service(&mut self, namespace: &str, name: &str) {
        let Some(services) = self.services.get_mut(namespace) else { return };
        let removed = services.remove(name);
        if services.is_empty() {
            self.services.remove(namespace);
        }
        if let Some(Service { target: Target::Cluster(addresses), .. }) = removed {
            for address in addresses {
                let owned = self.service_addresses.get(&address);
                if owned.is_some_and(|(ns, service)| ns == namespace && service == name) {
                    self.service_addresses.remove(&address);
                }
            }
        }
    }

    /// Takes a slice as it is now.
    pub(super) fn put_slice(&mut self, view: &SliceView) {
        let Meta { name, namespace, labels } = &view.metadata;
        self.remove_slice(namespace, name);
        let Some(service) = labels.get(SERVICE_NAME) else { return };
        let endpoints: Vec<Endpoint> = view.endpoints.iter().flatten().flat_map(endpoints).collect();
        let key = (namespace.clone(), name.clone());
        for endpoint in &endpoints {
            self.endpoint_addresses.entry(endpoint.address).or_default().insert(key.clone());
        }
        let ports = view.ports.iter().flatten().filter_map(Port::of).collect();
        self.owners.insert(key, service.clone());
        let of_service =
            self.slices.entry(namespace.clone()).or_default().entry(service.clone()).or_default();
        of_service.insert(name.clone(), Slice { endpoints, ports });
    }

    /// Forgets a slice.
    pub(super) fn remove_slice(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.owners.remove(&key) else { return };
        let Some(services) = self.slices.get_mut(namespace) else { return };
        let Some(slices) = services.get_mut(&service) else { return };
        let removed = slices.remove(name);
        if slices.is_empty() {
            services.remove(&service);
        }
        if services.is_empty() {
            self.slices.remove(namespace);
        }
        for endpoint in removed.into_iter().flat_map(|slice| slice.endpoints) {
            if let Some(found) = self.endpoint_addresses.get_mut(&endpoint.address) {
                found.remove(&key);
                if found.is_empty() {
                    self.endpoint_addresses.remove(&endpoint.address);
                }
            }
        }
    }

    pub(super) fn has_namespace(&self, namespace: &str) -> bool {
        self.services.contains_key(namespace)
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(namespace)?.get(name)
    }

    pub(super) fn slices(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Slice> {
        self.slices
            .get(namespace)
            .and_then(|services| services.get(service))
            .into_iter()
            .flat_map(ByName::values)
    }

    /// The service that has an address, as namespace and name.
    pub(super) fn service_at(&self, address: IpAddr) -> Option<(&str, &str)> {
        self.service_addresses.get(&address).map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }

    /// The labels by which headless services know an address, as label, service and namespace.
    pub(super) fn endpoints_at(&self, address: IpAddr) -> Vec<(&str, &str, &str)> {
        let mut found = Vec::new();
        for key in self.endpoint_addresses.get(&address).into_iter().flatten() {
            let (namespace, slice) = key;
            let Some(service) = self.owners.get(key) else { continue };
            if !matches!(self.service(namespace, service), Some(Service { target: Target::Headless, .. })) {
                continue;
            }
            let slice = self.slices.get(namespace).and_then(|all| all.get(service)?.get(slice));
            let endpoint =
                slice.and_then(|slice| slice.endpoints.iter().find(|endpoint| endpoint.address == address));
            found.extend(
                endpoint.map(|endpoint| (endpoint.label.as_str(), service.as_str(), namespace.as_str())),
            );
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A service whose addresses are not given yet has no name either.
fn target(spec: &Spec) -> Option<Target> {
    if spec.kind == "ExternalName" {
        let mut name = Name::from_ascii(spec.external_name.trim_end_matches('.')).ok()?;
        name.set_fqdn(true);
        return (!name.is_root()).then_some(Target::External(name));
    }
    if spec.cluster_ip == "None" || spec.cluster_ips.iter().any(|ip| ip == "None") {
        return Some(Target::Headless);
    }
    let addresses: Vec<IpAddr> = spec.addresses().collect();
    (!addresses.is_empty()).then_some(Target::Cluster(addresses))
}

/// Those that are ready; an endpoint that says nothing counts as ready.
fn endpoints(view: &EndpointView) -> impl Iterator<Item = Endpoint> + use<'_> {
    let ready = view.conditions.ready.unwrap_or(true);
    let addresses = view.addresses.iter().filter(move |_| ready).filter_map(|text| text.parse().ok());
    addresses.map(|address| {
        let named = view.hostname.as_deref().filter(|hostname| !hostname.is_empty());
        Endpoint { label: named.map_or_else(|| dashed(address), str::to_owned), address }
    })
}

/// An address as one label: `10-1-2-3`.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
