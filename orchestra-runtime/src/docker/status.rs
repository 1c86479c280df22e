//! From what Docker shows of a container to the port's types. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use bollard::models::{
    ContainerInspectResponse, ContainerState as DockerState, ContainerStateStatusEnum as Status,
};
use jiff::Timestamp;
use orchestra_core::runtime::{
    Container, ContainerId, ContainerState, Exit, Sandbox, SandboxId, SandboxMeta, SandboxState, labels,
};

use super::translate::IMAGE_LABEL;

/// A sandbox from its pause container, still without its containers. `None` when it is not one of ours.
pub(super) fn sandbox(shown: &ContainerInspectResponse) -> Option<Sandbox> {
    let labels = labels_of(shown)?;
    let meta = labels::sandbox(|key| labels.get(key).map(String::as_str))?;
    let state = shown.state.as_ref();
    let running = state.and_then(|state| state.running) == Some(true);
    Some(Sandbox {
        id: SandboxId::from(shown.id.clone()?),
        meta,
        state: if running { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: created(shown),
        ips: ips(shown),
        netns: running.then(|| netns(shown)).flatten(),
        host_network: network_mode(shown) == Some("host"),
        containers: Vec::new(),
    })
}

/// A container, with the id of the sandbox it is in. `None` when it is not one of ours.
pub(super) fn container(shown: &ContainerInspectResponse) -> Option<(SandboxId, Container)> {
    let labels = labels_of(shown)?;
    let get = |key: &str| labels.get(key).map(String::as_str);
    let container = Container {
        id: ContainerId::from(shown.id.clone()?),
        meta: labels::container(get)?,
        state: state(shown.state.as_ref(), created(shown)),
        image: get(IMAGE_LABEL).unwrap_or_default().to_owned(),
        image_id: shown.image.clone().unwrap_or_default(),
        created_at: created(shown),
    };
    Some((SandboxId::from(get(labels::SANDBOX_ID)?), container))
}

/// A stand-in for a sandbox that was taken away under its containers: they must still be found, to be removed.
pub(super) fn lost_sandbox(shown: &ContainerInspectResponse) -> Option<Sandbox> {
    let labels = labels_of(shown)?;
    let get = |key: &str| labels.get(key).map(String::as_str);
    Some(Sandbox {
        id: SandboxId::from(get(labels::SANDBOX_ID)?),
        meta: SandboxMeta {
            pod: labels::pod(get)?,
            attempt: get(labels::SANDBOX_ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or_default(),
            owner: get(labels::OWNER)?.to_owned(),
        },
        state: SandboxState::NotReady,
        created_at: created(shown),
        ips: Vec::new(),
        netns: None,
        host_network: false,
        containers: Vec::new(),
    })
}

/// The addresses Docker gave a container, IPv4 first.
pub(super) fn ips(shown: &ContainerInspectResponse) -> Vec<IpAddr> {
    let networks = shown.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let mut found: Vec<IpAddr> = networks
        .into_iter()
        .flat_map(HashMap::values)
        .flat_map(|endpoint| [&endpoint.ip_address, &endpoint.global_ipv6_address])
        .filter_map(|text| text.as_deref()?.parse().ok())
        .collect();
    found.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    found
}

/// The file that names a running container's network namespace.
pub(super) fn netns(shown: &ContainerInspectResponse) -> Option<PathBuf> {
    let pid = shown.state.as_ref()?.pid.filter(|pid| *pid > 0)?;
    Some(PathBuf::from(format!("/proc/{pid}/ns/net")))
}

/// How a container that joins this sandbox sees processes.
pub(super) fn pid_mode(shown: &ContainerInspectResponse) -> Option<&str> {
    shown.host_config.as_ref()?.pid_mode.as_deref().filter(|mode| !mode.is_empty())
}

/// The control group that holds this sandbox, if it was put into one.
pub(super) fn group(shown: &ContainerInspectResponse) -> Option<&str> {
    shown.host_config.as_ref()?.cgroup_parent.as_deref().filter(|group| !group.is_empty())
}

fn network_mode(shown: &ContainerInspectResponse) -> Option<&str> {
    shown.host_config.as_ref()?.network_mode.as_deref()
}

fn labels_of(shown: &ContainerInspectResponse) -> Option<&HashMap<String, String>> {
    shown.config.as_ref()?.labels.as_ref()
}

fn created(shown: &ContainerInspectResponse) -> Timestamp {
    time(shown.created.as_deref()).unwrap_or_default()
}

/// Docker's zero time is in the year 1 and means "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<Timestamp>().ok().filter(|at| *at > Timestamp::UNIX_EPOCH)
}

fn state(state: Option<&DockerState>, created_at: Timestamp) -> ContainerState {
    let Some(state) = state else { return ContainerState::Unknown };
    match state.status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) => {
            let started_at = time(state.started_at.as_deref()).unwrap_or(created_at);
            ContainerState::Running { started_at }
        }
        Some(Status::CREATED) if !could_not_start(state) => ContainerState::Created,
        Some(Status::CREATED | Status::EXITED | Status::DEAD | Status::REMOVING) => {
            ContainerState::Exited(exit(state, created_at))
        }
        _ => ContainerState::Unknown,
    }
}

/// A container whose start failed goes back to `created`, but keeps why.
pub(super) fn could_not_start(state: &DockerState) -> bool {
    state.exit_code.unwrap_or_default() != 0
        && state.error.as_deref().is_some_and(|error| !error.is_empty())
        && time(state.started_at.as_deref()).is_none()
}

fn exit(state: &DockerState, created_at: Timestamp) -> Exit {
    let started_at = time(state.started_at.as_deref());
    let failed = could_not_start(state);
    let finished_at = time(state.finished_at.as_deref()).or(started_at).unwrap_or(created_at);
    Exit {
        code: code(state),
        oom_killed: state.oom_killed.unwrap_or_default(),
        started_at,
        // The end of a very short life is noted before its beginning, now and then.
        finished_at: started_at.map_or(finished_at, |started_at| finished_at.max(started_at)),
        reason: if failed { "ContainerCannotRun".into() } else { String::new() },
        message: state.error.clone().unwrap_or_default(),
    }
}

/// The exit code as a shell would give it.
pub(super) fn code(state: &DockerState) -> i32 {
    state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1)
}
