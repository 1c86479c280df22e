//! StatefulSets: pods that have names, an order and claims of their own.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | which pods come, which go, in which order; pure, with: |
//! | `claims` | the claims of pods, and who owns them |
//! | `template` | the pods it makes |
//! | `apply` | carries it out |
//!
//! This file observes. Templates of the past are ControllerRevisions; a pod below the partition is made from the one that
//! the pods had before.

mod apply;
mod claims;
mod held_claims;
mod model;
mod plan;
mod template;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use self::apply::Run;
use self::held_claims::Claims;
use self::model::{Observed, REVISION, Replica, Wanted, ordinal};
use super::Host;
use super::replicas::member::Member;
use super::revisions::{self, Present, Revision};
use crate::api::Status;
use crate::control::claim::Claim;
use crate::control::events::Recorder;
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::ObjectName;
use crate::selector::Selector;
use crate::watch::Entry;

const COMPONENT: &str = "statefulset-controller";

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(COMPONENT);
    let controller = host
        .controller::<StatefulSet>()
        .named(COMPONENT)
        .owns::<Pod>()
        .selects::<Pod>(|entry| selector(&*entry.view::<StatefulSet>().ok()?))
        .owns::<ControllerRevision>()
        .watches::<PersistentVolumeClaim, _, _>(sets_of_claim)
        .concurrency(5);
    host.run(controller, StatefulSets { recorder }).await
}

fn selector(set: &StatefulSet) -> Option<Selector> {
    let spec = set.spec.as_ref()?;
    Selector::try_from(&spec.selector).ok().filter(|selector| !selector.is_everything())
}

/// The StatefulSets that a claim may be of, by its name `TEMPLATE-SET-ORDINAL`: there is no other tie between the two when
/// claims are kept.
fn sets_of_claim(claim: &Entry) -> Vec<ObjectName> {
    let name = claim.name().name();
    let Some((rest, number)) = name.rsplit_once('-') else { return Vec::new() };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let dashes = rest.match_indices('-').map(|(at, _)| &rest[at + 1..]);
    dashes.map(|set| ObjectName::new(claim.name().namespace(), set)).collect()
}

impl revisions::Owner for StatefulSet {
    const HASH_LABEL: &'static str = "controller.kubernetes.io/hash";
}

struct StatefulSets {
    recorder: Recorder,
}

#[async_trait]
impl Reconciler for StatefulSets {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<StatefulSet>().await? else { return Ok(Action::Done) };
        let set = entry.view::<StatefulSet>()?;
        let Some(spec) = set.spec.as_ref() else { return Ok(Action::Done) };
        let Some(selector) = selector(&set).map(Into::into) else { return Ok(Action::Done) };
        let wanted = Wanted { entry: &entry, spec };
        let claim = Claim::<StatefulSet>::new(&context, &entry);
        let history = context.cache::<ControllerRevision>().await?;
        let history = revisions::sorted(claim.settle::<ControllerRevision>(&history, &selector).await?)?;
        let pods = context.cache::<Pod>().await?;
        let is_member = |pod: &Entry| ordinal(wanted.name(), pod.name().name()).is_some();
        let pods = claim.settle_those::<Pod>(&pods, &selector, is_member).await?;
        let members = pods.into_iter().map(Member::new).collect::<Result<Vec<_>, _>>()?;
        let held = set.status.clone().unwrap_or_default();
        let run = Run { context: &context, recorder: &self.recorder, set: &entry };
        let present = if entry.is_deleting() {
            history.last().cloned()
        } else {
            match revisions::present::<StatefulSet>(&context, &entry, &history, held.collision_count).await? {
                Present::Is(revision) => Some(revision),
                Present::Taken => {
                    return revisions::count_collision::<StatefulSet>(&context, &entry, held.collision_count)
                        .await;
                }
            }
        };
        // Its history went before it: nothing true could be said of it.
        let Some(present) = present else { return Ok(Action::Done) };
        let before = current(&history, &held, &present);
        let observed = observe(&context, wanted, &members, before, &present).await?;
        let plan = plan::plan(&observed, &held);
        let done = run.carry_out(&observed, &plan, before).await;
        run.report(&held, &plan.status).await?;
        forget(&context, &observed, &history).await?;
        done?;
        Ok(Action::again(plan.again))
    }
}

/// The revision that the pods had before, as the status says; the present one if it says none.
fn current<'r>(history: &'r [Revision], held: &StatefulSetStatus, present: &'r Revision) -> &'r Revision {
    let said = held.current_revision.as_deref();
    history.iter().find(|revision| Some(revision.name()) == said).unwrap_or(present)
}

async fn observe<'o>(
    context: &Context,
    wanted: Wanted<'o>,
    members: &'o [Member],
    before: &Revision,
    present: &Revision,
) -> Result<Observed<'o>, Error> {
    let mut pods: Vec<Replica<'o>> =
        members.iter().filter_map(|member| Replica::of(wanted.name(), member)).collect();
    pods.sort_by_key(|pod| pod.ordinal);
    let ordinals = wanted.ordinals().chain(pods.iter().map(|pod| pod.ordinal));
    let cache = context.cache::<PersistentVolumeClaim>().await?;
    let claims = {
        let names = ordinals.flat_map(|ordinal| claims::names(&wanted, ordinal));
        Claims::read(wanted.entry.name().namespace(), names, &cache)
    };
    Ok(Observed {
        claims,
        wanted,
        pods,
        current: before.name().to_owned(),
        update: present.name().to_owned(),
        now: context.now(),
    })
}

/// Deletes old revisions beyond the limit that no pod is of.
async fn forget(context: &Context, observed: &Observed<'_>, history: &[Revision]) -> Result<(), Error> {
    if observed.wanted.entry.is_deleting() {
        return Ok(());
    }
    let pods: Vec<&Arc<Entry>> = observed.pods.iter().map(|pod| &pod.member.entry).collect();
    let mut alive = revisions::label_values(pods.into_iter(), REVISION);
    alive.extend([observed.current.clone(), observed.update.clone()]);
    let is_alive = |revision: &Revision| alive.contains(revision.name());
    let dead = history.iter().filter(|revision| !is_alive(revision)).count();
    let surplus = dead.saturating_sub(revisions::limit(observed.wanted.spec.revision_history_limit));
    revisions::delete(context, &revisions::oldest_dead(history, surplus, is_alive)).await
}
