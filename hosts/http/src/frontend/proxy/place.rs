//! Where a request to `proxy` leads: a port of a pod, by the way that ports are forwarded; an address; a port of a node; or
//! its agent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use orchestra_core::api::{Client, ListOptions, Reason, Status, Target};
use orchestra_core::k8s_openapi::api::core::v1::{Node, Pod, Service, ServicePort};
use orchestra_core::k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use orchestra_core::node::{Directory, NodeService, PodPlace};
use orchestra_core::runtime::Duplex;
use orchestra_core::selector::Selector;
use tokio::net::TcpStream;

use super::named::Named;
use super::unreachable;
use crate::line::Line;
use crate::nodes::HeldNodes;

/// Where a request leads.
pub(super) enum Place {
    /// A port of a pod, on whichever node.
    Pod(PodPlace, u16),
    /// A port of something that is no pod.
    Address(SocketAddr),
    /// A port of a node, by the connection that it holds.
    Held(Line, SocketAddr),
    /// What the agent of a node answers.
    Agent(Arc<dyn NodeService>),
}

impl Place {
    /// How it is called in what is sent there.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Pod(place, port) => format!("{}:{port}", place.pod.name),
            Self::Address(address) | Self::Held(_, address) => address.to_string(),
            Self::Agent(_) => String::new(),
        }
    }

    /// A connection to it.
    pub(super) async fn connect(&self) -> Result<Box<dyn Duplex>, Status> {
        match self {
            Self::Pod(place, port) => place.node.port_forward(&place.pod, *port).await,
            Self::Address(address) => {
                let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
                Ok(Box::new(stream))
            }
            Self::Held(line, address) => {
                let stream = line.open_to(*address).await.map_err(|error| unreachable(&error))?;
                Ok(Box::new(stream))
            }
            Self::Agent(_) => Err(Status::method_not_allowed()),
        }
    }
}

/// Who looks up where something is, and `chance` for whom there are several of.
pub(super) struct Finder<'f> {
    pub(super) client: Client,
    pub(super) directory: &'f Directory,
    pub(super) held: Option<&'f HeldNodes>,
    pub(super) chance: u64,
}

impl Finder<'_> {
    /// Where what is named leads.
    ///
    /// # Errors
    /// In Kubernetes' words: there is no such object, port or endpoint.
    pub(super) async fn find(&self, target: &Target, named: &Named<'_>) -> Result<Place, Status> {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        match &*target.resource {
            "services" => self.behind(namespace, named).await,
            "nodes" => self.of_node(named).await,
            _ => self.of_pod(namespace, named).await,
        }
    }

    async fn of_pod(&self, namespace: &str, named: &Named<'_>) -> Result<Place, Status> {
        let pod = self.client.api::<Pod>(namespace).get(named.name).await?;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let port = match (named.port, named.port.parse()) {
            ("", _) => ports.next().map_or(named.usual_port(), |port| port.container_port),
            (_, Ok(number)) => number,
            (name, Err(_)) => {
                let port = ports.find(|port| port.name.as_deref() == Some(name));
                let missing = || Status::bad_request(format!("pod {} has no port {name:?}", named.name));
                port.ok_or_else(missing)?.container_port
            }
        };
        self.pod(namespace, named.name, port).await
    }

    async fn pod(&self, namespace: &str, name: &str, port: i32) -> Result<Place, Status> {
        let port = number(port)?;
        Ok(Place::Pod(self.directory.pod(&self.client, namespace, name).await?, port))
    }

    /// One of the ready endpoints of a service.
    async fn behind(&self, namespace: &str, named: &Named<'_>) -> Result<Place, Status> {
        let none = |what: String| Status::new(Reason::ServiceUnavailable, what);
        let port = match named.port.parse::<i64>() {
            Err(_) => named.port.to_owned(),
            Ok(number) => {
                let service = self.client.api::<Service>(namespace).get(named.name).await?;
                let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
                let port = ports.into_iter().find(|port: &ServicePort| i64::from(port.port) == number);
                let missing = || none(format!("no service port {number} found for service {:?}", named.name));
                port.ok_or_else(missing)?.name.unwrap_or_default()
            }
        };
        let selector = format!("kubernetes.io/service-name={}", named.name);
        let labels = Some(Selector::parse(&selector).map_err(Status::internal)?);
        let options = ListOptions { labels, ..ListOptions::default() };
        let slices = self.client.api::<EndpointSlice>(namespace).list_with(options).await?.items;
        let ready: Vec<(&Endpoint, i32)> = slices.iter().flat_map(|slice| endpoints(slice, &port)).collect();
        let Some(index) = (self.chance as usize).checked_rem(ready.len()) else {
            return Err(none(format!("no endpoints available for service {:?}", named.name)));
        };
        let (endpoint, port) = ready[index];
        match endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod")) {
            Some(target) => self.pod(namespace, target.name.as_deref().unwrap_or_default(), port).await,
            None => Ok(Place::Address(address(endpoint.addresses.first(), port)?)),
        }
    }

    async fn of_node(&self, named: &Named<'_>) -> Result<Place, Status> {
        let node: Node = self.client.cluster().get(named.name).await?;
        let status = node.status.as_ref();
        let endpoint = status.and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref());
        let of_agent = endpoint.map_or(0, |endpoint| endpoint.port);
        if named.port.is_empty() || named.port.parse() == Ok(of_agent) {
            return self.directory.reach(&node).await.map(Place::Agent);
        }
        let port = named.port.parse().map_err(|_| Status::bad_request("a node's ports are numbers"))?;
        let addresses = status.into_iter().flat_map(|status| status.addresses.iter().flatten());
        let internal =
            addresses.filter(|address| address.type_ == "InternalIP").map(|address| &address.address);
        let address = address(internal.into_iter().next(), port)?;
        // Its ports may be as hard to reach as its agent's.
        Ok(match self.held.and_then(|held| held.of(named.name)) {
            Some(line) => Place::Held(line, address),
            None => Place::Address(address),
        })
    }
}

/// The endpoints of a slice that are ready, and their port of this name.
fn endpoints<'s>(slice: &'s EndpointSlice, name: &str) -> impl Iterator<Item = (&'s Endpoint, i32)> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref().unwrap_or_default() == name).and_then(|port| port.port);
    let is_ready =
        |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|seen| seen.ready).unwrap_or(true);
    let ready = slice.endpoints.iter().flatten().filter(is_ready);
    ready.filter_map(move |endpoint| Some((endpoint, port?)))
}

fn number(port: i32) -> Result<u16, Status> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    port.ok_or_else(|| Status::bad_request("a port is a number from 1 to 65535"))
}

/// An address that may be connected to. Who writes an endpoint must not reach what only this machine itself may.
fn address(text: Option<&String>, port: i32) -> Result<SocketAddr, Status> {
    let ip: Option<IpAddr> = text.and_then(|text| text.parse().ok());
    let is_own = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    };
    let ip = ip.map(|ip| ip.to_canonical()).filter(|ip| !is_own(ip));
    let ip = ip.ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok(SocketAddr::new(ip, number(port)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_endpoints_have_the_port_that_is_named() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8080}, {"port": 53}],
            "endpoints": [
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
            ],
        }))
        .unwrap();
        let of = |name| -> Vec<(&str, i32)> {
            endpoints(&slice, name).map(|(endpoint, port)| (endpoint.addresses[0].as_str(), port)).collect()
        };
        assert_eq!(of("web"), [("10.0.0.1", 8080), ("10.0.0.3", 8080)]);
        assert_eq!(of(""), [("10.0.0.1", 53), ("10.0.0.3", 53)]);
        assert_eq!(of("other"), []);
    }

    #[test]
    fn what_only_the_machine_itself_may_reach_is_not_reached() {
        let of = |text: &str| address(Some(&text.to_owned()), 80).map_err(|status| status.code());
        assert_eq!(of("10.0.0.1"), Ok("10.0.0.1:80".parse().unwrap()));
        assert_eq!(of("fd00::1"), Ok("[fd00::1]:80".parse().unwrap()));
        for own in
            ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", "name", ""]
        {
            assert_eq!(of(own), Err(400), "{own}");
        }
    }
}
