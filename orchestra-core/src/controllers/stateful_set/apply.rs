//! Carries out one plan for one StatefulSet.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::claims;
use super::model::{Observed, Plan, Replica, Step};
use super::template;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Context, Error};
use crate::controllers::revisions::Revision;
use crate::watch::Entry;

pub(super) struct Run<'r> {
    pub(super) context: &'r Context,
    pub(super) recorder: &'r Recorder,
    pub(super) set: &'r Arc<Entry>,
}

/// What the steps of one plan are made with.
struct Means<'m> {
    observed: &'m Observed<'m>,
    /// The set as it stands in the API.
    set: Value,
    /// The template of the revision before.
    before: Value,
}

impl Run<'_> {
    /// One step after the other, until one fails; in parallel, batches of 1, 2, 4, ….
    pub(super) async fn carry_out(
        &self,
        observed: &Observed<'_>,
        plan: &Plan<'_>,
        before: &Revision,
    ) -> Result<(), Error> {
        if plan.steps.is_empty() {
            return Ok(());
        }
        let means = Means { observed, set: self.set.to_value()?, before: before.template() };
        let (mut left, mut batch) = (&plan.steps[..], 1);
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let outcomes = join_all(now.iter().map(|step| self.step(&means, step))).await;
            outcomes.into_iter().collect::<Result<(), Error>>()?;
            left = later;
            batch = if observed.wanted.is_ordered() { 1 } else { batch * 2 };
        }
        Ok(())
    }

    async fn step(&self, means: &Means<'_>, step: &Step<'_>) -> Result<(), Error> {
        match step {
            Step::Create { ordinal, present } => self.create(means, *ordinal, *present).await,
            Step::Delete(replica) => self.delete(replica).await,
            Step::Claim(ordinal) => Ok(self.claim(means, *ordinal).await?),
            Step::Own { claim, owners, disputed } => self.own(claim, owners, *disputed).await,
            Step::Identify(replica) => self.identify(means, replica).await,
        }
    }

    async fn create(&self, means: &Means<'_>, ordinal: u32, present: bool) -> Result<(), Error> {
        let name = format!("{}-{ordinal}", self.set.name().name());
        if let Err(status) = self.claim(means, ordinal).await {
            self.failed("Create", &name, &status);
            return Err(status.into());
        }
        let owner = owner_reference::controller::<StatefulSet>(self.set);
        let pod = if present {
            template::pod(&means.set, &means.set["spec"]["template"], &owner, &means.observed.update, ordinal)
        } else {
            template::pod(&means.set, &means.before, &owner, &means.observed.current, ordinal)
        };
        match write::create::<Pod>(self.context.client(), self.context.namespace(), pod).await {
            Ok(_) => {
                self.succeeded("Create", &name);
                Ok(())
            }
            Err(status) if write::namespace_terminating(&status) => Ok(()),
            // A pod of that name is there that is not this set's: when it goes, this runs again.
            Err(status) if status.is_already_exists() => Err(status.into()),
            Err(status) => {
                self.failed("Create", &name, &status);
                Err(status.into())
            }
        }
    }

    async fn delete(&self, replica: &Replica<'_>) -> Result<(), Error> {
        let entry = &replica.member.entry;
        match write::delete::<Pod>(self.context.client(), entry.name(), entry.uid()).await {
            Ok(_) => {
                self.succeeded("Delete", replica.name());
                Ok(())
            }
            Err(status) => {
                self.failed("Delete", replica.name(), &status);
                Err(status.into())
            }
        }
    }

    /// Makes the claims of an ordinal that are missing. One that is going away has to be gone before there is another.
    async fn claim(&self, means: &Means<'_>, ordinal: u32) -> Result<(), Status> {
        let pod = format!("{}-{ordinal}", self.set.name().name());
        for claim in claims::made(&means.set, &means.observed.wanted, ordinal) {
            let name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if let Some(held) = means.observed.claims.get(&name) {
                if held.is_deleting() {
                    return Err(Status::internal(format!("pvc {name} is being deleted")));
                }
                continue;
            }
            let set = self.set.name().name();
            let client = self.context.client();
            match write::create::<PersistentVolumeClaim>(client, self.context.namespace(), claim).await {
                Ok(_) => {
                    let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set} success");
                    self.recorder.normal(&reference_to::<StatefulSet>(self.set), "SuccessfulCreate", message);
                }
                Err(status) if status.is_already_exists() => {}
                Err(status) => {
                    let message = format!(
                        "Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {status}"
                    );
                    self.recorder.warning(&reference_to::<StatefulSet>(self.set), "FailedCreate", message);
                    return Err(status);
                }
            }
        }
        Ok(())
    }

    async fn own(&self, claim: &Entry, owners: &[Value], disputed: bool) -> Result<(), Error> {
        if disputed {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a managing controller, the \
                 retention policy is ignored for this claim",
                claim.name().name()
            );
            self.recorder.warning(&reference_to::<StatefulSet>(self.set), "ConflictingController", message);
        }
        let patch = json!({"metadata": {"ownerReferences": owners}});
        let written = write::patch::<PersistentVolumeClaim>(self.context.client(), claim, patch).await;
        write::unless_gone(written)
    }

    async fn identify(&self, means: &Means<'_>, replica: &Replica<'_>) -> Result<(), Error> {
        self.claim(means, replica.ordinal).await?;
        let mut patch = json!({"metadata": {"labels": {}}});
        for (label, value) in template::identity(replica.name(), replica.ordinal) {
            patch["metadata"]["labels"][label] = value.into();
        }
        if !replica.has_storage(&means.observed.wanted) {
            let held = replica.member.entry.to_value()?;
            let set = self.set.name().name();
            let volumes = template::volumes(&means.set, set, replica.ordinal, &held["spec"]["volumes"]);
            patch["spec"]["volumes"] = volumes.into();
        }
        match write::patch::<Pod>(self.context.client(), &replica.member.entry, patch).await {
            Ok(_) => self.succeeded("Update", replica.name()),
            Err(status) if status.is_not_found() => {}
            Err(status) => {
                self.failed("Update", replica.name(), &status);
                return Err(status.into());
            }
        }
        Ok(())
    }

    fn succeeded(&self, verb: &str, pod: &str) {
        let message = format!("{verb} Pod {pod} in StatefulSet {} successful", self.set.name().name());
        let reason = format!("Successful{verb}");
        self.recorder.normal(&reference_to::<StatefulSet>(self.set), reason, message);
    }

    fn failed(&self, verb: &str, pod: &str, status: &Status) {
        let set = self.set.name().name();
        let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {status}");
        self.recorder.warning(&reference_to::<StatefulSet>(self.set), format!("Failed{verb}"), message);
    }

    pub(super) async fn report(
        &self,
        held: &StatefulSetStatus,
        next: &StatefulSetStatus,
    ) -> Result<(), Error> {
        if held == next {
            return Ok(());
        }
        let mut patch = write::difference(&json!(held), &json!(next));
        // It must be there, also as 0, when nothing was reported before.
        patch["replicas"] = next.replicas.into();
        write::unless_gone(write::patch_status::<StatefulSet>(self.context.client(), self.set, patch).await)
    }
}
