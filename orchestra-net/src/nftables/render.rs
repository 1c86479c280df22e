//! From the plans of services and policies to what the kernel is to hold. Pure.
//!
//! A packet for a service is looked up in one map, by its address, protocol and port, however many services there are,
//! and goes to the chain of that service's port, which sends connections to the endpoints in turn, or by chance. What has
//! no endpoints stands in another map that is asked before, and is refused or dropped.
//!
//! Addresses of clients are kept wherever answers find back by themselves. They are hidden only where a pod reaches
//! itself through a service, and where somebody outside reaches a pod of another node through this one.

use std::net::{IpAddr, SocketAddr};

use orchestra_core::network::{
    Affinity, Endpoint, HostPort, PolicyPlan, Protocol, ServiceEntry, ServicePlan, ServicePort, TrafficPolicy,
};

use super::cidr::Cidr;
use super::family::{Family, word};
use super::policy;
use super::rule::{Key, Kind, Name, Part, Rule, Side, Verdict};
use super::ruleset::{Chain, Ruleset, Set, Table};
use crate::Balance;

/// The chain that every packet for a service goes through.
pub(super) const DISPATCH: &str = "services";

/// What is known of the node beside the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Node {
    /// The addresses of this node's pods.
    pub(crate) pods: Vec<Cidr>,
    /// The addresses of all pods of the cluster, which see each other's addresses as they are.
    pub(crate) cluster: Vec<Cidr>,
    /// Ports of the machine that lead to pods: whose they are, the pod's address, and the ports.
    pub(crate) host_ports: Vec<(IpAddr, Vec<HostPort>)>,
    /// Which endpoint takes the next connection.
    pub(crate) balance: Balance,
}

/// What the kernel is to hold, in tables of that name.
pub(super) fn ruleset(table: &str, plan: &ServicePlan, policies: &PolicyPlan, node: &Node) -> Ruleset {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| {
        let mut table = services(family, plan, node);
        policy::add(&mut table, family, policies);
        table
    });
    Ruleset { table: table.to_owned(), v4, v6 }
}

fn services(family: Family, plan: &ServicePlan, node: &Node) -> Table {
    let mut building = Building { family, node, table: Table::default() };
    building.frame();
    for service in &plan.services {
        building.service(service);
    }
    for (pod, ports) in &node.host_ports {
        building.host_ports(*pod, ports);
    }
    building.table
}

struct Building<'a> {
    family: Family,
    node: &'a Node,
    table: Table,
}

impl Building<'_> {
    /// What is there without any service.
    fn frame(&mut self) {
        let ip = self.family.ip();
        for name in ["services", "refused"] {
            self.set(name, Set::map(Kind::End));
        }
        for name in ["node-ports", "refused-node-ports"] {
            self.set(name, Set::map(Kind::Port));
        }
        for name in ["cluster-ips", "load-balancer-ips", "remote-endpoints"] {
            self.set(name, Set::new(Kind::Ip));
        }
        self.set("hairpin", Set::new(Kind::Ips));
        self.set("pods", Set::new(Kind::Range));
        self.set("cluster-pods", Set::new(Kind::Range));
        let (node, family) = (self.node, self.family);
        for (set, ranges) in [("pods", &node.pods), ("cluster-pods", &node.cluster)] {
            for range in ranges.iter().filter(|range| family.has(&range.address)) {
                self.element(set, Key::Range(*range));
            }
        }
        // An address of a balancer may be put on this machine, and is none of its own all the same.
        let local = format!(
            "fib daddr type local {ip} daddr != {} {ip} daddr != @load-balancer-ips",
            self.family.loopback()
        );
        let key = format!("{ip} daddr . meta l4proto . th dport");
        self.chain(
            DISPATCH,
            None,
            vec![
                format!("{key} vmap @services").into(),
                format!("{local} meta l4proto . th dport vmap @node-ports").into(),
            ],
        );
        self.chain(
            "check",
            None,
            vec![
                format!("{key} vmap @refused").into(),
                format!("{local} meta l4proto . th dport vmap @refused-node-ports").into(),
            ],
        );
        self.chain("refuse", None, vec!["meta l4proto tcp reject with tcp reset".into(), "reject".into()]);
        self.hooks(ip);
    }

    /// Where packets come in.
    fn hooks(&mut self, ip: &str) {
        let new = || vec!["ct state new jump check".into()];
        let unserved = || {
            let balanced = "@load-balancer-ips fib daddr type local meta l4proto { tcp, udp, sctp }";
            vec![
                format!("ct state new {ip} daddr @cluster-ips goto refuse").into(),
                format!("ct state new {ip} daddr {balanced} goto refuse").into(),
            ]
        };
        let services = || vec!["jump services".into()];
        self.chain("check-in", Some("type filter hook prerouting priority dstnat - 10;"), new());
        self.chain("check-out", Some("type filter hook output priority -110;"), new());
        self.chain("nat-in", Some("type nat hook prerouting priority dstnat;"), services());
        self.chain("nat-out", Some("type nat hook output priority -100;"), services());
        // What still is for an address of a service is for a port that the service does not have.
        self.chain("unserved-in", Some("type filter hook prerouting priority dstnat + 10;"), unserved());
        self.chain("unserved-out", Some("type filter hook output priority -90;"), unserved());
        self.chain("nat-post", Some("type nat hook postrouting priority srcnat;"), vec![
            format!("ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade").into(),
            format!("ct status dnat {ip} daddr @remote-endpoints ct original {ip} daddr != @cluster-ips masquerade").into(),
            format!("{ip} saddr @pods {ip} daddr != @cluster-pods masquerade").into(),
        ]);
    }

    fn service(&mut self, service: &ServiceEntry) {
        let cluster_ips: Vec<IpAddr> = self.own(&service.cluster_ips);
        for ip in &cluster_ips {
            self.element("cluster-ips", Key::Ip(*ip));
        }
        if cluster_ips.is_empty() {
            return;
        }
        let external = External {
            ips: self.own(&service.external_ips),
            balancers: self.own(&service.load_balancer_ips),
        };
        for ip in &external.balancers {
            self.element("load-balancer-ips", Key::Ip(*ip));
        }
        for port in &service.ports {
            self.port(service, port, &cluster_ips, &external);
        }
    }

    fn port(
        &mut self,
        service: &ServiceEntry,
        port: &ServicePort,
        cluster_ips: &[IpAddr],
        addresses: &External,
    ) {
        let family = self.family;
        let of_family = |endpoint: &&Endpoint| family.has(&endpoint.address.ip());
        let inside: Vec<&Endpoint> = service.internal(port).filter(of_family).collect();
        let outside: Vec<&Endpoint> = service.external(port).filter(of_family).collect();
        let key = format!("{}/{}/{}", service.key(), word(port.protocol), port.port);
        let dispatch = self.endpoints(service, port, &key, &inside);
        let internal = self.dispatched(format!("svc-{key}"), dispatch, service.internal_policy);
        for ip in cluster_ips {
            self.lead(Some(*ip), port.protocol, port.port, &internal);
        }
        if addresses.ips.is_empty() && addresses.balancers.is_empty() && port.node_port.is_none() {
            return;
        }
        let external = match service.external_policy {
            TrafficPolicy::Cluster if inside == outside => internal,
            policy => {
                let mut rules = Vec::new();
                // The cluster's own traffic is not bound to this node: it did not come through a balancer.
                if policy == TrafficPolicy::Local
                    && let Way::Go(chain) = &internal
                {
                    for own in [Part::FromHere, Part::In(Side::Source, "cluster-pods".into())] {
                        rules.push(Rule(vec![own, Part::Verdict(Verdict::Goto(chain.clone()))]));
                    }
                }
                rules.extend(self.endpoints(service, port, &key, &outside));
                if !rules.is_empty() && outside.is_empty() {
                    rules.push(Verdict::Drop.into());
                }
                self.dispatched(format!("ext-{key}"), rules, policy)
            }
        };
        for ip in &addresses.ips {
            self.lead(Some(*ip), port.protocol, port.port, &external);
        }
        if let Some(number) = port.node_port {
            self.lead(None, port.protocol, number, &external);
        }
        let guarded = self.guarded(service, &key, external);
        for ip in &addresses.balancers {
            self.lead(Some(*ip), port.protocol, port.port, &guarded);
        }
    }

    /// What becomes of a connection to a balancer's address: who may not come by it is dropped.
    fn guarded(&mut self, service: &ServiceEntry, key: &str, way: Way) -> Way {
        let Way::Go(chain) = &way else { return way };
        if service.source_ranges.is_empty() {
            return way;
        }
        let ranges = service.source_ranges.iter().filter(|(address, _)| self.family.has(address));
        let allow = ranges.map(|range| {
            Rule(vec![
                Part::Within(Side::Source, (*range).into()),
                Part::Verdict(Verdict::Goto(chain.clone())),
            ])
        });
        let rules = allow.chain([Verdict::Drop.into()]).collect();
        let guard = Name::from(format!("from-{key}"));
        self.chain(guard.clone(), None, rules);
        Way::Go(guard)
    }

    fn dispatched(&mut self, chain: String, rules: Vec<Rule>, policy: TrafficPolicy) -> Way {
        if rules.is_empty() {
            return Way::Refuse(policy);
        }
        let chain = Name::from(chain);
        self.chain(chain.clone(), None, rules);
        Way::Go(chain)
    }

    /// Leads what is for a port of an address, or of the machine, on its way.
    fn lead(&mut self, address: Option<IpAddr>, protocol: Protocol, port: u16, way: &Way) {
        let (key, map, refused) = match address {
            Some(ip) => (Key::End(ip, protocol, port), "services", "refused"),
            None => (Key::Port(protocol, port), "node-ports", "refused-node-ports"),
        };
        // Of two services that claim the same, the first has it, as with a socket.
        let held = [map, refused]
            .iter()
            .any(|map| self.table.sets.get(*map).is_some_and(|map| map.elements.contains_key(&key)));
        if held {
            return;
        }
        let (map, verdict) = match way {
            Way::Go(chain) => (map, Verdict::Goto(chain.clone())),
            Way::Refuse(TrafficPolicy::Cluster) => (refused, Verdict::Goto("refuse".into())),
            Way::Refuse(TrafficPolicy::Local) => (refused, Verdict::Drop),
        };
        if let Some(map) = self.table.sets.get_mut(map) {
            map.elements.insert(key, Some(verdict));
        }
    }

    /// The rules that send a connection to one of some endpoints; none if there are none.
    fn endpoints(
        &mut self,
        service: &ServiceEntry,
        port: &ServicePort,
        key: &str,
        endpoints: &[&Endpoint],
    ) -> Vec<Rule> {
        for endpoint in endpoints {
            self.known(endpoint);
        }
        match (service.affinity, endpoints) {
            (_, []) => Vec::new(),
            (Affinity::None, several) => {
                let to = several.iter().map(|endpoint| endpoint.address).collect();
                vec![Rule(vec![Part::Protocol(port.protocol), Part::Dnat(self.node.balance, to)])]
            }
            (Affinity::ClientIp(time), several) => {
                let seconds = time.as_secs().max(1);
                let places: Vec<(Name, Name)> = several
                    .iter()
                    .map(|endpoint| self.remembered(key, port.protocol, endpoint.address, seconds))
                    .collect();
                let known = places.iter().map(|(set, chain)| {
                    Rule(vec![
                        Part::In(Side::Source, set.clone()),
                        Part::Verdict(Verdict::Goto(chain.clone())),
                    ])
                });
                let others = match places.as_slice() {
                    [(_, chain)] => Part::Verdict(Verdict::Goto(chain.clone())),
                    _ => {
                        let chains = places.iter().map(|(_, chain)| chain.clone()).collect();
                        Part::OneOf(self.node.balance, chains)
                    }
                };
                known.chain([Rule(vec![others])]).collect()
            }
        }
    }

    /// The set of clients that stay with an endpoint, and the chain that takes them there.
    fn remembered(
        &mut self,
        key: &str,
        protocol: Protocol,
        endpoint: SocketAddr,
        seconds: u64,
    ) -> (Name, Name) {
        let place = format!("{key}/{}", endpoint.to_string().replace([':', '[', ']'], "_"));
        // With the time in its name, as a set keeps the one that it was made with.
        let set = Name::from(format!("clients-{place}/{seconds}s"));
        let chain = Name::from(format!("to-{place}"));
        self.set(set.clone(), Set { forgets: Some(seconds), ..Set::new(Kind::Ip) });
        let rules = vec![
            Rule(vec![Part::Remember(set.clone())]),
            Rule(vec![Part::Protocol(protocol), Part::Dnat(self.node.balance, vec![endpoint])]),
        ];
        self.chain(chain.clone(), None, rules);
        (set, chain)
    }

    fn known(&mut self, endpoint: &Endpoint) {
        let ip = endpoint.address.ip();
        match endpoint.local {
            true => self.element("hairpin", Key::Ips(ip, ip)),
            false => self.element("remote-endpoints", Key::Ip(ip)),
        }
    }

    fn host_ports(&mut self, pod: IpAddr, ports: &[HostPort]) {
        if !self.family.has(&pod) {
            return;
        }
        for port in ports {
            let to = SocketAddr::new(pod, port.container_port);
            let address = match port.host_ip.filter(|ip| !ip.is_unspecified()) {
                Some(ip) if !self.family.has(&ip) || ip.is_loopback() => continue,
                address => address,
            };
            let place = address.map(|ip| format!("{}/", ip.to_string().replace(':', "_")));
            let place = place.unwrap_or_default();
            let chain = Name::from(format!("host-{place}{}/{}", word(port.protocol), port.host_port));
            let rule = Rule(vec![Part::Protocol(port.protocol), Part::Dnat(self.node.balance, vec![to])]);
            self.chain(chain.clone(), None, vec![rule]);
            self.element("hairpin", Key::Ips(pod, pod));
            self.lead(address, port.protocol, port.host_port, &Way::Go(chain));
        }
    }

    fn own(&self, ips: &[IpAddr]) -> Vec<IpAddr> {
        ips.iter().filter(|ip| self.family.has(ip)).copied().collect()
    }

    fn set(&mut self, name: impl Into<Name>, set: Set) {
        self.table.sets.entry(name.into()).or_insert(set);
    }

    fn element(&mut self, set: &str, key: Key) {
        if let Some(set) = self.table.sets.get_mut(set) {
            set.elements.insert(key, None);
        }
    }

    fn chain(&mut self, name: impl Into<Name>, hook: Option<&'static str>, rules: Vec<Rule>) {
        self.table.chains.insert(name.into(), Chain { hook, rules });
    }
}

/// Addresses of a service that are not the cluster's, of one family.
struct External {
    ips: Vec<IpAddr>,
    balancers: Vec<IpAddr>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It goes to this chain.
    Go(Name),
    /// There is nothing behind it, by this policy.
    Refuse(TrafficPolicy),
}
