//! Bytes, connections and small requests from one place to another.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::machines::Machines;
use crate::talk::{self, PORT, within};
use crate::{micros, spread};

const ROUNDS: usize = 3;

struct Row {
    what: &'static str,
    from: PathBuf,
    to: SocketAddr,
    bits: Vec<f64>,
    connections: Vec<f64>,
    requests: Vec<Duration>,
}

pub(crate) fn measure(machines: &Machines) {
    let (lab, pods) = (&machines.lab, &machines.pods);
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let service = |n: usize| SocketAddr::new(machines.plan.services[n].cluster_ips[0], 80);
    let pod = || pods[0].place.clone();
    let mut rows = [
        ("bare: two namespaces on a bridge", lab.path("x"), (ip("10.9.0.2"), PORT).into()),
        ("pod to pod, one node", pod(), (pods[1].ip, PORT).into()),
        ("pod to service, one node", pod(), service(0)),
        ("bare: node to node, one segment", lab.path("a"), (ip("192.0.2.2"), PORT).into()),
        ("pod to pod, by a route", pod(), (pods[2].ip, PORT).into()),
        ("pod to service, by a route", pod(), service(1)),
        ("bare: node to node, behind a router", lab.path("a"), (ip("198.51.100.1"), PORT).into()),
        ("pod to pod, by VXLAN", pod(), (pods[3].ip, PORT).into()),
    ]
    .map(|(what, from, to)| Row { what, from, to, bits: vec![], connections: vec![], requests: vec![] });
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.bits.push(within(&row.from, || talk::throughput(row.to)));
            row.connections.push(within(&row.from, || talk::connections(row.to)));
            row.requests.extend(within(&row.from, || talk::requests(row.to)));
        }
    }
    println!("{:<38} {:>8} {:>15} {:>8} {:>8}", "", "Gbit/s", "connections/s", "p50 µs", "p99 µs");
    for row in rows {
        let [_, half, most, _] = spread(row.requests).map(micros);
        let (bits, connections) = (middle(row.bits) / 1e9, middle(row.connections));
        println!("{:<38} {bits:>8.1} {connections:>15.0} {half:>8.1} {most:>8.1}", row.what);
    }
}

pub(crate) fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
