//! Packets through the rules.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use orchestra_core::network::{
    Allowed, Applied, AttachRequest, HostPort, Network as _, Peers, PodPolicy, PodRef, PolicyPlan, PortRange,
    Protocol, SandboxId, ServicePlan, TrafficPolicy,
};

use super::super::NftablesNetwork;
use super::lab::{CLIENT, Lab, NODE};
use super::{plan, port, service, sticky};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 7);
const ALL: [&str; 3] = ["10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80"];

fn web(node_port: Option<u16>, endpoints: &[&str]) -> ServicePlan {
    plan([service(
        "web",
        &["10.96.0.7"],
        vec![port(Protocol::Tcp, 8080, node_port, endpoints), port(Protocol::Udp, 8080, None, endpoints)],
    )])
}

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
        let network = NftablesNetwork::new("a", false);
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
fn who_comes_from_outside_to_another_nodes_pod_is_answered_through_this_one() {
    let Some(lab) = Lab::new("b", 2) else { return };
    lab.serve(2, 80);
    lab.run(async || {
        let network = NftablesNetwork::new("b", false);
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
        let network = NftablesNetwork::new("c", false);
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
        let (one, two) = (NftablesNetwork::new("one", false), NftablesNetwork::new("two", false));
        one.apply(&web(None, &ALL[..1])).await.unwrap();
        let other = service("web", &["10.97.0.7"], vec![port(Protocol::Tcp, 8080, None, &ALL[1..2])]);
        two.apply(&plan([other])).await.unwrap();
        assert_eq!(lab.ask("p1", (SERVICE, 8080)).unwrap().0, "p1");
        assert_eq!(lab.ask("p1", (Ipv4Addr::new(10, 97, 0, 7), 8080)).unwrap().0, "p2");

        // It dies, and comes back to another plan.
        drop(one);
        let one = NftablesNetwork::new("one", false);
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
        let network = NftablesNetwork::new("e", true);
        network.apply(&ServicePlan::default()).await.unwrap();
        let pod = PodRef { namespace: "shop".into(), name: "web".into(), uid: "u".into() };
        let request = AttachRequest {
            sandbox: SandboxId::from("s"),
            pod: pod.clone(),
            netns: None,
            runtime_ips: vec![Lab::pod(1).into()],
            known_ips: vec![],
            host_ports: vec![HostPort {
                protocol: Protocol::Tcp,
                host_port: 8088,
                container_port: 80,
                host_ip: None,
            }],
            annotations: Default::default(),
        };
        network.attach(&request).await.unwrap();
        assert_eq!(lab.ask("out", (NODE, 8088)).unwrap(), ("p1".to_owned(), CLIENT.into()));
        assert_eq!(lab.ask("node", (Ipv4Addr::LOCALHOST, 8088)).unwrap().0, "p1");
        network.detach(&request.sandbox, &pod).await.unwrap();
        refused(&lab, "out", (NODE, 8088));

        let own = [(IpAddr::from(Lab::pod(0)), 24)];
        network.pods(&own, &[(IpAddr::from([10, 244, 0, 0]), 16)]).await.unwrap();
        let stream = lab.within("p1", || std::net::TcpStream::connect((CLIENT, 4000)).unwrap());
        let (_, client) = outside.accept().unwrap();
        assert_eq!(client.ip(), IpAddr::from(NODE), "a pod goes out as its node");
        drop(stream);
    });
}

#[test]
fn policies_say_who_reaches_whom() {
    let Some(lab) = Lab::new("g", 3) else { return };
    lab.serve(3, 80);
    let pod = |n: u8, ingress, egress| PodPolicy {
        pod: format!("shop/p{n}"),
        ips: vec![Lab::pod(n).into()],
        ingress,
        egress,
    };
    let from = |pods: &[u8]| Allowed {
        rule: "shop/p/ingress-0".into(),
        peers: Some(Peers { pods: pods.iter().map(|n| Lab::pod(*n).into()).collect(), blocks: vec![] }),
        ports: Some(vec![PortRange { protocol: Protocol::Tcp, bounds: Some((80, 80)) }]),
    };
    lab.run(async || {
        let network = NftablesNetwork::new("g", false);
        network.apply(&web(Some(30080), &ALL[..1])).await.unwrap();
        let held = lab.within("p2", || std::net::TcpStream::connect((Lab::pod(1), 80)).unwrap());
        network
            .apply_policies(&PolicyPlan { pods: vec![pod(1, Some(vec![from(&[3])]), None)] })
            .await
            .unwrap();
        let direct = (Lab::pod(1), 80);
        assert_eq!(lab.ask("p3", direct).unwrap().0, "p1");
        assert_eq!(lab.ask("p3", (SERVICE, 8080)).unwrap().0, "p1");
        assert_eq!(lab.ask("p1", (SERVICE, 8080)).unwrap().0, "p1", "itself, through a service");
        assert_eq!(lab.ask("node", direct).unwrap().0, "p1", "the node reaches its pods");
        for (place, at) in [("p2", direct), ("p2", (SERVICE, 8080)), ("out", (NODE, 30080))] {
            assert_eq!(lab.ask(place, at).unwrap_err().kind(), ErrorKind::TimedOut, "{place} {at:?}");
        }
        drop(held);
        network.apply_policies(&PolicyPlan { pods: vec![pod(2, None, Some(vec![]))] }).await.unwrap();
        assert_eq!(lab.ask("p2", direct).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(lab.ask("p1", (Lab::pod(2), 80)).unwrap().0, "p2");
        network.apply_policies(&PolicyPlan::default()).await.unwrap();
        assert_eq!(lab.ask("p2", direct).unwrap().0, "p1");
    });
}

/// What it costs to load five thousand services, and to change one of them. `cargo test -- --ignored` shows it.
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
    lab.run(async || {
        let network = NftablesNetwork::new("f", false);
        let begin = Instant::now();
        network.apply(&plan).await.unwrap();
        println!("5,000 services of two endpoints loaded in {:?}", begin.elapsed());
        for n in 1..4 {
            plan.services[2500].ports[0].endpoints[0].address = ([10, 9, 9, n], 80).into();
            let begin = Instant::now();
            network.apply(&plan).await.unwrap();
            println!("one endpoint changed in {:?}", begin.elapsed());
        }
    });
}
