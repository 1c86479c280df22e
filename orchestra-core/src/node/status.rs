//! What to report of one pod. Pure: the same pod, seen the same way, gives the same status.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Wanted, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
    ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::model::{
    Memory, Observed, RestartPolicy, Role, Waiting, containers, ephemeral, is_terminal, reported, start_time,
};
use super::resize;
use super::resources::qos_class;
use crate::runtime::{Container, ContainerId, ContainerState, Exit};

mod conditions;

/// What a status says of the node.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// The node's addresses, the primary first.
    pub host_ips: Vec<IpAddr>,
    /// The scheme of container ids: the runtime's name.
    pub runtime: String,
}

impl NodeFacts {
    /// A container's id as statuses show it: `docker://4f5e…`.
    pub fn shown_id(&self, id: &ContainerId) -> String {
        format!("{}://{id}", self.runtime)
    }
}

/// The status of a pod. What others have written into it (conditions of their own) is kept.
pub fn status(pod: &Pod, seen: &Observed, memory: &Memory, node: &NodeFacts, now: Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let Some(spec) = &pod.spec else { return old };
    let over = is_over(pod, seen, memory);
    let reporter = Reporter { pod, spec, seen, memory, node, over, now };
    let (init, apps) = reporter.containers();
    let phase = match &memory.failure {
        Some(_) => "Failed",
        None => reporter.phase(&init, &apps),
    };
    let (reason, message) = match (&memory.failure, phase == old.phase.as_deref().unwrap_or_default()) {
        (Some(failure), _) => (Some(failure.reason.clone()), Some(failure.message.clone())),
        (None, true) => (old.reason.clone(), old.message.clone()),
        (None, false) => (None, None),
    };
    // Of a pod that ended before anything of it began there is nothing to say but why.
    let (init, apps) = if reporter.never_began() { Default::default() } else { (init, apps) };
    let host_network = spec.host_network == Some(true);
    let host_ips = one_a_family(&node.host_ips);
    let pod_ips = match (&memory.attached, host_network) {
        (Some(_), true) => host_ips.clone(),
        (Some((_, ips)), false) => ips.clone(),
        (None, _) => Vec::new(),
    };
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        host_ip: host_ips.first().map(ToString::to_string),
        host_ips: Some(host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        start_time: start_time(pod, memory).or(Some(now)).map(Time),
        qos_class: old.qos_class.clone().or_else(|| Some(qos_class(spec).as_str().to_owned())),
        observed_generation: pod.metadata.generation,
        init_container_statuses: some(init),
        ephemeral_container_statuses: some(reporter.added()),
        container_statuses: some(apps),
        allocated_resources: spec.resources.clone().and_then(|asked| {
            let given = reporter.whole().unwrap_or_else(|| asked.clone());
            resize::set_aside(asked, given, resize::unresized_pod(memory, spec))
        }),
        resources: spec.resources.as_ref().and(reporter.whole()),
        ..old
    };
    if !pod_ips.is_empty() {
        status.pod_ip = pod_ips.first().map(ToString::to_string);
        status.pod_ips = Some(pod_ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
    }
    status.conditions = Some(conditions::conditions(&reporter, &status));
    status
}

/// Whether nothing of the pod will ever run again.
fn is_over(pod: &Pod, seen: &Observed, memory: &Memory) -> bool {
    let ending = memory.gone || pod.metadata.deletion_timestamp.is_some() || memory.failure.is_some();
    is_terminal(pod) || (ending && !seen.is_running())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

struct Reporter<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    seen: &'a Observed,
    memory: &'a Memory,
    node: &'a NodeFacts,
    over: bool,
    now: Timestamp,
}

impl Reporter<'_> {
    /// The statuses of the init containers, in order, and of the others, by name.
    fn containers(&self) -> (Vec<ContainerStatus>, Vec<ContainerStatus>) {
        let (mut init, mut apps) = (Vec::new(), Vec::new());
        for (role, wanted) in containers(self.spec) {
            let status = self.container(role, wanted);
            if role == Role::App { apps.push(status) } else { init.push(status) }
        }
        for status in &mut apps {
            status.allocated_resources_status = self.memory.devices.get(&status.name).cloned();
        }
        apps.sort_by(|a: &ContainerStatus, b| a.name.cmp(&b.name));
        (init, apps)
    }

    /// Whether the pod has ended, and nothing of it is or was ever there.
    fn never_began(&self) -> bool {
        let status = self.pod.status.as_ref();
        let shown = status.into_iter().flat_map(|status| {
            status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
        });
        let began = |held: &ContainerStatus| held.container_id.is_some();
        (self.memory.failure.is_some() || is_terminal(self.pod))
            && self.seen.sandboxes.is_empty()
            && !shown.into_iter().any(began)
    }

    /// What the pod has as a whole, once it has a sandbox.
    fn whole(&self) -> Option<ResourceRequirements> {
        let sandbox = self.seen.ready_sandbox()?;
        Some(resize::given_to_pod(self.pod, self.memory, &sandbox.id))
    }

    /// The statuses of the containers that were added to look into the pod.
    fn added(&self) -> Vec<ContainerStatus> {
        let status = |wanted: Wanted| ContainerStatus {
            // Nobody waits for it.
            started: None,
            ready: false,
            ..self.container(Role::Ephemeral, &wanted)
        };
        ephemeral(self.spec).map(status).collect()
    }

    fn container(&self, role: Role, wanted: &Wanted) -> ContainerStatus {
        let lives = self.seen.lives(&wanted.name);
        let Some(latest) = lives.first() else { return self.unseen(role, wanted) };
        let ended = |life: &&Container| life.state.exit().map(|exit| self.terminated(life, exit));
        let earlier = || lives.get(1).and_then(ended);
        let (state, last) = match (self.waiting_of(role, wanted, latest), &latest.state) {
            (Some(waiting), _) => (self.waiting(waiting.reason, &waiting.message), ended(latest)),
            (None, ContainerState::Created) => (self.creating(), earlier()),
            (None, ContainerState::Exited(exit)) => (self.terminated(latest, exit), earlier()),
            (None, ContainerState::Running { started_at }) => (running(*started_at), earlier()),
            (None, ContainerState::Unknown) => (running(self.started_at(latest)), earlier()),
        };
        let (started, ready) = self.started_and_ready(role, wanted, latest);
        let given = match latest.state.is_running() {
            true => resize::given(self.pod, self.memory, wanted, &latest.id),
            false => resize::allotted(self.memory, wanted),
        };
        ContainerStatus {
            name: wanted.name.clone(),
            image: latest.image.clone(),
            image_id: latest.image_id.clone(),
            container_id: Some(self.node.shown_id(&latest.id)),
            restart_count: i32::try_from(latest.meta.attempt).unwrap_or(i32::MAX),
            ready,
            started: Some(started),
            state: Some(state),
            last_state: last.or_else(|| self.reported_last_state(latest)),
            allocated_resources: resize::set_aside(
                resize::asked(wanted),
                given.clone(),
                resize::unresized(self.memory, wanted, &latest.id),
            ),
            resources: Some(given),
            ..ContainerStatus::default()
        }
    }

    /// Why a container waits. One that runs does not, nor does one that has ended and is not started again.
    fn waiting_of(&self, role: Role, wanted: &Wanted, latest: &Container) -> Option<&Waiting> {
        let policy = RestartPolicy::of_pod(self.spec);
        let starts = match &latest.state {
            ContainerState::Exited(exit) => policy.restarts(role, wanted, exit.code),
            state => !state.is_running(),
        };
        self.memory.waiting.get(&wanted.name).filter(|_| starts && !self.over)
    }

    /// Since when a container runs of which the runtime cannot say it: as was reported, else since it was made.
    fn started_at(&self, life: &Container) -> Timestamp {
        let known = reported(self.pod, &life.meta.name);
        let running = known.and_then(|known| known.state.as_ref()?.running.as_ref()?.started_at.as_ref());
        running.map_or(life.created_at, |time| time.0)
    }

    fn started_and_ready(&self, role: Role, wanted: &Wanted, life: &Container) -> (bool, bool) {
        if !matches!(life.state, ContainerState::Running { .. }) {
            let done = role == Role::Init && life.state.exit().is_some_and(|exit| exit.code == 0);
            return (false, done);
        }
        let probed = self.memory.probed(wanted, &life.id);
        let ready = role != Role::Init && probed.started && probed.ready;
        (probed.started && role != Role::Init, ready)
    }

    /// A container the runtime does not have: not yet, or no longer.
    fn unseen(&self, role: Role, wanted: &Wanted) -> ContainerStatus {
        let old = reported(self.pod, &wanted.name).cloned();
        let had_begun = old.as_ref().is_some_and(|old| {
            old.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        });
        let state = match (self.memory.waiting.get(&wanted.name), &old) {
            (_, Some(old)) if had_begun && self.over => lost(old, self.now),
            (Some(waiting), _) if !self.over => self.waiting(waiting.reason, &waiting.message),
            _ => self.creating(),
        };
        let mut status = old.filter(|_| had_begun).unwrap_or_default();
        status.name.clone_from(&wanted.name);
        if status.image.is_empty() {
            status.image = wanted.image.clone().unwrap_or_default();
        }
        let done = state.terminated.as_ref().is_some_and(|end| end.exit_code == 0) && role == Role::Init;
        status.state = Some(state);
        status.ready = done;
        status.started = Some(false);
        status
    }

    /// The last state that was reported, when the runtime has removed that life since.
    fn reported_last_state(&self, latest: &Container) -> Option<ApiState> {
        let old = reported(self.pod, &latest.meta.name)?.last_state.clone()?;
        let shown_id = self.node.shown_id(&latest.id);
        let of_another = |end: &ContainerStateTerminated| end.container_id.as_ref() != Some(&shown_id);
        old.terminated.as_ref().is_some_and(of_another).then_some(old)
    }

    fn creating(&self) -> ApiState {
        let has_init = self.spec.init_containers.as_ref().is_some_and(|init| !init.is_empty());
        self.waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, "")
    }

    fn waiting(&self, reason: &str, message: &str) -> ApiState {
        let message = Some(message.to_owned()).filter(|message| !message.is_empty());
        let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
        ApiState { waiting: Some(waiting), ..ApiState::default() }
    }

    fn terminated(&self, life: &Container, exit: &Exit) -> ApiState {
        let reason = match (exit.reason.as_str(), exit.oom_killed, exit.code) {
            ("", true, _) => "OOMKilled",
            ("", false, 0) => "Completed",
            ("", false, _) => "Error",
            (reason, ..) => reason,
        };
        let left = self.memory.messages.get(&life.id).filter(|message| !message.is_empty());
        let message = left.cloned().or_else(|| Some(exit.message.clone()).filter(|m| !m.is_empty()));
        let terminated = ContainerStateTerminated {
            container_id: Some(self.node.shown_id(&life.id)),
            exit_code: exit.code,
            finished_at: Some(Time(exit.finished_at)),
            // Clients show a missing time as one of the year 1: what never ran began when it ended.
            started_at: Some(Time(exit.started_at.unwrap_or(exit.finished_at))),
            message,
            reason: Some(reason.to_owned()),
            signal: None,
        };
        ApiState { terminated: Some(terminated), ..ApiState::default() }
    }

    /// The phase, from the statuses of the containers.
    fn phase(&self, init: &[ContainerStatus], apps: &[ContainerStatus]) -> &'static str {
        let policy = RestartPolicy::of_pod(self.spec);
        let exit = |status: &ContainerStatus| {
            let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            let before = || status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
            now.or_else(|| before().filter(|_| waits)).map(|end| end.exit_code)
        };
        let runs =
            |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        let roles = containers(self.spec).filter(|(role, _)| *role != Role::App);
        let (mut pending_init, mut failed_init) = (false, false);
        for ((role, wanted), status) in roles.zip(init) {
            match role {
                Role::Sidecar => pending_init |= status.started != Some(true) && exit(status).is_none(),
                _ => match exit(status) {
                    Some(0) => {}
                    Some(code) if !policy.restarts(role, wanted, code) => failed_init = true,
                    _ => pending_init = true,
                },
            }
        }
        let stopped: Vec<i32> = apps.iter().filter(|status| !runs(status)).filter_map(exit).collect();
        let running = apps.iter().filter(|status| runs(status)).count();
        let waiting = apps.len() - running - stopped.len();
        let began = running + stopped.len() > 0;
        let all_well = stopped.iter().all(|code| *code == 0);
        if failed_init {
            return "Failed";
        }
        if self.over {
            return match is_terminal(self.pod) {
                true => self.reported_phase(),
                false if waiting == 0 && all_well => "Succeeded",
                false => "Failed",
            };
        }
        let restarts = |status: &&ContainerStatus| {
            let wanted = self.spec.containers.iter().find(|wanted| wanted.name == status.name);
            let code = exit(status).unwrap_or_default();
            wanted.is_some_and(|wanted| policy.restarts(Role::App, wanted, code))
        };
        match () {
            () if pending_init && !began => "Pending",
            () if waiting > 0 => "Pending",
            () if running > 0 => "Running",
            () if apps.iter().any(|status| restarts(&status)) => "Running",
            () if all_well => "Succeeded",
            () => "Failed",
        }
    }

    fn reported_phase(&self) -> &'static str {
        match self.pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => "Succeeded",
            _ => "Failed",
        }
    }
}

fn running(since: Timestamp) -> ApiState {
    let running = ContainerStateRunning { started_at: Some(Time(since)) };
    ApiState { running: Some(running), ..ApiState::default() }
}

/// A container that ran and of which the runtime knows nothing any more.
fn lost(old: &ContainerStatus, now: Timestamp) -> ApiState {
    if let Some(state) = old.state.clone().filter(|state| state.terminated.is_some()) {
        return state;
    }
    let began = old.state.as_ref().and_then(|state| state.running.as_ref()?.started_at.clone());
    let terminated = ContainerStateTerminated {
        started_at: Some(began.unwrap_or(Time(now))),
        finished_at: Some(Time(now)),
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located when the pod was terminated".into()),
        container_id: old.container_id.clone(),
        ..ContainerStateTerminated::default()
    };
    ApiState { terminated: Some(terminated), ..ApiState::default() }
}

/// Adds a condition, keeping the time of its last change when it says what it said before.
fn condition(old: &[PodCondition], new: PodCondition, now: Timestamp) -> PodCondition {
    let same = old.iter().find(|known| known.type_ == new.type_ && known.status == new.status);
    let since = same.and_then(|known| known.last_transition_time.clone()).unwrap_or(Time(now));
    PodCondition { last_transition_time: Some(since), ..new }
}

/// The first address of each family: no more may be said of a pod.
fn one_a_family(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut first: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !first.iter().any(|held| held.is_ipv4() == address.is_ipv4()) {
            first.push(*address);
        }
    }
    first
}

#[cfg(test)]
mod tests;
