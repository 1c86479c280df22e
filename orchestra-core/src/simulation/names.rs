//! Names and connections as a pod of a simulated cluster has them.
//!
//! A name is looked up in what its node sees of Services and endpoints, which is late or gone when a fault has taken the
//! node's sight; an address leads where the plan says that the node's proxy applied last. So what is asked in a
//! [`script`](super::Scenario::script) is what a program in a pod would meet: a name that is not there yet, an endpoint that
//! has just ended.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::machine::{Machine, Running};
use super::wire::Tapped;
use super::world::World;
use crate::api::{Client, Status, Target, User};
use crate::meta::{Object, ObjectName};
use crate::selector::Selector;
use crate::watch::Query;

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";
/// A name with as many dots as this is looked up as it is before it is looked for in the cluster, as a pod's
/// `/etc/resolv.conf` says.
const DOTS: usize = 5;
/// How many names that stand for other names are followed.
const ALIASES: usize = 8;
/// The label of a slice by which it belongs to a Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why a pod does not reach something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// The scenario has no such machine.
    #[error("the simulation has no machine {0}")]
    NoMachine(String),
    /// Nothing in the cluster is called that.
    #[error("there is no name {0}")]
    NoName(String),
    /// The name is there, and has no address now: a headless Service without a ready endpoint.
    #[error("the name {0} has no address")]
    NoAddress(String),
    /// The node sends what is for this address nowhere.
    #[error("nothing on {node} leads to {address}")]
    NoRoute {
        /// The node.
        node: String,
        /// The address.
        address: IpAddr,
    },
    /// Nobody listens: the Service has no endpoint for the port, or the pod that it leads to has ended.
    #[error("{address} port {port} refuses")]
    Refused {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// The node cannot see the cluster.
    #[error("the node cannot see Services: {0}")]
    Blind(String),
}

impl World {
    /// The addresses that a name has for a pod of a namespace on a machine: of a Service, of a headless one's endpoints or of
    /// one of them, of a pod by its address with dashes, or an address itself.
    ///
    /// # Errors
    /// See [`Unreached`].
    pub async fn resolve(&self, node: &str, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Unreached> {
        let machine = self.machine(node).ok_or_else(|| Unreached::NoMachine(node.to_owned()))?;
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let seen = self.seen_by(machine);
        for candidate in candidates(name, namespace) {
            match seen.addresses(&candidate).await? {
                Some(addresses) if addresses.is_empty() => return Err(Unreached::NoAddress(candidate)),
                Some(addresses) => return Ok(addresses),
                None => {}
            }
        }
        Err(Unreached::NoName(name.to_owned()))
    }

    /// Connects to a port of something by its name, as a pod of a namespace on a machine does; the container that takes it.
    /// Of several endpoints it is any, by chance.
    ///
    /// # Errors
    /// See [`Unreached`].
    pub async fn connect(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<Running, Unreached> {
        let addresses = self.resolve(node, namespace, name).await?;
        let machine = self.machine(node).ok_or_else(|| Unreached::NoMachine(node.to_owned()))?;
        let address = addresses[self.any(addresses.len())];
        let (address, port) = self.led(machine, address, port)?;
        let taker = self.machines().iter().find_map(|other| {
            let uid = other.network.pod_at(address)?;
            other.running().into_iter().find(|running| running.uid == uid)
        });
        taker.ok_or(Unreached::Refused { address, port })
    }

    /// Where a machine leads what is for an address and port: an endpoint of a Service, or what has the address itself.
    fn led(&self, machine: &Machine, address: IpAddr, port: u16) -> Result<(IpAddr, u16), Unreached> {
        let plan = machine.network.plan();
        let entry = plan.services.iter().find(|service| service.cluster_ips.contains(&address));
        let Some(entry) = entry else {
            let is_pod = self.machines().iter().any(|other| other.network.has(address));
            let nowhere = || Unreached::NoRoute { node: machine.name.clone(), address };
            return is_pod.then_some((address, port)).ok_or_else(nowhere);
        };
        let refused = Unreached::Refused { address, port };
        let Some(offered) = entry.ports.iter().find(|offered| offered.port == port) else {
            return Err(refused);
        };
        let endpoints: Vec<_> = entry.internal(offered).collect();
        match endpoints.len() {
            0 => Err(refused),
            count => {
                let taken = endpoints[self.any(count)].address;
                Ok((taken.ip(), taken.port()))
            }
        }
    }

    fn any(&self, count: usize) -> usize {
        match count {
            0 | 1 => 0,
            _ => (self.clock().random() % count as u64) as usize,
        }
    }

    fn seen_by(&self, machine: &Machine) -> Seen {
        let user = User::named(format!("system:node:{}", machine.name)).in_group("system:nodes");
        let server = Arc::clone(self.cluster().server());
        Seen(Client::new(Arc::new(Tapped::new(server, Arc::clone(self.wire()))), user))
    }
}

/// The names under which a name is looked for, in order.
fn candidates(name: &str, namespace: &str) -> Vec<String> {
    if let Some(whole) = name.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let searched = [format!("{namespace}.svc.{DOMAIN}"), format!("svc.{DOMAIN}"), DOMAIN.to_owned()];
    let mut all: Vec<String> = searched.iter().map(|domain| format!("{name}.{domain}")).collect();
    let at = if name.matches('.').count() >= DOTS { 0 } else { all.len() };
    all.insert(at, name.to_owned());
    all
}

/// What a node sees.
struct Seen(Client);

impl Seen {
    async fn all<K: Object>(&self, query: &Query) -> Result<Vec<Arc<K>>, Unreached> {
        let blind = |status: Status| Unreached::Blind(status.message().to_owned());
        let cache =
            self.0.service().cache(&Target::of::<K>(query.namespace.as_deref())).await.map_err(blind)?;
        Ok(cache.list(query).iter().filter_map(|entry| entry.view::<K>().ok()).collect())
    }

    async fn service(&self, namespace: &str, name: &str) -> Result<Option<Arc<Service>>, Unreached> {
        let blind = |status: Status| Unreached::Blind(status.message().to_owned());
        let cache = self.0.service().cache(&Target::of::<Service>(Some(namespace))).await.map_err(blind)?;
        let entry = cache.get(&ObjectName::namespaced(namespace, name));
        Ok(entry.and_then(|entry| entry.view::<Service>().ok()))
    }

    /// The addresses of a whole name; `None` if there is no such name.
    async fn addresses(&self, name: &str) -> Result<Option<Vec<IpAddr>>, Unreached> {
        let mut name = name.to_owned();
        for _ in 0..ALIASES {
            let Some(within) = name.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.')) else {
                return Ok(None);
            };
            let labels: Vec<&str> = within.split('.').collect();
            let (endpoint, service, namespace) = match labels[..] {
                [dashes, _, "pod"] => return Ok(undashed(dashes).map(|address| vec![address])),
                [service, namespace, "svc"] => (None, service, namespace),
                [endpoint, service, namespace, "svc"] => (Some(endpoint), service, namespace),
                _ => return Ok(None),
            };
            let Some(found) = self.service(namespace, service).await? else { return Ok(None) };
            let spec = found.spec.clone().unwrap_or_default();
            if spec.type_.as_deref() == Some("ExternalName") {
                let other = spec.external_name.unwrap_or_default();
                name = other.trim_end_matches('.').to_owned();
                continue;
            }
            let own = own_addresses(&spec);
            if endpoint.is_none() && !own.is_empty() {
                return Ok(Some(own));
            }
            let found = self.endpoints(namespace, service, endpoint).await?;
            // That of one endpoint is no name while there is none.
            return Ok((endpoint.is_none() || !found.is_empty()).then_some(found));
        }
        Ok(None)
    }

    async fn endpoints(
        &self,
        namespace: &str,
        service: &str,
        label: Option<&str>,
    ) -> Result<Vec<IpAddr>, Unreached> {
        let of_service = [(SERVICE_NAME.to_owned(), service.to_owned())].into_iter().collect();
        let query = Query::namespace(namespace).labels(Selector::from_map(&of_service));
        let mut found = Vec::new();
        for slice in self.all::<EndpointSlice>(&query).await? {
            let ready = |endpoint: &&Endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
            };
            for endpoint in slice.endpoints.iter().flatten().filter(ready) {
                let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
                let is_meant = |address: &IpAddr| match (label, &endpoint.hostname) {
                    (None, _) => true,
                    (Some(label), Some(hostname)) => label == hostname,
                    (Some(label), None) => undashed(label) == Some(*address),
                };
                found.extend(addresses.filter(is_meant));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn own_addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let several = spec.cluster_ips.iter().flatten();
    let mut addresses: Vec<IpAddr> = several.filter_map(|text| text.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(spec.cluster_ip.as_deref().and_then(|text| text.parse::<IpAddr>().ok()));
    }
    addresses
}

fn undashed(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_looked_for_near_by_first() {
        assert_eq!(
            candidates("web", "shop"),
            ["web.shop.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"]
        );
        assert_eq!(candidates("web.shop.svc.cluster.local.", "a"), ["web.shop.svc.cluster.local"]);
        assert_eq!(candidates("a.b.c.d.e.f", "n")[0], "a.b.c.d.e.f");
    }
}
