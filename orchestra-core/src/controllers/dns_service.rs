//! The Service `kube-dns`, at whose address pods ask for names: it is there from the start, and comes back when somebody
//! removes it. What somebody makes of it is left, so that another server can be put behind it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use serde::Deserialize as _;
use serde_json::json;

use super::Host;
use crate::api::Status;
use crate::control::{Action, Context, Error};
use crate::meta::ObjectName;
use crate::network::dns::{NAMESPACE, PROXY_LABEL, PROXY_NAME, SERVICE};
use crate::watch::Event;

/// Runs the controller that keeps it, at an address of the range of services.
pub(super) async fn run(host: Host, address: IpAddr) -> Result<(), Status> {
    let ours = ObjectName::namespaced(NAMESPACE, SERVICE);
    let reconcile = move |context: Context| async move {
        if context.name().name() == SERVICE && context.name().namespace() == Some(NAMESPACE) {
            ensure(&context, address).await?;
        }
        Ok::<_, Error>(Action::Done)
    };
    let is_ours = {
        let ours = ours.clone();
        move |event: &Event| *event.object.name() == ours
    };
    let controller = host
        .controller::<Service>()
        .named("dns-service-controller")
        .when(is_ours)
        // Also when there is nothing that could change yet.
        .named_by(futures::stream::iter([ours]));
    host.run(controller, reconcile).await
}

async fn ensure(context: &Context, address: IpAddr) -> Result<(), Status> {
    let api = context.client().api::<Service>(NAMESPACE);
    if api.find(SERVICE).await?.is_some() {
        return Ok(());
    }
    let wanted = json!({
        "metadata": {
            "name": SERVICE,
            "labels": {
                "k8s-app": SERVICE,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
                PROXY_LABEL: PROXY_NAME,
            },
        },
        "spec": {
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    });
    match api.create(&Service::deserialize(&wanted).map_err(Status::internal)?).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}
