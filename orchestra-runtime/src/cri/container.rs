//! The lives of containers: made, started, stopped, removed; their commands and figures.

use std::path::Path;
use std::time::Duration;

use super::proto::{
    ContainerFilter, ContainerStats as Shown, ContainerStatsFilter, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ListContainerStatsRequest, RemoveContainerRequest,
    StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest,
};
use jiff::Timestamp;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerStats, ExecOutput, Filter, ImageRef, Resources, Result,
    RuntimeError, SandboxId, SandboxMeta, labels, names,
};

use super::error::{self, About};
use super::{CriRuntime, sandbox, status, translate};
use crate::cri_log;

impl CriRuntime {
    pub(super) async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId> {
        let shown = self.sandbox_status(sandbox.as_str(), false).await?;
        let shown = shown.status.unwrap_or_default();
        let owner = status::sandbox_meta(&shown.labels).ok_or_else(|| RuntimeError::no_sandbox(sandbox))?;
        if let Some(signal) = &spec.stop_signal {
            let message =
                format!("stopSignal {signal}: this container runtime takes the signal of the image alone");
            return Err(RuntimeError::InvalidSpec { message });
        }
        // That there is no such image is said in words only, and that there is no such sandbox likewise.
        let image = match spec.image_id.as_str() {
            "" => self.image(&ImageRef::parse(&spec.image)?).await?,
            id => self.image_by(id).await?,
        };
        if image.is_none() {
            return Err(RuntimeError::ImageNotFound { image: spec.image.clone() });
        }
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_string(),
            config: Some(translate::container(spec, &owner, &shown)),
            sandbox_config: Some(translate::remembered(&shown)),
        };
        match self.ask(request).await {
            Ok(made) => Ok(ContainerId::from(made.container_id)),
            Err(status) => Err(self.not_created(sandbox, &owner, spec, status).await),
        }
    }

    async fn not_created(
        &self,
        sandbox: &SandboxId,
        owner: &SandboxMeta,
        spec: &ContainerSpec,
        status: tonic::Status,
    ) -> RuntimeError {
        let filter = ContainerFilter { pod_sandbox_id: sandbox.to_string(), ..Default::default() };
        let exists = self.containers(filter).await.unwrap_or_default().into_iter().any(|held| {
            held.metadata.is_some_and(|held| held.name == spec.meta.name && held.attempt == spec.meta.attempt)
        });
        match exists && !error::is_away(&status) {
            true => {
                let name = names::container(&owner.pod, &spec.meta);
                RuntimeError::AlreadyExists { what: "container", name }
            }
            false => error::of(About::Sandbox(sandbox.as_str()), status),
        }
    }

    pub(super) async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let request = StartContainerRequest { container_id: id.to_string() };
        let Err(status) = self.ask(request).await else { return Ok(()) };
        if error::is_away(&status) {
            return Err(error::of(About::Container(id.as_str()), status));
        }
        // Whether its command was the reason is in its state, not in the error.
        let shown = self.container_status(id.as_str()).await?;
        match status::container(&shown).map(|container| container.state) {
            Some(state) if state.is_running() => Ok(()),
            _ if status::could_not_start(&shown) => Err(RuntimeError::StartFailed {
                message: if shown.message.is_empty() { status.message().to_owned() } else { shown.message },
                exit_code: shown.exit_code,
            }),
            _ => Err(error::of(About::Container(id.as_str()), status)),
        }
    }

    pub(super) async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let request = UpdateContainerResourcesRequest {
            container_id: id.to_string(),
            linux: Some(translate::resources(resources)),
        };
        let updated = self.ask(request).await;
        updated.map(drop).map_err(|status| error::of(About::Container(id.as_str()), status))
    }

    pub(super) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX);
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        error::unless_gone(self.ask(request).await).map_err(|status| error::of(About::Container(id), status))
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        let shown = match self.container_status(id).await {
            Err(error) if error.is_not_found() => return Ok(()),
            shown => shown?,
        };
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        if shown.finished_at == 0 {
            self.stop_container(id, Duration::ZERO).await?;
        }
        let removed = error::unless_gone(self.ask(request).await);
        // Whatever the answer is: if it is lost, nobody knows the next time where its log was.
        if !shown.log_path.is_empty() {
            cri_log::remove(Path::new(&shown.log_path));
        }
        removed.map_err(|status| error::of(About::Container(id), status))
    }

    pub(super) async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let shown = self.ask(request).await;
        let shown = shown.map_err(|status| error::of(About::Container(id), status))?;
        shown.status.ok_or_else(|| RuntimeError::no_container(id))
    }

    /// That a container runs, so that something can be executed in it.
    pub(super) async fn check_running(&self, id: &ContainerId) -> Result<()> {
        let shown = self.container_status(id.as_str()).await?;
        match status::container(&shown).is_some_and(|container| container.state.is_running()) {
            true => Ok(()),
            false => Err(RuntimeError::NotRunning { id: id.to_string() }),
        }
    }

    pub(super) async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        self.check_running(id).await?;
        let request = ExecSyncRequest {
            container_id: id.to_string(),
            cmd: command.to_vec(),
            // In whole seconds: whoever is no longer waited for is ended by the call that is given up.
            timeout: i64::try_from(timeout.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX),
        };
        match tokio::time::timeout(timeout, self.ask(request)).await {
            Err(_) => Err(RuntimeError::Timeout { after: timeout }),
            Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => {
                Err(RuntimeError::Timeout { after: timeout })
            }
            Ok(Err(status)) => Err(error::of(About::Container(id.as_str()), status)),
            Ok(Ok(answer)) => {
                Ok(ExecOutput { exit_code: answer.exit_code, stdout: answer.stdout, stderr: answer.stderr })
            }
        }
    }

    pub(super) async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        let label_selector = sandbox::selector(filter, labels::KIND_CONTAINER);
        let filter = Some(ContainerStatsFilter { label_selector, ..Default::default() });
        let shown = self.ask(ListContainerStatsRequest { filter }).await;
        let shown = shown.map_err(|status| error::of(About::Runtime, status))?.stats;
        Ok(shown.iter().filter_map(figures).collect())
    }
}

/// What a container uses; `None` if it is none of ours, or does not run.
fn figures(shown: &Shown) -> Option<ContainerStats> {
    let attributes = shown.attributes.as_ref()?;
    let get = |key: &str| attributes.labels.get(key).map(String::as_str);
    let cpu = shown.cpu.as_ref()?;
    let disk = shown.writable_layer.as_ref().and_then(|layer| layer.used_bytes);
    Some(ContainerStats {
        pod: labels::pod(get)?,
        container: labels::container(get)?.name,
        at: Timestamp::from_nanosecond(i128::from(cpu.timestamp)).unwrap_or_else(|_| Timestamp::now()),
        cpu_nanos: cpu.usage_core_nano_seconds?.value,
        memory_working_set_bytes: shown.memory.as_ref()?.working_set_bytes?.value,
        disk_bytes: disk.map_or(0, |bytes| bytes.value),
    })
}
