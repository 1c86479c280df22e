//! Where a balancer asks whether this node has endpoints of a service itself (`healthCheckNodePort`), so that it sends
//! clients only to nodes that do. The answer is that of `kube-proxy`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use orchestra_core::network::{PortFailure, Protocol, ServicePlan};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::{Sharing, tcp};

/// How long one who asks may take to do so.
const PATIENCE: Duration = Duration::from_secs(10);

/// A port at which it is said how many endpoints a service has here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    namespace: String,
    name: String,
    endpoints: usize,
}

/// The ports that a plan asks for. Of two services that claim the same, the first has it.
fn wanted(plan: &ServicePlan) -> BTreeMap<u16, Wanted> {
    let mut wanted = BTreeMap::new();
    for service in &plan.services {
        let Some(port) = service.health_check_node_port else { continue };
        let here = service.ports.iter().flat_map(|port| &port.endpoints).filter(|endpoint| endpoint.local);
        let mut pods: Vec<IpAddr> = here.map(|endpoint| endpoint.address.ip()).collect();
        pods.sort_unstable();
        pods.dedup();
        let (namespace, name) = (service.namespace.clone(), service.name.clone());
        wanted.entry(port).or_insert(Wanted { namespace, name, endpoints: pods.len() });
    }
    wanted
}

/// The ports at which is answered.
#[derive(Debug, Default)]
pub(crate) struct HealthPorts {
    open: BTreeMap<u16, Open>,
}

#[derive(Debug)]
struct Open {
    service: (String, String),
    endpoints: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthPorts {
    /// Answers for what a plan says, at all addresses of the machine, and for nothing else.
    pub(crate) fn set(&mut self, plan: &ServicePlan) -> Vec<PortFailure> {
        let wanted = wanted(plan);
        self.open.retain(|port, open| {
            wanted
                .get(port)
                .is_some_and(|now| (&now.namespace, &now.name) == (&open.service.0, &open.service.1))
        });
        let mut failures = Vec::new();
        for (port, wanted) in wanted {
            if let Some(open) = self.open.get(&port) {
                open.endpoints.store(wanted.endpoints, Ordering::Relaxed);
                continue;
            }
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            match tcp::listen(address, Sharing::default()) {
                Ok(listener) => {
                    let endpoints = Arc::new(AtomicUsize::new(wanted.endpoints));
                    let service = (wanted.namespace, wanted.name);
                    let task = tokio::spawn(serve(listener, service.clone(), Arc::clone(&endpoints)));
                    self.open.insert(port, Open { service, endpoints, task });
                }
                Err(error) => failures.push(PortFailure {
                    service: format!("{}/{}", wanted.namespace, wanted.name),
                    address: address.ip(),
                    port,
                    protocol: Protocol::Tcp,
                    message: format!("listening at its health check port: {error}"),
                }),
            }
        }
        failures
    }
}

async fn serve(listener: TcpListener, service: (String, String), endpoints: Arc<AtomicUsize>) {
    let (service, mut open) = (Arc::new(service), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, mostly: it passes when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (service, endpoints) = (Arc::clone(&service), Arc::clone(&endpoints));
        open.spawn(async move {
            let answer = service_fn(|_: Request<Incoming>| {
                let answer = answer(&service, endpoints.load(Ordering::Relaxed));
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // How it ended is the client's affair.
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn answer((namespace, name): &(String, String), endpoints: usize) -> Response<Full<Bytes>> {
    let body = json!({
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    if endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert("X-Load-Balancing-Endpoint-Weight", endpoints.into());
    response
}

#[cfg(test)]
mod tests {
    use orchestra_core::network::{Affinity, Endpoint, ServiceEntry, ServicePort, TrafficPolicy};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    fn plan(port: u16, endpoints: &[(&str, bool)]) -> ServicePlan {
        let endpoints = endpoints
            .iter()
            .map(|(address, local)| Endpoint { address: address.parse().unwrap(), local: *local })
            .collect();
        let ports = [80, 443].map(|number| ServicePort {
            name: number.to_string(),
            protocol: Protocol::Tcp,
            port: number,
            node_port: None,
            endpoints: Vec::clone(&endpoints),
        });
        let service = ServiceEntry {
            namespace: "shop".into(),
            name: "web".into(),
            cluster_ips: vec![],
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            affinity: Affinity::None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Local,
            health_check_node_port: Some(port),
            ports: ports.into(),
        };
        ServicePlan { services: vec![service] }
    }

    async fn asked(port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok(said)
    }

    #[tokio::test]
    async fn it_says_whether_a_node_has_endpoints_itself() {
        // Of a range of which the kernel gives nobody a port by itself.
        let (mut ports, number) = (HealthPorts::default(), 20_000 + (std::process::id() % 10_000) as u16);
        let here = [("10.0.0.1:80", true), ("10.0.0.2:80", true), ("10.0.0.3:80", false)];
        assert_eq!(ports.set(&plan(number, &here)), []);
        let said = asked(number).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200 OK") && said.contains(r#""localEndpoints":2"#), "{said}");
        assert!(said.contains(r#""service":{"name":"web","namespace":"shop"}"#), "{said}");
        assert!(said.to_lowercase().contains("x-load-balancing-endpoint-weight: 2"), "{said}");
        assert_eq!(ports.set(&plan(number, &here[2..])), []);
        let said = asked(number).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 503 ") && said.contains(r#""localEndpoints":0"#), "{said}");
        let failures = HealthPorts::default().set(&plan(number, &here));
        assert_eq!((failures.len(), failures[0].port), (1, number), "another has it: {failures:?}");
        ports.set(&ServicePlan::default());
        while asked(number).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
