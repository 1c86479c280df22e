//! The same with addresses of both families.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use orchestra_core::api::Patch;
use orchestra_master::Master;
use serde_json::json;

use super::{MACHINES, NODE_PORT, Segment, create, deploy_with, eventually, lived, script, second};
use crate::{condition, host, name, ready, until};

#[test]
fn pods_and_services_have_addresses_of_both_families() {
    let Some(segment) = Segment::new() else { return };
    let ranges = "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112";
    lived(&segment.both_families(), &MACHINES[..2], &[ranges], story);
}

fn second_of(ips: impl IntoIterator<Item = String>) -> Ipv6Addr {
    ips.into_iter().find_map(|ip| ip.parse().ok()).expect("an address of version 6")
}

fn ips(pod: &Pod) -> Vec<String> {
    pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|ip| ip.ip.clone()).collect()
}

async fn story(segment: &Segment, master: &Master, _: &Path) {
    let client = master.client();
    let ranges = |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    let nodes = until::<Node>(&client, "two nodes have addresses for their pods", |nodes| {
        nodes.iter().filter(|node| ranges(node).len() == 2 && condition(node) == "True").count() == 2
    })
    .await;
    assert!(nodes.iter().all(|node| ranges(node)[1].starts_with("fd00:10:244:")), "{nodes:?}");
    deploy_with(&client, 2, json!({"ipFamilyPolicy": "RequireDualStack"})).await;
    let pods = until::<Pod>(&client, "a pod on each machine", |pods| ready(pods).len() == 2).await;
    assert!(pods.iter().all(|pod| ips(pod).len() == 2), "{pods:?}");
    let slices = until::<EndpointSlice>(&client, "a slice of each family", |slices| {
        let full = |slice: &&EndpointSlice| slice.endpoints.iter().flatten().count() == 2;
        slices.iter().filter(full).count() == 2
    })
    .await;
    let families: BTreeSet<&str> = slices.iter().map(|slice| slice.address_type.as_str()).collect();
    assert_eq!(families, BTreeSet::from(["IPv4", "IPv6"]));

    let service = client.api::<Service>("default").get("web").await.unwrap();
    let both = service.spec.unwrap().cluster_ips.unwrap();
    let (first, second_ip) = (both[0].parse::<IpAddr>().unwrap(), second_of(both.clone()));
    assert!(first.is_ipv4() && second_ip.to_string().starts_with("fd00:10:96::"), "{both:?}");
    for (machine, address) in &MACHINES[..2] {
        for (place, at) in [
            ("master", SocketAddr::from((second(*address), NODE_PORT))),
            (*machine, SocketAddr::from((second_ip, 80))),
            (*machine, SocketAddr::from((first, 80))),
        ] {
            let mut known = BTreeSet::new();
            eventually("both pods answer", || {
                known.extend(segment.ask(place, at));
                known.len() == 2
            })
            .await;
            let mut heard = BTreeMap::new();
            for _ in 0..10 {
                *heard.entry(segment.ask(place, at).unwrap()).or_insert(0) += 1;
            }
            let even: BTreeMap<String, usize> = pods.iter().map(|pod| (name(pod).to_owned(), 5)).collect();
            assert_eq!(heard, even, "from {place} at {at}");
        }
    }

    // From a pod: by name, and the pod of the other machine by its address.
    let far = pods.iter().find(|pod| host(pod) == "m1").unwrap();
    let far_ip = second_of(ips(far));
    let text = format!(
        "busybox nslookup -type=aaaa web.default.svc.cluster.local; ip -6 addr show dev eth0; \
         for n in $(seq 10); do curl -6 -m 5 -sS http://web; done; echo; \
         echo address $(curl -6 -m 5 -sS 'http://[{far_ip}]:8080')"
    );
    let said = script(master, &client, ("asks", "m2"), &text).await;
    assert!(said.contains(&second_ip.to_string()), "{said}");
    for pod in &pods {
        assert_eq!(said.lines().filter(|line| *line == name(pod)).count(), 5, "each in turn: {said}");
    }
    assert!(said.contains(&format!("address {}", name(far))), "{said}");

    closed(segment, &client, far, far_ip).await;

    // Back to one family: the second address leads nowhere any more.
    let single = Patch::Merge(json!({"spec": {"ipFamilyPolicy": "SingleStack"}}));
    client.api::<Service>("default").patch("web", single).await.unwrap();
    eventually("nobody answers there", || segment.ask("m1", (second_ip, 80).into()).is_err()).await;
    assert!(segment.ask("m1", (first, 80).into()).is_ok());
    until::<EndpointSlice>(&client, "the second slice goes", |slices| {
        slices.iter().all(|slice| slice.address_type == "IPv4")
    })
    .await;
}

/// Policies hold for both families.
async fn closed(segment: &Segment, client: &orchestra_core::api::Client, pod: &Pod, ip: Ipv6Addr) {
    create::<NetworkPolicy>(
        client,
        json!({"metadata": {"name": "closed"}, "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": []}}),
    )
    .await;
    let at = SocketAddr::from((ip, 8080));
    eventually("it is closed to another machine", || segment.ask("m2", at).is_err()).await;
    assert!(segment.ask(host(pod), at).is_ok(), "a node reaches its own pods");
    client.api::<NetworkPolicy>("default").delete("closed").await.unwrap();
    eventually("it is open again", || segment.ask("m2", at).is_ok()).await;
}
