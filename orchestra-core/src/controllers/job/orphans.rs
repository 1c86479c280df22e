//! Pods that wait to be counted for a Job that is gone, has ended, or is not theirs any more: nobody will count them, so
//! nothing may keep them.

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::model::{TRACKING, Wanted};
use crate::api::{Status, split_api_version};
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::controllers::Host;
use crate::controllers::pod;
use crate::meta::{Object, ObjectName};
use crate::watch::{Entry, Event};

/// Runs the controller.
pub(in crate::controllers) async fn run(host: Host) -> Result<(), Status> {
    let controller = host.controller::<Pod>().named("job-orphan-pods").when(is_tracked).reads::<Job>();
    host.run(controller, Orphans).await
}

fn is_tracked(event: &Event) -> bool {
    event.object.mentions(TRACKING)
        && pod::Pod::of(&event.object).is_ok_and(|pod| pod.has_finalizer(TRACKING))
}

struct Orphans;

#[async_trait]
impl Reconciler for Orphans {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Pod>().await? else { return Ok(Action::Done) };
        if pod::Pod::of(&entry)?.has_finalizer(TRACKING) && is_orphan(&context, &entry).await? {
            write::remove_finalizer::<Pod>(context.client(), &entry, TRACKING).await?;
        }
        Ok(Action::Done)
    }
}

async fn is_orphan(context: &Context, pod: &Entry) -> Result<bool, Error> {
    let Some(owner) = pod.controller() else { return Ok(true) };
    if &*owner.kind != Job::KIND || split_api_version(&owner.api_version).0 != Job::GROUP {
        return Ok(false);
    }
    let name = ObjectName::new(pod.name().namespace(), &owner.name);
    let job = context.cache::<Job>().await?.get(&name).filter(|job| *job.uid() == owner.uid);
    if let Some(job) = job {
        let job = job.view::<Job>()?;
        return Ok(Wanted::of(&job).is_some_and(|it| it.is_finished() && !it.is_managed_elsewhere()));
    }
    // The cache may not know of a Job yet that the pod was made for.
    let held = context.api::<Job>().find(&owner.name).await?;
    Ok(held.is_none_or(|job| job.metadata.uid.as_deref() != Some(owner.uid.as_str())))
}
