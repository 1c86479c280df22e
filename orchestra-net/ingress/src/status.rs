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
use crate::view::{ClassView, IngressView, NodeView};
use crate::{CLASS, CONTROLLER};

/// The annotation of the class of those that name none.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// The annotation of a node that serves Ingresses: the addresses at which it is reached, with commas between. Empty where it does
/// not, as one that did before must say so.
pub const ADDRESSES: &str = "orchestra.io/ingress";

/// The addresses that Ingresses show: of the nodes that serve them and are ready, or of all that serve them where none is; where no
/// node says that it does, these of one's own. In order, as all who serve them must find the same.
pub(crate) fn shown<'v>(nodes: impl Iterator<Item = &'v NodeView>, own: &[IpAddr]) -> Vec<IpAddr> {
    let (mut ready, mut all) = (BTreeSet::new(), BTreeSet::new());
    for node in nodes {
        let said = node.metadata.annotations.get(ADDRESSES).map_or("", String::as_str);
        let addresses: Vec<IpAddr> = said.split(',').filter_map(|ip| ip.trim().parse().ok()).collect();
        let mut conditions = node.status.conditions.iter();
        if conditions.any(|condition| condition.kind == "Ready" && condition.status == "True") {
            ready.extend(addresses.iter().copied());
        }
        all.extend(addresses);
    }
    let found = [ready, all].into_iter().find(|addresses| !addresses.is_empty());
    found.map_or_else(|| own.to_vec(), |addresses| addresses.into_iter().collect())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(said: Option<&str>, ready: &str) -> NodeView {
        let annotations = said.map_or(json!({}), |said| json!({ADDRESSES: said}));
        let conditions =
            json!([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": ready}]);
        let node = json!({"metadata": {"annotations": annotations}, "status": {"conditions": conditions}});
        serde_json::from_value(node).unwrap()
    }

    fn found(nodes: &[NodeView]) -> String {
        let own = ["192.0.2.99".parse().unwrap()];
        let all: Vec<String> = shown(nodes.iter(), &own).iter().map(ToString::to_string).collect();
        all.join(" ")
    }

    #[test]
    fn ingresses_show_the_nodes_that_serve_them() {
        let silent = [node(None, "True"), node(Some(""), "True"), node(Some("nowhere"), "True")];
        assert_eq!(found(&[]), "192.0.2.99");
        assert_eq!(found(&silent), "192.0.2.99", "nobody says that it serves them");
        let lost = node(Some("192.0.2.3"), "Unknown");
        let two =
            [node(Some("192.0.2.2"), "True"), node(Some("192.0.2.1,2001:db8::1"), "True"), lost.clone()];
        assert_eq!(found(&two), "192.0.2.1 192.0.2.2 2001:db8::1");
        assert_eq!(found(&[lost]), "192.0.2.3", "better than nobody");
    }
}
