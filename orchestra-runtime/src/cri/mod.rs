//! Containers by a runtime that speaks the CRI, such as containerd and CRI-O, over its Unix socket.
//!
//! Nothing is kept here: identity is in labels, and what the CRI does not tell of a sandbox in its annotations, so a runtime
//! or an agent that comes back finds everything. The connection is made when it is needed, so a runtime that was
//! restarted is simply there again.
//!
//! [`proto`] has the messages. [`translate`] and [`status`] are pure and turn the port's types into the CRI's and back; the rest calls the runtime:
//! [`sandbox`](mod@sandbox) and [`container`](mod@container) for lives, [`images`], [`logs`] for what containers wrote
//! into files, [`snapshots`] for images that are volumes, [`sessions`] for exec and attach, [`events`] for what happens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::runtime::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerStats, Duplex,
    EventStream, ExecOptions, ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, MachineStats,
    PodRef, RegistryCredentials, Resources, Result, RunningSandbox, Runtime, RuntimeError, RuntimeInfo,
    Sandbox, SandboxId, SandboxSpec, Session,
};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{machine, pod_group};

mod container;
mod error;
mod events;
mod images;
mod logs;
mod proto;
mod sandbox;
mod sessions;
mod snapshots;
mod status;
mod translate;

#[cfg(test)]
mod tests;

use error::About;
use proto::{
    Call, NetworkConfig, RuntimeCondition, RuntimeConfig, StatusRequest, StatusResponse,
    UpdateRuntimeConfigRequest, VersionRequest, VersionResponse,
};

/// Where runtimes listen when nothing else is said.
const USUAL: [&str; 2] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock"];
/// How soon a runtime that is there answers.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest answer: what a command wrote may be 16 MB of each stream.
const LONGEST: usize = 36 << 20;

/// Containers by a runtime that speaks the CRI, version 1.
///
/// Cheap to clone; clones share nothing but the address.
#[derive(Debug, Clone)]
pub struct CriRuntime {
    channel: Channel,
    endpoint: Arc<str>,
    /// It is containerd, which has snapshots of images.
    snapshots: bool,
    /// Containers can be put into control groups that were made here.
    pod_groups: bool,
}

impl CriRuntime {
    /// Connects to containerd or CRI-O where they usually listen, whichever is ready first: it answers, and has a network
    /// for pods.
    ///
    /// [`RuntimeError::Unavailable`] says that neither is, which is how `--runtime auto` finds out.
    pub async fn connect() -> Result<Self> {
        let mut last = None;
        for socket in USUAL.into_iter().filter(|socket| Path::new(socket).exists()) {
            let found = async {
                let runtime = Self::connect_to(socket).await?;
                runtime.check_ready().await.map(|()| runtime)
            };
            match found.await {
                Ok(runtime) => return Ok(runtime),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| RuntimeError::Unavailable {
            message: format!("there is none of the sockets {}", USUAL.join(", ")),
        }))
    }

    /// Connects to the runtime at a socket, `/run/containerd/containerd.sock` or `unix:///run/containerd/containerd.sock`.
    pub async fn connect_to(endpoint: &str) -> Result<Self> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            let message =
                format!("{endpoint:?} is not the socket of a runtime, as /run/containerd/containerd.sock");
            return Err(RuntimeError::InvalidSpec { message });
        }
        let channel = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|error| RuntimeError::InvalidSpec { message: format!("{endpoint:?}: {error}") })?
            .connect_lazy();
        let mut runtime = Self { channel, endpoint: path.into(), snapshots: false, pod_groups: false };
        runtime.snapshots = runtime.version().await?.runtime_name == "containerd";
        runtime.pod_groups = runtime.has_pod_groups().await;
        Ok(runtime)
    }

    /// Whether containers can be put into control groups that were made here: those of systemd are systemd's to make.
    async fn has_pod_groups(&self) -> bool {
        let by_systemd = |said: &StatusResponse| {
            let mut words = said.info.values().map(|text| text.replace(' ', ""));
            words.any(|text| {
                text.contains("\"systemdCgroup\":true") || text.contains("\"SystemdCgroup\":true")
            })
        };
        match self.ask(StatusRequest { verbose: true }).await {
            Ok(said) if !by_systemd(&said) => {
                tokio::task::spawn_blocking(pod_group::are_possible).await.unwrap_or_default()
            }
            _ => false,
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Tells the addresses that pods of this machine are to have, as ranges with commas between. The runtime makes its
    /// plugins' configuration of them, where it has a template for one (`conf_template` of containerd) and no other yet.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn give_pods(&self, ranges: String) -> Result<()> {
        let network_config = Some(NetworkConfig { pod_cidr: ranges });
        let runtime_config = Some(RuntimeConfig { network_config });
        let told = self.ask(UpdateRuntimeConfigRequest { runtime_config }).await;
        told.map(drop).map_err(|status| error::of(About::Runtime, status))
    }

    /// What the runtime answers to a question.
    async fn ask<Q: Call>(&self, question: Q) -> Result<Q::Answer, Status> {
        self.ask_in(question, None).await
    }

    /// The same with a word beside the question.
    async fn ask_in<Q: Call>(&self, question: Q, word: Option<Word>) -> Result<Q::Answer, Status> {
        let (mut grpc, path) = (self.ready().await?, PathAndQuery::from_static(Q::PATH));
        Ok(grpc.unary(with(question, word), path, ProstCodec::default()).await?.into_inner())
    }

    /// What the runtime tells from then on. It may begin to answer only with the first that it has to tell.
    async fn listen<Q: Call>(&self, question: Q) -> Result<Streaming<Q::Answer>, Status> {
        self.listen_to(question, None).await
    }

    /// The same with a word beside the question.
    async fn listen_to<Q: Call>(
        &self,
        question: Q,
        word: Option<Word>,
    ) -> Result<Streaming<Q::Answer>, Status> {
        let (mut grpc, path) = (self.ready().await?, PathAndQuery::from_static(Q::PATH));
        Ok(grpc.server_streaming(with(question, word), path, ProstCodec::default()).await?.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(LONGEST);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }

    /// That it takes pods: it is well, and has a network for them.
    async fn check_ready(&self) -> Result<()> {
        let said = self
            .ask(StatusRequest { verbose: false })
            .await
            .map_err(|status| error::of(About::Runtime, status))?;
        let conditions = said.status.unwrap_or_default().conditions;
        match conditions.into_iter().find(|condition| !condition.status) {
            None => Ok(()),
            Some(RuntimeCondition { r#type, reason, message, .. }) => Err(RuntimeError::Unavailable {
                message: format!("the runtime at {} lacks {}: {reason}: {message}", self.endpoint, r#type),
            }),
        }
    }

    async fn version(&self) -> Result<VersionResponse> {
        let asked = self.ask(VersionRequest { version: "v1".into() });
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(answer) => answer.map_err(|status| error::of(About::Runtime, status)),
            Err(_) => Err(RuntimeError::Unavailable {
                message: format!("the runtime at {} does not answer", self.endpoint),
            }),
        }
    }
}

/// A name and what it says.
type Word = (&'static str, &'static str);

fn with<Q>(question: Q, word: Option<Word>) -> Request<Q> {
    let mut request = Request::new(question);
    if let Some((name, value)) = word {
        request.metadata_mut().insert(name, MetadataValue::from_static(value));
    }
    request
}

// What a method does is in the module of its subject, under the same name.
#[async_trait]
impl Runtime for CriRuntime {
    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::ALL;
        all.fields.user_namespaces = false;
        all.fields.selinux = crate::machine::has_no_selinux();
        all.fields.apparmor = machine::has_apparmor();
        all.fields.strict_groups = false;
        all.fields.recursive_read_only = false;
        all.fields.pod_resources = self.pod_groups;
        all.fields.image_volumes = self.snapshots && rustix::process::geteuid().is_root();
        all
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        let version = self.version().await?;
        self.check_ready().await?;
        Ok(RuntimeInfo { name: version.runtime_name, version: version.runtime_version })
    }

    async fn machine(&self) -> Result<MachineInfo> {
        self.version().await?;
        let storage = self.storage().await;
        Ok(tokio::task::spawn_blocking(move || machine::read(&storage)).await.unwrap_or_default())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.run_sandbox(spec).await
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        self.update_sandbox(id, resources).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.remove_sandbox(id).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        self.create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.start_container(id).await
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.update_container(id, resources).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.stop_container(id.as_str(), grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.remove_container(id.as_str()).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        self.list(filter).await
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        let shown = self.container_status(id.as_str()).await?;
        status::container(&shown).ok_or_else(|| RuntimeError::no_container(id))
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.image(image).await
    }

    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image> {
        self.pull_image(image, credentials).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.images().await
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        self.remove_image(image).await
    }

    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        self.mount_image(image, pod, at).await
    }

    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        match self.snapshots {
            true => self.release_images(pod_uid).await,
            false => Ok(()),
        }
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        self.logs(id, options).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        self.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.exec(id, options).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        self.attach(id, options).await
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        self.port_forward(sandbox, port).await
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        self.stats(filter).await
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        let storage = self.storage().await;
        match tokio::task::spawn_blocking(move || machine::stats(&storage)).await {
            Ok(stats) => stats,
            Err(error) => Err(RuntimeError::Failed { message: error.to_string() }),
        }
    }

    async fn events(&self) -> Result<EventStream> {
        self.events().await
    }
}
