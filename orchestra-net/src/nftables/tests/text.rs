//! What is made of plans, as text. Only what a plan adds to the frame is shown, but once.

use std::net::IpAddr;

use orchestra_core::network::{
    Allowed, Block, HostPort, Peers, PodPolicy, PolicyPlan, PortRange, Protocol, ServicePlan, TrafficPolicy,
};

use proptest::prelude::*;

use super::super::cidr::Cidr;
use super::super::narrow::{follow, narrowed};
use super::super::render::{Node, ruleset};
use super::super::ruleset::Ruleset;
use super::{ip, plan, port, service, sticky};
use crate::Balance;

fn made(plan: &ServicePlan) -> Ruleset {
    ruleset("t", plan, &PolicyPlan::default(), &Node::default())
}

/// What a plan adds to what is there without any.
fn added(plan: &ServicePlan) -> String {
    made(plan).change_from(&made(&ServicePlan::default())).text()
}

fn tcp(port_number: u16, endpoints: &[&str]) -> orchestra_core::network::ServicePort {
    port(Protocol::Tcp, port_number, None, endpoints)
}

#[test]
fn the_frame() {
    let cidr = |address: &str, prefix| Cidr { address: address.parse().unwrap(), prefix };
    let node = Node {
        pods: vec![cidr("10.244.1.7", 24)],
        cluster: vec![cidr("10.244.0.0", 16), cidr("fd00::", 48)],
        ..Node::default()
    };
    insta::assert_snapshot!(
        ruleset("orchestra-a", &ServicePlan::default(), &PolicyPlan::default(), &node).load()
    );
}

#[test]
fn a_service_with_endpoints_here_and_elsewhere() {
    let web = service(
        "web",
        &["10.96.0.7"],
        vec![
            tcp(80, &["10.244.1.5:8080", "10.244.2.6:8080@elsewhere", "10.244.2.7:8080@elsewhere"]),
            port(Protocol::Udp, 53, None, &["10.244.1.5:5353"]),
        ],
    );
    insta::assert_snapshot!(added(&plan([web])));
}

#[test]
fn both_families() {
    let web = service(
        "web",
        &["10.96.0.7", "fd00:96::7"],
        vec![tcp(80, &["10.244.1.5:8080", "[fd00:244::5]:8080", "[fd00:244::6]:8080@elsewhere"])],
    );
    insta::assert_snapshot!(added(&plan([web])));
}

#[test]
fn nothing_behind_it() {
    let mut kept = service(
        "kept",
        &["10.96.0.8"],
        vec![port(Protocol::Tcp, 80, Some(30080), &["10.244.2.6:80@elsewhere"])],
    );
    kept.internal_policy = TrafficPolicy::Local;
    kept.external_policy = TrafficPolicy::Local;
    let idle = service("idle", &["10.96.0.9"], vec![port(Protocol::Tcp, 80, Some(30081), &[])]);
    insta::assert_snapshot!(added(&plan([idle, kept])));
}

#[test]
fn from_outside() {
    let endpoints = ["10.244.1.5:80", "10.244.2.6:80@elsewhere"];
    let mut open = service("open", &["10.96.0.7"], vec![port(Protocol::Tcp, 80, Some(30080), &endpoints)]);
    open.external_ips = vec!["192.0.2.7".parse().unwrap()];
    open.load_balancer_ips = vec!["192.0.2.241".parse().unwrap()];
    let mut kept = service("kept", &["10.96.0.8"], vec![port(Protocol::Tcp, 80, Some(30081), &endpoints)]);
    kept.external_policy = TrafficPolicy::Local;
    let mut bare =
        service("none-here", &["10.96.0.9"], vec![port(Protocol::Tcp, 80, Some(30082), &endpoints[1..])]);
    bare.external_policy = TrafficPolicy::Local;
    insta::assert_snapshot!(added(&plan([kept, bare, open])));
}

#[test]
fn who_may_come_by_a_balancer() {
    let mut web =
        service("web", &["10.96.0.7", "fd00:96::7"], vec![tcp(80, &["10.244.1.5:80", "[fd00:244::5]:80"])]);
    web.load_balancer_ips = vec!["192.0.2.241".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    web.source_ranges = vec![("192.0.2.9".parse().unwrap(), 24), ("198.51.100.7".parse().unwrap(), 32)];
    insta::assert_snapshot!(added(&plan([web])));
}

#[test]
fn clients_that_stay() {
    let web = service("web", &["10.96.0.7"], vec![tcp(80, &["10.244.1.5:80", "10.244.2.6:80@elsewhere"])]);
    insta::assert_snapshot!(added(&plan([sticky(web, 60)])));
}

#[test]
fn by_chance() {
    let endpoints = ["10.244.1.5:80", "10.244.2.6:80@elsewhere"];
    let any = service("any", &["10.96.0.7"], vec![tcp(80, &endpoints), tcp(81, &endpoints[..1])]);
    let kept = sticky(service("kept", &["10.96.0.8"], vec![tcp(80, &endpoints)]), 60);
    let node = Node { balance: Balance::Random, ..Node::default() };
    let made = |plan: &ServicePlan| ruleset("t", plan, &PolicyPlan::default(), &node);
    insta::assert_snapshot!(made(&plan([any, kept])).change_from(&made(&ServicePlan::default())).text());
}

#[test]
fn ports_of_the_machine() {
    let of = |host_port, host_ip: Option<&str>| HostPort {
        protocol: Protocol::Tcp,
        host_port,
        container_port: 80,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    };
    let pod: IpAddr = "10.244.1.5".parse().unwrap();
    let ports =
        vec![of(8080, None), of(8081, Some("192.0.2.1")), of(8082, Some("127.0.0.1")), of(30080, None)];
    let node = Node { host_ports: vec![(pod, ports)], ..Node::default() };
    let web = service("web", &["10.96.0.7"], vec![port(Protocol::Tcp, 80, Some(30080), &["10.244.1.6:80"])]);
    let plan = plan([web]);
    insta::assert_snapshot!(
        ruleset("t", &plan, &PolicyPlan::default(), &node).change_from(&made(&plan)).text()
    );
}

/// The text that leads from one plan to another.
fn change(before: &ServicePlan, after: &ServicePlan) -> String {
    made(after).change_from(&made(before)).text()
}

#[test]
fn only_what_differs_is_touched() {
    let other = service("other", &["10.96.0.7"], vec![tcp(80, &["10.244.1.5:80", "10.244.1.6:80"])]);
    let web = |endpoints: &[&str]| service("web", &["10.96.0.8"], vec![tcp(80, endpoints)]);
    let before = plan([other.clone(), web(&["10.244.1.7:80", "10.244.2.8:80@elsewhere"])]);
    assert_eq!(change(&before, &before), "");
    insta::assert_snapshot!(change(
        &before,
        &plan([other.clone(), web(&["10.244.1.7:80", "10.244.2.9:80@elsewhere"])])
    ));
}

#[test]
fn a_service_that_goes_takes_all_of_it_along() {
    let web = |seconds| {
        let web =
            service("web", &["10.96.0.8"], vec![tcp(80, &["10.244.1.7:80", "10.244.2.8:80@elsewhere"])]);
        sticky(web, seconds)
    };
    insta::assert_snapshot!(change(&plan([web(60)]), &ServicePlan::default()));
    let longer = change(&plan([web(60)]), &plan([web(90)]));
    assert!(longer.contains("add set ip t clients-shop/web/tcp/80/10.244.1.7_80/90s"), "{longer}");
    assert!(longer.contains("delete set ip t clients-shop/web/tcp/80/10.244.1.7_80/60s"), "{longer}");
}

#[test]
fn policies() {
    let range = |protocol, first, last| PortRange { protocol, bounds: Some((first, last)) };
    let peers = Peers {
        pods: vec![ip("10.244.1.5"), ip("10.244.2.6"), ip("fd00::6")],
        blocks: vec![
            Block { range: (ip("10.9.0.0"), 16), except: vec![(ip("10.9.1.0"), 24), (ip("10.9.2.0"), 24)] },
            Block { range: (ip("0.0.0.0"), 0), except: vec![(ip("10.0.0.0"), 8)] },
            Block { range: (ip("fd01::"), 16), except: vec![] },
        ],
    };
    let ports = vec![
        range(Protocol::Tcp, 80, 80),
        range(Protocol::Tcp, 81, 90),
        range(Protocol::Tcp, 443, 443),
        range(Protocol::Udp, 53, 53),
        PortRange { protocol: Protocol::Udp, bounds: None },
    ];
    let rule = |name: &str, peers: Option<Peers>, ports: Option<Vec<PortRange>>| Allowed {
        rule: format!("shop/p/{name}"),
        peers,
        ports,
    };
    let pod = |name: &str, ips: &[&str], ingress, egress| PodPolicy {
        pod: format!("shop/{name}"),
        uid: name.into(),
        ips: ips.iter().map(|text| ip(text)).collect(),
        ingress,
        egress,
    };
    let plan = PolicyPlan {
        pods: vec![
            pod("closed", &["10.244.1.7"], Some(vec![]), None),
            pod(
                "web",
                &["10.244.1.8", "fd00::8"],
                Some(vec![rule("ingress-0", Some(peers.clone()), Some(ports))]),
                Some(vec![rule("egress-0", None, None), rule("egress-1", Some(peers), None)]),
            ),
        ],
        known: None,
    };
    let made = |policies| ruleset("t", &ServicePlan::default(), policies, &Node::default());
    insta::assert_snapshot!(made(&plan).change_from(&made(&PolicyPlan::default())).text());
}

/// Plans of a few services that share endpoints, addresses and ports more often than any do.
fn plans() -> impl Strategy<Value = ServicePlan> {
    let one = (0..3_u8, 0..3_u8, any::<[bool; 5]>(), proptest::collection::btree_set(0..5_u8, 0..4));
    proptest::collection::vec(proptest::option::of(one), 6).prop_map(|services| {
        let services = services.into_iter().enumerate().filter_map(|(n, service)| {
            let (number, address, [sticky_, local, external, balanced, noded], endpoints) = service?;
            let endpoints: Vec<String> = endpoints
                .iter()
                .flat_map(|of| {
                    let here = if of % 2 == 0 { "" } else { "@elsewhere" };
                    [format!("10.244.1.{of}:80{here}"), format!("[fd00::{of}]:80{here}")]
                })
                .collect();
            let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            let node_port = noded.then_some(30000 + u16::from(number));
            let ips = [format!("10.96.0.{n}"), format!("fd00:96::{n}")];
            let mut made = service_of(
                n,
                &ips,
                vec![
                    port(Protocol::Tcp, 80, node_port, &endpoints),
                    port(Protocol::Udp, 53, None, &endpoints),
                ],
            );
            if external {
                made.external_ips = vec![ip(&format!("203.0.113.{address}"))];
            }
            if balanced {
                made.load_balancer_ips = vec![ip(&format!("203.0.113.{number}"))];
            }
            if local {
                made.external_policy = TrafficPolicy::Local;
            }
            Some(if sticky_ { sticky(made, 60) } else { made })
        });
        plan(services.collect::<Vec<_>>())
    })
}

fn service_of(
    n: usize,
    ips: &[String; 2],
    ports: Vec<orchestra_core::network::ServicePort>,
) -> orchestra_core::network::ServiceEntry {
    service(&format!("s{n}"), &ips.each_ref().map(String::as_str), ports)
}

/// A node with pods at some ports of the machine.
fn nodes() -> impl Strategy<Value = Node> {
    let ports = proptest::collection::btree_map(0..4_u16, (0..5_u8, any::<bool>()), 0..3);
    ports.prop_map(|ports| {
        let host_ports = ports.into_iter().map(|(number, (pod, at_address))| {
            let port = HostPort {
                protocol: Protocol::Tcp,
                host_port: 30000 + number,
                container_port: 80,
                host_ip: at_address.then(|| ip("203.0.113.1")),
            };
            (ip(&format!("10.244.1.{pod}")), vec![port])
        });
        Node { host_ports: host_ports.collect(), ..Node::default() }
    })
}

proptest! {
    #[test]
    fn what_has_to_do_with_a_change_makes_the_whole_change(
        (held, wanted) in (plans(), plans()),
        kept in any::<[bool; 6]>(),
        (before, other) in (nodes(), nodes()),
        moves in any::<bool>(),
    ) {
        // Most services are the same in both.
        let mut wanted = wanted;
        wanted.services.retain(|service| !kept.iter().enumerate().any(|(n, kept)| *kept && service.name == format!("s{n}")));
        let same = held.services.iter().filter(|service| kept.iter().enumerate().any(|(n, kept)| *kept && service.name == format!("s{n}")));
        wanted.services.extend(same.cloned());
        wanted.services.sort_by(|one, other| one.name.cmp(&other.name));
        let after = if moves { other } else { before.clone() };
        let made = |plan: &ServicePlan, node: &Node| ruleset("t", plan, &PolicyPlan::default(), node);
        let whole = made(&wanted, &after).change_from(&made(&held, &before)).text();
        let (few_held, few_wanted) = narrowed((&held, &before), (&wanted, &after));
        let of_few = made(&few_wanted, &after).change_from(&made(&few_held, &before)).text();
        prop_assert_eq!(of_few, whole);
        let mut followed = held;
        follow(&mut followed, &wanted);
        prop_assert_eq!(followed, wanted);
    }
}

#[test]
fn a_change_of_one_service_has_to_do_with_those_that_share_with_it() {
    let made =
        |name: &str, address: &str, endpoints: &[&str]| service(name, &[address], vec![tcp(80, endpoints)]);
    let rest = [made("far", "10.96.0.1", &["10.244.1.9:80"]), made("near", "10.96.0.2", &["10.244.1.5:81"])];
    let with =
        |endpoints: &[&str]| plan(rest.clone().into_iter().chain([made("web", "10.96.0.3", endpoints)]));
    let node = Node::default();
    let (held, wanted) = narrowed((&with(&["10.244.1.5:80"]), &node), (&with(&["10.244.1.6:80"]), &node));
    let names = |plan: &ServicePlan| plan.services.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&held), names(&wanted)),
        (vec!["near".into(), "web".into()], vec!["near".into(), "web".into()])
    );
}
