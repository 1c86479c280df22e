//! Who reaches whom, in a kernel.

use std::io::ErrorKind;
use std::time::Duration;

use orchestra_core::network::{
    Allowed, AttachRequest, Network as _, Peers, PodPolicy, PolicyPlan, PortRange, Protocol, ServicePlan,
};

use super::super::NftablesNetwork;
use super::{ALL, SERVICE, open, request, told, web};
use crate::lab::{Lab, NODE};

#[test]
fn policies_say_who_reaches_whom() {
    let Some(lab) = Lab::new("g", 3) else { return };
    lab.serve(3, 80);
    let pod = |n: u8, ingress, egress| PodPolicy {
        pod: format!("shop/p{n}"),
        uid: format!("u{n}"),
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
        let network = open("g", false).await;
        network.apply(&web(Some(30080), &ALL[..1])).await.unwrap();
        let held = lab.within("p2", || std::net::TcpStream::connect((Lab::pod(1), 80)).unwrap());
        network.apply_policies(&told([pod(1, Some(vec![from(&[3])]), None)])).await.unwrap();
        let direct = (Lab::pod(1), 80);
        assert_eq!(lab.ask("p3", direct).unwrap().0, "p1");
        assert_eq!(lab.ask("p3", (SERVICE, 8080)).unwrap().0, "p1");
        assert_eq!(lab.ask("p1", (SERVICE, 8080)).unwrap().0, "p1", "itself, through a service");
        assert_eq!(lab.ask("node", direct).unwrap().0, "p1", "the node reaches its pods");
        for (place, at) in [("p2", direct), ("p2", (SERVICE, 8080)), ("out", (NODE, 30080))] {
            assert_eq!(lab.ask(place, at).unwrap_err().kind(), ErrorKind::TimedOut, "{place} {at:?}");
        }
        drop(held);
        network.apply_policies(&told([pod(2, None, Some(vec![]))])).await.unwrap();
        assert_eq!(lab.ask("p2", direct).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(lab.ask("p1", (Lab::pod(2), 80)).unwrap().0, "p2");
        network.apply_policies(&PolicyPlan::default()).await.unwrap();
        assert_eq!(lab.ask("p2", direct).unwrap().0, "p1");
    });
}

/// Whoever is connected waits until it is known what may reach it, and is reached by nobody meanwhile.
#[test]
fn policies_are_there_before_a_pod_is() {
    let Some(lab) = Lab::new("i", 3) else { return };
    lab.serve(3, 80);
    let known = |uids: &[&str], pods| PolicyPlan {
        pods,
        known: Some(uids.iter().map(|uid| (*uid).to_owned()).collect()),
    };
    let closed = PodPolicy {
        pod: "shop/p2".into(),
        uid: "u2".into(),
        // The cluster has not heard of them.
        ips: vec![],
        ingress: Some(vec![]),
        egress: None,
    };
    lab.run(async || {
        let network = NftablesNetwork::new("i", false);
        let unknown = network.attach(&request(1)).await.unwrap_err();
        assert!(unknown.to_string().contains("not known yet"), "before there is any plan: {unknown}");
        network.apply(&ServicePlan::default()).await.unwrap();
        network.apply_policies(&known(&["u1"], vec![])).await.unwrap();
        network.attach(&request(1)).await.unwrap();

        let (two, at) = (request(2), (Lab::pod(2), 80));
        let mut attaching = std::pin::pin!(network.attach(&two));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut attaching).await;
        assert!(early.is_err(), "it is not connected before it is known");
        for (from, to) in [("p1", 2), ("p2", 1)] {
            let asked = lab.ask(from, (Lab::pod(to), 80));
            assert_eq!(asked.unwrap_err().kind(), ErrorKind::TimedOut, "from {from}");
        }
        network.apply_policies(&known(&["u1", "u2"], vec![closed.clone()])).await.unwrap();
        attaching.await.unwrap();
        assert_eq!(lab.ask("p1", at).unwrap_err().kind(), ErrorKind::TimedOut, "as the policy says");
        assert_eq!(lab.ask("p2", (Lab::pod(1), 80)).unwrap().0, "p1");

        // One of which nobody knows for long is connected, and reaches nobody until it is.
        network.attach(&request(3)).await.unwrap();
        assert_eq!(lab.ask("p3", (Lab::pod(1), 80)).unwrap_err().kind(), ErrorKind::TimedOut);
        network.apply_policies(&known(&["u1", "u2", "u3"], vec![closed])).await.unwrap();
        assert_eq!(lab.ask("p3", (Lab::pod(1), 80)).unwrap().0, "p1");

        // Its address is another's now.
        network.detach(&two.sandbox, &two.pod).await.unwrap();
        let next = AttachRequest { runtime_ips: two.runtime_ips.clone(), ..request(3) };
        network.attach(&next).await.unwrap();
        assert_eq!(lab.ask("p1", at).unwrap().0, "p2");
    });
}
