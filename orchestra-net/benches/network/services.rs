//! 5,000 services in the kernel of one node.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use orchestra_core::network::{Endpoint, Network as _, ServicePlan};

use crate::machines::{self, Machines};
use crate::memory::Group;
use crate::paths::middle;
use crate::talk::{self, within};
use crate::{millis, spread};

const COUNT: usize = 5000;
const CHANGES: u8 = 101;
const ROUNDS: usize = 5;

pub(crate) fn measure(machines: &Machines) {
    let few = &machines.plan;
    let mut many = few.clone();
    many.services.extend((0..COUNT as u32).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        let endpoint = |node: u8| Endpoint { address: ([10, 240 + node, high, low], 80).into(), local: true };
        machines::service(&format!("zz-{n:04}"), Ipv4Addr::new(10, 100, high, low), &[1, 2].map(endpoint))
    }));
    let group = Group::enter();
    machines.lab.run_at("a", async || {
        let network = machines::rules("a", [10, 244, 1]).await;
        let before = connect(machines);
        network.apply(few).await.expect("rules");
        let without = group.as_ref().and_then(Group::kernel);
        let began = Instant::now();
        network.apply(&many).await.expect("rules");
        println!("{COUNT} services of two endpoints: loaded in {:.0} ms", millis(began.elapsed()));
        let with = group.as_ref().and_then(Group::kernel);
        match without.zip(with) {
            Some((without, with)) => {
                let bytes = with.saturating_sub(without) as f64;
                let each = bytes / COUNT as f64 / 1e3;
                println!("memory of the kernel for them: {:.1} MB, {each:.1} KB a service", bytes / 1e6);
            }
            None => println!("memory of the kernel for them: not told here (a memory cgroup tells it)"),
        }
        change(&network, &mut many).await;
        println!("connections/s by a service: {before:.0}, among {COUNT} more {:.0}", connect(machines));
        network.apply(few).await.expect("rules");
    });
}

async fn change(network: &impl orchestra_core::network::Network, plan: &mut ServicePlan) {
    let mut times = Vec::new();
    for n in 1..=CHANGES {
        plan.services[COUNT / 2].ports[0].endpoints[0].address = SocketAddr::from(([10, 9, 9, n], 80));
        let began = Instant::now();
        network.apply(plan).await.expect("rules");
        times.push(began.elapsed());
    }
    let [fastest, half, most, slowest] = spread(times).map(millis);
    println!(
        "one endpoint changed: {fastest:.1} ms, p50 {half:.1} ms, p99 {most:.1} ms, slowest {slowest:.1} ms"
    );
}

fn connect(machines: &Machines) -> f64 {
    let to = SocketAddr::new(machines.plan.services[0].cluster_ips[0], 80);
    middle((0..ROUNDS).map(|_| within(&machines.pods[0].place, || talk::connections(to))).collect())
}
