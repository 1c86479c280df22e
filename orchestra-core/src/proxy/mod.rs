//! The service proxy of a node: it keeps the node's [`Network`] in step with the cluster's services, and with its policies
//! where the network holds to them.
//!
//! [`plan`] decides, [`run`] observes and applies. Whatever changes, the whole plan is made anew and handed over; the
//! network changes what differs.

mod plan;
mod policies;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tracing::{debug, error, warn};

use crate::api::{Client, Status};
use crate::control::events::{Recorder, reference_to};
use crate::meta::ObjectName;
use crate::network::{Network, PolicyPlan, PortFailure, ServicePlan};
use crate::watch::{Cache, Cursor, Query};
use plan::{Place, ServiceView, Slice};

/// The user that what carries services on a node acts as, in Kubernetes too: it reads services and nodes, and no Secret.
pub const USER: &str = "system:kube-proxy";

/// How long changes are gathered before they are applied: a rollout changes slices in bursts.
const GATHER: Duration = Duration::from_millis(50);
/// How soon a plan that could not be applied is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the zone of the node is looked up while endpoints say for which zones they are.
const ZONE_LOOK: Duration = Duration::from_secs(30);
const ZONE: &str = "topology.kubernetes.io/zone";

/// Keeps the network of a node in step with the services of the cluster, until `shutdown`.
///
/// # Errors
/// When the cluster does not have the kinds, or they may not be read.
pub async fn run(
    client: Client,
    node: String,
    network: Arc<dyn Network>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Status> {
    let services = client.cache::<Service>().await?;
    let slices = client.cache::<EndpointSlice>().await?;
    tokio::select! {
        biased;
        () = follow(&client, &node, &*network, &services, &slices) => {}
        () = policies(&client, &node, &*network) => {}
        () = shutdown => {}
    }
    Ok(())
}

/// Keeps the policies too, where the network can. Services, and pods, go on without them if they may not be read.
async fn policies(client: &Client, node: &str, network: &dyn Network) {
    if network.holds_to_policies()
        && let Err(error) = policies::follow(client, node, network).await
    {
        error!(%error, "network policies cannot be followed: pods receive and send what they like");
        while let Err(error) = network.apply_policies(&PolicyPlan::default()).await {
            warn!(%error, "the network is not told that there are no policies; trying again");
            client.clock().sleep(RETRY).await;
        }
    }
    std::future::pending().await
}

async fn follow(client: &Client, node: &str, network: &dyn Network, services: &Cache, slices: &Cache) {
    let mut applied: Option<ServicePlan> = None;
    let mut told = Told::new(client, node);
    let mut nodes = None;
    loop {
        let (service_entries, mut service_events) = services.list_and_watch(&Query::all());
        let (slice_entries, mut slice_events) = slices.list_and_watch(&Query::all());
        let views =
            service_entries.iter().filter_map(|entry| entry.view::<ServiceView>().ok()).collect::<Vec<_>>();
        let parts = slice_entries.iter().filter_map(|entry| entry.view::<Slice>().ok()).collect::<Vec<_>>();
        let mut again = parts.iter().any(|slice| slice.has_hints()).then_some(ZONE_LOOK);
        let zone = if again.is_some() { zone(client, node, &mut nodes).await } else { None };
        let place = Place { node, zone: zone.as_deref() };
        let wanted = plan::plan(place, views.iter().map(|view| &**view), parts.iter().map(|slice| &**slice));
        if applied.as_ref() != Some(&wanted) {
            match network.apply(&wanted).await {
                Ok(outcome) => {
                    told.tell(services, &outcome.failures);
                    debug!(services = wanted.services.len(), "services applied");
                    applied = Some(wanted);
                }
                Err(error) => {
                    warn!(%error, "services cannot be applied; trying again");
                    again = Some(RETRY);
                }
            }
        }
        changed(client, &mut service_events, &mut slice_events, again).await;
        client.clock().sleep(GATHER).await;
    }
}

/// The zone of the node. The nodes are followed from when that is asked first: in most clusters nobody does.
async fn zone(client: &Client, node: &str, nodes: &mut Option<Cache>) -> Option<String> {
    if nodes.is_none() {
        match client.cache::<Node>().await {
            Ok(cache) => *nodes = Some(cache),
            Err(error) => warn!(%error, "the zone of the node cannot be read"),
        }
    }
    nodes.as_ref()?.get(&ObjectName::cluster(node))?.labels().get(ZONE)
}

/// Tells of what is not reachable, once each, where people look: in events about the service.
struct Told<'c> {
    client: &'c Client,
    node: &'c str,
    /// There is none before something is to be told: most nodes never have anything.
    recorder: Option<Recorder>,
    before: BTreeSet<(String, String)>,
}

impl<'c> Told<'c> {
    fn new(client: &'c Client, node: &'c str) -> Self {
        Self { client, node, recorder: None, before: BTreeSet::new() }
    }

    fn tell(&mut self, services: &Cache, failures: &[PortFailure]) {
        let keyed = |failure: &PortFailure| {
            let at = SocketAddr::new(failure.address, failure.port);
            (failure.service.clone(), format!("{} {at}: {}", failure.protocol, failure.message))
        };
        let now: BTreeSet<(String, String)> = failures.iter().map(keyed).collect();
        for (service, text) in now.difference(&self.before) {
            warn!(service, text, "a service is not reachable as it should be");
            let name =
                service.split_once('/').map(|(namespace, name)| ObjectName::namespaced(namespace, name));
            // A port of a pod has an event of the pod's own.
            let Some(entry) = name.and_then(|name| services.get(&name)) else { continue };
            let recorder = self
                .recorder
                .get_or_insert_with(|| Recorder::new(self.client.clone(), "kube-proxy", self.node));
            recorder.warning(&reference_to::<Service>(&entry), "PortNotServed", text.clone());
        }
        self.before = now;
    }
}

/// Waits for a change of any service or slice, or for the time to try again.
async fn changed(client: &Client, services: &mut Cursor, slices: &mut Cursor, again: Option<Duration>) {
    // Having fallen behind is a reason to look again, like any other.
    tokio::select! {
        biased;
        _ = services.next() => {}
        _ = slices.next() => {}
        () = due(client, again) => {}
    }
}

/// Waits for the time to try again, if there is one.
async fn due(client: &Client, again: Option<Duration>) {
    match again {
        Some(wait) => client.clock().sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use async_trait::async_trait;
    use k8s_openapi::api::core::v1::Event;
    use serde_json::json;

    use super::*;
    use crate::network::{Applied, AttachRequest, Attachment, PodRef, Protocol, Result, SandboxId};
    use crate::testing::{TestServer, until};

    /// A network that serves no port.
    #[derive(Default)]
    struct Broken {
        plans: std::sync::atomic::AtomicUsize,
    }

    #[async_trait]
    impl Network for Broken {
        async fn attach(&self, _: &AttachRequest) -> Result<Attachment> {
            Ok(Attachment { ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] })
        }

        async fn detach(&self, _: &SandboxId, _: &PodRef) -> Result<()> {
            Ok(())
        }

        async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
            self.plans.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let ports = plan
                .services
                .iter()
                .flat_map(|service| service.ports.iter().map(move |port| (service, port)));
            let failure = |(service, port): (&crate::network::ServiceEntry, &crate::network::ServicePort)| {
                PortFailure {
                    service: service.key(),
                    address: service.cluster_ips[0],
                    port: port.port,
                    protocol: Protocol::Tcp,
                    message: "it is taken".into(),
                }
            };
            Ok(Applied { failures: ports.map(failure).collect() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_cannot_be_had_is_an_event_of_its_service_once() {
        let server = TestServer::start().await;
        let (client, network) = (server.client(), Arc::new(Broken::default()));
        let proxy = run(client.clone(), "n1".into(), network.clone(), std::future::pending());
        let proxy = tokio::spawn(proxy);
        let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        server.create::<Service>(service("web")).await;
        let events = client.api::<Event>("default");
        let about = async |name: &str| -> Vec<(String, String, Option<i32>)> {
            let all = events.list().await.unwrap();
            let found = all.iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
            found
                .map(|event| (event.reason.clone().unwrap(), event.message.clone().unwrap(), event.count))
                .collect()
        };
        let patience = Duration::from_secs(60);
        let told = async |name: &str| Some(about(name).await).filter(|all| !all.is_empty());
        let of_web = until("an event", patience, async || told("web").await).await;
        assert_eq!(of_web[0].0, "PortNotServed");
        assert!(
            of_web[0].1.starts_with("TCP 10.") && of_web[0].1.ends_with(":80: it is taken"),
            "{of_web:?}"
        );
        // Another service is told of, and the first one not again.
        server.create::<Service>(service("other")).await;
        until("another", patience, async || told("other").await).await;
        assert_eq!(about("web").await, of_web);
        proxy.abort();
    }
}
