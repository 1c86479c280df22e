//! What happens to containers.
//!
//! The CRI tells of it since containerd 1.7 and CRI-O 1.26 only. Where it does not, the runtime is looked at again and again,
//! and what has changed is what happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};

use orchestra_core::runtime::{
    ContainerId, EventKind, EventStream, Filter, PodRef, Result, RuntimeError, RuntimeEvent, SandboxId,
    labels,
};
use tonic::Code;

use super::error::{self, About};
use super::proto::{
    Container, ContainerEventResponse, ContainerFilter, ContainerState as CriState, GetEventsRequest,
    PodSandboxState,
};
use super::{CriRuntime, sandbox, translate};

/// How often the runtime is looked at that does not tell.
const LOOK: Duration = Duration::from_secs(1);
/// How often one is looked at that does, so that nothing is missed for good.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// How often logs are looked at, as the kubelet does.
const ROTATE: Duration = Duration::from_secs(10);
/// How soon a runtime says that it does not tell.
const REFUSAL: Duration = Duration::from_millis(300);

/// What is there, and in which state: only that it changes matters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    containers: BTreeMap<ContainerId, (PodRef, i32)>,
    /// The logs of containers that run.
    logs: BTreeMap<ContainerId, PathBuf>,
    sandboxes: BTreeMap<SandboxId, (PodRef, bool)>,
}

impl Seen {
    /// What happened since something else was seen.
    fn since(&self, before: &Self) -> Vec<RuntimeEvent> {
        let mut events = Vec::new();
        for (id, (pod, state)) in &self.containers {
            let was = before.containers.get(id).map_or(CriState::Created as i32, |(_, state)| *state);
            let mut tell = |kind| events.push(RuntimeEvent { pod: pod.clone(), kind });
            if was == *state {
                continue;
            }
            if *state == CriState::Running as i32 {
                tell(EventKind::Started(id.clone()));
            } else if *state == CriState::Exited as i32 {
                tell(EventKind::Exited(id.clone()));
            }
        }
        for (id, (pod, _)) in before.containers.iter().filter(|(id, _)| !self.containers.contains_key(*id)) {
            events.push(RuntimeEvent { pod: pod.clone(), kind: EventKind::Removed(id.clone()) });
        }
        for (id, (pod, _)) in before.sandboxes.iter().filter(|(_, (_, ready))| *ready) {
            if self.sandboxes.get(id).is_none_or(|(_, ready)| !ready) {
                events.push(RuntimeEvent { pod: pod.clone(), kind: EventKind::SandboxStopped(id.clone()) });
            }
        }
        events
    }
}

/// Resolves when something may have happened.
type Nudges = BoxStream<'static, Result<()>>;

impl CriRuntime {
    pub(super) async fn events(&self) -> Result<EventStream> {
        let (nudges, look) = match self.told().await? {
            Some(nudges) => (nudges, LOOK_ANYWAY),
            None => (stream::pending().boxed(), LOOK),
        };
        let seen = self.seen().await?;
        let state = (self.clone(), nudges, seen, Instant::now());
        let looks = stream::try_unfold(state, move |(runtime, mut nudges, before, mut rotated)| async move {
            tokio::select! {
                nudge = nudges.next() => nudge.unwrap_or_else(|| Err(broke_off()))?,
                () = tokio::time::sleep(look) => {}
            }
            // Several at once are looked at once.
            while nudges.next().now_or_never().flatten().is_some() {}
            let now = runtime.seen().await?;
            let events = now.since(&before);
            if rotated.elapsed() >= ROTATE {
                rotated = Instant::now();
                runtime.rotate_all(&now.logs).await;
            }
            Ok::<_, RuntimeError>(Some((events, (runtime, nudges, now, rotated))))
        });
        let each = looks.flat_map(|look| match look {
            Ok(events) => stream::iter(events.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(each.boxed())
    }

    /// Logs are put aside by whoever follows containers anyway: the CRI leaves it to its client.
    async fn rotate_all(&self, logs: &BTreeMap<ContainerId, PathBuf>) {
        for (id, path) in logs {
            if let Err(error) = self.rotate(id, path).await {
                tracing::debug!(%id, %error, "a log was not put aside");
            }
        }
    }

    /// What the runtime tells of by itself; `None` if it does not.
    async fn told(&self) -> Result<Option<Nudges>> {
        let runtime = self.clone();
        let mut asked = async move { runtime.listen(GetEventsRequest {}).await }.boxed();
        match tokio::time::timeout(REFUSAL, &mut asked).await {
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(None),
            Ok(Err(status)) => Err(error::of(About::Runtime, status)),
            Ok(Ok(events)) => Ok(Some(nudges(std::future::ready(Ok(events)).boxed()))),
            // It answers with the first event, and there was none yet.
            Err(_) => Ok(Some(nudges(asked))),
        }
    }

    async fn seen(&self) -> Result<Seen> {
        let filter = Filter::default();
        let label_selector = sandbox::selector(&filter, labels::KIND_CONTAINER);
        let of_containers = ContainerFilter { label_selector, ..Default::default() };
        let (sandboxes, containers) =
            futures::try_join!(self.sandboxes(&filter), self.containers(of_containers))?;
        let pod = |all: &std::collections::HashMap<String, String>| {
            labels::pod(|key| all.get(key).map(String::as_str))
        };
        let is_running = |one: &&Container| one.state == CriState::Running as i32;
        let log = |one: &Container| {
            let log = one.annotations.get(translate::LOG)?;
            Some((ContainerId::from(one.id.as_str()), PathBuf::from(log)))
        };
        Ok(Seen {
            logs: containers.iter().filter(is_running).filter_map(log).collect(),
            containers: containers
                .into_iter()
                .filter_map(|one| Some((ContainerId::from(one.id), (pod(&one.labels)?, one.state))))
                .collect(),
            sandboxes: sandboxes
                .into_iter()
                .filter_map(|one| {
                    let ready = one.state == PodSandboxState::SandboxReady as i32;
                    Some((SandboxId::from(one.id), (pod(&one.labels)?, ready)))
                })
                .collect(),
        })
    }
}

type Answered = tonic::Result<tonic::Streaming<ContainerEventResponse>>;

fn nudges(answer: BoxFuture<'static, Answered>) -> Nudges {
    let each = stream::once(answer).flat_map(|answer| match answer {
        Ok(events) => events.map(|event| event.map(drop)).boxed(),
        Err(status) => stream::once(std::future::ready(Err(status))).boxed(),
    });
    each.map(|nudge| nudge.map_err(|status| error::of(About::Runtime, status))).boxed()
}

fn broke_off() -> RuntimeError {
    RuntimeError::Unavailable { message: "the runtime closed its stream of events".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_what_happened() {
        let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let seen = |containers: &[(&str, CriState)], sandboxes: &[(&str, bool)]| Seen {
            containers: containers
                .iter()
                .map(|(id, state)| (ContainerId::from(*id), (pod.clone(), *state as i32)))
                .collect(),
            logs: BTreeMap::new(),
            sandboxes: sandboxes
                .iter()
                .map(|(id, ready)| (SandboxId::from(*id), (pod.clone(), *ready)))
                .collect(),
        };
        use CriState::{Created, Exited, Running};
        let kinds = |now: Seen, before: Seen| -> Vec<EventKind> {
            now.since(&before).into_iter().map(|event| event.kind).collect()
        };
        let before =
            seen(&[("a", Created), ("b", Running), ("c", Exited)], &[("s", true), ("t", true), ("u", false)]);
        let now = seen(&[("a", Running), ("b", Exited), ("d", Exited), ("e", Created)], &[("s", false)]);
        assert_eq!(
            kinds(now, before.clone()),
            [
                EventKind::Started("a".into()),
                EventKind::Exited("b".into()),
                EventKind::Exited("d".into()),
                EventKind::Removed("c".into()),
                EventKind::SandboxStopped("s".into()),
                EventKind::SandboxStopped("t".into()),
            ]
        );
        assert_eq!(kinds(before.clone(), before), []);
    }
}
