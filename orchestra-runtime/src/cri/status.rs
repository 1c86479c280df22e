//! From what the CRI shows to the port's types. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::proto::{
    Container as Listed, ContainerState as CriState, ContainerStatus, NamespaceMode, PodSandboxState,
    PodSandboxStatus, PodSandboxStatusResponse,
};
use jiff::Timestamp;
use orchestra_core::runtime::{
    Container, ContainerId, ContainerState, Exit, Sandbox, SandboxId, SandboxMeta, SandboxState, labels,
};
use serde::Deserialize;

use super::translate;

/// The reason that containers have whose start failed.
const START_ERROR: &str = "StartError";

/// What is said of a sandbox for those who ask for more; of it, where its network is.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Verbose {
    pid: u32,
    runtime_spec: RuntimeSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RuntimeSpec {
    linux: Linux,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: String,
}

/// A sandbox, still without its containers. `None` when it is not one of ours.
pub(super) fn sandbox(shown: &PodSandboxStatusResponse) -> Option<Sandbox> {
    let status = shown.status.as_ref()?;
    let meta = sandbox_meta(&status.labels)?;
    let ready = status.state == PodSandboxState::SandboxReady as i32;
    let host_network = network(status) == Some(NamespaceMode::Node as i32);
    Some(Sandbox {
        id: SandboxId::from(status.id.as_str()),
        meta,
        state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: time(status.created_at).unwrap_or_default(),
        ips: if host_network { Vec::new() } else { ips(status) },
        netns: if ready && !host_network { netns(shown) } else { None },
        host_network,
        containers: Vec::new(),
    })
}

pub(super) fn sandbox_meta(all: &HashMap<String, String>) -> Option<SandboxMeta> {
    labels::sandbox(|key| all.get(key).map(String::as_str))
}

fn network(status: &PodSandboxStatus) -> Option<i32> {
    Some(status.linux.as_ref()?.namespaces.as_ref()?.options.as_ref()?.network)
}

/// Its addresses, first the one of the node's primary family.
fn ips(status: &PodSandboxStatus) -> Vec<IpAddr> {
    let Some(network) = &status.network else { return Vec::new() };
    let more = network.additional_ips.iter().map(|one| &one.ip);
    std::iter::once(&network.ip).chain(more).filter_map(|text| text.parse().ok()).collect()
}

/// The file that names its network: as the runtime says, or that of its process.
fn netns(shown: &PodSandboxStatusResponse) -> Option<PathBuf> {
    let verbose: Verbose = serde_json::from_str(shown.info.get("info")?).ok()?;
    let named = verbose.runtime_spec.linux.namespaces.into_iter().find(|one| one.r#type == "network");
    match named.map(|one| one.path).filter(|path| !path.is_empty()) {
        Some(path) => Some(path.into()),
        None => (verbose.pid > 0).then(|| format!("/proc/{}/ns/net", verbose.pid).into()),
    }
}

/// A container. `None` when it is not one of ours.
pub(super) fn container(shown: &ContainerStatus) -> Option<Container> {
    let get = |key: &str| shown.labels.get(key).map(String::as_str);
    let named = shown.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
    let asked = shown.annotations.get(translate::IMAGE).map(String::as_str);
    let image_id = if shown.image_ref.is_empty() { &shown.image_id } else { &shown.image_ref };
    Some(Container {
        id: ContainerId::from(shown.id.as_str()),
        meta: labels::container(get)?,
        state: state(shown),
        image: asked.unwrap_or(named).to_owned(),
        image_id: image_id.clone(),
        created_at: time(shown.created_at).unwrap_or_default(),
    })
}

/// A stand-in for a sandbox that was taken away under its containers: they must still be found, to be removed.
pub(super) fn lost_sandbox(listed: &Listed) -> Option<Sandbox> {
    let get = |key: &str| listed.labels.get(key).map(String::as_str);
    Some(Sandbox {
        id: SandboxId::from(listed.pod_sandbox_id.as_str()),
        meta: SandboxMeta {
            pod: labels::pod(get)?,
            attempt: get(labels::SANDBOX_ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or_default(),
            owner: get(labels::OWNER)?.to_owned(),
        },
        state: SandboxState::NotReady,
        created_at: time(listed.created_at).unwrap_or_default(),
        ips: Vec::new(),
        netns: None,
        host_network: false,
        containers: Vec::new(),
    })
}

fn state(shown: &ContainerStatus) -> ContainerState {
    let created_at = time(shown.created_at).unwrap_or_default();
    match CriState::try_from(shown.state) {
        Ok(CriState::Created) => ContainerState::Created,
        Ok(CriState::Running) => {
            ContainerState::Running { started_at: time(shown.started_at).unwrap_or(created_at) }
        }
        Ok(CriState::Exited) => {
            let started_at = time(shown.started_at);
            let finished_at = time(shown.finished_at).or(started_at).unwrap_or(created_at);
            ContainerState::Exited(Exit {
                code: shown.exit_code,
                oom_killed: shown.reason == "OOMKilled",
                started_at,
                // The end of a very short life is noted before its beginning, now and then.
                finished_at: started_at.map_or(finished_at, |started_at| finished_at.max(started_at)),
                reason: if could_not_start(shown) { START_ERROR.into() } else { String::new() },
                message: shown.message.clone(),
            })
        }
        Ok(CriState::Unknown) | Err(_) => ContainerState::Unknown,
    }
}

/// Whether a container ended without having run.
pub(super) fn could_not_start(shown: &ContainerStatus) -> bool {
    shown.state == CriState::Exited as i32 && shown.started_at == 0
}

/// Nanoseconds since 1970; 0 and less is never.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds > 0)
}

#[cfg(test)]
mod tests {
    use crate::cri::proto::{PodIp, PodSandboxNetworkStatus};

    use super::*;

    #[test]
    fn states_are_the_ports() {
        let shown = |state: CriState, started_at, finished_at| ContainerStatus {
            state: state as i32,
            created_at: 1_000_000_000,
            started_at,
            finished_at,
            exit_code: 3,
            ..Default::default()
        };
        assert_eq!(state(&shown(CriState::Created, 0, 0)), ContainerState::Created);
        assert_eq!(state(&shown(CriState::Unknown, 0, 0)), ContainerState::Unknown);
        let second = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(
            state(&shown(CriState::Running, 2_000_000_000, 0)),
            ContainerState::Running { started_at: second(2) }
        );
        let ended = state(&shown(CriState::Exited, 3_000_000_000, 2_000_000_000));
        let exit = ended.exit().unwrap();
        assert_eq!((exit.code, exit.started_at, exit.finished_at), (3, Some(second(3)), second(3)));
        let failed = shown(CriState::Exited, 0, 2_000_000_000);
        assert!(could_not_start(&failed));
        assert_eq!(state(&failed).exit().unwrap().reason, START_ERROR);
    }

    #[test]
    fn a_sandbox_says_where_its_network_is() {
        let info = |text: &str| PodSandboxStatusResponse {
            info: [("info".to_owned(), text.to_owned())].into(),
            ..Default::default()
        };
        let spec = r#"{"pid":7,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/n"}]}}}"#;
        assert_eq!(netns(&info(spec)), Some("/run/n".into()));
        assert_eq!(netns(&info(r#"{"pid":7,"other":[]}"#)), Some("/proc/7/ns/net".into()));
        assert_eq!(netns(&info("no")), None);
        let network = PodSandboxNetworkStatus {
            ip: "10.0.0.7".into(),
            additional_ips: vec![PodIp { ip: "fd00::7".into() }],
        };
        let status = PodSandboxStatus { network: Some(network), ..Default::default() };
        assert_eq!(ips(&status), ["10.0.0.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]);
    }
}
