//! What is written: the class, if there is none of ours, and where an Ingress is reached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use orchestra_core::api::{Client, Status};
use orchestra_core::control::write::patch_status;
use orchestra_core::watch::{Cache, Entry, Query};
use serde_json::{Value, json};

use crate::plan::Name;
use crate::view::{ClassView, IngressView};
use crate::{CLASS, CONTROLLER};

/// The annotation of the class of those that name none.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// Makes a class of ours if there is none; it is the default one if no other is.
pub(crate) async fn ensure_class(client: &Client, classes: &Cache) -> Result<(), Status> {
    let held: Vec<Arc<ClassView>> =
        classes.list(&Query::all()).iter().filter_map(|entry| entry.view().ok()).collect();
    if held.iter().any(|class| class.spec.controller == CONTROLLER) {
        return Ok(());
    }
    let is_default =
        |class: &Arc<ClassView>| class.metadata.annotations.get(DEFAULT).is_some_and(|said| said == "true");
    let mut class = json!({"metadata": {"name": CLASS}, "spec": {"controller": CONTROLLER}});
    if !held.iter().any(is_default) {
        class["metadata"]["annotations"] = json!({DEFAULT: "true"});
    }
    let class = serde_json::from_value(class).map_err(Status::internal)?;
    match client.cluster::<IngressClass>().create(&class).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

/// Has the Ingresses that are served show where they are reached.
pub(crate) async fn write(
    client: &Client,
    ingresses: &[Arc<Entry>],
    ours: &BTreeSet<Name>,
    addresses: &[IpAddr],
) -> Result<(), Status> {
    let mut outcome = Ok(());
    for entry in ingresses {
        let name = (entry.name().namespace().unwrap_or_default().to_owned(), entry.name().name().to_owned());
        let Ok(view) = entry.view::<IngressView>() else { continue };
        if !ours.contains(&name) || shows(&view, addresses) {
            continue;
        }
        let points: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let status = json!({"loadBalancer": {"ingress": points}});
        // One that changed meanwhile is looked at anew by that very change.
        if let Err(error) = patch_status::<Ingress>(client, entry, status).await
            && !error.is_conflict()
            && !error.is_not_found()
        {
            tracing::warn!(ingress = %entry.name(), %error, "an Ingress cannot show where it is reached");
            outcome = Err(error);
        }
    }
    outcome
}

fn shows(view: &IngressView, addresses: &[IpAddr]) -> bool {
    let shown = view.status.load_balancer.ingress.iter().map(|point| point.ip.parse().ok());
    shown.eq(addresses.iter().map(|address| Some(*address)))
}
