//! Packets through the rules.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use orchestra_core::network::{
    Allowed, Applied, AttachRequest, Block, HostPort, Network as _, Peers, PodPolicy, PolicyPlan, PortRange,
    Protocol, ServicePlan, TrafficPolicy,
};

use super::super::message::Batch;
use super::super::netfilter::Filter;
use super::super::render::{Node, ruleset};
use super::super::{NftablesNetwork, program};
use crate::Balance;
use crate::lab::{CLIENT, Lab, NODE};

use super::{ALL, SERVICE, ip, open, plan, port, request, service, sticky, told, web};

/// How often each pod answered.
fn counted(lab: &Lab, place: &str, at: (Ipv4Addr, u16), times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(lab.ask(place, at).unwrap().0).or_default() += 1;
    }
    counts
}

fn refused(lab: &Lab, place: &str, at: (Ipv4Addr, u16)) {
    let error = lab.ask(place, at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{place} {at:?}");
}

#[test]
fn connections_take_turns_and_keep_their_clients_address() {
    let Some(lab) = Lab::new("a", 3) else { return };
    lab.serve(3, 80);
    lab.run(async || {
        let network = open("a", false).await;
        assert_eq!(network.apply(&web(Some(30080), &ALL)).await.unwrap(), Applied::default());
        let even = BTreeMap::from(["p1", "p2", "p3"].map(|pod| (pod.to_owned(), 10)));
        for (place, at) in [("node", (SERVICE, 8080)), ("p1", (SERVICE, 8080)), ("out", (NODE, 30080))] {
            assert_eq!(counted(&lab, place, at, 30), even, "{place}");
        }
        let seen = |place: &str, at: (Ipv4Addr, u16)| -> BTreeMap<String, IpAddr> {
            (0..3).map(|_| lab.ask(place, at).unwrap()).collect()
        };
        let from_pod = seen("p1", (SERVICE, 8080));
        assert_eq!((from_pod["p2"], from_pod["p3"]), (Lab::pod(1).into(), Lab::pod(1).into()));
        assert_ne!(from_pod["p1"], IpAddr::from(Lab::pod(1)), "a pod that reaches itself sees the node");
        assert!(seen("out", (NODE, 30080)).values().all(|client| *client == IpAddr::from(CLIENT)));
        assert_eq!(
            counted(&lab, "node", (Ipv4Addr::LOCALHOST, 30080), 30),
            even,
            "at loopback in user space"
        );
        refused(&lab, "p1", (SERVICE, 81));
        refused(&lab, "node", (SERVICE, 81));

        network.apply(&web(Some(30080), &ALL[1..2])).await.unwrap();
        assert_eq!(counted(&lab, "p1", (SERVICE, 8080), 4), BTreeMap::from([("p2".to_owned(), 4)]));
        network.apply(&web(Some(30080), &[])).await.unwrap();
        for (place, at) in [("node", (SERVICE, 8080)), ("p1", (SERVICE, 8080)), ("out", (NODE, 30080))] {
            refused(&lab, place, at);
        }
        network.apply(&ServicePlan::default()).await.unwrap();
        assert!(!lab.on_node("nft list ruleset").contains("10.96.0.7"), "nothing is left");
    });
}

#[test]
fn connections_go_by_chance_where_that_is_chosen() {
    const CONNECTIONS: usize = 200;
    let Some(lab) = Lab::new("r", 3) else { return };
    lab.serve(3, 80);
    lab.run(async || {
        let network = NftablesNetwork::balanced("r", false, Balance::Random);
        network.apply_policies(&PolicyPlan::default()).await.unwrap();
        // The second one is told by messages.
        for plan in [web(Some(30080), &ALL[..2]), web(Some(30080), &ALL)] {
            assert_eq!(network.apply(&plan).await.unwrap(), Applied::default());
        }
        for (place, at) in
            [("p1", (SERVICE, 8080)), ("out", (NODE, 30080)), ("node", (Ipv4Addr::LOCALHOST, 30080))]
        {
            let asked: Vec<String> = (0..CONNECTIONS).map(|_| lab.ask(place, at).unwrap().0).collect();
            for pod in ["p1", "p2", "p3"] {
                // A third of them, give or take seven times the usual error.
                let count = asked.iter().filter(|answered| *answered == pod).count();
                assert!((20..=113).contains(&count), "{place}: {count} of {CONNECTIONS} at {pod}");
            }
            assert!(asked.windows(4).any(|four| four[0] != four[3]), "from {place} they take turns");
        }
        let sticky = plan([sticky(web(None, &ALL).services.remove(0), 600)]);
        network.apply(&sticky).await.unwrap();
        for place in ["p1", "out"] {
            assert_eq!(counted(&lab, place, (SERVICE, 8080), 6).len(), 1, "{place} stays where it was led");
        }
    });
}

#[test]
fn who_comes_from_outside_to_another_nodes_pod_is_answered_through_this_one() {
    let Some(lab) = Lab::new("b", 2) else { return };
    lab.serve(2, 80);
    lab.run(async || {
        let network = open("b", false).await;
        let mut plan = web(Some(30080), &["10.244.1.1:80@elsewhere", "10.244.1.2:80"]);
        plan.services[0].external_ips = vec![Ipv4Addr::new(203, 0, 113, 5).into()];
        network.apply(&plan).await.unwrap();
        for at in [(NODE, 30080), (Ipv4Addr::new(203, 0, 113, 5), 8080)] {
            let seen: BTreeMap<String, IpAddr> = (0..2)
                .map(|_| lab.ask("out", at).unwrap_or_else(|error| panic!("{at:?}: {error}")))
                .collect();
            assert_ne!(seen["p1"], IpAddr::from(CLIENT), "{at:?}");
            assert_eq!(seen["p2"], IpAddr::from(CLIENT), "{at:?}");
        }
        plan.services[0].external_policy = TrafficPolicy::Local;
        network.apply(&plan).await.unwrap();
        assert_eq!(counted(&lab, "out", (NODE, 30080), 4), BTreeMap::from([("p2".to_owned(), 4)]));
        assert_eq!(counted(&lab, "node", (NODE, 30080), 4).len(), 2, "the node itself is not bound to it");
        plan.services[0].ports[0].endpoints.pop();
        network.apply(&plan).await.unwrap();
        assert_eq!(lab.ask("out", (NODE, 30080)).unwrap_err().kind(), ErrorKind::TimedOut, "dropped");
        assert_eq!(counted(&lab, "node", (NODE, 30080), 2), BTreeMap::from([("p1".to_owned(), 2)]));
    });
}

#[test]
fn clients_stay_and_datagrams_find_their_pod() {
    let Some(lab) = Lab::new("c", 3) else { return };
    lab.serve(3, 80);
    lab.run(async || {
        let network = open("c", false).await;
        let sticky = plan([sticky(web(None, &ALL).services.remove(0), 600)]);
        network.apply(&sticky).await.unwrap();
        for place in ["p1", "p2", "out"] {
            assert_eq!(counted(&lab, place, (SERVICE, 8080), 6).len(), 1, "{place}");
        }
        network.apply(&web(None, &ALL)).await.unwrap();
        let socket = || lab.within("p1", || UdpSocket::bind("0.0.0.0:0").unwrap());
        let (one, two) = (socket(), socket());
        let first = lab.ask_by_datagram(&one, (SERVICE, 8080)).0;
        assert_eq!(lab.ask_by_datagram(&one, (SERVICE, 8080)).0, first);
        assert_ne!(lab.ask_by_datagram(&two, (SERVICE, 8080)).0, first);
        let others: Vec<&str> =
            ALL.into_iter().filter(|pod| !pod.contains(&first.replace('p', ".1."))).collect();
        network.apply(&web(None, &others)).await.unwrap();
        assert_ne!(lab.ask_by_datagram(&one, (SERVICE, 8080)).0, first, "its pod is gone");
    });
}

#[test]
fn what_others_remove_comes_back_and_clusters_leave_each_other_alone() {
    let Some(lab) = Lab::new("d", 2) else { return };
    lab.serve(2, 80);
    lab.run(async || {
        let (one, two) = (open("one", false).await, open("two", false).await);
        one.apply(&web(None, &ALL[..1])).await.unwrap();
        let other = service("web", &["10.97.0.7"], vec![port(Protocol::Tcp, 8080, None, &ALL[1..2])]);
        two.apply(&plan([other])).await.unwrap();
        assert_eq!(lab.ask("p1", (SERVICE, 8080)).unwrap().0, "p1");
        assert_eq!(lab.ask("p1", (Ipv4Addr::new(10, 97, 0, 7), 8080)).unwrap().0, "p2");

        // It dies, and comes back to another plan.
        drop(one);
        let one = open("one", false).await;
        one.apply(&web(None, &ALL[1..2])).await.unwrap();
        assert_eq!(lab.ask("p1", (SERVICE, 8080)).unwrap().0, "p2");
        for flush in ["nft flush ruleset", "nft flush table ip orchestra-one"] {
            lab.on_node(flush);
            let begin = Instant::now();
            while lab.ask("p2", (SERVICE, 8080)).is_err() {
                assert!(begin.elapsed() < Duration::from_secs(20), "{flush}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        drop(one);
        NftablesNetwork::remove("one").await.unwrap();
        let left = lab.on_node("nft list tables");
        assert!(!left.contains("orchestra-one") && left.contains("orchestra-two"), "{left}");
        NftablesNetwork::remove("one").await.unwrap();
    });
}

#[test]
fn ports_of_the_machine_lead_to_pods_and_pods_lead_out() {
    let Some(lab) = Lab::new("e", 1) else { return };
    lab.serve(1, 80);
    let outside = lab.within("out", || std::net::TcpListener::bind((CLIENT, 4000)).unwrap());
    lab.run(async || {
        let network = open("e", true).await;
        network.apply(&ServicePlan::default()).await.unwrap();
        let host_port =
            HostPort { protocol: Protocol::Tcp, host_port: 8088, container_port: 80, host_ip: None };
        let request = AttachRequest { host_ports: vec![host_port], ..request(1) };
        network.attach(&request).await.unwrap();
        assert_eq!(lab.ask("out", (NODE, 8088)).unwrap(), ("p1".to_owned(), CLIENT.into()));
        assert_eq!(lab.ask("node", (Ipv4Addr::LOCALHOST, 8088)).unwrap().0, "p1");
        network.detach(&request.sandbox, &request.pod).await.unwrap();
        refused(&lab, "out", (NODE, 8088));

        let own = [(IpAddr::from(Lab::pod(0)), 24)];
        network.pods(&own, &[(IpAddr::from([10, 244, 0, 0]), 16)]).await.unwrap();
        let stream = lab.within("p1", || std::net::TcpStream::connect((CLIENT, 4000)).unwrap());
        let (_, client) = outside.accept().unwrap();
        assert_eq!(client.ip(), IpAddr::from(NODE), "a pod goes out as its node");
        drop(stream);
    });
}

/// One table as the kernel shows it: what stands under each head, whatever the order and the table's name.
fn shown(lab: &Lab, family: &str, table: &str) -> BTreeMap<String, String> {
    let text = lab.on_node(&format!("nft -s list table {family} {table}"));
    let mut parts = BTreeMap::new();
    let mut head = String::new();
    for line in text.lines().filter(|line| line.starts_with('\t')) {
        match line.strip_suffix(" {") {
            Some(begun) if !line.starts_with("\t\t") => head = begun.trim().to_owned(),
            _ => *parts.entry(head.clone()).or_default() += format!("{}\n", plain(line)).as_str(),
        }
    }
    parts
}

/// The same without a set around a single value: the program makes none for it.
fn plain(line: &str) -> String {
    let set = line.split_once(" { ").and_then(|(before, rest)| Some((before, rest.split_once(" }")?)));
    match set {
        None => line.to_owned(),
        Some((before, (one, rest))) if !one.contains([',', ':']) => plain(&format!("{before} {one}{rest}")),
        Some((before, (several, rest))) => format!("{before} {{ {several} }}{}", plain(rest)),
    }
}

/// Everything that a plan may have: each number leaves out or changes something else.
fn varied(n: u8) -> (ServicePlan, PolicyPlan) {
    let endpoints: Vec<String> = (1..=n % 4)
        .flat_map(|of| {
            let here = if of % 2 == 0 { "" } else { "@elsewhere" };
            [format!("10.244.{n}.{of}:80{here}"), format!("[fd00:244::{n}:{of}]:80{here}")]
        })
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let ips = ["10.96.0.7", "fd00:96::7"];
    let mut web = service(
        "web",
        &ips,
        vec![
            port(Protocol::Tcp, 80, Some(30080), &endpoints),
            port(Protocol::Udp, 53, None, &endpoints),
            port(Protocol::Sctp, 99, None, &endpoints),
        ],
    );
    web.external_ips = vec![Ipv4Addr::new(203, 0, 113, n).into()];
    web.load_balancer_ips = vec![Ipv4Addr::new(192, 0, 2, 241).into(), ip("fd00:1b::1")];
    web.source_ranges =
        vec![(ip("198.51.100.64"), 26 + n % 3), (ip("198.51.100.7"), 32), (ip("fd00:2::"), 48)];
    if n.is_multiple_of(3) {
        web.external_policy = TrafficPolicy::Local;
    }
    if n.is_multiple_of(2) {
        web = sticky(web, 60 + u64::from(n));
    }
    let many: Vec<String> = (0..600).map(|of: u16| format!("10.245.{}.{}:80", of >> 8, of & 255)).collect();
    let many: Vec<&str> = many.iter().skip(n.into()).map(String::as_str).collect();
    let large = service("large", &["10.96.0.8"], vec![port(Protocol::Tcp, 80, None, &many)]);
    let other = service("other", &[["10.96.0.9", "10.96.0.10"][usize::from(n % 2)]], vec![]);
    let range = |protocol, bounds| PortRange { protocol, bounds };
    let block = |range, except: &[(&str, u8)]| Block {
        range,
        except: except.iter().map(|(address, prefix)| (ip(address), *prefix)).collect(),
    };
    let peers = Peers {
        pods: (1..=n).flat_map(|of| [Lab::pod(of).into(), ip(&format!("fd00::{of}"))]).collect(),
        blocks: vec![
            block(
                (ip("0.0.0.0"), 0),
                &[("10.0.0.0", 8), ("10.1.0.0", 16), ("11.0.0.0", 8), ("255.0.0.0", 8)],
            ),
            block((ip("10.9.0.0"), 12 + n % 8), &[("10.9.1.0", 24)]),
            block((ip("fd01::"), 16), &[("fd01:1::", 32), ("fd01:2::", 33)]),
            block((ip("10.77.0.0"), 16), &[]),
        ],
    };
    let ports = vec![
        range(Protocol::Tcp, Some((80, 80 + u16::from(n)))),
        range(Protocol::Tcp, Some((0, 7))),
        range(Protocol::Tcp, Some((65000, 65535))),
        range(Protocol::Udp, Some((53, 53))),
        range(Protocol::Sctp, None),
    ];
    let allowed = Allowed { rule: format!("shop/p/{n}"), peers: Some(peers), ports: Some(ports) };
    let both = Some(vec![allowed.clone(), Allowed { peers: None, ..allowed }]);
    let pod = |of: u8| PodPolicy {
        pod: format!("shop/p{of}"),
        uid: format!("u{of}"),
        ips: vec![Lab::pod(of).into(), ip(&format!("fd00::{of}"))],
        ingress: both.clone(),
        egress: if of.is_multiple_of(2) { both.clone() } else { None },
    };
    (plan([web, large, other]), told((n..=n + 2).map(pod)))
}

#[test]
fn what_messages_lead_to_is_what_the_program_makes_of_the_text() {
    let Some(lab) = Lab::new("h", 0) else { return };
    let made = |table: &str, n: u8| {
        let (services, policies) = varied(n);
        let balance = if n.is_multiple_of(4) { Balance::Random } else { Balance::RoundRobin };
        ruleset(table, &services, &policies, &Node { balance, ..Node::default() })
    };
    lab.run(async || {
        let mut held = ruleset("held", &ServicePlan::default(), &PolicyPlan::default(), &Node::default());
        program::run(&held.load()).await.unwrap();
        let mut filter = Filter::connect().unwrap();
        let frame = ["ip", "ip6"].map(|family| shown(&lab, family, "held"));
        for n in [1, 2, 3, 4, 5, 8, 6, 12, 7] {
            let wanted = made("held", n);
            let batch = Batch::of(&wanted.change_from(&held)).expect("messages say all of it");
            filter.send(&batch).unwrap_or_else(|error| panic!("{n}: {error}"));
            held = wanted;
            program::run(&made("loaded", n).load()).await.unwrap();
            for family in ["ip", "ip6"] {
                let (told, loaded) = (shown(&lab, family, "held"), shown(&lab, family, "loaded"));
                for (head, body) in &loaded {
                    assert_eq!(told.get(head), Some(body), "{n} {family} {head}");
                }
                assert_eq!(told.len(), loaded.len(), "{n} {family}");
            }
        }
        let nothing = ruleset("held", &ServicePlan::default(), &PolicyPlan::default(), &Node::default());
        filter.send(&Batch::of(&nothing.change_from(&held)).unwrap()).unwrap();
        assert_eq!(["ip", "ip6"].map(|family| shown(&lab, family, "held")), frame);
    });
}

#[test]
fn a_batch_is_done_as_a_whole_or_not_at_all() {
    let Some(lab) = Lab::new("i", 0) else { return };
    let made = |services: &ServicePlan| ruleset("t", services, &PolicyPlan::default(), &Node::default());
    lab.run(async || {
        let (nothing, some) = (made(&ServicePlan::default()), made(&web(None, &ALL)));
        program::run(&nothing.load()).await.unwrap();
        let send = |batch: Batch| Filter::connect().unwrap().send(&batch);
        let before = shown(&lab, "ip", "t");
        // The last steps of a change: its first ones are of what is not there.
        let error = send(Batch::of(&nothing.change_from(&some)).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(shown(&lab, "ip", "t"), before);
        let mut change = some.change_from(&nothing);
        let flush = nothing.change_from(&some).list;
        change.list.extend(flush.into_iter().chain(nothing.change_from(&some).list));
        let error = send(Batch::of(&change).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(shown(&lab, "ip", "t"), before, "what could be done is not done either");
    });
}

/// What it costs to load five thousand services, and to change one of them by the program `nft` and by messages.
#[test]
#[ignore = "a measurement"]
fn five_thousand_services() {
    let Some(lab) = Lab::new("f", 0) else { return };
    let all = (0..5000u32).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        let endpoints = [1, 2].map(|node| format!("10.24{node}.{high}.{low}:80"));
        let endpoints = endpoints.each_ref().map(String::as_str);
        service(
            &format!("s{n}"),
            &[&format!("10.100.{high}.{low}")],
            vec![port(Protocol::Tcp, 80, None, &endpoints)],
        )
    });
    let mut plan = plan(all);
    let made = |table, plan: &_| ruleset(table, plan, &PolicyPlan::default(), &Node::default());
    lab.run(async || {
        let network = open("f", false).await;
        let begin = Instant::now();
        network.apply(&plan).await.unwrap();
        println!("5,000 services of two endpoints loaded in {:?}", begin.elapsed());
        let mut filter = Filter::connect().unwrap();
        let mut times = [const { Vec::new() }; 3];
        for n in 1..=21 {
            let before = plan.clone();
            plan.services[2500].ports[0].endpoints[0].address = ([10, 9, 9, n], 80).into();
            let (held, wanted) = (made("orchestra-f", &before), made("orchestra-f", &plan));
            let mut begin = Instant::now();
            let mut timed = |of: usize| {
                times[of].push(begin.elapsed());
                begin = Instant::now();
            };
            network.apply(&plan).await.unwrap();
            timed(0);
            filter.send(&Batch::of(&held.change_from(&wanted)).unwrap()).unwrap();
            timed(1);
            program::run(&wanted.change_from(&held).text()).await.unwrap();
            timed(2);
        }
        let all = ["a plan with one endpoint changed", "its rules by messages", "its rules by nft"];
        for (what, mut times) in all.into_iter().zip(times) {
            times.sort_unstable();
            println!("{what}: {:?} to {:?}, {:?} half of the time", times[0], times[20], times[10]);
        }
    });
}
