//! How much of the node's disk a pod may take. What is too much is pure; how much it is, is asked of the host.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::context::Context;
use super::model::{Failure, LEAST_GRACE};
use super::ports::VolumeUsage;
use super::pressure::EVICTED;
use super::resources::limit;
use super::translate::pod_ref;
use crate::quantity::Quantity;
use crate::runtime::names;

/// How often it is looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
const RESOURCE: &str = "ephemeral-storage";

/// What a pod takes, in bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    volumes: Vec<VolumeUsage>,
    logs: u64,
    /// What each container wrote into its own files.
    written: BTreeMap<String, u64>,
}

/// Whether there is anything of which a pod may take only so much.
pub(super) fn is_limited(spec: &PodSpec) -> bool {
    size_limits(spec).next().is_some() || takes_are_limited(spec)
}

fn takes_are_limited(spec: &PodSpec) -> bool {
    spec.containers.iter().any(|container| limit(container, RESOURCE).is_some())
}

/// The volumes that have a size, with it.
fn size_limits(spec: &PodSpec) -> impl Iterator<Item = (&str, Quantity)> {
    spec.volumes.iter().flatten().filter_map(|volume| {
        let size = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let size = Quantity::parse(&size.0).ok().filter(|size| size.value() > 0)?;
        Some((volume.name.as_str(), size))
    })
}

/// What a pod takes now. What cannot be found out counts as nothing.
pub(super) async fn taken(ctx: &Context, pod: &Pod) -> Taken {
    let reference = pod_ref(pod);
    let volumes = ctx.volumes.usage(&reference).await.unwrap_or_default();
    if !pod.spec.as_ref().is_some_and(takes_are_limited) {
        return Taken { volumes, ..Taken::default() };
    }
    let logs = ctx.config.log_root.join(names::log_directory(&reference));
    let stats = ctx.runtime.stats(&ctx.filter(&reference.uid)).await.unwrap_or_default();
    Taken {
        volumes,
        logs: ctx.volumes.size_of(&logs).await.unwrap_or(0),
        written: stats.into_iter().map(|one| (one.container, one.disk_bytes)).collect(),
    }
}

/// Why a pod has to go, if it takes too much.
pub(super) fn exceeded(spec: &PodSpec, taken: &Taken) -> Option<Failure> {
    let because = |message: String| Failure { reason: EVICTED.into(), message, grace: Some(LEAST_GRACE) };
    let too_much = |bytes: u64, most: &Quantity| bytes > most.value().max(0).unsigned_abs();
    for (name, most) in size_limits(spec) {
        let used = taken.volumes.iter().find(|volume| volume.volume == name).map_or(0, |volume| volume.bytes);
        if too_much(used, &most) {
            return Some(because(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit \"{most}\". "
            )));
        }
    }
    let limits: Vec<_> =
        spec.containers.iter().map(|container| (container, limit(container, RESOURCE))).collect();
    // A pod is limited as a whole only if all of it is.
    if !limits.is_empty() && limits.iter().all(|(_, most)| most.is_some()) {
        let most: Quantity = limits.iter().filter_map(|(_, most)| *most).sum();
        let volumes: u64 =
            taken.volumes.iter().filter(|volume| !volume.memory).map(|volume| volume.bytes).sum();
        if too_much(taken.written.values().sum::<u64>() + taken.logs + volumes, &most) {
            return Some(because(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {most}. "
            )));
        }
    }
    limits.into_iter().find_map(|(container, most)| {
        let (used, most) = (*taken.written.get(&container.name)?, most?);
        too_much(used, &most).then(|| {
            because(format!(
                "Container {} exceeded its local ephemeral storage limit \"{most}\". ",
                container.name
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MEBIBYTE: u64 = 1 << 20;

    fn spec(sizes: &[(&str, &str)], limits: &[(&str, &str)]) -> PodSpec {
        let volumes: Vec<_> =
            sizes.iter().map(|(name, size)| json!({"name": name, "emptyDir": {"sizeLimit": size}})).collect();
        let containers: Vec<_> = limits
            .iter()
            .map(|(name, most)| match *most {
                "" => json!({"name": name}),
                most => json!({"name": name, "resources": {"limits": {"ephemeral-storage": most}}}),
            })
            .collect();
        serde_json::from_value(json!({"volumes": volumes, "containers": containers})).unwrap()
    }

    fn taken(volumes: &[(&str, u64, bool)], logs: u64, written: &[(&str, u64)]) -> Taken {
        let volume = |(name, size, memory): &(&str, u64, bool)| VolumeUsage {
            volume: (*name).to_owned(),
            bytes: size * MEBIBYTE,
            inodes: 1,
            memory: *memory,
        };
        Taken {
            volumes: volumes.iter().map(volume).collect(),
            logs: logs * MEBIBYTE,
            written: written.iter().map(|(name, size)| ((*name).to_owned(), size * MEBIBYTE)).collect(),
        }
    }

    #[test]
    fn what_is_too_much() {
        let plain = [("a", "")];
        for (sizes, limits, taken, said) in [
            (&[("v", "10Mi")][..], &plain[..], taken(&[("v", 10, false)], 0, &[]), None),
            (
                &[("v", "10Mi")],
                &plain,
                taken(&[("v", 11, true)], 0, &[]),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"10Mi\". "),
            ),
            (&[("v", "0")], &plain, taken(&[("v", 11, false)], 0, &[]), None),
            (
                &[],
                &[("a", "5Mi"), ("b", "5Mi")],
                taken(&[("v", 4, false), ("m", 100, true)], 4, &[("a", 2), ("b", 1)]),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
            ),
            (
                &[],
                &[("a", "5Mi"), ("b", "")],
                taken(&[("v", 40, false)], 4, &[("a", 6), ("b", 9)]),
                Some("Container a exceeded its local ephemeral storage limit \"5Mi\". "),
            ),
            (&[], &[("a", "5Mi"), ("b", "")], taken(&[("v", 40, false)], 4, &[("a", 5), ("b", 9)]), None),
            (&[], &[("a", "")], taken(&[("v", 40, false)], 4, &[("a", 50)]), None),
        ] {
            let spec = spec(sizes, limits);
            let found = exceeded(&spec, &taken);
            assert_eq!(found.map(|failure| failure.message).as_deref(), said, "{taken:?}");
            assert_eq!(is_limited(&spec), sizes.iter().any(|(_, size)| *size != "0") || limits != plain);
        }
    }
}
