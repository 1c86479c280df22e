//! Ingresses are served by nodes, each of which shows where, and no more by one that is lost.

use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use orchestra_core::api::{Body, Client, Operation, Reply, Target, WriteOptions};
use orchestra_core::testing;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{DEADLINE, master, node_with, until};

/// A token of the account that may serve Ingresses, as `kubectl create token` asks for one.
async fn token(client: &Client) -> String {
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "ingress"}})).unwrap();
    client.api::<ServiceAccount>("kube-system").create(&account).await.unwrap();
    let target = Target::of::<ServiceAccount>(Some("kube-system")).named("ingress").sub("token");
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let operation = Operation::Create { body: Body::Value(body), options: WriteOptions::default() };
    let Reply::Value(value) = client.call(target, operation).await.unwrap().reply else { panic!("no token") };
    value["status"]["token"].as_str().unwrap().to_owned()
}

/// The first line that is answered to a request for a host.
async fn ask(at: SocketAddr, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.ok()?;
    said.lines().next().map(str::to_owned)
}

fn shown(ingress: &Ingress) -> Vec<String> {
    let points = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    points.into_iter().flatten().filter_map(|point| point.ip.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_serve_ingresses_and_say_where() {
    let directory = tempfile::tempdir().unwrap();
    let master = master(&directory.path().join("master")).await;
    let client = master.client();
    let file = directory.path().join("token");
    std::fs::write(&file, token(&client).await + "\n").unwrap();
    // Addresses of this test's own have the port free.
    let [.., high, low] = std::process::id().to_be_bytes();
    let [one, two] = [11, 12].map(|net| SocketAddr::from((Ipv4Addr::new(127, net, high, low), 8080)));
    let joined = master.token().to_string();
    let start = |name: &str, at: Option<SocketAddr>| {
        let mut more = vec![format!("--ingress-token-file={}", file.display())];
        more.extend(at.map(|at| format!("--ingress-listen={at}")));
        node_with(&master, directory.path(), (name, &joined), &more)
    };
    let (_a, mut b) = (start("a", Some(one)), start("b", Some(two)));
    until::<Node>(&client, "two nodes", |nodes| nodes.len() == 2).await;

    let service: Value = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    client.api::<Service>("default").create(&serde_json::from_value(service).unwrap()).await.unwrap();
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let ingress = json!({
        "metadata": {"name": "web"},
        "spec": {
            "ingressClassName": "orchestra",
            "rules": [{"host": "shop.example.com", "http": {"paths": paths}}],
        },
    });
    client.api::<Ingress>("default").create(&serde_json::from_value(ingress).unwrap()).await.unwrap();
    for at in [one, two] {
        // There is a rule, and nothing behind it; of another host there is none.
        for (host, answer) in [("shop.example.com", "503"), ("other.example.com", "404")] {
            let so = async || ask(at, host).await.filter(|line| line.contains(answer));
            testing::until(&format!("{answer} for {host} at {at}"), DEADLINE, so).await;
        }
    }
    let shows = |wanted: &[SocketAddr]| {
        let wanted: Vec<String> = wanted.iter().map(|at| at.ip().to_string()).collect();
        move |all: &[Ingress]| all.first().is_some_and(|ingress| shown(ingress) == wanted)
    };
    until(&client, "both nodes are shown", shows(&[one, two])).await;
    b.kill().await.unwrap();
    until(&client, "the lost one is shown no more", shows(&[one])).await;
    // It comes back, and does not serve them any more: its annotation is the one it is given now.
    let _b = start("b", None);
    let says = |nodes: &[Node]| {
        let said = |node: &Node| node.metadata.annotations.as_ref()?.get("orchestra.io/ingress").cloned();
        let said: Vec<String> = nodes.iter().filter_map(said).collect();
        said == [one.ip().to_string(), String::new()]
    };
    until(&client, "it says that it does not", says).await;
    until(&client, "the other one still does", shows(&[one])).await;
    master.stop().await;
}
