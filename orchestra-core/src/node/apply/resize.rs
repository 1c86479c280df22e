//! Giving containers, and pods as a whole, other amounts of processors and memory while they run.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, ResourceRequirements};

use super::Executor;
use crate::node::backoff::add;
use crate::node::context::about;
use crate::node::model::{Unresized, containers};
use crate::node::resize::{
    DEFERRED, ERROR, INFEASIBLE, all_asked, as_allotted, asked, asked_of_pod, inherits,
};
use crate::node::resources::{for_runtime, of_pod};
use crate::node::room::{self, NoRoom};
use crate::node::stop::Stop;
use crate::node::translate::pod_ref;
use crate::runtime::{ContainerId, Resources, RuntimeError, SandboxId};

/// How soon it is tried again to give what could not be given.
const RETRY: Duration = Duration::from_secs(30);

impl Executor<'_> {
    /// Gives a running container what its pod asks for by now.
    pub(super) async fn resize(&mut self, name: &str, id: &ContainerId) -> Result<(), Stop> {
        let wanted = self.wanted(name)?;
        let figures = for_runtime(self.pod, &wanted, self.ctx.machine.memory_bytes);
        let (asked, about) = (asked(&wanted), about(self.pod, Some(name)));
        if !self.has_room_for(&wanted, id) {
            return Ok(());
        }
        match self.update(&[(id, figures)]).await {
            Ok(()) => {
                self.memory.unresized.remove(id);
                self.memory.given.insert(id.clone(), asked);
                self.ctx.normal(&about, "ResizeCompleted", "Container resized");
                Ok(())
            }
            Err(error) => {
                let failed = self.unresized(asked, error)?;
                self.ctx.warning(&about, "ResizeError", failed.message.clone());
                self.memory.unresized.insert(id.clone(), failed);
                Ok(())
            }
        }
    }

    /// Whether the node has room for what the pod asks for by now. If not, its container keeps what it has.
    pub(super) fn has_room_for(&mut self, wanted: &Wanted, id: &ContainerId) -> bool {
        let before = self.memory.unresized.get(id).cloned();
        let none = self.without_room(&asked(wanted), before);
        let has_room = none.is_none();
        if let Some(none) = none {
            self.memory.unresized.insert(id.clone(), none);
        }
        has_room
    }

    /// Gives a pod what it asks for as a whole by now, and with it the containers that its limits hold.
    pub(super) async fn resize_pod(&mut self, sandbox: &SandboxId) -> Result<(), Stop> {
        let spec = self.spec()?;
        let machine = self.ctx.machine.memory_bytes;
        let held: Vec<_> = containers(spec)
            .filter(|(_, wanted)| inherits(spec, wanted))
            .filter_map(|(_, wanted)| {
                let life = self.seen.latest(&wanted.name).filter(|life| life.state.is_running())?;
                Some((&life.id, for_runtime(self.pod, wanted, machine)))
            })
            .collect();
        let (asked, about) = (asked_of_pod(spec), about(self.pod, None));
        let before = self.memory.unresized_pod.clone();
        if let Some(none) = self.without_room(&asked, before) {
            self.memory.unresized_pod = Some(none);
            return Ok(());
        }
        match self.update(&held).await {
            Ok(()) => {
                self.memory.unresized_pod = None;
                self.memory.given_pod = Some((sandbox.clone(), asked));
                self.ctx.normal(&about, "ResizeCompleted", "Pod resized");
            }
            Err(error) => {
                let failed = self.unresized(asked, error)?;
                self.ctx.warning(&about, "ResizeError", failed.message.clone());
                self.memory.unresized_pod = Some(failed);
            }
        }
        Ok(())
    }

    /// What is remembered of amounts that could not be given.
    fn unresized(&self, asked: ResourceRequirements, error: RuntimeError) -> Result<Unresized, Stop> {
        if matches!(error, RuntimeError::Unavailable { .. }) {
            return Err(error.into());
        }
        let never = matches!(error, RuntimeError::Unsupported { .. });
        let retry = (!never).then(|| add(self.ctx.now(), RETRY));
        let reason = if never { INFEASIBLE } else { ERROR };
        Ok(Unresized { asked, reason, message: error.to_string(), retry })
    }

    /// What is remembered if the node has no room for what the pod asks for by now. It is told once.
    fn without_room(&mut self, asked: &ResourceRequirements, before: Option<Unresized>) -> Option<Unresized> {
        let (reason, event, message, retry) = match self.set_aside().err()? {
            NoRoom::Never(why) => (INFEASIBLE, "ResizeInfeasible", why, None),
            NoRoom::NotNow(why) => (DEFERRED, "ResizeDeferred", why, Some(add(self.ctx.now(), RETRY))),
        };
        let none = Unresized { asked: asked.clone(), reason, message, retry };
        if before.is_none_or(|before| before.asked != none.asked || before.reason != reason) {
            self.ctx.warning(&about(self.pod, None), event, none.message.clone());
        }
        Some(none)
    }

    /// The pod as its containers are begun: with what it asks for by now, or with what was set aside for it where the node has
    /// no room for that.
    pub(super) fn as_begun(&mut self) -> Arc<Pod> {
        match as_allotted(self.pod, self.memory) {
            Some(before) if self.set_aside().is_err() => Arc::new(before),
            _ => Arc::clone(self.pod),
        }
    }

    /// Sets aside what the pod asks for by now, if there is so much.
    fn set_aside(&mut self) -> Result<(), NoRoom> {
        self.ctx.room.resize(&pod_ref(self.pod).uid, room::asked(self.pod))?;
        self.memory.allotted = Some(all_asked(self.pod));
        Ok(())
    }

    /// Gives containers other figures, and the pod those that follow from them.
    async fn update(&self, figures: &[(&ContainerId, Resources)]) -> Result<(), RuntimeError> {
        let runtime = &self.ctx.runtime;
        let whole = self.pod.spec.as_ref().and_then(of_pod);
        let whole = whole.filter(|_| runtime.capabilities().fields.pod_resources);
        let whole = whole.zip(self.seen.ready_sandbox());
        // No container has more than its pod: of more the pod is given it first, of less it comes last.
        let first = match &whole {
            Some((whole, sandbox)) => runtime.update_sandbox(&sandbox.id, whole).await,
            None => Ok(()),
        };
        for (id, figures) in figures {
            runtime.update_container(id, figures).await?;
        }
        match (first, whole) {
            (Err(_), Some((whole, sandbox))) => runtime.update_sandbox(&sandbox.id, &whole).await,
            (first, _) => first,
        }
    }
}
