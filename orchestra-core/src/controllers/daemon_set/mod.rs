//! DaemonSets: a pod on every node that is one for it.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | which nodes get a pod and which pods go; pure, with: |
//! | `rolling` | the rolling update |
//! | `template` | the pods: bound to their node by affinity, so that the scheduler places them like all others |
//! | `failures` | how long a daemon that keeps failing is left alone |
//! | `apply` | carries it out |
//!
//! Which node is one for a pod, the scheduler's own rules say. This file observes.

mod apply;
mod failures;
mod model;
mod plan;
mod rolling;
mod template;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde::Deserialize;

use self::apply::Run;
use self::failures::Failures;
use self::model::{HASH, Observed, Wanted, node_of};
use super::Host;
use super::replicas::member::Member;
use super::revisions::{self, Present, Revision};
use crate::api::Status;
use crate::control::claim::Claim;
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::ObjectName;
use crate::scheduler::{PodInfo, Suits, suits};
use crate::selector::Selector;
use crate::watch::{Entry, Event, EventKind, Query};

const COMPONENT: &str = "daemonset-controller";

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(COMPONENT);
    let known = Known::default();
    let everywhere = Arc::clone(&known);
    let controller = host
        .controller::<DaemonSet>()
        .named(COMPONENT)
        .owns::<Pod>()
        .selects::<Pod>(|entry| selector(&*entry.view::<DaemonSet>().ok()?))
        .owns::<ControllerRevision>()
        .watches::<Node, _, _>(move |_| lock(&everywhere).keys().cloned().collect::<BTreeSet<_>>())
        .when(node_changed)
        .concurrency(2);
    host.run(controller, DaemonSets { recorder, known }).await
}

/// The DaemonSets there are, with what is to be remembered of each: every one has an interest in every node.
type Known = Arc<Mutex<HashMap<ObjectName, Failures>>>;

fn lock(known: &Known) -> MutexGuard<'_, HashMap<ObjectName, Failures>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn selector(set: &DaemonSet) -> Option<Selector> {
    let spec = set.spec.as_ref()?;
    Selector::try_from(&spec.selector).ok().filter(|selector| !selector.is_everything())
}

/// What is read of a node.
#[derive(Debug, Deserialize)]
struct NodeTaints {
    #[serde(default)]
    spec: NodeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

/// A node that only says that it is alive concerns no DaemonSet.
fn node_changed(event: &Event) -> bool {
    let EventKind::Modified(before) = &event.kind else { return true };
    let taints = |entry: &Entry| Some(entry.view::<NodeTaints>().ok()?.spec.taints.clone());
    before.labels() != event.object.labels() || taints(before) != taints(&event.object)
}

impl revisions::Owner for DaemonSet {
    const HASH_LABEL: &'static str = HASH;
}

struct DaemonSets {
    recorder: Recorder,
    known: Known,
}

#[async_trait]
impl Reconciler for DaemonSets {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<DaemonSet>().await? else {
            lock(&self.known).remove(context.name());
            return Ok(Action::Done);
        };
        lock(&self.known).entry(context.name().clone()).or_default();
        let set = entry.view::<DaemonSet>()?;
        let Some(spec) = set.spec.as_ref() else { return Ok(Action::Done) };
        let Some(selector) = selector(&set) else {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&reference_to::<DaemonSet>(&entry), "SelectingAll", message);
            return Ok(Action::Done);
        };
        // Its pods and its history may go at any time now: nothing true could be said of it.
        if entry.is_deleting() {
            return Ok(Action::Done);
        }
        let selector = selector.into();
        let claim = Claim::<DaemonSet>::new(&context, &entry);
        let history = context.cache::<ControllerRevision>().await?;
        let history = revisions::sorted(claim.settle::<ControllerRevision>(&history, &selector).await?)?;
        let pods = claim.settle::<Pod>(&context.cache::<Pod>().await?, &selector).await?;
        let members = pods.into_iter().map(Member::new).collect::<Result<Vec<_>, _>>()?;
        let run = Run { context: &context, recorder: &self.recorder, set: &entry };
        let held = set.status.clone().unwrap_or_default();
        let present = match revisions::present::<DaemonSet>(&context, &entry, &history, held.collision_count)
            .await?
        {
            Present::Is(revision) => revision,
            Present::Taken => {
                return revisions::count_collision::<DaemonSet>(&context, &entry, held.collision_count).await;
            }
        };
        let wanted = Wanted::new(&set, spec, hash_of(&present));
        let observed = self.observe(&context, &entry, wanted, &members).await?;
        let plan = plan::plan(&observed, &held, entry.generation());
        let managed = run.carry_out(&observed, &plan, &self.known).await;
        if managed.is_ok() {
            let alive = revisions::label_values(members.iter().map(|pod| &pod.entry), HASH);
            let old: Vec<_> = history.iter().filter(|it| it.name() != present.name()).collect();
            let surplus = old.len().saturating_sub(revisions::limit(spec.revision_history_limit));
            let gone = revisions::oldest_dead(old, surplus, |it| alive.contains(&hash_of(it)));
            revisions::delete(&context, &gone).await?;
        }
        run.report(&held, &plan.status).await?;
        managed?;
        Ok(Action::again(plan.again))
    }
}

/// The hash by which a revision and its pods find each other; a revision without one is known by its name.
fn hash_of(revision: &Revision) -> String {
    revision.entry.labels().get(HASH).unwrap_or_else(|| revision.name().to_owned())
}

impl DaemonSets {
    async fn observe<'o>(
        &self,
        context: &Context,
        entry: &Entry,
        wanted: Wanted<'o>,
        members: &'o [Member],
    ) -> Result<Observed<'o>, Error> {
        let template = PodInfo::from_json(template::of_template(&entry.to_value()?).to_string().as_bytes())?;
        let mut nodes: BTreeMap<String, Suits> = BTreeMap::new();
        for node in context.cache::<Node>().await?.list(&Query::all()) {
            let name = node.name().name();
            let view = node.view::<NodeTaints>()?;
            nodes.insert(name.to_owned(), suits(&template, name, node.labels(), &view.spec.taints));
        }
        let mut pods: BTreeMap<String, Vec<&Member>> = BTreeMap::new();
        for member in members {
            // One that has ended and is on its way out is the business of whoever keeps it.
            if member.pod.has_ended() && member.entry.is_deleting() {
                continue;
            }
            if let Some(node) = node_of(member)? {
                pods.entry(node).or_default().push(member);
            }
        }
        let elapsed = context.clock().elapsed();
        let mut known = lock(&self.known);
        let failures = known.entry(context.name().clone()).or_default();
        let waits = failures.waits(entry.generation(), elapsed);
        Ok(Observed { wanted, nodes, pods, waits, now: context.now() })
    }
}
