//! What a node answers about its pods: logs now; exec, attach and port-forward through the same door.
//!
//! The API server calls a [`NodeService`] directly when the node is in its own process; a host serves one over HTTPS
//! when it is not.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::figures::{Figures, Summary};
use super::model::Observed;
use super::probe_counts::ProbeCounts;
use crate::api::{Client, Reason, Status};
use crate::runtime::{
    AttachOptions, ByteStream, Container, Duplex, ExecOptions, Filter, LogOptions, PodRef, Runtime,
    RuntimeError, SandboxId, Session,
};

/// Whose logs, and which part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// The pod.
    pub pod: PodRef,
    /// The container.
    pub container: String,
    /// Of the life before the present one.
    pub previous: bool,
    /// Which part.
    pub options: LogOptions,
}

/// What a node answers about its pods.
#[async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// What a container wrote.
    async fn logs(&self, request: &LogRequest) -> Result<ByteStream, Status>;

    /// What the node and its pods use.
    async fn summary(&self) -> Result<Summary, Status>;

    /// How the probes of its containers came out, as Prometheus reads it.
    async fn probe_metrics(&self) -> Result<String, Status>;

    /// Runs a command in a container.
    async fn exec(&self, pod: &PodRef, container: &str, options: &ExecOptions) -> Result<Session, Status>;

    /// Connects to a container's main process.
    async fn attach(&self, pod: &PodRef, container: &str, options: &AttachOptions)
    -> Result<Session, Status>;

    /// Connects to a port of a pod.
    async fn port_forward(&self, pod: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status>;
}

/// The [`NodeService`] of an agent in this process.
#[derive(Clone)]
pub struct LocalNode {
    runtime: Arc<dyn Runtime>,
    owner: String,
    client: Client,
    figures: Figures,
    probes: Arc<ProbeCounts>,
}

impl std::fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNode").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl LocalNode {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        owner: String,
        client: Client,
        (figures, probes): (Figures, Arc<ProbeCounts>),
    ) -> Self {
        Self { runtime, owner, client, figures, probes }
    }

    async fn observe(&self, pod: &PodRef) -> Result<Observed, Status> {
        let ours = Filter::owner(&self.owner);
        let filter = if pod.uid.is_empty() { ours } else { ours.and_pod(&pod.uid) };
        let mut found = self.runtime.list(&filter).await.map_err(|error| refused(&error))?;
        if pod.uid.is_empty() {
            // Who knows a pod by its name alone means the one that has it now.
            found.retain(|one| (&one.meta.pod.namespace, &one.meta.pod.name) == (&pod.namespace, &pod.name));
            let newest = found.iter().max_by_key(|one| one.created_at).map(|one| one.meta.pod.uid.clone());
            found.retain(|one| Some(&one.meta.pod.uid) == newest.as_ref());
        }
        Ok(Observed::new(found))
    }

    /// The life whose logs are asked for.
    async fn life(&self, pod: &PodRef, name: &str, previous: bool) -> Result<Container, Status> {
        let seen = self.observe(pod).await?;
        let lives = seen.lives(name);
        let began = |life: &&Container| life.state != crate::runtime::ContainerState::Created;
        let mut begun = lives.into_iter().filter(began);
        let newest = begun.next();
        // While a container waits to be started again, its last life is both its present and its previous one.
        let waits = || async {
            newest.is_some_and(|life| life.state.exit().is_some()) && self.waits(pod, name).await
        };
        let found = match previous {
            false => newest,
            true if waits().await => newest,
            true => begun.next(),
        };
        match found {
            Some(life) => Ok(life.clone()),
            None if previous => Err(Status::bad_request(format!(
                "previous terminated container \"{name}\" in pod \"{}\" not found",
                pod.name
            ))),
            None => Err(Status::bad_request(self.not_begun(pod, name).await)),
        }
    }

    async fn reported(&self, pod: &PodRef, name: &str) -> Option<ContainerStatus> {
        let pod = self.client.api::<Pod>(&pod.namespace).find(&pod.name).await.ok()??;
        let status = pod.status?;
        let usual = status.container_statuses.into_iter().chain(status.init_container_statuses);
        let mut all = usual.chain(status.ephemeral_container_statuses).flatten();
        all.find(|status| status.name == name)
    }

    async fn waits(&self, pod: &PodRef, name: &str) -> bool {
        let state = self.reported(pod, name).await.and_then(|status| status.state);
        state.is_some_and(|state| state.waiting.is_some())
    }

    async fn not_begun(&self, pod: &PodRef, name: &str) -> String {
        let state = self.reported(pod, name).await.and_then(|status| status.state);
        let reason = state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason);
        match reason.as_deref() {
            Some("ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull") => format!(
                "container \"{name}\" in pod \"{}\" is waiting to start: trying and failing to pull image",
                pod.name
            ),
            Some(reason) => {
                format!("container \"{name}\" in pod \"{}\" is waiting to start: {reason}", pod.name)
            }
            None => format!("container \"{name}\" in pod \"{}\" is not available", pod.name),
        }
    }

    async fn running(&self, pod: &PodRef, name: &str) -> Result<Container, Status> {
        let seen = self.observe(pod).await?;
        let life = seen.latest(name).filter(|life| life.state.is_running());
        life.cloned().ok_or_else(|| {
            Status::bad_request(format!("container {name} is not running in pod {}", pod.name))
        })
    }

    async fn sandbox(&self, pod: &PodRef) -> Result<SandboxId, Status> {
        let seen = self.observe(pod).await?;
        let sandbox = seen.ready_sandbox().map(|sandbox| sandbox.id.clone());
        sandbox.ok_or_else(|| Status::bad_request(format!("pod {} is not running", pod.name)))
    }
}

#[async_trait]
impl NodeService for LocalNode {
    async fn logs(&self, request: &LogRequest) -> Result<ByteStream, Status> {
        let life = self.life(&request.pod, &request.container, request.previous).await?;
        self.runtime.logs(&life.id, &request.options).await.map_err(|error| refused(&error))
    }

    async fn summary(&self) -> Result<Summary, Status> {
        self.figures.summary().await.map_err(|error| refused(&error))
    }

    async fn probe_metrics(&self) -> Result<String, Status> {
        Ok(self.probes.text())
    }

    async fn exec(&self, pod: &PodRef, container: &str, options: &ExecOptions) -> Result<Session, Status> {
        let life = self.running(pod, container).await?;
        self.runtime.exec(&life.id, options).await.map_err(|error| refused(&error))
    }

    async fn attach(
        &self,
        pod: &PodRef,
        container: &str,
        options: &AttachOptions,
    ) -> Result<Session, Status> {
        let life = self.running(pod, container).await?;
        self.runtime.attach(&life.id, options).await.map_err(|error| refused(&error))
    }

    async fn port_forward(&self, pod: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let sandbox = self.sandbox(pod).await?;
        self.runtime.port_forward(&sandbox, port).await.map_err(|error| refused(&error))
    }
}

pub(super) fn refused(error: &RuntimeError) -> Status {
    let reason = match error {
        RuntimeError::NotFound { .. } => Reason::NotFound,
        RuntimeError::Unavailable { .. } => Reason::ServiceUnavailable,
        RuntimeError::NotRunning { .. } | RuntimeError::InvalidSpec { .. } => Reason::BadRequest,
        RuntimeError::Unsupported { .. } => Reason::MethodNotAllowed,
        RuntimeError::Timeout { .. } => Reason::Timeout,
        _ => Reason::InternalError,
    };
    Status::new(reason, error.to_string())
}
