//! Making and starting one container: its image, its configuration, itself, its `postStart` hook.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, ObjectReference};

use super::apply::{Executor, Stop};
use super::backoff::add;
use super::context::about;
use super::handlers::{Handler, Outcome, run};
use super::kill::Killing;
use super::model::{Waiting, crash_key};
use super::plan::Start;
use super::sources::Needs;
use super::translate::{self, Resolved, would_be_root};
use super::{env, images, mounts};
use crate::runtime::{ContainerId, ContainerMeta, ContainerSpec, Image, RuntimeError};

/// How soon a container whose making failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Hooks that say nothing about time may take this long.
const HOOK_TIME: Duration = Duration::from_secs(600);

impl Executor<'_> {
    pub(super) async fn start(&mut self, start: Start) -> Result<(), Stop> {
        let wanted = self.wanted(&start.container)?;
        let about = about(self.pod, Some(&wanted.name));
        if let Some(ended) = start.ended {
            let now = self.ctx.now();
            self.memory.crashes.next(&crash_key(&wanted), ended, now);
        }
        let id = match start.existing {
            Some(id) => id,
            None => self.create(&wanted, start.attempt, &about).await?,
        };
        self.run(&wanted, &id, &about).await
    }

    async fn create(
        &mut self,
        wanted: &Wanted,
        attempt: u32,
        about: &ObjectReference,
    ) -> Result<ContainerId, Stop> {
        let image = match self.ctx.runtime.capabilities().images {
            true => Some(self.image(wanted, about).await?),
            false => None,
        };
        let spec = match self.configure(wanted, attempt, image, about).await? {
            Ok(spec) => spec,
            Err(message) => {
                return Err(self.waits(wanted, about, "CreateContainerConfigError", message, TRY_AGAIN));
            }
        };
        let sandbox = self.memory.attached.as_ref().map(|(id, _)| id.clone());
        let Some(sandbox) = sandbox else { return Err(Stop::Away("the pod has no sandbox".into())) };
        match self.ctx.runtime.create_container(&sandbox, &spec).await {
            Ok(id) => {
                self.ctx.normal(about, "Created", "Container created");
                Ok(id)
            }
            Err(error @ RuntimeError::Unavailable { .. }) => Err(error.into()),
            Err(error @ (RuntimeError::AlreadyExists { .. } | RuntimeError::NotFound { .. })) => {
                // The runtime is not as it was seen: look again.
                Err(Stop::Away(error.to_string()))
            }
            Err(error) => {
                Err(self.waits(wanted, about, "CreateContainerError", error.to_string(), TRY_AGAIN))
            }
        }
    }

    async fn image(&mut self, wanted: &Wanted, about: &ObjectReference) -> Result<Image, Stop> {
        let found = images::ensure(self.ctx, self.pod, wanted, about, &mut self.memory.pulls).await;
        found.map_err(|none| {
            let news = self.memory.waiting.get(&wanted.name) != Some(&none.waiting);
            if news {
                self.ctx.warning(about, "Failed", format!("Error: {}", none.waiting.reason));
            }
            self.memory.not_before.insert(wanted.name.clone(), add(self.ctx.now(), none.retry));
            self.memory.waiting.insert(wanted.name.clone(), none.waiting);
            Stop::Wait
        })
    }

    /// Everything the runtime has to know. What is wrong with the pod's configuration is an answer.
    async fn configure(
        &mut self,
        wanted: &Wanted,
        attempt: u32,
        image: Option<Image>,
        _about: &ObjectReference,
    ) -> Result<Result<ContainerSpec, String>, Stop> {
        if let Some(message) = would_be_root(self.pod, wanted, image.as_ref()) {
            return Ok(Err(message));
        }
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let needs = Needs::of_container(wanted);
        let mut sources =
            self.ctx.sources(&namespace, &needs).await.map_err(|error| Stop::Away(error.to_string()))?;
        sources.services = self.ctx.services(&namespace);
        let facts = self.ctx.pod_facts(&self.ips());
        let env = match env::environment(self.pod, wanted, &facts, &sources) {
            Ok(env) => env,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for (object, keys) in &env.skipped {
            let message = format!(
                "Keys [{}] from the EnvFrom {object} were skipped since they are considered invalid environment variable names.",
                keys.join(", ")
            );
            self.ctx.warning(
                &super::context::about(self.pod, None),
                "InvalidEnvironmentVariableNames",
                message,
            );
        }
        let meta =
            ContainerMeta { name: wanted.name.clone(), attempt, hash: super::model::container_hash(wanted) };
        let mounts = match mounts::of_container(self.ctx, self.pod, wanted, &meta, &env, self.memory).await {
            Ok(mounts) => mounts,
            Err(message) => return Ok(Err(message)),
        };
        let resolved = Resolved { env, mounts, image };
        Ok(Ok(translate::container(self.pod, wanted, attempt, resolved, &self.ctx.machine)))
    }

    async fn run(&mut self, wanted: &Wanted, id: &ContainerId, about: &ObjectReference) -> Result<(), Stop> {
        match self.ctx.runtime.start_container(id).await {
            Ok(()) => {}
            Err(error @ RuntimeError::Unavailable { .. }) => return Err(error.into()),
            Err(error) => {
                // It has ended before it began: from here on it is a container that crashed.
                self.ctx.warning(about, "Failed", format!("Error: {error}"));
                let waiting = Waiting { reason: "RunContainerError", message: error.to_string() };
                self.memory.waiting.insert(wanted.name.clone(), waiting);
                return Ok(());
            }
        }
        self.memory.waiting.remove(&wanted.name);
        self.memory.not_before.remove(&wanted.name);
        self.ctx.normal(about, "Started", "Container started");
        self.post_start(wanted, id, about).await
    }

    async fn post_start(
        &mut self,
        wanted: &Wanted,
        id: &ContainerId,
        about: &ObjectReference,
    ) -> Result<(), Stop> {
        let hook = wanted.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(handler) = hook.and_then(Handler::of_hook) else { return Ok(()) };
        let ip = self.ips().first().copied();
        let outcome = run(self.ctx, &handler, wanted, id, ip, HOOK_TIME).await;
        let (Outcome::Failure(why) | Outcome::Unknown(why)) = outcome else { return Ok(()) };
        self.ctx.warning(about, "FailedPostStartHook", format!("PostStartHook failed: {why}"));
        let killing = Killing {
            ctx: self.ctx,
            pod: self.pod,
            wanted,
            id,
            ip,
            message: "FailedPostStartHook".into(),
            announce: true,
            run_hook: true,
        };
        let grace = self.spec()?.termination_grace_period_seconds.unwrap_or(30).max(1).unsigned_abs();
        killing.run(Duration::from_secs(grace)).await?;
        let waiting =
            Waiting { reason: "PostStartHookError", message: format!("PostStartHook failed: {why}") };
        self.memory.waiting.insert(wanted.name.clone(), waiting);
        Ok(())
    }

    /// The container waits: its status says why, and an event when that is news.
    fn waits(
        &mut self,
        wanted: &Wanted,
        about: &ObjectReference,
        reason: &'static str,
        message: String,
        retry: Duration,
    ) -> Stop {
        self.ctx.warning(about, "Failed", format!("Error: {message}"));
        self.memory.not_before.insert(wanted.name.clone(), add(self.ctx.now(), retry));
        self.memory.waiting.insert(wanted.name.clone(), Waiting { reason, message });
        Stop::Wait
    }
}
