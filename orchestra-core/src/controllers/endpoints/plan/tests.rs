use serde_json::{Value, json};

use super::super::service::{Backend, Service};
use super::{CAPACITY, Plan, plan};
use crate::controllers::testing::{entry, over, pod, text};

fn decide(service: &Value, pods: &[Value]) -> Plan {
    let base =
        json!({"metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"tier": "front"}}});
    let entry_of = entry(&over(base, service));
    let backends: Vec<Backend> = pods.iter().map(|pod| Backend::new(entry(pod)).unwrap()).collect();
    plan(&entry_of, &entry_of.view::<Service>().unwrap(), &backends)
}

/// Addresses, addresses that are not ready, and ports.
fn subsets(plan: &Plan) -> Vec<(Vec<&str>, Vec<&str>, Vec<i32>)> {
    let ips = |addresses: &'_ Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
        addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
    };
    let leak = |ips: Vec<String>| ips.into_iter().map(|ip| &*ip.leak()).collect::<Vec<&str>>();
    plan.subsets
        .iter()
        .map(|subset| {
            let ports = subset.ports.iter().flatten().map(|port| port.port).collect();
            (leak(ips(&subset.addresses)), leak(ips(&subset.not_ready_addresses)), ports)
        })
        .collect()
}

fn web(name: &str, ip: &str, change: Value) -> Value {
    pod(name, None, &over(json!({"status": {"podIP": ip}}), &change))
}

#[test]
fn addresses_are_packed_by_the_ports_they_offer() {
    let named =
        |port: i32| json!({"spec": {"containers": [{"ports": [{"name": "http", "containerPort": port}]}]}});
    let service = json!({"spec": {"ports": [
        {"name": "a", "port": 80, "targetPort": "http"}, {"name": "b", "port": 443, "targetPort": 8443},
    ]}});
    let not_ready = json!({"status": {"conditions": []}});
    let pods = [
        web("p1", "10.0.0.1", named(8080)),
        web("p2", "10.0.0.2", named(8080)),
        web("p3", "10.0.0.3", named(9090)),
        web("p4", "10.0.0.4", over(named(8080), &not_ready)),
        web("p5", "10.0.0.5", json!({"status": {"phase": "Succeeded"}})),
        web("p6", "", json!({})),
        web("p7", "10.0.0.7", json!({"metadata": {"deletionTimestamp": text(1)}})),
        web("p8", "fd00::8", named(8080)),
    ];
    let plan = decide(&service, &pods);
    assert_eq!(
        subsets(&plan),
        [
            (vec!["10.0.0.1", "10.0.0.2"], vec!["10.0.0.4"], vec![8080]),
            (vec!["10.0.0.1", "10.0.0.2", "10.0.0.3"], vec!["10.0.0.4"], vec![8443]),
            (vec!["10.0.0.3"], vec![], vec![9090]),
        ]
    );
    let publish = over(service, &json!({"spec": {"publishNotReadyAddresses": true}}));
    assert_eq!(subsets(&decide(&publish, &pods[3..4]))[0].0, ["10.0.0.4"]);
}

#[test]
fn a_headless_service_names_its_pods() {
    let service = json!({"spec": {"clusterIP": "None"}});
    let named = json!({"spec": {"hostname": "db-0", "subdomain": "web"}});
    let plan = decide(&service, &[web("p1", "10.0.0.1", named)]);
    assert_eq!(subsets(&plan), [(vec!["10.0.0.1"], vec![], vec![])]);
    let address = &plan.subsets[0].addresses.as_ref().unwrap()[0];
    assert_eq!((address.hostname.as_deref(), address.node_name.as_deref()), (Some("db-0"), Some("n1")));
    assert_eq!(plan.labels["service.kubernetes.io/headless"], "");
}

#[test]
fn more_addresses_than_one_object_holds_are_cut_those_that_are_ready_first() {
    let service = json!({"spec": {"ports": [{"port": 80}]}});
    let mut pods = vec![web("a", "10.9.9.9", json!({"status": {"conditions": []}}))];
    let ip = |index: usize| format!("10.0.{}.{}", index / 250, index % 250);
    pods.extend((0..CAPACITY).map(|index| web(&format!("p{index}"), &ip(index), json!({}))));
    let plan = decide(&service, &pods);
    assert!(plan.truncated);
    assert_eq!(plan.subsets[0].addresses.as_ref().unwrap().len(), CAPACITY);
    assert_eq!(plan.subsets[0].not_ready_addresses, None);
}
