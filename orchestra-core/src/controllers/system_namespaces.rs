//! The namespaces that every cluster has, which come back when somebody removes one.

use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

use super::Host;
use crate::api::{Body, Client, Operation, Status, Target, User};
use crate::control::{Action, Context, Error};
use crate::meta::ObjectName;

/// Their names.
pub(crate) const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let all = futures::stream::iter(SYSTEM_NAMESPACES.map(ObjectName::cluster));
    let controller = host.controller::<Namespace>().named("system-namespaces").named_by(all);
    host.run(controller, |context: Context| async move {
        let name = context.name().name();
        if SYSTEM_NAMESPACES.contains(&name) && context.entry::<Namespace>().await?.is_none() {
            // They are the API server's own.
            let user = User::named("system:apiserver").in_group("system:masters");
            ensure(&context.client().as_user(user), name).await?;
        }
        Ok::<_, Error>(Action::Done)
    })
    .await
}

async fn ensure(client: &Client, name: &str) -> Result<(), Status> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let create = Operation::Create { body: Body::Value(namespace), options: Default::default() };
    match client.call(Target::of::<Namespace>(None), create).await {
        // Another master made it.
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}
