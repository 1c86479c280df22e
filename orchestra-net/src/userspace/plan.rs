//! From a service plan to the sockets it takes, and from what is there to what has to change. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use orchestra_core::network::{
    Affinity, Endpoint, HostPort, PortFailure, Protocol, ServiceEntry, ServicePlan, ServicePort,
};

/// A socket to listen with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Listen {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

/// Where what arrives goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// Who it is for, `namespace/name` of a service or of a pod.
    pub(super) owner: String,
    /// Which of its ports.
    pub(super) port: u16,
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) affinity: Affinity,
    /// Who may come: an address and how many leading bits count; with none, everybody.
    pub(super) sources: Vec<(IpAddr, u8)>,
}

/// All that is to be there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    pub(super) sockets: BTreeMap<Listen, Backend>,
    /// Addresses this machine must have so that they can be listened at.
    pub(super) addresses: BTreeSet<Ipv4Addr>,
    /// Addresses that this machine may be given by others, or not: those of balancers.
    pub(super) maybe: BTreeSet<IpAddr>,
    /// What cannot be had, whatever the machine.
    pub(super) failures: Vec<PortFailure>,
}

impl Wanted {
    /// What a plan takes, with node ports at these addresses.
    ///
    /// A port without endpoints takes no socket: the kernel itself refuses connections then, as it should be.
    pub(super) fn of(plan: &ServicePlan, node_addresses: &[IpAddr]) -> Self {
        let mut wanted = Self::default();
        for service in &plan.services {
            wanted.addresses.extend(service.cluster_ips.iter().filter_map(|ip| match ip {
                IpAddr::V4(ip) if !ip.is_loopback() => Some(*ip),
                _ => None,
            }));
            for port in &service.ports {
                let inside = backend(service, port, service.internal(port));
                let outside = backend(service, port, service.external(port));
                for ip in &service.cluster_ips {
                    wanted.add(service, port, SocketAddr::new(*ip, port.port), &inside);
                }
                for ip in &service.external_ips {
                    wanted.add(service, port, SocketAddr::new(*ip, port.port), &outside);
                }
                let balanced = Backend { sources: service.source_ranges.clone(), ..outside.clone() };
                for ip in &service.load_balancer_ips {
                    wanted.maybe.insert(*ip);
                    wanted.add(service, port, SocketAddr::new(*ip, port.port), &balanced);
                }
                for ip in node_addresses.iter().filter(|_| port.node_port.is_some()) {
                    let address = SocketAddr::new(*ip, port.node_port.unwrap_or_default());
                    wanted.add(service, port, address, &outside);
                }
            }
        }
        wanted
    }

    fn add(&mut self, service: &ServiceEntry, port: &ServicePort, address: SocketAddr, backend: &Backend) {
        let listen = Listen { protocol: port.protocol, address };
        let refused = if port.protocol == Protocol::Sctp {
            Some("SCTP cannot be passed on in user space".to_owned())
        } else {
            self.sockets.get(&listen).map(|other| format!("the address is that of service {}", other.owner))
        };
        match refused {
            Some(message) => self.failures.push(failure(&service.key(), &listen, message)),
            None if backend.endpoints.is_empty() => {}
            None => drop(self.sockets.insert(listen, backend.clone())),
        }
    }

    /// Adds a pod's host ports. A service that has the same comes first.
    pub(super) fn add_host_ports(&mut self, pod: &str, ip: IpAddr, ports: &[HostPort]) {
        for port in ports {
            let at = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let listen = Listen { protocol: port.protocol, address: SocketAddr::new(at, port.host_port) };
            let backend = Backend {
                owner: pod.to_owned(),
                port: port.host_port,
                endpoints: vec![SocketAddr::new(ip, port.container_port)],
                affinity: Affinity::None,
                sources: Vec::new(),
            };
            self.sockets.entry(listen).or_insert(backend);
        }
    }
}

fn backend<'a>(
    service: &ServiceEntry,
    port: &ServicePort,
    endpoints: impl Iterator<Item = &'a Endpoint>,
) -> Backend {
    Backend {
        owner: service.key(),
        port: port.port,
        endpoints: endpoints.map(|endpoint| endpoint.address).collect(),
        affinity: service.affinity,
        sources: Vec::new(),
    }
}

/// A port that cannot be had, and why.
pub(super) fn failure(service: &str, listen: &Listen, message: String) -> PortFailure {
    PortFailure {
        service: service.to_owned(),
        address: listen.address.ip(),
        port: listen.address.port(),
        protocol: listen.protocol,
        message,
    }
}

/// What has to change. Closing comes first: what one service gives up another may want.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changes {
    pub(super) close: Vec<Listen>,
    pub(super) update: Vec<(Listen, Backend)>,
    pub(super) open: Vec<(Listen, Backend)>,
}

/// From what is there to what is wanted. A socket that only leads elsewhere stays open.
pub(super) fn changes<'a>(
    current: impl Iterator<Item = (&'a Listen, &'a Backend)>,
    wanted: &BTreeMap<Listen, Backend>,
) -> Changes {
    let current: BTreeMap<&Listen, &Backend> = current.collect();
    let mut changes = Changes::default();
    for (listen, backend) in &current {
        match wanted.get(listen) {
            None => changes.close.push(**listen),
            Some(other) if other != *backend => changes.update.push((**listen, other.clone())),
            Some(_) => {}
        }
    }
    let new = wanted.iter().filter(|(listen, _)| !current.contains_key(listen));
    changes.open = new.map(|(listen, backend)| (*listen, backend.clone())).collect();
    changes
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use orchestra_core::network::TrafficPolicy;

    use super::*;

    fn port(port: u16, node_port: Option<u16>, endpoints: &[(&str, bool)]) -> ServicePort {
        ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port,
            node_port,
            endpoints: endpoints
                .iter()
                .map(|(address, local)| Endpoint { address: address.parse().unwrap(), local: *local })
                .collect(),
        }
    }

    fn service(name: &str, ip: &str, ports: Vec<ServicePort>) -> ServiceEntry {
        ServiceEntry {
            namespace: "default".into(),
            name: name.into(),
            cluster_ips: vec![ip.parse().unwrap()],
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            affinity: Affinity::None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            ports,
        }
    }

    fn plan(services: Vec<ServiceEntry>) -> ServicePlan {
        ServicePlan { services }
    }

    fn node() -> Vec<IpAddr> {
        vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
    }

    fn shown(wanted: &Wanted) -> String {
        let mut text = String::new();
        for (listen, backend) in &wanted.sockets {
            let _ = writeln!(
                text,
                "{listen} -> {}:{} {:?} {:?}",
                backend.owner, backend.port, backend.endpoints, backend.affinity
            );
        }
        let _ = writeln!(text, "addresses {:?}", wanted.addresses);
        for failure in &wanted.failures {
            let _ = writeln!(
                text,
                "failed {} {}:{} {}",
                failure.service, failure.address, failure.port, failure.message
            );
        }
        text
    }

    #[test]
    fn a_plan_becomes_sockets() {
        let two = [("10.1.0.5:8080", true), ("10.1.0.6:8080", false)];
        let mut web = service("web", "10.96.0.10", vec![port(80, Some(30080), &two), port(443, None, &two)]);
        web.external_ips = vec!["192.0.2.7".parse().unwrap()];
        web.load_balancer_ips = vec!["192.0.2.241".parse().unwrap()];
        web.external_policy = TrafficPolicy::Local;
        let mut sticky = service("sticky", "127.96.0.3", vec![port(80, None, &two)]);
        sticky.affinity = Affinity::ClientIp(Duration::from_secs(10800));
        let mut signal = service("signal", "10.96.0.11", vec![port(5, None, &two)]);
        signal.ports[0].protocol = Protocol::Sctp;
        let thief = service("thief", "10.96.0.10", vec![port(80, Some(30080), &two)]);
        let empty = service("empty", "10.96.0.12", vec![port(80, Some(30081), &[])]);
        let wanted = Wanted::of(&plan(vec![empty, signal, sticky, web, thief]), &node());
        insta::assert_snapshot!(shown(&wanted), @r"
        TCP 0.0.0.0:30080 -> default/web:80 [10.1.0.5:8080] None
        TCP 10.96.0.10:80 -> default/web:80 [10.1.0.5:8080, 10.1.0.6:8080] None
        TCP 10.96.0.10:443 -> default/web:443 [10.1.0.5:8080, 10.1.0.6:8080] None
        TCP 127.96.0.3:80 -> default/sticky:80 [10.1.0.5:8080, 10.1.0.6:8080] ClientIp(10800s)
        TCP 192.0.2.7:80 -> default/web:80 [10.1.0.5:8080] None
        TCP 192.0.2.7:443 -> default/web:443 [10.1.0.5:8080] None
        TCP 192.0.2.241:80 -> default/web:80 [10.1.0.5:8080] None
        TCP 192.0.2.241:443 -> default/web:443 [10.1.0.5:8080] None
        addresses {10.96.0.10, 10.96.0.11, 10.96.0.12}
        failed default/signal 10.96.0.11:5 SCTP cannot be passed on in user space
        failed default/thief 10.96.0.10:80 the address is that of service default/web
        failed default/thief 0.0.0.0:30080 the address is that of service default/web
        ");
    }

    #[test]
    fn only_what_differs_changes() {
        let a = service("a", "10.96.0.1", vec![port(80, None, &[("10.1.0.5:80", true)])]);
        let b = service("b", "10.96.0.2", vec![port(80, Some(30000), &[("10.1.0.6:80", true)])]);
        let before = Wanted::of(&plan(vec![a.clone(), b]), &node());
        let mut moved = a;
        moved.ports[0].endpoints.push(Endpoint { address: "10.1.0.9:80".parse().unwrap(), local: false });
        let c = service("c", "10.96.0.3", vec![port(80, Some(30000), &[("10.1.0.7:80", true)])]);
        let after = Wanted::of(&plan(vec![moved, c]), &node());
        let found = changes(before.sockets.iter(), &after.sockets);
        let list = |pairs: &[(Listen, Backend)]| {
            pairs.iter().map(|(l, b)| format!("{l} {:?}", b.endpoints)).collect::<Vec<_>>()
        };
        assert_eq!(found.close.iter().map(ToString::to_string).collect::<Vec<_>>(), ["TCP 10.96.0.2:80"]);
        assert_eq!(
            list(&found.update),
            ["TCP 0.0.0.0:30000 [10.1.0.7:80]", "TCP 10.96.0.1:80 [10.1.0.5:80, 10.1.0.9:80]"]
        );
        assert_eq!(list(&found.open), ["TCP 10.96.0.3:80 [10.1.0.7:80]"]);
        assert_eq!(changes(after.sockets.iter(), &after.sockets), Changes::default());
    }

    #[test]
    fn host_ports_stand_behind_services() {
        let a = service("a", "10.96.0.1", vec![port(80, Some(30000), &[("10.1.0.5:80", true)])]);
        let mut wanted = Wanted::of(&plan(vec![a]), &node());
        let ports = [30000, 8080].map(|host_port| HostPort {
            protocol: Protocol::Tcp,
            host_port,
            container_port: 80,
            host_ip: None,
        });
        wanted.add_host_ports("default/web", "10.85.0.2".parse().unwrap(), &ports);
        insta::assert_snapshot!(shown(&wanted), @r"
        TCP 0.0.0.0:8080 -> default/web:8080 [10.85.0.2:80] None
        TCP 0.0.0.0:30000 -> default/a:80 [10.1.0.5:80] None
        TCP 10.96.0.1:80 -> default/a:80 [10.1.0.5:80] None
        addresses {10.96.0.1}
        ");
    }
}
