//! Policies of a small cluster, and what they allow.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::plan::{Seen, plan};
use crate::network::{Allowed, PolicyPlan};

fn read<V: serde::de::DeserializeOwned>(value: Value) -> Arc<V> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pod(namespace: &str, name: &str, node: &str, ip: &str) -> Value {
    let app = name.split('-').next().unwrap();
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "nodeName": node,
            "containers": [{"ports": [{"name": "http", "containerPort": if name == "web-2" { 8082 } else { 8080 }}]}],
        },
        "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn cluster(policies: &[(&str, Value)]) -> Seen {
    let mut host = pod("shop", "host-1", "n1", "192.0.2.1");
    host["spec"]["hostNetwork"] = json!(true);
    let mut done = pod("shop", "db-2", "n1", "10.0.0.9");
    done["status"]["phase"] = json!("Succeeded");
    let pods = [
        pod("shop", "web-1", "n1", "10.0.0.1"),
        pod("shop", "web-2", "n2", "10.0.1.2"),
        pod("shop", "db-1", "n1", "10.0.0.3"),
        pod("ops", "web-1", "n2", "10.0.1.4"),
        host,
        done,
    ];
    let namespaces = [("shop", json!({"team": "a"})), ("ops", json!({"team": "b"}))];
    Seen {
        policies: policies
            .iter()
            .map(|(name, spec)| read(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})))
            .collect(),
        pods: pods.into_iter().map(read).collect(),
        namespaces: namespaces
            .into_iter()
            .map(|(name, labels)| read(json!({"metadata": {"name": name, "labels": labels}})))
            .collect(),
    }
}

fn shown(plan: &PolicyPlan) -> String {
    let mut text = String::new();
    for pod in &plan.pods {
        let _ = writeln!(text, "{} {:?}", pod.pod, pod.ips);
        for (direction, allowed) in [("from", &pod.ingress), ("to", &pod.egress)] {
            match allowed {
                None => drop(writeln!(text, "  {direction} everybody")),
                Some(rules) if rules.is_empty() => drop(writeln!(text, "  {direction} nobody")),
                Some(rules) => rules.iter().for_each(|rule| line(&mut text, direction, rule)),
            }
        }
    }
    text
}

fn line(text: &mut String, direction: &str, allowed: &Allowed) {
    let peers = match &allowed.peers {
        None => "all".to_owned(),
        Some(peers) => {
            let blocks = peers.blocks.iter().map(|block| format!("{:?} but {:?}", block.range, block.except));
            let pods = peers.pods.iter().map(ToString::to_string);
            pods.chain(blocks).collect::<Vec<_>>().join(", ")
        }
    };
    let ports = match &allowed.ports {
        None => "every port".to_owned(),
        Some(ports) => {
            let port = |port: &crate::network::PortRange| format!("{} {:?}", port.protocol, port.bounds);
            ports.iter().map(port).collect::<Vec<_>>().join(", ")
        }
    };
    let _ = writeln!(text, "  {direction} {peers} at {ports} ({})", allowed.rule);
}

fn allowed(policies: &[(&str, Value)]) -> String {
    shown(&plan("n1", &cluster(policies)))
}

#[test]
fn without_policies_nothing_is_said() {
    assert_eq!(allowed(&[]), "");
    let elsewhere = json!({"podSelector": {"matchLabels": {"app": "none"}}});
    assert_eq!(allowed(&[("p", elsewhere)]), "");
}

#[test]
fn default_deny_is_of_the_directions_that_it_names() {
    insta::assert_snapshot!(allowed(&[("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]}))]), @r"
    shop/db-1 [10.0.0.3]
      from nobody
      to everybody
    shop/web-1 [10.0.0.1]
      from nobody
      to everybody
    ");
    let both = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress", "Egress"]});
    insta::assert_snapshot!(allowed(&[("deny", both)]), @r"
    shop/db-1 [10.0.0.3]
      from nobody
      to nobody
    ");
    let neither = json!({"podSelector": {"matchLabels": {"app": "db"}}, "egress": [{}]});
    insta::assert_snapshot!(allowed(&[("deny", neither)]), @r"
    shop/db-1 [10.0.0.3]
      from nobody
      to all at every port (shop/deny/egress-0)
    ");
}

#[test]
fn peers_are_pods_namespaces_and_ranges() {
    let team = |team: &str| json!({"matchLabels": {"team": team}});
    let app = |app: &str| json!({"matchLabels": {"app": app}});
    let policy = json!({"podSelector": app("db"), "ingress": [
        {"from": [{"podSelector": app("web")}]},
        {"from": [{"namespaceSelector": team("b")}]},
        {"from": [{"namespaceSelector": {}, "podSelector": app("web")}]},
        {"from": [{"namespaceSelector": team("b"), "podSelector": app("db")}]},
        {"from": [
            {"ipBlock": {"cidr": "10.9.0.0/16", "except": ["10.9.1.0/24"]}},
            {"ipBlock": {"cidr": "fd00::/8"}},
            {"podSelector": app("web")},
        ]},
        {"from": []},
    ]});
    insta::assert_snapshot!(allowed(&[("p", policy)]), @r"
    shop/db-1 [10.0.0.3]
      from 10.0.0.1, 10.0.1.2 at every port (shop/p/ingress-0)
      from 10.0.1.4 at every port (shop/p/ingress-1)
      from 10.0.0.1, 10.0.1.2, 10.0.1.4 at every port (shop/p/ingress-2)
      from  at every port (shop/p/ingress-3)
      from 10.0.0.1, 10.0.1.2, (10.9.0.0, 16) but [(10.9.1.0, 24)], (fd00::, 8) but [] at every port (shop/p/ingress-4)
      from all at every port (shop/p/ingress-5)
      to everybody
    ");
}

#[test]
fn ports_have_ranges_and_names() {
    let ports = json!([
        {"port": 80}, {"protocol": "UDP", "port": 5000, "endPort": 5010}, {"port": "http"}, {"port": "none"},
        {"protocol": "SCTP"},
    ]);
    let web = json!({"matchLabels": {"app": "web"}});
    let policy = json!({
        "podSelector": web,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports}, {"ports": [{"port": "none"}]}],
        "egress": [{"ports": [{"port": 53}, {"port": "http"}], "to": [{"podSelector": web}]}],
    });
    insta::assert_snapshot!(allowed(&[("p", policy)]), @r"
    shop/web-1 [10.0.0.1]
      from all at TCP Some((80, 80)), TCP Some((8080, 8080)), UDP Some((5000, 5010)), SCTP None (shop/p/ingress-0)
      to 10.0.0.1, 10.0.1.2 at TCP Some((53, 53)) (shop/p/egress-0)
      to 10.0.0.1 at TCP Some((8080, 8080)) (shop/p/egress-0/tcp-8080)
      to 10.0.1.2 at TCP Some((8082, 8082)) (shop/p/egress-0/tcp-8082)
    ");
}

#[test]
fn several_policies_allow_together() {
    let web = json!({"matchLabels": {"app": "web"}});
    let first = json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": web}]}]});
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    insta::assert_snapshot!(allowed(&[("deny", deny), ("first", first)]), @r"
    shop/db-1 [10.0.0.3]
      from 10.0.0.1, 10.0.1.2 at every port (shop/first/ingress-0)
      to everybody
    shop/web-1 [10.0.0.1]
      from 10.0.0.1, 10.0.1.2 at every port (shop/first/ingress-0)
      to everybody
    ");
}
