//! How long a pod that failed is waited for before there is another. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::model::JobPod;
use crate::controllers::pod::{ContainerStatus, Pod};

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(600);

/// The failures of a Job since it last had a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// Out of the pods that were counted already, for a controller that has just begun.
    pub(super) fn remembered(pods: &[JobPod<'_>]) -> Self {
        let counted = || pods.iter().filter(|pod| !pod.tracked);
        Self::default().after(counted().filter(|pod| pod.succeeded()), counted().filter(|pod| pod.failed))
    }

    /// With pods that have just ended.
    pub(super) fn after<'p, 'o: 'p>(
        self,
        succeeded: impl Iterator<Item = &'p JobPod<'o>>,
        failed: impl Iterator<Item = &'p JobPod<'o>>,
    ) -> Self {
        let success = succeeded.filter_map(|pod| finished(pod.pod())).max();
        let held = if success.is_some() { Self::default() } else { self };
        let times =
            failed.map(|pod| finished(pod.pod())).filter(|time| success.is_none_or(|it| *time > Some(it)));
        times.fold(held, |held, time| Self { failures: held.failures + 1, last: held.last.max(time) })
    }

    /// How long there is to be no new pod yet.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        left(self.failures, self.last, now)
    }
}

/// How long the index of a pod that failed is to have no other.
pub(super) fn left_for_index(failed: &JobPod<'_>, now: Timestamp) -> Duration {
    left(failed.failures() + failed.ignored_failures() + 1, finished(failed.pod()), now)
}

/// Never longer than the delay itself, also when the clock was set back since the failure.
fn left(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|_| failures > 0) else { return Duration::ZERO };
    let doubled = 2_u32.saturating_pow(failures - 1);
    let delay = FIRST.saturating_mul(doubled).min(MOST);
    let since = now.duration_since(last).max(SignedDuration::ZERO);
    delay.saturating_sub(Duration::try_from(since).unwrap_or_default())
}

/// When a pod ended: when the last of its containers did; else since when it is not ready; else when it was asked to go.
pub(super) fn finished(pod: &Pod) -> Option<Timestamp> {
    let not_ready = || {
        let mut conditions = pod.status.conditions.iter().flatten();
        let condition = conditions.find(|held| &*held.kind == "Ready" && &*held.status == "False")?;
        Some(condition.last_transition_time.as_ref()?.0)
    };
    let asked_to_go = || {
        let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        deletion.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || Some(pod.metadata.creation_timestamp.as_ref()?.0);
    containers_finished(pod).or_else(not_ready).or_else(asked_to_go).or_else(created)
}

/// When the last container ended, side cars too; `None` as long as one has not.
fn containers_finished(pod: &Pod) -> Option<Timestamp> {
    let ended =
        |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    let is_sidecar = |status: &&ContainerStatus| {
        let mut containers = pod.spec.init_containers.iter().flatten();
        containers.any(|it| it.name == status.name && it.restart_policy.as_deref() == Some("Always"))
    };
    let sidecars = pod.status.init_container_statuses.iter().flatten().filter(is_sidecar);
    let statuses = pod.status.container_statuses.iter().flatten().chain(sidecars);
    statuses.map(ended).collect::<Option<Vec<_>>>()?.into_iter().max()
}
