//! Deployments: a new ReplicaSet for each template, and a way from the old to the new.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | the next step; pure, with the rest of what it is made of: |
//! | `bounds` | how many pods too many or too few are allowed |
//! | `scale` | how many replicas each ReplicaSet gets |
//! | `history` | revisions, annotations, and what is kept |
//! | `status` | numbers and conditions |
//! | `hash` | when two templates are the same, and what tells them apart |
//!
//! This file observes and applies. A rollback is nothing of its own: `kubectl rollout undo` puts an old template back,
//! whose ReplicaSet is found again.

mod bounds;
pub(super) mod hash;
mod history;
mod model;
mod plan;
mod scale;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::{Value, json};

use self::model::{NewSet, Observed, Plan, ReplicaSetChange, Set, TEMPLATE_HASH};
use super::Host;
use super::pod;
use crate::api::{Reply, Response, Status};
use crate::control::claim::Claim;
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::selector::Selector;
use crate::watch::{Cache, Entry};

const COMPONENT: &str = "deployment-controller";

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(COMPONENT);
    let controller = host
        .controller::<Deployment>()
        .named(COMPONENT)
        .owns::<ReplicaSet>()
        .selects::<ReplicaSet>(|entry| selector(&entry.decode_bare().ok()?))
        .reads::<Pod>()
        .concurrency(5);
    host.run(controller, Deployments { recorder }).await
}

fn selector(deployment: &Deployment) -> Option<Selector> {
    let spec = deployment.spec.as_ref()?;
    Selector::try_from(&spec.selector).ok().filter(|selector| !selector.is_everything())
}

struct Deployments {
    recorder: Recorder,
}

#[async_trait]
impl Reconciler for Deployments {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Deployment>().await? else { return Ok(Action::Done) };
        let deployment: Deployment = entry.decode_bare()?;
        let Some(selector) = selector(&deployment) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&reference_to::<Deployment>(&entry), "SelectingAll", message);
            return Ok(Action::Done);
        };
        let sets = context.cache::<ReplicaSet>().await?;
        let sets =
            Claim::<Deployment>::new(&context, &entry).settle::<ReplicaSet>(&sets, &selector.into()).await?;
        let observed = observe(&deployment, sets, &context.cache::<Pod>().await?)?;
        let plan = plan::plan(&observed, context.now());
        let run =
            Run { context: &context, recorder: &self.recorder, deployment: &deployment, observed: &observed };
        run.apply(&plan, entry).await?;
        Ok(Action::again(plan.again))
    }
}

fn observe<'o>(
    deployment: &'o Deployment,
    sets: Vec<Arc<Entry>>,
    pods: &Cache,
) -> Result<Observed<'o>, Error> {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let template = template(deployment);
    let hash = hash::template(&template, collisions);
    let mut old = sets.into_iter().map(Set::new).collect::<Result<Vec<_>, _>>()?;
    old.sort_by(|a, b| a.age_key().cmp(&b.age_key()));
    let current = position_of(&template, &hash, &old)?.map(|index| old.remove(index));
    let running = |set: &Set| -> Result<bool, Error> {
        for entry in pods.owned_by(set.entry.uid()) {
            if !pod::Pod::of(&entry)?.has_ended() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut old_pods_running = false;
    for set in &old {
        old_pods_running |= running(set)?;
    }
    Ok(Observed { deployment, current, old, hash, old_pods_running })
}

fn template(deployment: &Deployment) -> PodTemplateSpec {
    deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

/// Where in `sets` the oldest of the template is. Those with the right hash are compared first: mostly that is all.
fn position_of(template: &PodTemplateSpec, hash: &str, sets: &[Set]) -> Result<Option<usize>, Error> {
    let hashed = |set: &Set| set.entry.labels().has(TEMPLATE_HASH, hash);
    for likely in [true, false] {
        for (index, set) in sets.iter().enumerate().filter(|(_, set)| hashed(set) == likely) {
            if has_template(&set.entry, template)? {
                return Ok(Some(index));
            }
        }
    }
    Ok(None)
}

fn has_template(entry: &Entry, template: &PodTemplateSpec) -> Result<bool, Error> {
    let set: ReplicaSet = entry.decode_bare()?;
    let held = set.spec.and_then(|spec| spec.template).unwrap_or_default();
    Ok(hash::same_template(&held, template))
}

/// Carries out one plan for one Deployment.
struct Run<'r> {
    context: &'r Context,
    recorder: &'r Recorder,
    deployment: &'r Deployment,
    observed: &'r Observed<'r>,
}

impl Run<'_> {
    async fn apply(&self, plan: &Plan, mut entry: Arc<Entry>) -> Result<(), Error> {
        let client = self.context.client();
        if !plan.annotate.is_empty() {
            let patch = json!({"metadata": {"annotations": plan.annotate}});
            let noted = write::patch_beside_spec::<Deployment>(client, &entry, patch).await?;
            entry = object(noted).unwrap_or(entry);
        }
        if let Some(new) = &plan.create
            && let Some(status) = self.create(new, &entry, &plan.status).await?
        {
            return self.report(&entry, &status).await;
        }
        for change in &plan.change {
            self.change(change, &entry).await?;
        }
        for name in &plan.delete {
            let set = self.observed.old.iter().find(|set| set.name() == name);
            if let Some(set) = set {
                write::delete::<ReplicaSet>(client, set.entry.name(), set.entry.uid()).await?;
            }
        }
        self.report(&entry, &plan.status).await
    }

    /// Makes a ReplicaSet. If its name is taken by one of another template, returns a status that says so, which
    /// gives it another name the next time.
    async fn create(
        &self,
        new: &NewSet,
        entry: &Entry,
        status: &DeploymentStatus,
    ) -> Result<Option<DeploymentStatus>, Error> {
        let set = self.new_set(new, entry)?;
        let created = write::create::<ReplicaSet>(self.context.client(), self.context.namespace(), set).await;
        match created {
            Ok(_) => {
                if new.replicas > 0 {
                    let message = format!("Scaled up replica set {} from 0 to {}", new.name, new.replicas);
                    self.recorder.normal(&reference_to::<Deployment>(entry), "ScalingReplicaSet", message);
                }
                Ok(None)
            }
            Err(error) if error.is_already_exists() => Ok(self.collided(new, status).await?),
            Err(error) if write::namespace_terminating(&error) => Ok(None),
            Err(error) => self.refused(new, entry, status, error).await,
        }
    }

    async fn refused(
        &self,
        new: &NewSet,
        entry: &Entry,
        status: &DeploymentStatus,
        error: Status,
    ) -> Result<Option<DeploymentStatus>, Error> {
        const REASON: &str = "ReplicaSetCreateError";
        let message = format!("Failed to create new replica set {:?}: {error}", new.name);
        self.recorder.warning(&reference_to::<Deployment>(entry), REASON, message.clone());
        if status::progress_deadline(self.deployment).is_some() {
            let mut status = status.clone();
            let condition =
                status::condition(status::PROGRESSING, "False", REASON, &message, self.context.now());
            status::set_condition(&mut status, condition);
            self.report(entry, &status).await?;
        }
        Err(error.into())
    }

    async fn collided(
        &self,
        new: &NewSet,
        status: &DeploymentStatus,
    ) -> Result<Option<DeploymentStatus>, Status> {
        let Some(held) = self.context.api::<ReplicaSet>().find(&new.name).await? else { return Ok(None) };
        let owners = held.metadata.owner_references.iter().flatten();
        let ours = owners
            .filter(|owner| owner.controller == Some(true))
            .any(|owner| Some(&owner.uid) == self.deployment.metadata.uid.as_ref());
        let template = held.spec.and_then(|spec| spec.template).unwrap_or_default();
        if ours && hash::same_template(&template, &self::template(self.deployment)) {
            return Ok(None);
        }
        let collisions = status.collision_count.unwrap_or_default() + 1;
        tracing::info!(collisions, "the hash of the pod template is taken, choosing another");
        // What is reported of the ReplicaSet did not come about.
        let held = self.deployment.status.clone().unwrap_or_default();
        Ok(Some(DeploymentStatus { collision_count: Some(collisions), ..held }))
    }

    fn new_set(&self, new: &NewSet, entry: &Entry) -> Result<Value, Error> {
        let deployment = entry.to_value()?;
        let mut selector = deployment["spec"]["selector"].clone();
        let mut template = deployment["spec"]["template"].clone();
        selector["matchLabels"][TEMPLATE_HASH] = new.hash.as_str().into();
        template["metadata"]["labels"][TEMPLATE_HASH] = new.hash.as_str().into();
        let mut spec = json!({"replicas": new.replicas, "selector": selector});
        if let Some(seconds) = deployment["spec"].get("minReadySeconds") {
            spec["minReadySeconds"] = seconds.clone();
        }
        let labels = template["metadata"]["labels"].clone();
        spec["template"] = template;
        Ok(json!({
            "metadata": {
                "name": new.name,
                "namespace": self.context.namespace(),
                "labels": labels,
                "annotations": new.annotations,
                "ownerReferences": [owner_reference::controller::<Deployment>(entry)],
            },
            "spec": spec,
        }))
    }

    async fn change(&self, change: &ReplicaSetChange, entry: &Entry) -> Result<(), Error> {
        let all = || self.observed.old.iter().chain(&self.observed.current);
        let Some(set) = all().find(|set| set.name() == change.name) else { return Ok(()) };
        let mut patch = json!({});
        if let Some((_, to)) = change.scale {
            patch["spec"]["replicas"] = to.into();
        }
        if let Some(seconds) = change.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = seconds.into();
        }
        if !change.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(change.annotations);
        }
        // As it was read: its size was decided on what it reported.
        write::patch::<ReplicaSet>(self.context.client(), &set.entry, patch).await?;
        if let Some((from, to)) = change.scale {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {from} to {to}", change.name);
            self.recorder.normal(&reference_to::<Deployment>(entry), "ScalingReplicaSet", message);
        }
        Ok(())
    }

    async fn report(&self, entry: &Entry, status: &DeploymentStatus) -> Result<(), Error> {
        let held = self.deployment.status.clone().unwrap_or_default();
        if *status == held {
            return Ok(());
        }
        let patch = write::difference(&json!(held), &json!(status));
        write::unless_gone(write::patch_status::<Deployment>(self.context.client(), entry, patch).await)
    }
}

fn object(response: Response) -> Option<Arc<Entry>> {
    match response.reply {
        Reply::Object(entry) => Some(entry),
        Reply::List(_) | Reply::Value(_) => None,
    }
}
