//! A policy holds from the first packet on: when a container begins, the kernel has the rules for its pod.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use orchestra_core::api::Client;
use orchestra_master::Master;
use serde_json::json;

use super::{MACHINES, create, ip, script};
use crate::{name, until};

/// Pods that may send nothing try to as soon as they live.
pub(super) async fn packets(master: &Master, client: &Client, pods: &[Pod]) {
    let names: Vec<String> = (0..6).map(|n| format!("mute-{n}")).collect();
    create::<NetworkPolicy>(
        client,
        json!({"metadata": {"name": "mute"}, "spec": {
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": names}]},
            "policyTypes": ["Ingress", "Egress"],
        }}),
    )
    .await;
    for (n, mute) in names.iter().enumerate() {
        let at = SocketAddr::from((ip(&pods[n % pods.len()]), 8080));
        let ask = format!(
            "for n in 1 2 3 4 5 6 7 8; do curl -m 0.3 -s http://{at} && echo reached $n; done; echo done"
        );
        let said = script(master, client, (mute, MACHINES[(n + 1) % 3].0), &ask).await;
        assert!(said.contains("done") && !said.contains("reached"), "{mute}: {said}");
        client.api::<Pod>("default").delete(mute).await.unwrap();
    }
    client.api::<NetworkPolicy>("default").delete("mute").await.unwrap();
    until::<Pod>(client, "they are gone", |pods| !pods.iter().any(|pod| name(pod).starts_with("mute"))).await;
}
