//! Rates that a kernel holds pods to. It needs root and `tc`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestra_core::network::{AttachRequest, Network as _, NetworkError, PodRef, SandboxId};

use super::LimitedNetwork;
use super::limits::{Bucket, EGRESS, INGRESS};
use crate::lab::{Lab, NODE};
use crate::{Leftovers, UserspaceNetwork};

const WAIT: Duration = Duration::from_secs(60);
const MTU: u32 = 1500;

/// A network of the lab, as a program has it that begins.
fn open() -> LimitedNetwork {
    let device = |address: Ipv4Addr| format!("p{}", address.octets()[3]);
    LimitedNetwork::new(Arc::new(UserspaceNetwork::new()), "limits", device)
}

/// A pod of the lab with these annotations, which runs already if it is so.
fn request(pod: u8, annotations: &[(&str, &str)], runs: bool) -> AttachRequest {
    let ips: Vec<IpAddr> = vec![Lab::pod(pod).into()];
    AttachRequest {
        sandbox: SandboxId::from(format!("s{pod}").as_str()),
        pod: PodRef { namespace: "shop".into(), name: format!("p{pod}"), uid: format!("u{pod}") },
        netns: None,
        known_ips: if runs { ips.clone() } else { Vec::new() },
        runtime_ips: ips,
        host_ports: vec![],
        annotations: annotations.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
    }
}

/// How long it takes until so many bytes have come from one place to another.
fn carried(lab: &Lab, from: &str, (to, at): (&str, Ipv4Addr), bytes: usize) -> Duration {
    let listener = lab.within(to, || TcpListener::bind((at, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut sender = lab.within(from, || TcpStream::connect_timeout(&address, WAIT).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(WAIT)).unwrap();
    let begin = Instant::now();
    let sending = std::thread::spawn(move || sender.write_all(&vec![0; bytes]));
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();
    let took = begin.elapsed();
    sending.join().unwrap().unwrap();
    assert_eq!(received.len(), bytes);
    took
}

/// No more comes than a rate lets through, and what it lets through comes.
fn is_held(took: Duration, bytes: u32, bits: u64) {
    let bucket = Bucket::new(bits, MTU);
    let least = Duration::from_secs_f64(f64::from(bytes - bucket.burst) / bucket.rate as f64);
    // Clocks differ a little; machines are busy.
    assert!(took > least.mul_f64(0.95), "{bits} bits a second are not held: {took:?} instead of {least:?}");
    assert!(took < least * 5 + Duration::from_secs(5), "{took:?} instead of {least:?}");
}

#[test]
fn a_pod_receives_and_sends_what_it_may_and_leaves_nothing() {
    const BYTES: u32 = 1_500_000;
    let Some(lab) = Lab::new("w", 2) else { return };
    let node = || (lab.on_node("tc qdisc show"), lab.on_node("ip -o link show"));
    let before = node();
    let limits = [(INGRESS, "8M"), (EGRESS, "16M")];
    lab.run(async || {
        let network = open();
        network.attach(&request(1, &limits, false)).await.unwrap();
        network.attach(&request(2, &[], false)).await.unwrap();
        let (pod, bytes) = (Lab::pod(1), usize::try_from(BYTES).unwrap());
        is_held(carried(&lab, "node", ("p1", pod), bytes), BYTES, 8_000_000);
        is_held(carried(&lab, "p1", ("node", NODE), bytes), BYTES, 16_000_000);
        is_held(carried(&lab, "p2", ("p1", pod), bytes), BYTES, 8_000_000);
        let (queues, links) = node();
        assert_eq!(
            (queues.matches("tbf").count(), links.matches(": ori").count()),
            (2, 1),
            "{queues} {links}"
        );

        // The program is killed, somebody takes its queues away, and the pod may send more now.
        drop(network);
        lab.on_node("tc qdisc del dev p1 root");
        lab.on_node("tc qdisc del dev p1 ingress");
        let network = open();
        for _ in 0..2 {
            let more = [(INGRESS, "8M"), (EGRESS, "24M")];
            network.attach(&request(1, &more, true)).await.unwrap();
            network.attach(&request(2, &[], true)).await.unwrap();
        }
        network.retain(&["s1".into(), "s2".into()]).await.unwrap();
        is_held(carried(&lab, "node", ("p1", pod), bytes), BYTES, 8_000_000);
        is_held(carried(&lab, "p1", ("node", NODE), bytes), BYTES, 24_000_000);

        // What is said no more holds no more; one that runs goes on whatever is said.
        network.attach(&request(1, &[(EGRESS, "fast")], true)).await.unwrap();
        assert_eq!(node().0.matches("tbf").count(), 2);
        network.attach(&request(1, &[(INGRESS, "1G")], true)).await.unwrap();
        let (queues, links) = node();
        assert!(queues.contains("rate 1Gbit") && !queues.contains("ingress"), "{queues}");
        assert!(!links.contains(": ori"), "{links}");
        network.attach(&request(1, &[], true)).await.unwrap();
        assert_eq!(node(), before);
    });
}

#[test]
fn mirrors_go_with_their_pods_or_when_nobody_has_them() {
    let Some(lab) = Lab::new("x", 3) else { return };
    let mirrors =
        || lab.on_node("ip -o link show type ifb").lines().filter(|line| line.contains("ori")).count();
    lab.run(async || {
        let network = open();
        for pod in 1..=3 {
            network.attach(&request(pod, &[(EGRESS, "1M")], false)).await.unwrap();
        }
        assert_eq!(mirrors(), 3);
        let one = request(1, &[], false);
        network.detach(&one.sandbox, &one.pod).await.unwrap();
        network.detach(&one.sandbox, &one.pod).await.unwrap();
        assert_eq!(mirrors(), 2);
        // Another cluster's, by which this one passes.
        let other = LimitedNetwork::new(Arc::new(UserspaceNetwork::new()), "other", |_| "p1".into());
        other.attach(&request(1, &[(EGRESS, "1M")], false)).await.unwrap();
        open().retain(&["s3".into()]).await.unwrap();
        assert_eq!(mirrors(), 2, "the third one's and the other's");
        for owner in ["limits", "other"] {
            let found = Leftovers::of(owner, "none").await.unwrap();
            assert!(found.lines().iter().any(|line| line.starts_with("mirror ori")), "{:?}", found.lines());
            found.remove().await.unwrap();
        }
        assert_eq!(mirrors(), 0);
    });
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_made() {
    let Some(lab) = Lab::new("y", 1) else { return };
    lab.run(async || {
        let error = open().attach(&request(1, &[(INGRESS, "10")], false)).await.unwrap_err();
        let NetworkError::Refused { message } = &error else { panic!("{error}") };
        assert!(message.starts_with(INGRESS) && message.contains("\"10\""), "{message}");
        let nowhere =
            AttachRequest { runtime_ips: vec![Lab::pod(9).into()], ..request(9, &[(INGRESS, "1M")], false) };
        let error = open().attach(&nowhere).await.unwrap_err().to_string();
        assert!(error.contains("there is no device p9"), "{error}");
    });
}
