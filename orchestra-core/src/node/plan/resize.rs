//! When running containers, and pods as a whole, are given other amounts of processors and memory.

use k8s_openapi::api::core::v1::Container as Wanted;

use super::{KillReason, Planner, Step};
use crate::node::model::{Role, containers};
use crate::node::resize::{self, ERROR, Resize};
use crate::runtime::{Container, SandboxId};

impl Planner<'_> {
    /// Gives the pod what it asks for as a whole by now. Containers that its limits hold, and whose policy says so, have
    /// them from a new start.
    pub(super) fn resize_pod(&mut self, sandbox: &SandboxId) {
        let (given, asked) =
            (resize::given_to_pod(self.pod, self.memory, sandbox), resize::asked_of_pod(self.spec));
        if resize::changed(&given, &asked).next().is_none() {
            return;
        }
        let failed = resize::unresized_pod(self.memory, self.spec);
        match failed.map(|failed| failed.retry) {
            Some(None) => return,
            Some(Some(retry)) if retry > self.now => return self.plan.wake_at(retry),
            _ => {}
        }
        // After an error they have been ended already.
        let ended = failed.is_some_and(|failed| failed.reason == ERROR);
        for (role, wanted) in containers(self.spec).filter(|_| !ended) {
            let restarts = resize::changed(&given, &asked).any(|what| {
                resize::is_held_by_pod(self.spec, wanted, what) && resize::restarts(wanted, what)
            });
            let life = self.life_in(sandbox, &wanted.name).filter(|life| life.state.is_running());
            if let Some(life) = life.filter(|_| restarts && role != Role::Init) {
                let (container, id) = (wanted.name.clone(), life.id.clone());
                self.step(Step::Kill { container, id, why: KillReason::Resized });
            }
        }
        self.step(Step::ResizePod(sandbox.clone()));
    }

    /// How a running container comes to what its pod asks for by now, if it is time.
    pub(super) fn resize(&mut self, wanted: &Wanted, life: &Container) -> Option<Resize> {
        let given = resize::given(self.pod, self.memory, wanted, &life.id);
        let change = resize::change(&given, wanted)?;
        match resize::unresized(self.memory, wanted, &life.id).map(|failed| failed.retry) {
            Some(None) => return None,
            Some(Some(retry)) if retry > self.now => {
                self.plan.wake_at(retry);
                return None;
            }
            _ => {}
        }
        Some(change)
    }
}
