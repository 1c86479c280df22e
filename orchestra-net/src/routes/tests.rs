//! Routes in a kernel: two nodes with a router between them that knows nothing of pods, and one on a segment of the first.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::kernel;
use super::plan::{Here, Own, Way, Ways};
use crate::Leftovers;
use crate::address::metric;
use crate::lab::Lab;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const C: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// More than one packet of any size.
const MUCH: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(10);

/// An address of the pods of a node; its first one is the node's end of tunnels.
fn pod(node: u8, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, n)
}

/// The same of version 6.
fn pod_v6(node: u8, n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, n)
}

/// Nodes have addresses of version 4 alone, and their pods of both.
fn ways(to: &[(u8, Ipv4Addr)]) -> Ways {
    let of = |(node, by): &(u8, Ipv4Addr)| {
        let end = Some(Own { address: *by, range: (pod(*node, 0), 24) });
        let v4 = ((pod(*node, 0).into(), 24), Way { by: Some((*by).into()), end });
        [v4, ((pod_v6(*node, 0).into(), 64), Way { by: None, end })]
    };
    to.iter().flat_map(of).collect()
}

fn lab() -> Option<Lab> {
    let mut lab = Lab::empty("t")?;
    for place in ["a", "b", "c", "router", "pod-a", "pod-b"] {
        lab.namespace(place);
        lab.within(place, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    }
    let (at_a, at_b) = (Ipv4Addr::new(192, 0, 2, 254), Ipv4Addr::new(198, 51, 100, 254));
    lab.wire(("a", "eth0", A), ("router", "to-a", at_a));
    lab.wire(("b", "eth0", B), ("router", "to-b", at_b));
    lab.wire(("a", "eth1", Ipv4Addr::new(203, 0, 113, 1)), ("c", "eth0", C));
    lab.ip("a", &format!("route add default via {at_a}"));
    lab.ip("b", &format!("route add default via {at_b}"));
    lab.ip("router", "route add blackhole 10.244.0.0/16");
    for (node, place, n) in [("a", "pod-a", 0), ("b", "pod-b", 1)] {
        lab.wire((node, "pods", pod(n, 1)), (place, "eth0", pod(n, 2)));
        lab.ip(place, &format!("route add default via {}", pod(n, 1)));
        lab.within(node, || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap());
        lab.ip(node, &format!("addr add {}/64 dev pods nodad", pod_v6(n, 1)));
        lab.ip(place, &format!("addr add {}/64 dev eth0 nodad", pod_v6(n, 2)));
        lab.ip(place, &format!("-6 route add default via {}", pod_v6(n, 1)));
    }
    Some(lab)
}

/// Gives a node its ways, by the owner that has its name.
fn set(lab: &Lab, place: &str, address: Ipv4Addr, node: u8, to: &[(u8, Ipv4Addr)]) {
    set_with(lab, place, address, node, to, None);
}

/// The same with packets of at most so many bytes in tunnels.
fn set_with(lab: &Lab, place: &str, address: Ipv4Addr, node: u8, to: &[(u8, Ipv4Addr)], mtu: Option<u32>) {
    let own = Some(Own { address, range: (pod(node, 0), 24) });
    let here = Here { owner: metric(place), own, mtu };
    let failed = lab.run_at(place, async || kernel::set(here, &ways(to)).await.unwrap());
    assert!(failed.is_empty(), "{failed:?}");
}

/// Reads much from the pod of the second node, and says whom that saw.
fn read(lab: &Lab, place: &str) -> String {
    read_from(lab, place, pod(1, 2).into())
}

fn read_from(lab: &Lab, place: &str, pod: IpAddr) -> String {
    lab.within(place, || {
        let mut stream = TcpStream::connect_timeout(&(pod, 80).into(), WAIT).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let client = said.trim_end_matches('.');
        assert_eq!(said.len() - client.len(), MUCH);
        client.to_owned()
    })
}

#[test]
fn pods_reach_each_other_through_a_router_that_knows_nothing_of_them() {
    let Some(lab) = lab() else { return };
    for own in [IpAddr::from(pod(1, 2)), pod_v6(1, 2).into()] {
        let listener = lab.within("pod-b", || TcpListener::bind((own, 80)).unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, client)) = listener.accept() {
                let _ = stream.write_all(format!("{}{}", client.ip(), ".".repeat(MUCH)).as_bytes());
            }
        });
    }
    set(&lab, "a", A, 0, &[(1, B), (2, C)]);
    set(&lab, "b", B, 1, &[(0, A)]);
    assert_eq!(read(&lab, "pod-a"), pod(0, 2).to_string(), "the pod's own address is seen");
    assert_eq!(read(&lab, "a"), pod(0, 0).to_string(), "a node is seen by its end of the tunnel");
    let of_v6 = read_from(&lab, "pod-a", pod_v6(1, 2).into());
    assert_eq!(of_v6, pod_v6(0, 2).to_string(), "by the tunnel too, between nodes without such addresses");
    let routes = lab.ip("a", "route");
    assert!(routes.contains("10.244.2.0/24 via 203.0.113.2 dev eth1"), "no tunnel on a segment: {routes}");
    let links = lab.ip("a", "link");
    assert!(links.contains("mtu 1450"), "{links}");

    // The same again changes nothing: the device is the one it was.
    set(&lab, "a", A, 0, &[(1, B), (2, C)]);
    assert_eq!((lab.ip("a", "link"), lab.ip("a", "route")), (links, routes));

    // No larger than is asked for, and than there is room.
    for (asked, mtu) in [(Some(1300), 1300), (Some(9000), 1450), (Some(1400), 1400), (None, 1450)] {
        set_with(&lab, "a", A, 0, &[(1, B), (2, C)], asked);
        let links = lab.ip("a", "-o link show type vxlan");
        assert!(links.contains(&format!("mtu {mtu} ")), "{asked:?}: {links}");
        assert_eq!(read(&lab, "pod-a"), pod(0, 2).to_string());
    }

    // The other node comes back with another address.
    let moved = Ipv4Addr::new(198, 51, 100, 9);
    lab.ip("b", &format!("addr del {B}/24 dev eth0"));
    lab.ip("b", &format!("addr add {moved}/24 dev eth0"));
    lab.ip("b", "route add default via 198.51.100.254");
    set(&lab, "b", moved, 1, &[(0, A)]);
    set(&lab, "a", A, 0, &[(1, moved)]);
    assert_eq!(read(&lab, "pod-a"), pod(0, 2).to_string());
    let entries = lab.within("a", forwarding);
    assert!(!entries.contains(&B.to_string()) && entries.contains(&moved.to_string()), "{entries}");

    let found = lab.run_at("a", async || Leftovers::of("a", "none").await.unwrap());
    assert!(found.lines().iter().any(|line| line.starts_with("tunnel orx")), "{:?}", found.lines());
    lab.run_at("a", async move || found.remove().await.unwrap());
    assert!(!lab.ip("a", "link").contains("orx") && !lab.ip("a", "route").contains("10.244.1.0"));
    assert!(!lab.ip("a", "-6 route").contains("fd00:10:244:1::"));

    set(&lab, "b", moved, 1, &[]);
    assert!(!lab.ip("b", "link").contains("orx"), "a device that leads nowhere goes");
}

/// Which node each hardware address is at.
fn forwarding() -> String {
    let output = std::process::Command::new("bridge").arg("fdb").output().expect("iproute2");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
