//! Carries out one plan for one DaemonSet.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::json;

use super::model::{Observed, Plan, Why, node_of};
use super::{Known, lock, template};
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Context, Error};
use crate::controllers::of_pods::{create_pod, delete_pod};
use crate::controllers::replicas::member::Member;
use crate::watch::Entry;

pub(super) struct Run<'r> {
    pub(super) context: &'r Context,
    pub(super) recorder: &'r Recorder,
    pub(super) set: &'r Arc<Entry>,
}

impl Run<'_> {
    fn about(&self) -> ObjectReference {
        reference_to::<DaemonSet>(self.set)
    }

    pub(super) async fn carry_out(
        &self,
        observed: &Observed<'_>,
        plan: &Plan<'_>,
        known: &Known,
    ) -> Result<(), Error> {
        let created = self.create(observed, &plan.create).await;
        let deletions = plan.delete.iter().map(|(member, why)| self.delete(member, *why, known));
        join_all(deletions).await.into_iter().collect::<Result<(), Error>>()?;
        match created {
            Err(status) if !write::namespace_terminating(&status) => Err(status.into()),
            _ => Ok(()),
        }
    }

    async fn create(&self, observed: &Observed<'_>, nodes: &[String]) -> Result<(), Status> {
        if nodes.is_empty() {
            return Ok(());
        }
        let set = self.set.to_value().map_err(Status::internal)?;
        let owner = owner_reference::controller::<DaemonSet>(self.set);
        let wanted = &observed.wanted;
        let mut left = nodes.iter();
        write::slow_start(nodes.len(), || {
            let pod = left
                .next()
                .map(|node| template::pod(&set, &owner, &wanted.hash, wanted.generation.as_deref(), node));
            let (context, recorder, about) = (self.context.clone(), self.recorder.clone(), self.about());
            async move {
                match pod {
                    Some(pod) => create_pod(context, recorder, about, pod).await,
                    None => Ok(()),
                }
            }
        })
        .await
    }

    async fn delete(&self, member: &Member, why: Why, known: &Known) -> Result<(), Error> {
        let name = member.entry.name();
        let full = format!("{}/{}", name.namespace().unwrap_or_default(), name.name());
        let node = node_of(member)?.unwrap_or_default();
        match why {
            Why::Failed => {
                let message = format!("Found failed daemon pod {full} on node {node}, will try to kill it");
                self.recorder.warning(&self.about(), "FailedDaemonPod", message);
                let now = self.context.clock().elapsed();
                lock(known).entry(self.context.name().clone()).or_default().replaced(&node, now);
            }
            Why::Succeeded => {
                let message =
                    format!("Found succeeded daemon pod {full} on node {node}, will try to delete it");
                self.recorder.normal(&self.about(), "SucceededDaemonPod", message);
            }
            Why::Superfluous | Why::Old => {}
        }
        let (context, recorder) = (self.context.clone(), self.recorder.clone());
        Ok(delete_pod(context, recorder, self.about(), Arc::clone(&member.entry)).await?)
    }

    pub(super) async fn report(&self, held: &DaemonSetStatus, next: &DaemonSetStatus) -> Result<(), Error> {
        if held == next {
            return Ok(());
        }
        let mut patch = write::difference(&json!(held), &json!(next));
        // Numbers that must be there, also as 0, when nothing was reported before.
        for field in ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"]
        {
            patch[field] = json!(next)[field].clone();
        }
        write::unless_gone(write::patch_status::<DaemonSet>(self.context.client(), self.set, patch).await)
    }
}
