//! What quotas hold and how much of it is used: counted when a quota comes or changes, and anew from time to time.
//!
//! In between, the writes themselves keep count (`admission/quota`), each in its own transaction, so that what is
//! counted here is as a rule what the status says already. The count is written with the revision of the quota that it
//! was made for as a precondition: of a write that was counted meanwhile, this one learns by a conflict.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::{Value, json};

use super::Host;
use crate::admission::quota::{QuotaView, usage};
use crate::admission::{Amounts, add_amounts};
use crate::api::{Kind, Status};
use crate::control::{Action, Context, Error, EveryKind, Key, Seen, Trigger, write};
use crate::meta::GroupResource;
use crate::quantity::Quantity;
use crate::watch::{Entry, Event, EventKind, Query};

/// How soon after a change of the status it is counted once more: a write that was on its way when the quota came may
/// not have been counted by either side.
const SOON: Duration = Duration::from_secs(10);
/// How often a quota is counted, as in Kubernetes.
const EVERY: Duration = Duration::from_secs(300);

/// How far a pod is in its life.
const PHASE: &str = "status.phase";
/// For how long what goes is gathered before it is counted.
const GATHER: Duration = Duration::from_secs(1);

/// Runs the controller. A server that is `ours` counts in each write what goes, too; of any other only what comes is, and
/// what goes is looked for here.
pub(super) async fn run(host: Host, ours: bool) -> Result<(), Status> {
    let controller = host.controller::<ResourceQuota>();
    let controller = match ours {
        true => controller,
        false => controller.trigger(
            Trigger::every_kind(|kind| &*kind.id.resource != "events", quotas_beside)
                .when(gives_back)
                .gathering(GATHER),
        ),
    };
    host.run(controller, move |context| reconcile(context, ours)).await
}

/// Whether less is used than before: an object went, or a pod has ended, which counts no more.
fn gives_back(event: &Event) -> bool {
    match &event.kind {
        EventKind::Added => false,
        EventKind::Modified(before) => before.field(PHASE) != event.object.field(PHASE),
        EventKind::Deleted => true,
    }
}

/// The quotas of an object's namespace.
fn quotas_beside(kinds: &EveryKind, _: &Arc<Kind>, seen: Seen<'_>) -> Vec<Key> {
    let Some(namespace) = seen.object().name().namespace() else { return Vec::new() };
    let Some((_, quotas)) = kinds.get(&GroupResource::of::<ResourceQuota>()) else { return Vec::new() };
    quotas.list(&Query::namespace(namespace)).iter().map(|quota| quota.name().clone().into()).collect()
}

async fn reconcile(context: Context, ours: bool) -> Result<Action, Error> {
    let Some(entry) = context.entry::<ResourceQuota>().await? else { return Ok(Action::Done) };
    let quota = entry.view::<QuotaView>()?;
    let hard = &quota.spec.hard;
    let used = used(&context, &entry, &quota, ours).await?;
    let (held, shown) = (status(&quota.status.hard, &quota.status.used), status(hard, &used));
    if held == shown {
        return Ok(Action::Again(EVERY));
    }
    let patch = write::difference(&held, &shown);
    write::patch_status::<ResourceQuota>(context.client(), &entry, patch).await?;
    Ok(Action::Again(SOON))
}

/// What the objects of the namespace use of what a quota counts, none of it included.
async fn used(context: &Context, entry: &Entry, quota: &QuotaView, ours: bool) -> Result<Amounts, Error> {
    let hard = &quota.spec.hard;
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    let counted: BTreeSet<GroupResource> = hard.keys().filter_map(|name| usage::kind_of(name)).collect();
    for kind in context.client().service().kinds().await? {
        if !counted.contains(&kind.id) {
            continue;
        }
        let cache = context.cache_of(&kind).await?;
        // A write of one transaction with the quota's may not be in this cache yet. Of another server's caches one that is
        // quiet learns only once a minute how far it is; there it is counted once more soon, as by Kubernetes' own.
        if ours {
            cache.reached(entry.revision()).await;
        }
        for object in cache.list(&Query::namespace(context.namespace())) {
            add_amounts(&mut used, &quota.used_by(hard, &kind.id, &object.to_value()?));
        }
    }
    Ok(used)
}

fn status(hard: &Amounts, used: &Amounts) -> Value {
    let shown = |amounts: &Amounts| -> Value {
        amounts.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect()
    };
    json!({"hard": shown(hard), "used": shown(used)})
}
