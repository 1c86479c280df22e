//! The Service `kubernetes`, through which pods reach the API, and the endpoints behind it: they are there from the
//! start, and come back when somebody removes or changes them. Of several masters, all that live are behind it.

mod masters;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use self::masters::{Found, is_masters};
pub(crate) use self::masters::{Seen, announce};
use super::Host;
use crate::admission::ServiceRanges;
use crate::api::{Api, Client, DeleteOptions, Patch, Status, User};
use crate::control::{Action, Context, Error, write};
use crate::meta::{Object, ObjectName};
use crate::watch::{Entry, Query};

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const OF_SERVICE: &str = "kubernetes.io/service-name";
/// What slices have that are beside the usual one.
const MANAGED: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "orchestra-master");

/// What the Service `kubernetes` is to be.
#[derive(Clone, Debug)]
pub struct ApiService {
    /// It has the first of the cluster's addresses.
    pub ranges: ServiceRanges,
    /// Where a host serves the API; `None` if none does, so that nothing is behind the Service but other masters.
    pub address: Option<(IpAddr, u16)>,
    /// What is known of the other masters.
    pub(crate) seen: Arc<Seen>,
}

impl ApiService {
    /// The first address of these ranges, and where a host serves the API.
    pub fn new(ranges: ServiceRanges, address: Option<(IpAddr, u16)>) -> Self {
        Self { ranges, address, seen: Arc::default() }
    }

    /// Makes the Service and its endpoints, or puts right what is not as it should be. `others` are masters that live
    /// beside this one.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn ensure(&self, client: &Client, others: &BTreeSet<SocketAddr>) -> Result<(), Status> {
        ensure(&client.api::<Service>(NAMESPACE), NAME, self.service()).await?;
        let own = self.address.map(|(ip, port)| SocketAddr::new(ip, port));
        let all: BTreeSet<SocketAddr> = own.into_iter().chain(others.iter().copied()).collect();
        if all.is_empty() {
            return Ok(());
        }
        ensure(&client.api::<Endpoints>(NAMESPACE), NAME, endpoints(&all)).await?;
        let api = client.api::<EndpointSlice>(NAMESPACE);
        for (name, slice) in slices(&all) {
            if let Some(held) = api.find(&name).await?
                && slice["addressType"] != held.address_type.as_str()
            {
                // It cannot be changed.
                api.delete(&name).await?;
            }
            ensure(&api, &name, slice).await?;
        }
        Ok(())
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

fn endpoints(all: &BTreeSet<SocketAddr>) -> Value {
    let mut by_port: BTreeMap<u16, Vec<Value>> = BTreeMap::new();
    for address in all {
        by_port.entry(address.port()).or_default().push(json!({"ip": address.ip()}));
    }
    let subsets = by_port.into_iter().map(|(port, addresses)| {
        json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
    });
    json!({
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": subsets.collect::<Vec<_>>(),
    })
}

/// The slices by name, one for each family and port. Masters mostly have the same: then it is one, of the Service's name.
fn slices(all: &BTreeSet<SocketAddr>) -> BTreeMap<String, Value> {
    let mut groups: BTreeMap<(bool, u16), Vec<Value>> = BTreeMap::new();
    for address in all {
        let endpoint = json!({"addresses": [address.ip()], "conditions": {"ready": true}});
        groups.entry((address.is_ipv6(), address.port())).or_default().push(endpoint);
    }
    let slice = |(n, ((is_v6, port), endpoints)): (usize, ((bool, u16), Vec<Value>))| {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        let mut labels = json!({OF_SERVICE: NAME});
        let name = match n {
            0 => NAME.to_owned(),
            _ => {
                labels[MANAGED.0] = MANAGED.1.into();
                format!("{NAME}-{}-{port}", family.to_lowercase())
            }
        };
        let slice = json!({
            "metadata": {"name": name, "labels": labels},
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        });
        (name, slice)
    };
    groups.into_iter().enumerate().map(slice).collect()
}

/// Creates an object, or changes it where it is not as wanted. What more it has is left.
async fn ensure<K: Object>(api: &Api<K>, name: &str, wanted: Value) -> Result<(), Status> {
    let held = match api.find(name).await? {
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
        Some(change) => api.patch(name, Patch::Merge(change)).await.map(drop),
        None => Ok(()),
    }
}

/// Runs the controller that keeps them.
pub(super) async fn run(host: Host, service: ApiService) -> Result<(), Status> {
    let reconcile = move |context: Context| {
        let service = service.clone();
        async move {
            if *context.name() != ours() {
                return Ok::<_, Error>(Action::Done);
            }
            let found = look(&context, &service.seen).await?;
            let client = context.client().as_user(api_server());
            service.ensure(&client, &found.live).await?;
            forget(&context, &client, &found, &service).await?;
            Ok(Action::again(found.next))
        }
    };
    let controller = host
        .controller::<Service>()
        .named("kubernetes-service-controller")
        .when(|event: &crate::watch::Event| is_ours(&event.object))
        // Also when there is nothing that could change yet.
        .named_by(futures::stream::iter([ours()]))
        .watches::<Endpoints, _, _>(|entry| is_ours(entry).then(ours))
        .watches::<EndpointSlice, _, _>(|entry| is_slice(entry).then(ours))
        .watches::<Lease, _, _>(|entry| is_masters(entry).then(ours));
    host.run(controller, reconcile).await
}

async fn look(context: &Context, seen: &Seen) -> Result<Found, Status> {
    let leases = context.cache::<Lease>().await?.list(&Query::namespace(masters::NAMESPACE));
    Ok(seen.look(&leases, context.clock().elapsed()))
}

/// Takes away what is left of masters that live no more. One that renews its Lease meanwhile keeps it.
async fn forget(
    context: &Context,
    client: &Client,
    found: &Found,
    service: &ApiService,
) -> Result<(), Status> {
    for (name, lease) in &found.dead {
        tracing::info!(lease = name, "a master has not said for its term that it lives");
        let options = DeleteOptions { revision: Some(lease.revision()), ..DeleteOptions::default() };
        gone(client.api::<Lease>(masters::NAMESPACE).delete_with(name, options).await)?;
    }
    let own = service.address.map(|(ip, port)| SocketAddr::new(ip, port));
    let wanted = slices(&own.into_iter().chain(found.live.iter().copied()).collect());
    let held = context.cache::<EndpointSlice>().await?.list(&Query::namespace(NAMESPACE));
    let is_beside =
        |entry: &&Arc<Entry>| is_slice(entry) && entry.labels().get(MANAGED.0).as_deref() == Some(MANAGED.1);
    for entry in held.iter().filter(is_beside).filter(|entry| !wanted.contains_key(entry.name().name())) {
        gone(client.api::<EndpointSlice>(NAMESPACE).delete(entry.name().name()).await)?;
    }
    Ok(())
}

/// That something is not there, or is not as it was any more, is nothing.
fn gone(outcome: Result<(), Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status),
        _ => Ok(()),
    }
}

/// The service is the API server's own.
fn api_server() -> User {
    User::named("system:apiserver").in_group("system:masters")
}

fn is_ours(entry: &Entry) -> bool {
    entry.name().namespace() == Some(NAMESPACE) && entry.name().name() == NAME
}

fn is_slice(entry: &Entry) -> bool {
    entry.name().namespace() == Some(NAMESPACE) && entry.labels().get(OF_SERVICE).as_deref() == Some(NAME)
}

fn ours() -> ObjectName {
    ObjectName::namespaced(NAMESPACE, NAME)
}
