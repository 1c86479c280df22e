//! Looking whether the node runs short of something, and telling the pod that has to go.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::collect;
use super::context::Context;
use super::pressure::{Met, Pressure, Short, Tenant, met, victim};
use super::static_pods;
use crate::runtime::{ContainerStats, Filter};

/// Looks once. One pod at most has to go each time: what it gives back is seen before the next. Where it is the disk that is
/// short, room is made first of what no pod needs.
pub(super) async fn look(ctx: &Context, pressure: &mut Pressure, made_room: &mut bool) {
    let now = ctx.now();
    if !ctx.runtime.capabilities().stats {
        return;
    }
    let stats = match ctx.runtime.machine_stats().await {
        Ok(stats) => stats,
        Err(error) => return tracing::debug!(node = ctx.name, %error, "how full the node is, is not known"),
    };
    let met = met(&stats, &ctx.config.eviction);
    pressure.take(&met, now);
    let Some(first) = met.first() else { return *made_room = false };
    *made_room = first.short == Short::Disk && !*made_room && collect::make_room(ctx).await;
    if !*made_room {
        evict(ctx, first).await;
    }
}

async fn evict(ctx: &Context, met: &Met) {
    let tenants = tenants(ctx, met.short).await;
    let Some((pod, why)) = victim(&tenants, met) else { return };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if let Some(mailbox) = ctx.residents.get(uid) {
        tracing::warn!(node = ctx.name, pod = pod.metadata.name, why = why.message, "a pod is evicted");
        mailbox.put_evicted(why);
    }
}

/// The pods of the node that may have to go, with what they take of what is short.
async fn tenants(ctx: &Context, short: Short) -> Vec<Tenant> {
    let stats = ctx.runtime.stats(&Filter::owner(ctx.owner())).await.unwrap_or_default();
    let amount = |one: &ContainerStats| match short {
        Short::Memory => one.memory_working_set_bytes,
        Short::Disk => one.disk_bytes,
        Short::Processes => 0,
    };
    let mut used = BTreeMap::<&str, BTreeMap<String, u64>>::new();
    for one in &stats {
        used.entry(&one.pod.uid).or_default().insert(one.container.clone(), amount(one));
    }
    // What nobody but the node knows is not given up by it.
    let entries = ctx.residents.all().into_iter().map(|mailbox| mailbox.entry());
    let pods = entries
        .filter(|entry| !static_pods::is_static(entry))
        .filter_map(|entry| entry.decode_bare::<Pod>().ok());
    pods.map(|pod| {
        let used = used.get(pod.metadata.uid.as_deref().unwrap_or_default()).cloned().unwrap_or_default();
        Tenant { pod: pod.clone(), used }
    })
    .collect()
}
