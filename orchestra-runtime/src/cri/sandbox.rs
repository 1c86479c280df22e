//! The lives of sandboxes: made, listed, stopped, removed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::proto::{
    Container as Listed, ContainerFilter, ListContainersRequest, ListPodSandboxRequest, PodSandbox,
    PodSandboxFilter, PodSandboxState, PodSandboxStatusRequest, PodSandboxStatusResponse,
    RemovePodSandboxRequest, RunPodSandboxRequest, StopPodSandboxRequest,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use orchestra_core::runtime::{
    Container, Duplex, Filter, HostPort, Resources, Result, RunningSandbox, RuntimeError, Sandbox, SandboxId,
    SandboxSpec, labels, names,
};

use super::error::{self, About};
use super::{CriRuntime, status, translate};
use crate::{cri_log, pod_group};

/// How many things are asked about at the same time.
const QUESTIONS: usize = 8;

impl CriRuntime {
    pub(super) async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        if let Some(port) = self.taken_port(&spec.host_ports).await? {
            return Err(RuntimeError::PortInUse { port });
        }
        let spec = pod_group::with(spec).await?;
        pod_group::kept_if(self.make_sandbox(&spec).await, &spec).await
    }

    /// Makes and starts a sandbox, whose control group is there.
    async fn make_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        let config = Some(translate::sandbox(spec));
        let request = RunPodSandboxRequest { config, runtime_handler: spec.handler.clone() };
        let made = match self.ask(request).await {
            Ok(made) => made.pod_sandbox_id,
            Err(status) => return Err(self.not_made(spec, status).await),
        };
        let shown = self.sandbox_status(&made, true).await?;
        let sandbox = status::sandbox(&shown).ok_or_else(|| RuntimeError::no_sandbox(&made))?;
        Ok(RunningSandbox { ips: sandbox.ips, netns: sandbox.netns, id: sandbox.id })
    }

    /// Why a sandbox was not made. That there is one already is said in words only.
    async fn not_made(&self, spec: &SandboxSpec, status: tonic::Status) -> RuntimeError {
        let own = Filter::default().and_pod(&spec.meta.pod.uid);
        let exists = self.sandboxes(&own).await.unwrap_or_default().into_iter().any(|held| {
            held.metadata
                .is_some_and(|held| held.attempt == spec.meta.attempt && held.uid == spec.meta.pod.uid)
        });
        match exists && !error::is_away(&status) {
            true => RuntimeError::AlreadyExists { what: "sandbox", name: names::sandbox(&spec.meta) },
            false => error::of(About::Runtime, status),
        }
    }

    /// Which of these ports somebody else has: another sandbox, or a program of the machine. The network plugins that lead
    /// ports on look at neither.
    async fn taken_port(&self, ports: &[HostPort]) -> Result<Option<u16>> {
        if ports.is_empty() {
            return Ok(None);
        }
        let running = self.sandboxes(&Filter::default()).await?;
        let running = running.iter().filter(|held| held.state == PodSandboxState::SandboxReady as i32);
        let by_sandbox = running.filter_map(|held| translate::taken(ports, &held.annotations)).next();
        let by_program = || ports.iter().find(|port| !crate::ports::is_free(port)).map(|port| port.host_port);
        Ok(by_sandbox.or_else(by_program))
    }

    pub(super) async fn sandbox_status(&self, id: &str, verbose: bool) -> Result<PodSandboxStatusResponse> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
        let shown = self.ask(request).await;
        shown.map_err(|status| error::of(About::Sandbox(id), status))
    }

    pub(super) async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        let shown = self.sandbox_status(id.as_str(), false).await?.status.unwrap_or_default();
        pod_group::set(shown.annotations.get(translate::CGROUP_PARENT).map(String::as_str), resources).await
    }

    pub(super) async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        error::unless_gone(self.ask(request).await)
            .map_err(|status| error::of(About::Sandbox(id.as_str()), status))
    }

    pub(super) async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let shown = match self.sandbox_status(id.as_str(), false).await {
            Err(error) if !error.is_not_found() => return Err(error),
            shown => shown.ok(),
        };
        self.stop_sandbox(id).await?;
        let filter = ContainerFilter { pod_sandbox_id: id.to_string(), ..Default::default() };
        for member in self.containers(filter).await? {
            self.remove_container(&member.id).await?;
        }
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        let removed = error::unless_gone(self.ask(request).await);
        // Whatever the answer is: if it is lost, nobody knows the next time where these were.
        let annotations = shown.and_then(|shown| shown.status).unwrap_or_default().annotations;
        if let Some(folder) = annotations.get(translate::LOG_DIRECTORY) {
            cri_log::remove_folder(Path::new(folder));
        }
        pod_group::without(annotations.get(translate::CGROUP_PARENT).map(String::as_str)).await?;
        removed.map_err(|status| error::of(About::Sandbox(id.as_str()), status))
    }

    pub(super) async fn sandboxes(&self, filter: &Filter) -> Result<Vec<PodSandbox>> {
        let label_selector = selector(filter, labels::KIND_SANDBOX);
        let filter = Some(PodSandboxFilter { label_selector, ..Default::default() });
        let listed = self.ask(ListPodSandboxRequest { filter }).await;
        listed.map(|listed| listed.items).map_err(|status| error::of(About::Runtime, status))
    }

    pub(super) async fn containers(&self, filter: ContainerFilter) -> Result<Vec<Listed>> {
        let request = ListContainersRequest { filter: Some(filter) };
        let listed = self.ask(request).await;
        listed.map(|listed| listed.containers).map_err(|status| error::of(About::Runtime, status))
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        let label_selector = selector(filter, labels::KIND_CONTAINER);
        let of_containers = ContainerFilter { label_selector, ..Default::default() };
        let (sandboxes, containers) =
            futures::try_join!(self.sandboxes(filter), self.containers(of_containers))?;
        let sandboxes = sandboxes.into_iter().map(|held| async move {
            // Where its network is, is looked up only of one that has one.
            let verbose = held.state == PodSandboxState::SandboxReady as i32;
            Ok(found(self.sandbox_status(&held.id, verbose).await)?.as_ref().and_then(status::sandbox))
        });
        let containers = containers.into_iter().map(|listed| async move {
            let shown = found(self.container_status(&listed.id).await)?;
            Ok(shown.as_ref().and_then(status::container).map(|container| (listed, container)))
        });
        let sandboxes = stream::iter(sandboxes).buffer_unordered(QUESTIONS);
        let containers = stream::iter(containers).buffer_unordered(QUESTIONS);
        let (sandboxes, containers): (Vec<Option<Sandbox>>, Vec<Option<Member>>) =
            futures::try_join!(sandboxes.try_collect(), containers.try_collect())?;
        Ok(assemble(sandboxes.into_iter().flatten(), containers.into_iter().flatten()))
    }

    pub(super) async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        let shown = self.sandbox_status(id.as_str(), true).await?;
        let sandbox = status::sandbox(&shown).ok_or_else(|| RuntimeError::no_sandbox(id))?;
        let netns = match sandbox.host_network {
            true => Some("/proc/self/ns/net".into()),
            false => sandbox.netns,
        };
        let netns = netns.ok_or_else(|| RuntimeError::NotRunning { id: id.to_string() })?;
        Ok(Box::new(crate::netns::connect(&netns, port).await?))
    }
}

/// A container, and what it is in.
type Member = (Listed, Container);

/// What was removed while it was looked at is not there.
fn found<T>(shown: Result<T>) -> Result<Option<T>> {
    match shown {
        Err(error) if error.is_not_found() => Ok(None),
        shown => shown.map(Some),
    }
}

/// Puts containers into their sandboxes.
fn assemble(
    sandboxes: impl Iterator<Item = Sandbox>,
    containers: impl Iterator<Item = (Listed, Container)>,
) -> Vec<Sandbox> {
    let mut all: BTreeMap<SandboxId, Sandbox> =
        sandboxes.map(|sandbox| (sandbox.id.clone(), sandbox)).collect();
    for (listed, container) in containers {
        let Some(lost) = status::lost_sandbox(&listed) else { continue };
        all.entry(lost.id.clone()).or_insert(lost).containers.push(container);
    }
    let mut all: Vec<Sandbox> = all.into_values().collect();
    for sandbox in &mut all {
        sandbox.containers.sort_by_key(|container| (container.created_at, container.meta.attempt));
    }
    all.sort_by_key(|sandbox| (sandbox.meta.attempt, sandbox.created_at));
    all
}

pub(super) fn selector(filter: &Filter, kind: &str) -> HashMap<String, String> {
    let mut wanted = HashMap::from([(labels::KIND.to_owned(), kind.to_owned())]);
    wanted.extend(filter.owner.as_ref().map(|owner| (labels::OWNER.to_owned(), owner.clone())));
    wanted.extend(filter.pod_uid.as_ref().map(|uid| (labels::POD_UID.to_owned(), uid.clone())));
    wanted
}
