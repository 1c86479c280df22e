//! Making and starting one container: its image, its configuration, itself, its `postStart` hook.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, ObjectReference, Pod};

use super::address::addresses;
use super::backoff::add;
use super::context::{Context, about};
use super::devices;
use super::env::{self, Environment};
use super::handlers::{Handler, Outcome, run};
use super::images::{self, Pulls};
use super::kill::Killing;
use super::model::{
    CONFIG_ERROR, LEAST_GRACE, Memory, Observed, Role, Waiting, container_hash, crash_key, target_of,
};
use super::mounts::Volumes;
use super::plan::Start;
use super::resize;
use super::sources::Needs;
use super::static_pods::is_static_pod;
use super::stop::Stop;
use super::translate::{self, Resolved, pod_ref, would_be_root};
use super::unsupported;
use crate::api::Status;
use crate::runtime::{ContainerId, ContainerMeta, ContainerSpec, Image, RuntimeError};

/// How soon a container whose making failed is tried again.
const CREATE_RETRY: Duration = Duration::from_secs(10);
/// Volumes that were made so long ago are brought up to date before a container that sees them is made.
const FRESH: Duration = Duration::from_secs(1);
/// Hooks that say nothing about time may take this long.
const HOOK_TIME: Duration = Duration::from_secs(600);

/// A container to start.
pub(super) struct Starting<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) pod: &'a Pod,
    pub(super) wanted: &'a Wanted,
    pub(super) role: Role,
    pub(super) seen: &'a Observed,
    pub(super) memory: &'a mut Memory,
}

impl Starting<'_> {
    pub(super) async fn start(mut self, start: &Start) -> Result<(), Stop> {
        let about = about(self.pod, Some(&self.wanted.name));
        if let Some(ended) = start.ended {
            let now = self.ctx.now();
            self.memory.crashes.next(&crash_key(self.wanted), ended, now);
        }
        let id = match &start.existing {
            Some(id) => id.clone(),
            None => self.create(start.attempt, &about).await?,
        };
        self.run(&id, &about).await
    }

    async fn create(&mut self, attempt: u32, about: &ObjectReference) -> Result<ContainerId, Stop> {
        let image = match self.ctx.runtime.capabilities().images {
            true => Some(self.image(about).await?),
            false => None,
        };
        self.image_volumes(about).await?;
        let spec = match self.configure(attempt, image).await? {
            Ok(spec) => spec,
            Err(message) => return Err(self.waits(about, CONFIG_ERROR, message)),
        };
        let sandbox = self.memory.attached.as_ref().map(|(id, _)| id.clone());
        let Some(sandbox) = sandbox else { return Err(Stop::Away("the pod has no sandbox".into())) };
        match self.ctx.runtime.create_container(&sandbox, &spec).await {
            Ok(id) => {
                self.memory.given.insert(id.clone(), resize::asked(self.wanted));
                // What its pod waits for it goes on waiting for.
                let before = self.seen.latest(&self.wanted.name);
                if let Some(waits) = before.and_then(|life| self.memory.unresized.remove(&life.id)) {
                    self.memory.unresized.insert(id.clone(), waits);
                }
                self.ctx.normal(about, "Created", "Container created");
                Ok(id)
            }
            Err(error @ RuntimeError::Unavailable { .. }) => Err(error.into()),
            Err(error @ (RuntimeError::AlreadyExists { .. } | RuntimeError::NotFound { .. })) => {
                // The runtime is not as it was seen: look again.
                Err(Stop::Away(error.to_string()))
            }
            Err(error) => Err(self.waits(about, "CreateContainerError", error.to_string())),
        }
    }

    async fn image(&mut self, about: &ObjectReference) -> Result<Image, Stop> {
        self.ensure(self.wanted, about).await
    }

    /// Shows the container the images that are volumes: they are had as its own image is, and what stands in the way is said
    /// in the same words.
    async fn image_volumes(&mut self, about: &ObjectReference) -> Result<(), Stop> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let mounted = |name: &str| self.wanted.volume_mounts.iter().flatten().any(|mount| mount.name == name);
        for volume in volumes.filter(|volume| mounted(&volume.name)) {
            let Some(source) = &volume.image else { continue };
            let as_container = Wanted {
                image: source.reference.clone(),
                image_pull_policy: source.pull_policy.clone(),
                ..Wanted::default()
            };
            let image = self.ensure(&as_container, about).await?;
            let pod = pod_ref(self.pod);
            let shown = match self.ctx.volumes.image_place(&pod, &volume.name).await {
                Ok(place) => match self.ctx.runtime.mount_image(&image.id, &pod, &place).await {
                    Ok(()) => Ok(place),
                    Err(error @ RuntimeError::Unavailable { .. }) => return Err(error.into()),
                    Err(error) => Err(error.to_string()),
                },
                Err(error) => Err(error.to_string()),
            };
            match shown {
                Ok(place) => drop(self.memory.volumes.insert(volume.name.clone(), place)),
                Err(why) => {
                    let message = format!("failed to mount image volume \"{}\": {why}", volume.name);
                    return Err(self.waits(about, "ImageVolumeMountFailed", message));
                }
            }
        }
        Ok(())
    }

    /// Makes sure that an image is there, for the container to be made.
    async fn ensure(&mut self, of: &Wanted, about: &ObjectReference) -> Result<Image, Stop> {
        let wanted = self.wanted;
        let mut pulls = Pulls {
            container: &wanted.name,
            waits: &mut self.memory.pulls,
            errors: &mut self.memory.pull_errors,
        };
        let found = images::ensure(self.ctx, self.pod, of, about, &mut pulls).await;
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
    ///
    /// ConfigMaps and Secrets are read once, so that the container sees the same in its environment and in its files.
    async fn configure(
        &mut self,
        attempt: u32,
        image: Option<Image>,
    ) -> Result<Result<ContainerSpec, String>, Stop> {
        let (ctx, pod, wanted) = (self.ctx, self.pod, self.wanted);
        if let Some(message) = would_be_root(pod, wanted, image.as_ref()) {
            return Ok(Err(message));
        }
        // Of the others this was looked at before anything of the pod was started.
        if self.role == Role::Ephemeral
            && let Some(field) = unsupported::field_of_added(pod, wanted, &ctx.runtime.capabilities().fields)
        {
            return Ok(Err(unsupported::refusal(&field, &ctx.facts.runtime)));
        }
        let volumes = Volumes { ctx, pod };
        let refresh = volumes.are_older_than(self.memory, FRESH).then(|| volumes.needs());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let needs = Needs::of_container(wanted).and(refresh.clone().unwrap_or_default());
        let away = |error: Status| Stop::Away(error.to_string());
        let mut sources = ctx.sources(namespace, &needs).await.map_err(away)?;
        sources.services = match ctx.services(namespace).await {
            // It runs whether there is an API or not.
            Err(_) if is_static_pod(pod) => Vec::new(),
            services => services.map_err(away)?,
        };
        if refresh.is_some()
            && let Err(message) = volumes.prepare_from(self.memory, &sources).await
        {
            // The container is given the files as they are.
            ctx.warning(&about(pod, None), "FailedMount", message);
        }
        let facts = ctx.pod_facts(&addresses(ctx, pod, self.memory));
        let env = match env::environment(pod, wanted, &facts, &sources) {
            Ok(env) => env,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.tell_of_skipped(&env);
        let meta = ContainerMeta { name: wanted.name.clone(), attempt, hash: container_hash(wanted) };
        let mounts = match volumes.mounts(wanted, &meta, &env, self.memory).await {
            Ok(mounts) => mounts,
            Err(message) => return Ok(Err(message)),
        };
        let target = pod.spec.as_ref().and_then(|spec| target_of(spec, &wanted.name));
        let target = target.and_then(|target| self.seen.latest(target)).map(|life| life.id.clone());
        let mut given = match devices::of_container(ctx, pod, wanted).await {
            Ok(given) => given,
            Err(message) => return Ok(Err(message)),
        };
        match volumes.devices(wanted, self.memory) {
            Ok(devices) => given.devices.extend(devices),
            Err(message) => return Ok(Err(message)),
        }
        let resolved = Resolved { env, mounts, image, target, given };
        Ok(Ok(translate::container(pod, wanted, attempt, resolved, &ctx.machine)))
    }

    fn tell_of_skipped(&self, env: &Environment) {
        for (object, keys) in &env.skipped {
            let message = format!(
                "Keys [{}] from the EnvFrom {object} were skipped since they are considered invalid environment variable names.",
                keys.join(", ")
            );
            self.ctx.warning(&about(self.pod, None), "InvalidEnvironmentVariableNames", message);
        }
    }

    async fn run(&mut self, id: &ContainerId, about: &ObjectReference) -> Result<(), Stop> {
        let wanted = self.wanted;
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
        self.post_start(id, about).await
    }

    async fn post_start(&mut self, id: &ContainerId, about: &ObjectReference) -> Result<(), Stop> {
        let wanted = self.wanted;
        let hook = wanted.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(handler) = hook.and_then(Handler::of_hook) else { return Ok(()) };
        let ip = addresses(self.ctx, self.pod, self.memory).first().copied();
        let outcome = run(self.ctx, &handler, wanted, id, ip, HOOK_TIME).await;
        let (Outcome::Failure(why) | Outcome::Unknown(why)) = outcome else { return Ok(()) };
        // In the event not what it wrote, which may be a secret.
        self.ctx.warning(about, "FailedPostStartHook", "PostStartHook failed");
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
        let spec = self.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        killing.run(Duration::from_secs(grace.max(0).unsigned_abs()).max(LEAST_GRACE)).await?;
        let waiting =
            Waiting { reason: "PostStartHookError", message: format!("PostStartHook failed: {why}") };
        self.memory.waiting.insert(wanted.name.clone(), waiting);
        Ok(())
    }

    /// The container waits: its status says why, and an event when that is news.
    fn waits(&mut self, about: &ObjectReference, reason: &'static str, message: String) -> Stop {
        let name = &self.wanted.name;
        let waiting = Waiting { reason, message };
        if self.memory.waiting.get(name) != Some(&waiting) {
            self.ctx.warning(about, "Failed", format!("Error: {}", waiting.message));
        }
        self.memory.not_before.insert(name.clone(), add(self.ctx.now(), CREATE_RETRY));
        self.memory.waiting.insert(name.clone(), waiting);
        Stop::Wait
    }
}
