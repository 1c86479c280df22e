//! Ending containers: `preStop`, the request to end, the kill; and ending whole pods in the right order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as Wanted, Pod};

use super::address::{addresses, detach};
use super::backoff::between;
use super::context::{Context, about};
use super::handlers::{Handler, Outcome, run};
use super::model::{LEAST_GRACE, Memory, Observed, Role, containers, ephemeral};
use super::stop::Stop;
use crate::runtime::{ContainerId, SandboxState};

/// One container to end.
pub(super) struct Killing<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) pod: &'a Pod,
    pub(super) wanted: &'a Wanted,
    pub(super) id: &'a ContainerId,
    pub(super) ip: Option<IpAddr>,
    /// Why, for the event.
    pub(super) message: String,
    /// Whether to say so; not when it was said before.
    pub(super) announce: bool,
    /// Whether to run the `preStop` hook; not when it has run.
    pub(super) run_hook: bool,
}

impl Killing<'_> {
    pub(super) async fn run(self, grace: Duration) -> Result<(), Stop> {
        let about = about(self.pod, Some(&self.wanted.name));
        if self.announce {
            self.ctx.normal(&about, "Killing", self.message.clone());
        }
        let began = self.ctx.now();
        let hook = self.wanted.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let mut left = grace;
        if let Some(handler) = hook.and_then(Handler::of_hook).filter(|_| self.run_hook && !grace.is_zero()) {
            let hook = run(self.ctx, &handler, self.wanted, self.id, self.ip, grace);
            let outcome = tokio::select! {
                biased;
                outcome = hook => outcome,
                () = self.ctx.clock().sleep(grace) => Outcome::Failure("it took longer than the grace period".into()),
            };
            if let Outcome::Failure(why) | Outcome::Unknown(why) = outcome {
                tracing::debug!(container = self.wanted.name, why, "a preStop hook failed");
                // What it wrote may be a secret.
                self.ctx.warning(&about, "FailedPreStopHook", "PreStopHook failed");
            }
            left = grace.saturating_sub(between(began, self.ctx.now())).max(LEAST_GRACE);
        }
        self.ctx.runtime.stop_container(self.id, left).await.map_err(Stop::from)
    }
}

/// A container that runs and is to end.
struct Running {
    role: Role,
    wanted: Wanted,
    id: ContainerId,
    /// Whether it is told for the first time.
    fresh: bool,
}

/// A pod to end.
pub(super) struct Ending<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) pod: &'a Pod,
    pub(super) seen: &'a Observed,
}

impl Ending<'_> {
    /// Ends everything of the pod: its containers together, then its sidecars from the last to the first, then the
    /// sandbox. Called again, it goes on where it was: hooks do not run twice, and time that has passed counts.
    pub(super) async fn terminate(&self, memory: &mut Memory, grace: Duration) -> Result<(), Stop> {
        let now = self.ctx.now();
        let began = *memory.ending_since.get_or_insert(now);
        let again = began < now || !memory.announced.is_empty();
        let left = || match grace.saturating_sub(between(began, self.ctx.now())) {
            Duration::ZERO if again => Duration::ZERO,
            left => left.max(LEAST_GRACE),
        };
        let ip = addresses(self.ctx, self.pod, memory).first().copied();
        let (sidecars, others): (Vec<_>, Vec<_>) =
            self.running(memory).into_iter().partition(|running| running.role == Role::Sidecar);
        let kill = |running: &Running| {
            let (wanted, id, fresh) = (running.wanted.clone(), running.id.clone(), running.fresh);
            async move { self.killing(&wanted, &id, ip, fresh).run(left()).await }
        };
        for ended in join_all(others.iter().map(kill)).await {
            ended?;
        }
        for sidecar in sidecars.iter().rev() {
            kill(sidecar).await?;
        }
        for sandbox in self.seen.sandboxes.iter().filter(|sandbox| sandbox.state == SandboxState::Ready) {
            self.ctx.runtime.stop_sandbox(&sandbox.id).await?;
            detach(self.ctx, self.pod, &sandbox.id, memory).await;
        }
        Ok(())
    }

    /// The running containers, and whether each is told for the first time that it ends.
    fn running(&self, memory: &mut Memory) -> Vec<Running> {
        let Some(spec) = &self.pod.spec else { return Vec::new() };
        let usual = containers(spec).map(|(role, wanted)| (role, wanted.clone()));
        let all = usual.chain(ephemeral(spec).map(|wanted| (Role::Ephemeral, wanted)));
        let mut running = Vec::new();
        for (role, wanted) in all {
            for life in self.seen.lives(&wanted.name).into_iter().filter(|life| life.state.is_running()) {
                let fresh = memory.announced.insert(life.id.clone());
                running.push(Running { role, wanted: wanted.clone(), id: life.id.clone(), fresh });
            }
        }
        running
    }

    fn killing<'b>(
        &'b self,
        wanted: &'b Wanted,
        id: &'b ContainerId,
        ip: Option<IpAddr>,
        fresh: bool,
    ) -> Killing<'b> {
        let message = format!("Stopping container {}", wanted.name);
        Killing { ctx: self.ctx, pod: self.pod, wanted, id, ip, message, announce: fresh, run_hook: fresh }
    }
}
