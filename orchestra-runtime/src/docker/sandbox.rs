//! The lives of sandboxes: made, listed, stopped, removed.

use std::collections::{BTreeMap, HashMap};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions, StartContainerOptions};
use futures::stream::{self, StreamExt, TryStreamExt};
use orchestra_core::runtime::{
    Duplex, Filter, HostPort, Resources, Result, RunningSandbox, RuntimeError, Sandbox, SandboxId,
    SandboxSpec, labels, names,
};

use super::error::{self, About};
use super::{DockerRuntime, pause, status, translate};
use crate::pod_group;

/// How many containers are asked about at the same time.
const INSPECTIONS: usize = 8;

impl DockerRuntime {
    pub(super) async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.have_pause_image().await?;
        let spec = pod_group::with(spec).await?;
        pod_group::kept_if(self.make_sandbox(&spec).await, &spec).await
    }

    /// Makes and starts a sandbox, whose control group is there.
    async fn make_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        let name = names::sandbox(&spec.meta);
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let body = translate::sandbox(spec, pause::IMAGE);
        let made = self
            .docker
            .create_container(Some(options), body)
            .await
            .map_err(|error| error::of_create("sandbox", &name, pause::IMAGE, error))?;
        if let Err(error) = self.docker.start_container(&made.id, None::<StartContainerOptions>).await {
            let error = match self.taken_port(&spec.host_ports, &made.id).await {
                Some(port) => RuntimeError::PortInUse { port },
                None => error::of(About::Sandbox(&made.id), error),
            };
            // It could only be removed; what cannot be removed now still shows in a list.
            let _ = self.remove(&made.id).await;
            return Err(error);
        }
        let shown = self.inspect_sandbox(&made.id).await?;
        Ok(RunningSandbox {
            ips: if spec.namespaces.host_network { Vec::new() } else { status::ips(&shown) },
            netns: status::netns(&shown),
            id: SandboxId::from(made.id),
        })
    }

    pub(super) async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        let shown = self.inspect_sandbox(id.as_str()).await?;
        pod_group::set(status::group(&shown), resources).await
    }

    pub(super) async fn inspect_sandbox(&self, id: &str) -> Result<ContainerInspectResponse> {
        self.docker.inspect_container(id, None).await.map_err(|error| error::of(About::Sandbox(id), error))
    }

    /// Which of these ports somebody else has: a container of the daemon, or a program of the machine. Docker's own
    /// error says it in words only.
    async fn taken_port(&self, ports: &[HostPort], own_id: &str) -> Option<u16> {
        let running = match ports.is_empty() {
            true => return None,
            false => self.docker.list_containers(None::<ListContainersOptions>).await.unwrap_or_default(),
        };
        let published = |port: &HostPort| {
            running
                .iter()
                .filter(|container| container.id.as_deref() != Some(own_id))
                .flat_map(|container| container.ports.iter().flatten())
                .any(|taken| taken.public_port == Some(port.host_port))
        };
        ports.iter().find(|port| published(port) || !crate::ports::is_free(port)).map(|port| port.host_port)
    }

    pub(super) async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.each_container(id, |container| async move { self.kill(&container).await }).await?;
        self.kill(id.as_str()).await
    }

    pub(super) async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let group = match self.inspect_sandbox(id.as_str()).await {
            Err(error) if !error.is_not_found() => return Err(error),
            shown => shown.ok().and_then(|shown| status::group(&shown).map(str::to_owned)),
        };
        self.each_container(id, |container| async move { self.remove(&container).await }).await?;
        let removed = self.remove(id.as_str()).await;
        // Whatever the answer is: if it is lost, nobody knows the next time which group it was.
        pod_group::without(group.as_deref()).await?;
        removed
    }

    async fn each_container<F>(&self, sandbox: &SandboxId, action: impl Fn(String) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let members = self.find(vec![format!("{}={sandbox}", labels::SANDBOX_ID)], false).await?;
        stream::iter(members.into_iter().filter_map(|member| member.id))
            .map(|id| Ok(action(id)))
            .try_for_each_concurrent(INSPECTIONS, |done| done)
            .await
    }

    /// Containers of the daemon, running or not, that have all of these labels.
    pub(super) async fn find(
        &self,
        labels: Vec<String>,
        with_size: bool,
    ) -> Result<Vec<bollard::models::ContainerSummary>> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptions {
            all: true,
            size: with_size,
            filters: Some(filters),
            ..Default::default()
        };
        self.docker.list_containers(Some(options)).await.map_err(|error| error::of(About::Daemon, error))
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        let found = self.find(label_filter(filter), false).await?;
        let shown: Vec<ContainerInspectResponse> =
            stream::iter(found.into_iter().filter_map(|summary| summary.id))
                .map(|id| async move {
                    match self.docker.inspect_container(&id, None).await {
                        Ok(shown) => Ok(Some(shown)),
                        Err(error) if error::status(&error) == Some(404) => Ok(None),
                        Err(error) => Err(error::of(About::Daemon, error)),
                    }
                })
                .buffer_unordered(INSPECTIONS)
                .try_filter_map(|shown| async move { Ok(shown) })
                .try_collect()
                .await?;
        Ok(assemble(&shown))
    }

    pub(super) async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        let shown = self.inspect_sandbox(id.as_str()).await?;
        let Some(netns) = status::netns(&shown) else {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        };
        Ok(Box::new(crate::netns::connect(&netns, port).await?))
    }
}

/// Puts containers into their sandboxes.
fn assemble(shown: &[ContainerInspectResponse]) -> Vec<Sandbox> {
    let mut sandboxes: BTreeMap<SandboxId, Sandbox> =
        shown.iter().filter_map(status::sandbox).map(|sandbox| (sandbox.id.clone(), sandbox)).collect();
    for one in shown {
        let Some((id, container)) = status::container(one) else { continue };
        let Some(lost) = status::lost_sandbox(one) else { continue };
        sandboxes.entry(id).or_insert(lost).containers.push(container);
    }
    let mut sandboxes: Vec<Sandbox> = sandboxes.into_values().collect();
    for sandbox in &mut sandboxes {
        sandbox.containers.sort_by_key(|container| (container.created_at, container.meta.attempt));
    }
    sandboxes.sort_by_key(|sandbox| (sandbox.meta.attempt, sandbox.created_at));
    sandboxes
}

pub(super) fn label_filter(filter: &Filter) -> Vec<String> {
    let mut wanted = vec![labels::KIND.to_owned()];
    wanted.extend(filter.owner.as_ref().map(|owner| format!("{}={owner}", labels::OWNER)));
    wanted.extend(filter.pod_uid.as_ref().map(|uid| format!("{}={uid}", labels::POD_UID)));
    wanted
}
