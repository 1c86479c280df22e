//! Service CIDRs: the one that the cluster begins with, and the end of one only when no address in it is in use.

mod plan;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Deserialize;
use serde_json::json;

use super::Host;
use crate::admission::ServiceRanges;
use crate::api::Status;
use crate::control::{Action, Context, Error, write};
use crate::meta::ObjectName;
use crate::watch::{Entry, Query};

/// The one that the cluster begins with.
const DEFAULT: &str = "kubernetes";
/// The controller's name, also as the manager of what it writes; and who says in Kubernetes that the first range is ready.
const NAME: &str = "service-cidr-controller";
const DEFAULT_MANAGER: &str = "kubernetes-service-cidr-controller";
/// Stands for every one: an address that is no longer in use may be what one on its way out waits for.
const EVERY: &str = "";

/// What is read of a ServiceCIDR.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    metadata: Meta,
    spec: Spec,
    status: CidrStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    finalizers: Vec<String>,
    deletion_timestamp: Option<jiff::Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    cidrs: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CidrStatus {
    conditions: Vec<Condition>,
}

/// What is read of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceView {
    spec: ServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
}

/// Runs the controller. `ranges`: out of which the cluster begins to give addresses.
pub(super) async fn run(host: Host, ranges: Option<ServiceRanges>) -> Result<(), Status> {
    let first = ranges.is_some().then(|| ObjectName::cluster(DEFAULT));
    let freed = |event: &crate::watch::Event| matches!(event.kind, crate::watch::EventKind::Deleted);
    let controller = host
        .controller::<ServiceCIDR>()
        .named(NAME)
        .named_by(futures::stream::iter(first))
        .watches::<IPAddress, _, _>(|_| [ObjectName::cluster(EVERY)])
        .when(freed)
        .watches::<Service, _, _>(|_| [ObjectName::cluster(EVERY)])
        .when(freed);
    let reconcile = move |context: Context| {
        let ranges = ranges.clone();
        async move { look(&context, ranges.as_ref()).await }
    };
    host.run(controller, reconcile).await
}

async fn look(context: &Context, ranges: Option<&ServiceRanges>) -> Result<Action, Error> {
    let all = context.cache::<ServiceCIDR>().await?.list(&Query::all());
    if context.name().name() == EVERY {
        for entry in all.iter().filter(|entry| entry.is_deleting()) {
            context.run_for(entry.name().clone());
        }
        return Ok(Action::Done);
    }
    match (context.entry::<ServiceCIDR>().await?, ranges) {
        (Some(entry), _) => settle(context, &entry).await,
        (None, Some(ranges)) if context.name().name() == DEFAULT => {
            let object = json!({
                "metadata": { "name": DEFAULT },
                "spec": { "cidrs": ranges.cidrs() },
            });
            match write::create::<ServiceCIDR>(context.client(), "", object).await {
                // Another master made it.
                Err(status) if !status.is_already_exists() => Err(status.into()),
                _ => Ok(Action::Done),
            }
        }
        (None, _) => Ok(Action::Done),
    }
}

async fn settle(context: &Context, entry: &Entry) -> Result<Action, Error> {
    let view = entry.view::<View>()?;
    let used = if view.metadata.deletion_timestamp.is_some() { used(context, &view).await? } else { false };
    let next = plan::next(&view, used, context.now());
    if let Some(conditions) = next.conditions {
        // What others say is theirs.
        let ours = conditions.iter().find(|condition| condition.type_ == plan::READY);
        let status = json!({ "conditions": ours.into_iter().collect::<Vec<_>>() });
        let manager = if entry.name().name() == DEFAULT { DEFAULT_MANAGER } else { NAME };
        let written = write::apply_status::<ServiceCIDR>(context.client(), entry, manager, status).await;
        write::unless_gone(written)?;
        return Ok(Action::Done);
    }
    if let Some(finalizers) = next.finalizers {
        let change = json!({ "metadata": { "finalizers": finalizers } });
        write::unless_gone(write::patch::<ServiceCIDR>(context.client(), entry, change).await)?;
    }
    Ok(Action::again(next.again))
}

/// Whether an address is in use that is in none but these ranges.
async fn used(context: &Context, view: &View) -> Result<bool, Error> {
    let mut others = Vec::new();
    for entry in context.cache::<ServiceCIDR>().await?.list(&Query::all()) {
        if entry.name() != context.name() {
            others.extend(entry.view::<View>()?.spec.cidrs.clone());
        }
    }
    let mut addresses: Vec<String> = Vec::new();
    for entry in context.cache::<IPAddress>().await?.list(&Query::all()) {
        addresses.push(entry.name().name().to_owned());
    }
    for entry in context.cache::<Service>().await?.list(&Query::all()) {
        addresses.extend(entry.view::<ServiceView>()?.spec.cluster_ips.clone());
    }
    let only_here =
        |address: &String| plan::contains(&view.spec.cidrs, address) && !plan::contains(&others, address);
    Ok(addresses.iter().any(only_here))
}
