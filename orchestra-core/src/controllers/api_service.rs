//! The Service `kubernetes`, through which pods reach the API, and the endpoints behind it: they are there from the
//! start, and come back when somebody removes or changes them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::Host;
use crate::admission::ServiceRanges;
use crate::api::{Api, Client, Patch, Status, User};
use crate::control::{Action, Context, Error, write};
use crate::meta::{Object, ObjectName};
use crate::watch::Entry;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";

/// What the Service `kubernetes` is to be.
#[derive(Clone, Debug)]
pub struct ApiService {
    /// It has the first of the cluster's addresses.
    pub ranges: ServiceRanges,
    /// Where a host serves the API; `None` if none does, so that nothing is behind the Service.
    pub address: Option<(IpAddr, u16)>,
}

impl ApiService {
    /// Makes the Service and its endpoints, or puts right what is not as it should be.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn ensure(&self, client: &Client) -> Result<(), Status> {
        ensure(&client.api::<Service>(NAMESPACE), self.service()).await?;
        let Some((ip, port)) = self.address else { return Ok(()) };
        ensure(&client.api::<Endpoints>(NAMESPACE), endpoints(ip, port)).await?;
        ensure(&client.api::<EndpointSlice>(NAMESPACE), slice(ip, port)).await
    }

    fn service(&self) -> Value {
        let port = self.address.map_or(6443, |(_, port)| port);
        json!({
            "metadata": {"name": NAME, "labels": {"component": "apiserver", "provider": NAME}},
            "spec": {
                "clusterIP": self.ranges.api_server(),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        })
    }
}

fn endpoints(ip: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    })
}

fn slice(ip: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

/// Creates an object, or changes it where it is not as wanted. What more it has is left.
async fn ensure<K: Object>(api: &Api<K>, wanted: Value) -> Result<(), Status> {
    let held = match api.find(NAME).await? {
        Some(held) => serde_json::to_value(held).map_err(Status::internal)?,
        None => {
            let object = K::deserialize(&wanted).map_err(Status::internal)?;
            return match api.create(&object).await {
                // Another master made it.
                Err(status) if !status.is_already_exists() => Err(status),
                _ => Ok(()),
            };
        }
    };
    match write::missing(&held, &wanted) {
        Some(change) => api.patch(NAME, Patch::Merge(change)).await.map(drop),
        None => Ok(()),
    }
}

/// Runs the controller that keeps them.
pub(super) async fn run(host: Host, service: ApiService) -> Result<(), Status> {
    let reconcile = move |context: Context| {
        let service = service.clone();
        async move {
            if *context.name() == ObjectName::namespaced(NAMESPACE, NAME) {
                service.ensure(&context.client().as_user(api_server())).await?;
            }
            Ok::<_, Error>(Action::Done)
        }
    };
    let controller = host
        .controller::<Service>()
        .named("kubernetes-service-controller")
        .when(|event: &crate::watch::Event| is_ours(&event.object))
        // Also when there is nothing that could change yet.
        .named_by(futures::stream::iter([ObjectName::namespaced(NAMESPACE, NAME)]))
        .watches::<Endpoints, _, _>(ours)
        .watches::<EndpointSlice, _, _>(ours);
    host.run(controller, reconcile).await
}

/// The service is the API server's own.
fn api_server() -> User {
    User::named("system:apiserver").in_group("system:masters")
}

fn is_ours(entry: &Entry) -> bool {
    entry.name().namespace() == Some(NAMESPACE) && entry.name().name() == NAME
}

fn ours(entry: &Entry) -> Option<ObjectName> {
    is_ours(entry).then(|| entry.name().clone())
}
