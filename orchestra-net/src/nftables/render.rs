//! From the plans of services and policies to what the kernel is to hold. Pure.
//!
//! A packet for a service is looked up in one map, by its address, protocol and port, however many services there are,
//! and goes to the chain of that service's port, which sends connections to the endpoints in turn. What has no endpoints
//! stands in another map that is asked before, and is refused or dropped.
//!
//! Addresses of clients are kept wherever answers find back by themselves. They are hidden only where a pod reaches
//! itself through a service, and where somebody outside reaches a pod of another node through this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use orchestra_core::network::{
    Affinity, Endpoint, HostPort, PolicyPlan, Protocol, ServiceEntry, ServicePlan, ServicePort, TrafficPolicy,
};

use super::family::{Family, word};
use super::policy;
use super::ruleset::{Chain, Ruleset, Set, Table};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl std::fmt::Display for Cidr {
    /// With the first address of the range, whichever it was given with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first: IpAddr = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                (ip & Ipv4Addr::from_bits(mask)).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                (ip & Ipv6Addr::from_bits(mask)).into()
            }
        };
        write!(f, "{first}/{}", self.prefix)
    }
}

/// What is known of the node beside the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Node {
    /// The addresses of this node's pods.
    pub(crate) pods: Vec<Cidr>,
    /// The addresses of all pods of the cluster, which see each other's addresses as they are.
    pub(crate) cluster: Vec<Cidr>,
    /// Ports of the machine that lead to pods: whose they are, the pod's address, and the ports.
    pub(crate) host_ports: Vec<(IpAddr, Vec<HostPort>)>,
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
        let (ip, kind) = (self.family.ip(), self.family.kind());
        for name in ["services", "refused"] {
            self.set(name, Set::map(format!("type {kind} . inet_proto . inet_service : verdict;")));
        }
        for name in ["node-ports", "refused-node-ports"] {
            self.set(name, Set::map("type inet_proto . inet_service : verdict;"));
        }
        for name in ["cluster-ips", "load-balancer-ips", "remote-endpoints"] {
            self.set(name, Set::new(format!("type {kind};")));
        }
        self.set("hairpin", Set::new(format!("type {kind} . {kind};")));
        self.set("pods", Set::new(format!("type {kind}; flags interval;")));
        self.set("cluster-pods", Set::new(format!("type {kind}; flags interval;")));
        let (node, family) = (self.node, self.family);
        for (set, ranges) in [("pods", &node.pods), ("cluster-pods", &node.cluster)] {
            for range in ranges.iter().filter(|range| family.has(&range.address)) {
                self.element(set, range.to_string(), String::new());
            }
        }
        // An address of a balancer may be put on this machine, and is none of its own all the same.
        let local = format!(
            "fib daddr type local {ip} daddr != {} {ip} daddr != @load-balancer-ips",
            self.family.loopback()
        );
        let key = format!("{ip} daddr . meta l4proto . th dport");
        self.chain(
            "services",
            None,
            vec![
                format!("{key} vmap @services"),
                format!("{local} meta l4proto . th dport vmap @node-ports"),
            ],
        );
        self.chain(
            "check",
            None,
            vec![
                format!("{key} vmap @refused"),
                format!("{local} meta l4proto . th dport vmap @refused-node-ports"),
            ],
        );
        self.chain("refuse", None, vec!["meta l4proto tcp reject with tcp reset".into(), "reject".into()]);
        self.hooks(ip);
    }

    /// Where packets come in.
    fn hooks(&mut self, ip: &str) {
        let new = || vec!["ct state new jump check".to_owned()];
        let unserved = || {
            let balanced = "@load-balancer-ips fib daddr type local meta l4proto { tcp, udp, sctp }";
            vec![
                format!("ct state new {ip} daddr @cluster-ips goto refuse"),
                format!("ct state new {ip} daddr {balanced} goto refuse"),
            ]
        };
        let services = || vec!["jump services".to_owned()];
        self.chain("check-in", Some("type filter hook prerouting priority dstnat - 10;"), new());
        self.chain("check-out", Some("type filter hook output priority -110;"), new());
        self.chain("nat-in", Some("type nat hook prerouting priority dstnat;"), services());
        self.chain("nat-out", Some("type nat hook output priority -100;"), services());
        // What still is for an address of a service is for a port that the service does not have.
        self.chain("unserved-in", Some("type filter hook prerouting priority dstnat + 10;"), unserved());
        self.chain("unserved-out", Some("type filter hook output priority -90;"), unserved());
        self.chain("nat-post", Some("type nat hook postrouting priority srcnat;"), vec![
            format!("ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade"),
            format!("ct status dnat {ip} daddr @remote-endpoints ct original {ip} daddr != @cluster-ips masquerade"),
            format!("{ip} saddr @pods {ip} daddr != @cluster-pods masquerade"),
        ]);
    }

    fn service(&mut self, service: &ServiceEntry) {
        let cluster_ips: Vec<IpAddr> = self.own(&service.cluster_ips);
        for ip in &cluster_ips {
            self.element("cluster-ips", ip.to_string(), String::new());
        }
        if cluster_ips.is_empty() {
            return;
        }
        let external = External {
            ips: self.own(&service.external_ips),
            balancers: self.own(&service.load_balancer_ips),
        };
        for ip in &external.balancers {
            self.element("load-balancer-ips", ip.to_string(), String::new());
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
        let (internal, external) = (format!("svc-{key}"), format!("ext-{key}"));
        let dispatch = self.endpoints(service, port, &key, &inside);
        let verdict = self.dispatched(&internal, dispatch, service.internal_policy);
        for ip in cluster_ips {
            self.lead(&[ip.to_string()], port.protocol, port.port, &verdict);
        }
        if addresses.ips.is_empty() && addresses.balancers.is_empty() && port.node_port.is_none() {
            return;
        }
        let verdict = match service.external_policy {
            TrafficPolicy::Cluster if inside == outside => verdict,
            policy => {
                let mut rules = Vec::new();
                // The cluster's own traffic is not bound to this node: it did not come through a balancer.
                if policy == TrafficPolicy::Local && matches!(verdict, Verdict::Go(_)) {
                    rules.push(format!("fib saddr type local goto {internal}"));
                    rules.push(format!("{} saddr @cluster-pods goto {internal}", family.ip()));
                }
                rules.extend(self.endpoints(service, port, &key, &outside));
                if !rules.is_empty() && outside.is_empty() {
                    rules.push("drop".into());
                }
                self.dispatched(&external, rules, policy)
            }
        };
        for ip in &addresses.ips {
            self.lead(&[ip.to_string()], port.protocol, port.port, &verdict);
        }
        if let Some(number) = port.node_port {
            self.lead(&[], port.protocol, number, &verdict);
        }
        let verdict = self.guarded(service, &key, verdict);
        for ip in &addresses.balancers {
            self.lead(&[ip.to_string()], port.protocol, port.port, &verdict);
        }
    }

    /// What becomes of a connection to a balancer's address: who may not come by it is dropped.
    fn guarded(&mut self, service: &ServiceEntry, key: &str, verdict: Verdict) -> Verdict {
        let Verdict::Go(chain) = &verdict else { return verdict };
        if service.source_ranges.is_empty() {
            return verdict;
        }
        let ip = self.family.ip();
        let ranges = service.source_ranges.iter().filter(|(address, _)| self.family.has(address));
        let allow = ranges.map(|(address, prefix)| {
            format!("{ip} saddr {} goto {chain}", Cidr { address: *address, prefix: *prefix })
        });
        let rules = allow.chain(["drop".to_owned()]).collect();
        let guard = format!("from-{key}");
        self.chain(&guard, None, rules);
        Verdict::Go(guard)
    }

    fn dispatched(&mut self, chain: &str, rules: Vec<String>, policy: TrafficPolicy) -> Verdict {
        if rules.is_empty() {
            return Verdict::Refuse(policy);
        }
        self.chain(chain, None, rules);
        Verdict::Go(chain.to_owned())
    }

    /// Leads what is for an address and port, or for a port of the machine, to a verdict.
    fn lead(&mut self, address: &[String], protocol: Protocol, port: u16, verdict: &Verdict) {
        let (set, refused) = match address.is_empty() {
            true => ("node-ports", "refused-node-ports"),
            false => ("services", "refused"),
        };
        let end = [word(protocol).to_owned(), port.to_string()];
        let key = address.iter().chain(&end).map(String::as_str).collect::<Vec<_>>().join(" . ");
        // Of two services that claim the same, the first has it, as with a socket.
        let held = [set, refused]
            .iter()
            .any(|set| self.table.sets.get(*set).is_some_and(|set| set.elements.contains_key(&key)));
        if held {
            return;
        }
        match verdict {
            Verdict::Go(chain) => self.element(set, key, format!("goto {chain}")),
            Verdict::Refuse(TrafficPolicy::Cluster) => self.element(refused, key, "goto refuse".into()),
            Verdict::Refuse(TrafficPolicy::Local) => self.element(refused, key, "drop".into()),
        }
    }

    /// The rules that send a connection to one of some endpoints; none if there are none.
    fn endpoints(
        &mut self,
        service: &ServiceEntry,
        port: &ServicePort,
        key: &str,
        endpoints: &[&Endpoint],
    ) -> Vec<String> {
        for endpoint in endpoints {
            self.known(endpoint);
        }
        let protocol = word(port.protocol);
        match (service.affinity, endpoints) {
            (_, []) => Vec::new(),
            (Affinity::None, [one]) => vec![format!("meta l4proto {protocol} dnat to {}", one.address)],
            (Affinity::None, several) => {
                let turns = several.iter().enumerate().map(|(turn, endpoint)| {
                    format!("{turn} : {} . {}", endpoint.address.ip(), endpoint.address.port())
                });
                let (count, turns) = (several.len(), turns.collect::<Vec<_>>().join(", "));
                vec![format!("meta l4proto {protocol} dnat to numgen inc mod {count} map {{ {turns} }}")]
            }
            (Affinity::ClientIp(time), several) => {
                let seconds = time.as_secs().max(1);
                let chains =
                    several.iter().map(|endpoint| self.remembered(key, protocol, endpoint.address, seconds));
                let chains: Vec<(String, String)> = chains.collect();
                let ip = self.family.ip();
                let mut rules: Vec<String> =
                    chains.iter().map(|(set, chain)| format!("{ip} saddr @{set} goto {chain}")).collect();
                let turns =
                    chains.iter().enumerate().map(|(turn, (_, chain))| format!("{turn} : goto {chain}"));
                let turns = turns.collect::<Vec<_>>().join(", ");
                rules.push(match chains.as_slice() {
                    [(_, chain)] => format!("goto {chain}"),
                    _ => format!("numgen inc mod {} vmap {{ {turns} }}", chains.len()),
                });
                rules
            }
        }
    }

    /// The set of clients that stay with an endpoint, and the chain that takes them there.
    fn remembered(
        &mut self,
        key: &str,
        protocol: &str,
        endpoint: SocketAddr,
        seconds: u64,
    ) -> (String, String) {
        let place = format!("{key}/{}", endpoint.to_string().replace([':', '[', ']'], "_"));
        // With the time in its name, as a set keeps the one that it was made with.
        let (set, chain) = (format!("clients-{place}/{seconds}s"), format!("to-{place}"));
        let (kind, ip) = (self.family.kind(), self.family.ip());
        self.set(&set, Set::new(format!("type {kind}; flags dynamic, timeout; timeout {seconds}s;")));
        self.chain(
            &chain,
            None,
            vec![
                format!("update @{set} {{ {ip} saddr }}"),
                format!("meta l4proto {protocol} dnat to {endpoint}"),
            ],
        );
        (set, chain)
    }

    fn known(&mut self, endpoint: &Endpoint) {
        let ip = endpoint.address.ip();
        match endpoint.local {
            true => self.element("hairpin", format!("{ip} . {ip}"), String::new()),
            false => self.element("remote-endpoints", ip.to_string(), String::new()),
        }
    }

    fn host_ports(&mut self, pod: IpAddr, ports: &[HostPort]) {
        if !self.family.has(&pod) {
            return;
        }
        for port in ports {
            let protocol = word(port.protocol);
            let to = SocketAddr::new(pod, port.container_port);
            let address: Vec<String> = match port.host_ip.filter(|ip| !ip.is_unspecified()) {
                Some(ip) if !self.family.has(&ip) || ip.is_loopback() => continue,
                Some(ip) => vec![ip.to_string()],
                None => Vec::new(),
            };
            let place = address.first().map(|ip| format!("{}/", ip.replace(':', "_"))).unwrap_or_default();
            let chain = format!("host-{place}{protocol}/{}", port.host_port);
            self.chain(&chain, None, vec![format!("meta l4proto {protocol} dnat to {to}")]);
            self.element("hairpin", format!("{pod} . {pod}"), String::new());
            self.lead(&address, port.protocol, port.host_port, &Verdict::Go(chain));
        }
    }

    fn own(&self, ips: &[IpAddr]) -> Vec<IpAddr> {
        ips.iter().filter(|ip| self.family.has(ip)).copied().collect()
    }

    fn set(&mut self, name: &str, set: Set) {
        self.table.sets.entry(name.to_owned()).or_insert(set);
    }

    fn element(&mut self, set: &str, key: String, value: String) {
        if let Some(set) = self.table.sets.get_mut(set) {
            set.elements.insert(key, value);
        }
    }

    fn chain(&mut self, name: &str, hook: Option<&'static str>, rules: Vec<String>) {
        self.table.chains.insert(name.to_owned(), Chain { hook, rules });
    }
}

/// Addresses of a service that are not the cluster's, of one family.
struct External {
    ips: Vec<IpAddr>,
    balancers: Vec<IpAddr>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It goes to this chain.
    Go(String),
    /// There is nothing behind it, by this policy.
    Refuse(TrafficPolicy),
}
