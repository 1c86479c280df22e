//! The lives of containers: made, started, stopped, removed; and their figures.

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStatsResponse};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, RemoveContainerOptions, StartContainerOptions,
    StatsOptions, StopContainerOptions,
};
use futures::StreamExt;
use jiff::Timestamp;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerStats, Filter, Resources, Result, RuntimeError, SandboxId,
    SeccompProfile, labels, names,
};

use super::error::{self, About};
use super::translate::{self, Facts, Joined};
use super::{DockerRuntime, sandbox, status};

/// What a label of a container says.
fn labelled(shown: &ContainerInspectResponse, label: &str) -> Option<String> {
    shown.config.as_ref()?.labels.as_ref()?.get(label).cloned()
}

impl DockerRuntime {
    pub(super) async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId> {
        let shown = self.inspect_sandbox(sandbox.as_str()).await?;
        let owner = status::sandbox(&shown).ok_or_else(|| RuntimeError::no_sandbox(sandbox))?;
        let name = names::container(&owner.meta.pod, &spec.meta);
        let joined = Joined {
            id: sandbox.clone(),
            meta: owner.meta,
            pid_mode: status::pid_mode(&shown)
                .map(str::to_owned)
                .or_else(|| spec.processes_of.as_ref().map(|other| format!("container:{other}")))
                .or_else(|| shares_processes(&shown, sandbox)),
            handler: labelled(&shown, translate::HANDLER_LABEL).unwrap_or_default(),
            group: status::group(&shown).map(str::to_owned),
        };
        let facts = Facts {
            lowest_oom_score: self.lowest_oom_score().await,
            seccomp_json: seccomp_profile(spec).await?,
        };
        let body = translate::container(spec, &joined, &facts)?;
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        self.docker
            .create_container(Some(options), body)
            .await
            .map(|made| ContainerId::from(made.id))
            .map_err(|error| error::of_create("container", &name, &spec.image, error))
    }

    pub(super) async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let Err(error) = self.docker.start_container(id.as_str(), None::<StartContainerOptions>).await else {
            return Ok(());
        };
        // Whether its command was the reason is in its state, not in the error.
        let state = match error::status(&error) {
            Some(404) | None => None,
            Some(_) => self.inspect(id).await.ok().and_then(|shown| shown.state),
        };
        match state.filter(status::could_not_start) {
            Some(state) => Err(RuntimeError::StartFailed {
                message: state.error.clone().unwrap_or_default(),
                exit_code: status::code(&state),
            }),
            None => Err(error::of(About::Container(id.as_str()), error)),
        }
    }

    pub(super) async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let changes = translate::update(resources);
        let updated = self.docker.update_container(id.as_str(), changes).await;
        updated.map_err(|error| error::of(About::Container(id.as_str()), error))
    }

    pub(super) async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        if grace.is_zero() {
            self.inspect(id).await?;
            return self.kill(id.as_str()).await;
        }
        let seconds = i32::try_from(grace.as_secs_f64().ceil() as u64).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        let patient = self.docker.clone().with_timeout(grace.saturating_add(Duration::from_secs(60)));
        patient
            .stop_container(id.as_str(), Some(options))
            .await
            .map_err(|error| error::of(About::Container(id.as_str()), error))
    }

    /// Ends a container at once and waits until it has; one that is gone or has ended is no error.
    pub(super) async fn kill(&self, id: &str) -> Result<()> {
        match self.docker.kill_container(id, None::<KillContainerOptions>).await {
            Ok(()) => {}
            Err(error) if matches!(error::status(&error), Some(404 | 409)) => return Ok(()),
            Err(error) => return Err(error::of(About::Container(id), error)),
        }
        // `stop` of a killed container returns when it has ended.
        let options = StopContainerOptions { t: Some(0), ..Default::default() };
        match self.docker.stop_container(id, Some(options)).await {
            Err(error) if error::status(&error) != Some(404) => Err(error::of(About::Container(id), error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        match self.docker.remove_container(id, Some(options)).await {
            Err(error) if error::status(&error) != Some(404) => Err(error::of(About::Container(id), error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn inspect(&self, id: &ContainerId) -> Result<ContainerInspectResponse> {
        self.docker
            .inspect_container(id.as_str(), None)
            .await
            .map_err(|error| error::of(About::Container(id.as_str()), error))
    }

    pub(super) async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        let mut wanted = sandbox::label_filter(filter);
        wanted.push(format!("{}={}", labels::KIND, labels::KIND_CONTAINER));
        let mut all = Vec::new();
        for found in self.find(wanted, true).await? {
            let (Some(id), Some(labels)) = (&found.id, &found.labels) else { continue };
            let get = |key: &str| labels.get(key).map(String::as_str);
            let (Some(pod), Some(meta)) = (labels::pod(get), labels::container(get)) else { continue };
            let options = StatsOptions { stream: false, one_shot: true };
            let Some(Ok(shown)) = self.docker.stats(id, Some(options)).next().await else { continue };
            let Some((cpu_nanos, memory)) = usage(&shown) else { continue };
            all.push(ContainerStats {
                pod,
                container: meta.name,
                at: Timestamp::now(),
                cpu_nanos,
                memory_working_set_bytes: memory,
                disk_bytes: found.size_rw.and_then(|size| size.try_into().ok()).unwrap_or_default(),
            });
        }
        Ok(all)
    }
}

/// Processor time and working set: memory in use less what of the page cache nobody has touched lately.
fn usage(shown: &ContainerStatsResponse) -> Option<(u64, u64)> {
    let cpu = shown.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory = shown.memory_stats.as_ref()?;
    let stats = memory.stats.as_ref();
    let idle = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|name| stats?.get(*name).copied())
        .unwrap_or_default();
    Some((cpu, memory.usage?.saturating_sub(idle)))
}

/// A sandbox whose containers share their processes carries a mark, as its own namespace is just a private one.
fn shares_processes(shown: &ContainerInspectResponse, sandbox: &SandboxId) -> Option<String> {
    let labels = shown.config.as_ref()?.labels.as_ref()?;
    labels.contains_key(translate::SHARED_PROCESSES_LABEL).then(|| format!("container:{sandbox}"))
}

async fn seccomp_profile(spec: &ContainerSpec) -> Result<Option<String>> {
    let Some(SeccompProfile::Localhost(path)) = &spec.security.seccomp else { return Ok(None) };
    match tokio::fs::read_to_string(path).await {
        Ok(json) => Ok(Some(json)),
        Err(error) => Err(RuntimeError::InvalidSpec {
            message: format!("cannot load seccomp profile {}: {error}", path.display()),
        }),
    }
}
