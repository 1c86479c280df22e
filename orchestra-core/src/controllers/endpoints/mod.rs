//! Endpoints: for each Service, one object with the addresses of the pods that it selects.

mod plan;
pub(super) mod service;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use self::plan::{CONTROLLER, MANAGED_BY, OVER_CAPACITY, Plan};
use self::service::{Backend, CHANGED_AT, selector_of};
use super::Host;
use crate::api::Status;
use crate::control::write;
use crate::control::{Action, Context, Error};
use crate::meta::Object;
use crate::selector::{LabelSet, Selector};
use crate::watch::{Entry, Query};

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<Service>()
        .named(CONTROLLER)
        .selects::<Pod>(selector_of)
        // Those that users make of themselves are left alone, also before there is a Service.
        .watches::<Endpoints, _, _>(|entry| is_ours(entry).then(|| entry.name().clone()))
        .concurrency(5);
    host.run(controller, reconcile).await
}

fn is_ours(endpoints: &Entry) -> bool {
    endpoints.labels().has(MANAGED_BY, CONTROLLER)
}

async fn reconcile(context: Context) -> Result<Action, Error> {
    let held = context.cache::<Endpoints>().await?.get(context.name());
    let Some(entry) = context.entry::<Service>().await? else {
        if let Some(held) = held {
            write::delete::<Endpoints>(context.client(), held.name(), held.uid()).await?;
        }
        return Ok(Action::Done);
    };
    let service = entry.view::<service::Service>()?;
    let Some(selector) = service.selector() else { return Ok(Action::Done) };
    let backends = backends(&context, selector).await?;
    let plan = plan::plan(&entry, &service, &backends);
    let changed_at = service.changed_at(&backends);
    match held {
        Some(held) => update(&context, &held, plan, changed_at).await?,
        None => create(&context, &entry, plan, changed_at).await?,
    }
    Ok(Action::Done)
}

/// The pods that a Service selects.
pub(super) async fn backends(context: &Context, selector: Selector) -> Result<Vec<Backend>, Error> {
    let pods = context.cache::<Pod>().await?;
    let pods = pods.list(&Query::namespace(context.namespace()).labels(selector));
    Ok(pods.into_iter().map(Backend::new).collect::<Result<_, _>>()?)
}

async fn create(
    context: &Context,
    service: &Arc<Entry>,
    plan: Plan,
    changed_at: Option<Time>,
) -> Result<(), Error> {
    let mut annotations = json!({});
    if let Some(changed_at) = changed_at {
        annotations[CHANGED_AT] = json!(changed_at);
    }
    if plan.truncated {
        annotations[OVER_CAPACITY] = "truncated".into();
    }
    let metadata = json!({"name": service.name().name(), "labels": plan.labels, "annotations": annotations});
    let object = json!({"metadata": metadata, "subsets": plan.subsets});
    match write::create::<Endpoints>(context.client(), context.namespace(), object).await {
        Err(status) if !write::namespace_terminating(&status) => Err(status.into()),
        _ => Ok(()),
    }
}

async fn update(context: &Context, held: &Entry, plan: Plan, changed_at: Option<Time>) -> Result<(), Error> {
    let object: Endpoints = held.decode_bare()?;
    let annotations = object.meta().annotations.as_ref();
    let truncated = annotations.is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY));
    let same_subsets = object.subsets.as_deref().unwrap_or_default() == plan.subsets;
    if same_subsets && *held.labels() == LabelSet::new(&plan.labels) && truncated == plan.truncated {
        return Ok(());
    }
    let labels = write::difference(&json!(held.labels().to_labels()), &json!(plan.labels));
    let mut annotations = json!({CHANGED_AT: changed_at});
    if truncated != plan.truncated {
        annotations[OVER_CAPACITY] = json!(plan.truncated.then_some("truncated"));
    }
    let metadata = json!({"labels": labels, "annotations": annotations});
    let patch = json!({"metadata": metadata, "subsets": plan.subsets});
    write::patch::<Endpoints>(context.client(), held, patch).await?;
    Ok(())
}
