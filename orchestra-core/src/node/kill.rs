//! Ending containers: `preStop`, the request to end, the kill; and ending whole pods in the right order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as Wanted, Pod};

use super::apply::{Executor, Stop};
use super::backoff::between;
use super::context::{Context, about};
use super::handlers::{Handler, Outcome, run};
use super::model::{Role, containers};
use crate::runtime::{ContainerId, SandboxState};

/// What a container gets after its `preStop` hook, however long that took.
const AT_LEAST: Duration = Duration::from_secs(2);

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
                outcome = hook => outcome,
                () = self.ctx.clock().sleep(grace) => Outcome::Failure("it took longer than the grace period".into()),
            };
            if let Outcome::Failure(why) | Outcome::Unknown(why) = outcome {
                self.ctx.warning(&about, "FailedPreStopHook", format!("PreStopHook failed: {why}"));
            }
            left = grace.saturating_sub(between(began, self.ctx.now())).max(AT_LEAST);
        }
        self.ctx.runtime.stop_container(self.id, left).await.map_err(Stop::from)
    }
}

/// Ends everything of a pod: its containers together, then its sidecars from the last to the first, then the sandbox.
/// Called again, it goes on where it was: hooks do not run twice, and time that has passed counts.
pub(super) async fn terminate(executor: &mut Executor<'_>, grace: Duration) -> Result<(), Stop> {
    let now = executor.ctx.now();
    let began = *executor.memory.ending_since.get_or_insert(now);
    let again = began < now || !executor.memory.announced.is_empty();
    let left = |ctx: &Context| match grace.saturating_sub(between(began, ctx.now())) {
        Duration::ZERO if again => Duration::ZERO,
        left => left.max(Duration::from_secs(1)),
    };
    let spec = executor.spec()?.clone();
    let ip = executor.ips().first().copied();
    let mut first = Vec::new();
    let mut sidecars = Vec::new();
    for (role, wanted) in containers(&spec) {
        for life in executor.seen.lives(&wanted.name) {
            if life.state.is_running() {
                let fresh = executor.memory.announced.insert(life.id.clone());
                let list = if role == Role::Sidecar { &mut sidecars } else { &mut first };
                list.push((wanted, &life.id, fresh));
            }
        }
    }
    let ctx = executor.ctx;
    let pod: &Pod = executor.pod;
    let killing = |wanted, id, fresh| Killing {
        ctx,
        pod,
        wanted,
        id,
        ip,
        message: format!("Stopping container {}", wanted.name),
        announce: fresh,
        run_hook: fresh,
    };
    let together = first.iter().map(|(wanted, id, fresh)| killing(wanted, id, *fresh).run(left(ctx)));
    for ended in join_all(together).await {
        ended?;
    }
    for (wanted, id, fresh) in sidecars.iter().rev() {
        killing(wanted, id, *fresh).run(left(ctx)).await?;
    }
    let standing: Vec<_> = executor
        .seen
        .sandboxes
        .iter()
        .filter(|s| s.state == SandboxState::Ready)
        .map(|s| s.id.clone())
        .collect();
    for sandbox in standing {
        executor.ctx.runtime.stop_sandbox(&sandbox).await?;
        executor.detach(&sandbox).await;
    }
    Ok(())
}
