//! EndpointSlices: the addresses of the pods of a Service, in slices of at most a hundred, and a copy of what users
//! write into Endpoints for Services without a selector.
//!
//! `desired.rs` says what is to be, `plan.rs` how it is cut so that little changes.

mod desired;
mod plan;

use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use self::desired::{MANAGED_BY, SERVICE_NAME};
use self::plan::{Desired, Held, New, Plan, endpoint_port};
use super::Host;
use super::endpoints::backends;
use super::endpoints::service::{self, CHANGED_AT, Family, Port, selector_of};
use crate::api::Status;
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Action, Context, Error};
use crate::meta::{Object, ObjectName, Uid};
use crate::selector::Labels;
use crate::watch::Entry;

const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Runs the controller of slices for Services with a selector.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<Service>()
        .named("endpointslice-controller")
        .selects::<Pod>(selector_of)
        .named_by_label::<EndpointSlice>(SERVICE_NAME)
        .reads::<Node>()
        .concurrency(5);
    host.run(controller, reconcile).await
}

async fn reconcile(context: Context) -> Result<Action, Error> {
    // The slices of a Service that is gone go with it: it owns them.
    let Some(entry) = context.entry::<Service>().await? else { return Ok(Action::Done) };
    let service = entry.view::<service::Service>()?;
    let Some(selector) = service.selector() else { return Ok(Action::Done) };
    if entry.is_deleting() {
        return Ok(Action::Done);
    }
    let nodes = context.cache::<Node>().await?;
    let zone = |node: &str| nodes.get(&ObjectName::cluster(node))?.labels().get(ZONE);
    let backends = backends(&context, selector).await?;
    let desired = desired::of_service(&entry, &service, &backends, CONTROLLER, zone);
    settle::<Service>(&context, CONTROLLER, &desired, &entry).await?;
    Ok(Action::Done)
}

/// Runs the controller of slices that mirror what users wrote.
pub(super) async fn run_mirroring(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<Endpoints>()
        .named("endpointslicemirroring-controller")
        .watches::<Service, _, _>(|entry| [entry.name().clone()])
        .named_by_label::<EndpointSlice>(SERVICE_NAME);
    host.run(controller, mirror).await
}

async fn mirror(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<Endpoints>().await? else { return Ok(Action::Done) };
    let service = context.cache::<Service>().await?.get(context.name());
    if is_mirrored(&entry, service.as_deref()) {
        let desired = desired::mirrored(&entry, &entry.decode_bare()?, MIRROR);
        settle::<Endpoints>(&context, MIRROR, &desired, &entry).await?;
    } else {
        settle::<Endpoints>(&context, MIRROR, &Desired::default(), &entry).await?;
    }
    Ok(Action::Done)
}

/// Whether Endpoints are a user's own, for a Service that has no selector.
fn is_mirrored(endpoints: &Entry, service: Option<&Entry>) -> bool {
    let skipped = endpoints.labels().has(SKIP_MIRROR, "true");
    let managed = endpoints.labels().has_key(ENDPOINTS_MANAGED_BY);
    let selects = |service: &Entry| {
        let view = service.view::<service::Service>();
        view.is_ok_and(|view| view.spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()))
    };
    !skipped && !managed && !endpoints.is_deleting() && service.is_some_and(|service| !selects(service))
}

/// Makes the slices of one manager hold what is desired.
async fn settle<O: Object>(
    context: &Context,
    manager: &str,
    desired: &Desired,
    owner: &Entry,
) -> Result<(), Error> {
    let entries = held(context, manager, owner.uid()).await?;
    let slices = entries.iter().map(|entry| slice(entry)).collect::<Result<Vec<_>, Error>>()?;
    let Plan { create, update, reuse, delete } = plan::plan(desired, &slices);
    let annotations = annotations(desired);
    let entry = |name: &str| entries.iter().find(|entry| entry.name().name() == name);
    for (name, endpoints) in update {
        let Some(entry) = entry(&name) else { continue };
        let labels = write::difference(&json!(entry.labels().to_labels()), &json!(desired.labels));
        let metadata = json!({"labels": labels, "annotations": annotations});
        let patch = json!({"metadata": metadata, "endpoints": endpoints});
        write::patch::<EndpointSlice>(context.client(), entry, patch).await?;
    }
    for (name, new) in reuse {
        let Some(entry) = entry(&name) else { continue };
        let labels = write::difference(&json!(entry.labels().to_labels()), &json!(desired.labels));
        let ports: Vec<_> = new.ports.iter().map(endpoint_port).collect();
        let metadata = json!({"labels": labels, "annotations": annotations});
        let patch = json!({"metadata": metadata, "endpoints": new.endpoints, "ports": ports});
        write::patch::<EndpointSlice>(context.client(), entry, patch).await?;
    }
    for new in create {
        let mut slice = new_slice(context, &desired.labels, owner_reference::controller::<O>(owner), &new);
        slice["metadata"]["annotations"] = annotations.clone();
        match write::create::<EndpointSlice>(context.client(), context.namespace(), slice).await {
            Err(status) if !write::namespace_terminating(&status) => return Err(status.into()),
            _ => {}
        }
    }
    for name in delete {
        let Some(entry) = entry(&name) else { continue };
        write::delete::<EndpointSlice>(context.client(), entry.name(), entry.uid()).await?;
    }
    Ok(())
}

/// What a slice that changes says of why.
fn annotations(desired: &Desired) -> Value {
    match &desired.changed_at {
        Some(time) => json!({ CHANGED_AT: time }),
        None => json!({}),
    }
}

async fn held(context: &Context, manager: &str, owner: &Uid) -> Result<Vec<std::sync::Arc<Entry>>, Error> {
    let mut held = context.cache::<EndpointSlice>().await?.owned_by(owner);
    held.retain(|entry| !entry.is_deleting() && entry.labels().has(MANAGED_BY, manager));
    Ok(held)
}

fn slice(entry: &Entry) -> Result<Held, Error> {
    let slice: EndpointSlice = entry.decode_bare()?;
    let family = match slice.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    };
    let port = |port: k8s_openapi::api::discovery::v1::EndpointPort| Port {
        name: port.name.unwrap_or_default(),
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        port: port.port,
        app_protocol: port.app_protocol,
    };
    Ok(Held {
        name: entry.name().name().to_owned(),
        family,
        ports: slice.ports.into_iter().flatten().map(port).collect(),
        labels: entry.labels().to_labels(),
        endpoints: slice.endpoints.unwrap_or_default(),
    })
}

fn new_slice(context: &Context, labels: &Labels, owner: Value, new: &New) -> Value {
    let ports: Vec<_> = new.ports.iter().map(endpoint_port).collect();
    json!({
        "metadata": {
            "generateName": format!("{}-", context.name().name()),
            "namespace": context.namespace(),
            "labels": labels,
            "ownerReferences": [owner],
        },
        "addressType": new.family.as_str(),
        "endpoints": new.endpoints,
        "ports": ports,
    })
}
