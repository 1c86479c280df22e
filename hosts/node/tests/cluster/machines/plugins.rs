//! A machine whose pods are connected by plugins of CNI.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use orchestra_master::Master;
use serde_json::json;

use super::{MACHINES, Segment, deploy_with, eventually, ip, lived};
use crate::{condition, name, ready, until};

#[test]
fn pods_are_connected_by_plugins() {
    let Some(mut segment) = Segment::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let list = json!({"cniVersion": "1.0.0", "name": "plugged", "plugins": [{
        "type": "ptp",
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.22.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": folder.path().join("given"),
        },
    }]});
    let configurations = folder.path().join("net.d");
    std::fs::create_dir(&configurations).unwrap();
    std::fs::write(configurations.join("10-plugged.conflist"), list.to_string()).unwrap();
    segment.network = vec!["--network=cni".into(), format!("--cni-conf-dir={}", configurations.display())];
    lived(
        &segment,
        &MACHINES[..1],
        &["--cluster-cidr=none"],
        async |segment: &Segment, master: &Master, directory: &Path| {
            story(segment, master, directory, &folder.path().join("given/plugged")).await;
        },
    );
}

/// How many files of a folder have names that begin so.
fn count(folder: &Path, begin: &str) -> usize {
    let files = std::fs::read_dir(folder).map(Iterator::collect).unwrap_or_else(|_| Vec::new());
    files.iter().flatten().filter(|file| file.file_name().to_string_lossy().starts_with(begin)).count()
}

async fn story(segment: &Segment, master: &Master, directory: &Path, given: &Path) {
    let client = master.client();
    deploy_with(&client, 2, json!({})).await;
    let two = |pods: &[Pod]| ready(pods).len() == 2 && pods.len() == 2;
    let pods = until::<Pod>(&client, "two pods", two).await;
    let ips: BTreeSet<_> = pods.iter().map(ip).collect();
    assert!(ips.len() == 2 && ips.iter().all(|ip| ip.octets()[..3] == [10, 22, 0]), "{ips:?}");
    let service = client.api::<Service>("default").get("web").await.unwrap();
    let at = SocketAddr::new(service.spec.unwrap().cluster_ip.unwrap().parse().unwrap(), 80);
    let mut known = BTreeSet::new();
    eventually("both pods answer", || {
        known.extend(segment.ask("m1", at));
        known.len() == 2
    })
    .await;

    // The program is killed: the next one has the pods as they are.
    segment.kill("m1");
    let is =
        |wanted: bool| move |nodes: &[Node]| nodes.iter().all(|node| (condition(node) == "True") == wanted);
    until::<Node>(&client, "the node is lost", is(false)).await;
    segment.node(MACHINES[0], directory, master);
    until::<Node>(&client, "the node is back", is(true)).await;
    let after = until::<Pod>(&client, "the same two pods", two).await;
    assert_eq!(after.iter().map(ip).collect::<BTreeSet<_>>(), ips);
    assert!(after.iter().all(|pod| pods.iter().any(|before| name(before) == name(pod))));
    eventually("it is answered", || segment.ask("m1", at).is_ok()).await;
    assert_eq!(count(given, "10.22.0."), 2);

    client.api::<Deployment>("default").delete("web").await.unwrap();
    until::<Pod>(&client, "nothing is left", <[Pod]>::is_empty).await;
    eventually("the addresses are given back", || count(given, "10.22.0.") == 0).await;
    assert_eq!(count(&directory.join("m1/cni"), ""), 0);
}
