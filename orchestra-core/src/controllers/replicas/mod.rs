//! ReplicaSets and ReplicationControllers: as many pods as are asked for, no more and no fewer. One engine, two
//! adapters.
//!
//! `plan.rs` counts and chooses, `rank.rs` says which pods go first, `status.rs` what is reported; this file observes
//! and applies. What client-go needs expectations for, not creating a pod twice on an old state, the framework sees
//! to: no run before the caches have seen what the last one wrote.

pub(crate) mod member;
mod plan;
pub(crate) mod rank;
mod status;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Value, json};

use self::member::Member;
use self::plan::{Plan, Wanted};
use self::status::{Failure, Status as SetStatus};
use super::Host;
use super::of_pods::{create_pod, delete_pod};
use crate::api::Status;
use crate::control::claim::Claim;
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::Object;
use crate::selector::Selector;
use crate::supervise::together;
use crate::watch::{Cache, Entry, Query};

/// What differs between the two kinds.
pub(super) trait Adapter: Send + Sync + 'static {
    type Object: Object;
    /// Who speaks in events.
    const COMPONENT: &'static str;
    /// Whether pods on their way out are reported.
    const TERMINATING: bool;
    /// The selector out of the form it has in this kind.
    fn selector(spec: &Value) -> Option<Selector>;
}

/// ReplicaSets.
pub(super) struct ReplicaSets;

impl Adapter for ReplicaSets {
    type Object = ReplicaSet;
    const COMPONENT: &'static str = "replicaset-controller";
    const TERMINATING: bool = true;

    fn selector(spec: &Value) -> Option<Selector> {
        Selector::try_from(&LabelSelector::deserialize(spec).ok()?).ok()
    }
}

/// ReplicationControllers.
pub(super) struct ReplicationControllers;

impl Adapter for ReplicationControllers {
    type Object = ReplicationController;
    const COMPONENT: &'static str = "replication-controller";
    const TERMINATING: bool = false;

    fn selector(spec: &Value) -> Option<Selector> {
        let map = BTreeMap::deserialize(spec).ok()?;
        Some(Selector::from_map(&map))
    }
}

/// What is read of either kind.
#[derive(Debug, Deserialize)]
struct Set {
    spec: SetSpec,
    #[serde(default)]
    status: SetStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetSpec {
    replicas: Option<i32>,
    #[serde(default)]
    min_ready_seconds: i32,
    #[serde(default)]
    selector: Value,
    #[serde(default)]
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: TemplateMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMeta {
    labels: Option<BTreeMap<String, String>>,
}

fn wanted<A: Adapter>(entry: &Entry, set: &Set) -> Option<Wanted> {
    Some(Wanted {
        uid: entry.uid().clone(),
        deleting: entry.is_deleting(),
        replicas: set.spec.replicas.unwrap_or(1),
        min_ready_seconds: set.spec.min_ready_seconds,
        // A selector that is empty would take every pod; it is not valid, and nothing good can come of it.
        selector: A::selector(&set.spec.selector).filter(|selector| !selector.is_everything())?.into(),
        template_labels: set.spec.template.metadata.labels.clone().unwrap_or_default(),
    })
}

fn selector_of<A: Adapter>(entry: &Entry) -> Option<Selector> {
    wanted::<A>(entry, &*entry.view::<Set>().ok()?).map(|wanted| wanted.selector.selector().clone())
}

/// The controller of one of the two kinds.
pub(super) struct Replicas<A> {
    recorder: Recorder,
    kind: PhantomData<A>,
}

/// Runs the controller of one of the two kinds.
pub(super) async fn run<A: Adapter>(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(A::COMPONENT);
    let replicas = Replicas::<A> { recorder, kind: PhantomData };
    let controller = host
        .controller::<A::Object>()
        .named(A::COMPONENT)
        .owns::<Pod>()
        .selects::<Pod>(selector_of::<A>)
        .concurrency(5);
    host.run(controller, replicas).await
}

#[async_trait]
impl<A: Adapter> Reconciler for Replicas<A> {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<A::Object>().await? else { return Ok(Action::Done) };
        let set = entry.view::<Set>()?;
        let Some(wanted) = wanted::<A>(&entry, &set) else { return Ok(Action::Done) };
        let pods = context.cache::<Pod>().await?;
        let members = candidates(&pods, &wanted, context.namespace())?;
        let related = match wanted.chooses(&members) {
            true => self.related(&context, &pods, &entry).await?,
            false => Vec::new(),
        };
        let plan = plan::plan(&wanted, &members, &related, context.now());
        let run = Run::<A> { context: &context, recorder: &self.recorder, owner: &entry, kind: PhantomData };
        run.claim(&plan).await?;
        let outcome = if entry.is_deleting() { Ok(()) } else { run.manage(&plan).await };
        run.report(&set.status, &plan, outcome.as_ref().err()).await?;
        match outcome {
            Err((_, status)) if !write::namespace_terminating(&status) => Err(status.into()),
            _ => Ok(Action::again(plan.again)),
        }
    }
}

/// The pods that are the owner's, or could be.
fn candidates(pods: &Cache, wanted: &Wanted, namespace: &str) -> Result<Vec<Member>, Error> {
    let mut entries = pods.list(&Query::namespace(namespace).labels(wanted.selector.clone()));
    let owned = pods.owned_by(&wanted.uid).into_iter();
    entries.extend(owned.filter(|entry| !wanted.selector.matches(entry.labels())));
    Ok(entries.into_iter().map(Member::new).collect::<Result<_, _>>()?)
}

impl<A: Adapter> Replicas<A> {
    /// The pods of all sets that have the same owner, such as the ReplicaSets of a Deployment.
    async fn related(&self, context: &Context, pods: &Cache, entry: &Entry) -> Result<Vec<Member>, Error> {
        let siblings = match entry.controller() {
            Some(owner) => context.cache::<A::Object>().await?.owned_by(&owner.uid),
            None => Vec::new(),
        };
        let mut uids: Vec<_> = siblings.iter().map(|sibling| sibling.uid()).collect();
        if !uids.contains(&entry.uid()) {
            uids.push(entry.uid());
        }
        let members = uids.into_iter().flat_map(|uid| pods.owned_by(uid)).map(Member::new);
        Ok(members.collect::<Result<_, _>>()?)
    }
}

/// Carries out one plan for one owner.
struct Run<'r, A> {
    context: &'r Context,
    recorder: &'r Recorder,
    owner: &'r Arc<Entry>,
    kind: PhantomData<A>,
}

impl<A: Adapter> Run<'_, A> {
    fn about(&self) -> ObjectReference {
        reference_to::<A::Object>(self.owner)
    }

    async fn claim(&self, plan: &Plan) -> Result<(), Error> {
        let claim = Claim::<A::Object>::new(self.context, self.owner);
        claim.adopt::<Pod>(&plan.adopt).await?;
        claim.release::<Pod>(&plan.release).await
    }

    async fn manage(&self, plan: &Plan) -> Result<(), (&'static str, Status)> {
        if plan.create > 0 {
            self.create(plan.create).await.map_err(|status| ("FailedCreate", status))?;
        }
        let (context, recorder, about) = (self.context, self.recorder, self.about());
        let delete = |pod| delete_pod(context.clone(), recorder.clone(), about.clone(), Arc::clone(pod));
        let outcomes = together(plan.delete.iter().map(delete).collect()).await;
        outcomes.into_iter().collect::<Result<(), _>>().map_err(|status| ("FailedDelete", status))
    }

    async fn create(&self, count: usize) -> Result<(), Status> {
        let owner = self.owner.to_value().map_err(Status::internal)?;
        let template = &owner["spec"]["template"];
        let meta = &template["metadata"];
        let mut pod = json!({
            "metadata": {
                "generateName": format!("{}-", self.owner.name().name()),
                "namespace": self.context.namespace(),
                "labels": meta["labels"],
                "annotations": meta["annotations"],
                "finalizers": meta["finalizers"],
                "ownerReferences": [owner_reference::controller::<A::Object>(self.owner)],
            },
            "spec": template["spec"],
        });
        if let Some(meta) = pod["metadata"].as_object_mut() {
            meta.retain(|_, value| !value.is_null());
        }
        let (context, recorder, about) = (self.context, self.recorder, self.about());
        write::slow_start(count, || create_pod(context.clone(), recorder.clone(), about.clone(), pod.clone()))
            .await
    }

    async fn report(
        &self,
        held: &SetStatus,
        plan: &Plan,
        failure: Option<&(&'static str, Status)>,
    ) -> Result<(), Error> {
        let failure =
            failure.map(|(reason, status)| Failure { reason, message: status.message().to_owned() });
        let now = self.context.now();
        let next =
            status::next(held, plan.counts, self.owner.generation(), failure.as_ref(), A::TERMINATING, now);
        if next == *held {
            return Ok(());
        }
        let patch = status::patch(&next);
        write::unless_gone(write::patch_status::<A::Object>(self.context.client(), self.owner, patch).await)
    }
}
