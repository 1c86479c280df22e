//! Disruption budgets: how many of the pods that each selects may go of somebody's will.
//!
//! The controller counts; evictions take from what it counted, each in the transaction that deletes its pod
//! (`admission/disruption`). The count is written only over the status that it was made from, so that an eviction in
//! between makes it count again.

mod plan;
mod scale;
mod stale;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use serde_json::json;

use self::plan::Member;
use super::words::as_go;
use super::{Host, pod};
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, Reconciler, write};
use crate::selector::Selector;
use crate::watch::{Entry, EntryError, Query};

pub(super) use self::stale::run as run_stale;

struct Disruption {
    recorder: Recorder,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<PodDisruptionBudget>()
        .named("disruption-controller")
        .selects::<Pod>(selector_of)
        .reads::<ReplicationController>()
        .reads::<ReplicaSet>()
        .reads::<Deployment>()
        .reads::<StatefulSet>();
    let recorder = host.recorder("controllermanager");
    host.run(controller, Disruption { recorder }).await
}

fn selector_of(budget: &Entry) -> Option<Selector> {
    let budget: PodDisruptionBudget = budget.decode_bare().ok()?;
    Selector::try_from(&budget.spec?.selector?).ok()
}

#[async_trait]
impl Reconciler for Disruption {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<PodDisruptionBudget>().await? else { return Ok(Action::Done) };
        let budget: PodDisruptionBudget = entry.decode_bare()?;
        let (spec, held) = (budget.spec.unwrap_or_default(), budget.status.unwrap_or_default());
        let about = reference_to::<PodDisruptionBudget>(&entry);
        let pods = pods(&context, &entry).await?;
        if pods.is_empty() {
            self.recorder.normal(&about, "NoPods", "No matching pods found");
        }
        let members: Vec<Member> = pods.iter().map(|pod| member(pod)).collect::<Result<_, _>>()?;
        let wanted = match plan::asks_controllers(&spec) {
            true => scale::wanted(&context, &pods).await?,
            false => Ok(scale::Wanted::default()),
        };
        let (status, next) = match wanted {
            Ok(wanted) => {
                if wanted.unmanaged {
                    self.recorder.warning(&about, "UnmanagedPods", unmanaged(&spec));
                }
                self.counted((&entry, &spec, &held), &members, wanted.replicas, context.now())
            }
            Err(why) => {
                let told = format!("Failed to calculate the number of expected pods: {why}");
                self.recorder.warning(&about, "CalculateExpectedPodCountFailed", told);
                (plan::failed(&held, &why, context.now()), None)
            }
        };
        if status != held {
            let patch = write::difference(&json!(held), &json!(status));
            write::unless_gone(
                write::patch_status::<PodDisruptionBudget>(context.client(), &entry, patch).await,
            )?;
        }
        Ok(Action::again(next))
    }
}

impl Disruption {
    /// The status, and when the next eviction that is under way lapses.
    fn counted(
        &self,
        (entry, spec, held): (&Entry, &PodDisruptionBudgetSpec, &PodDisruptionBudgetStatus),
        members: &[Member],
        wanted: i32,
        now: jiff::Timestamp,
    ) -> (PodDisruptionBudgetStatus, Option<std::time::Duration>) {
        let granted = held.disrupted_pods.clone().unwrap_or_default();
        let under_way = plan::under_way(&granted, members, now);
        for name in &under_way.lapsed {
            let told = format!("Pod {name} was expected by PDB {} to be deleted but it wasn't", entry.name());
            self.recorder.warning(&reference_to::<PodDisruptionBudget>(entry), "NotDeleted", told);
        }
        let demand = plan::demand(spec, i32::try_from(members.len()).unwrap_or(i32::MAX), wanted);
        let healthy = plan::healthy(members, &under_way.pods);
        (plan::status(held, entry.generation(), demand, healthy, under_way.pods, now), under_way.next)
    }
}

/// The pods of a budget. One without a selector has none.
async fn pods(context: &Context, entry: &Entry) -> Result<Vec<Arc<Entry>>, Error> {
    let Some(selector) = selector_of(entry) else { return Ok(Vec::new()) };
    let cache = context.cache::<Pod>().await?;
    // A pod may have been marked in the transaction that took from the budget.
    cache.reached(entry.revision()).await;
    Ok(cache.list(&Query::namespace(context.namespace()).labels(selector)))
}

fn member(entry: &Entry) -> Result<Member, EntryError> {
    let pod = entry.view::<pod::Pod>()?;
    Ok(Member { name: entry.name().name().to_owned(), ready: pod.is_ready(), deleting: entry.is_deleting() })
}

fn unmanaged(spec: &PodDisruptionBudgetSpec) -> String {
    let selector = as_go(spec.selector.as_ref());
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of \
         the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods \
         please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}
