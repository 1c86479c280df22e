//! What the agent knows of one pod: what it wants, what the runtime shows, and what only the agent remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Wanted, ContainerStatus, Pod, PodSpec, ResourceRequirements, ResourceStatus,
};
use litemap::LiteMap;

use super::backoff::BackOff;
use crate::runtime::{Container, ContainerId, Sandbox, SandboxId, SandboxState};

/// What a container gets to end in any case, however little is asked for, so that one that would end in good order is
/// not killed. The kubelet's figure.
pub const LEAST_GRACE: Duration = Duration::from_secs(2);

/// The part a container plays in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs to its end before the next begins.
    Init,
    /// An init container that goes on running beside the others (`restartPolicy: Always`).
    Sidecar,
    /// What the pod is for.
    App,
    /// Added to a pod that runs, to look into it. It is never started again.
    Ephemeral,
}

/// The containers of a pod in the order they start, with their roles.
pub fn containers(spec: &PodSpec) -> impl DoubleEndedIterator<Item = (Role, &Wanted)> + Clone {
    let init = spec.init_containers.as_deref().unwrap_or_default().iter().map(|container| {
        let always = container.restart_policy.as_deref() == Some("Always");
        (if always { Role::Sidecar } else { Role::Init }, container)
    });
    init.chain(spec.containers.iter().map(|container| (Role::App, container)))
}

/// The containers that were added to look into a pod, as containers like others.
pub fn ephemeral(spec: &PodSpec) -> impl Iterator<Item = Wanted> + '_ {
    spec.ephemeral_containers.iter().flatten().map(|added| {
        let own = added.clone();
        Wanted {
            name: own.name,
            image: own.image,
            command: own.command,
            args: own.args,
            working_dir: own.working_dir,
            env: own.env,
            env_from: own.env_from,
            image_pull_policy: own.image_pull_policy,
            security_context: own.security_context,
            stdin: own.stdin,
            stdin_once: own.stdin_once,
            tty: own.tty,
            termination_message_path: own.termination_message_path,
            termination_message_policy: own.termination_message_policy,
            volume_devices: own.volume_devices,
            volume_mounts: own.volume_mounts,
            ..Wanted::default()
        }
    })
}

/// The container whose processes one that was added is to see.
pub fn target_of<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a str> {
    let added = spec.ephemeral_containers.iter().flatten().find(|added| added.name == name)?;
    added.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Whenever.
    Always,
    /// When it failed.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    /// The policy of a pod.
    pub fn of_pod(spec: &PodSpec) -> Self {
        Self::parse(spec.restart_policy.as_deref()).unwrap_or(Self::Always)
    }

    fn parse(text: Option<&str>) -> Option<Self> {
        Some(match text? {
            "Always" => Self::Always,
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => return None,
        })
    }

    /// Whether a container of this role starts again after it ended with `code`. A container's own policy and the rules
    /// for its exit codes come before its pod's.
    pub fn restarts(self, role: Role, container: &Wanted, code: i32) -> bool {
        if role == Role::Ephemeral {
            return false;
        }
        for rule in container.restart_policy_rules.iter().flatten() {
            let Some(codes) = &rule.exit_codes else { continue };
            let listed = codes.values.as_deref().unwrap_or_default().contains(&code);
            if listed == (codes.operator == "In") {
                return rule.action == "Restart";
            }
        }
        match (role, Self::parse(container.restart_policy.as_deref()).unwrap_or(self)) {
            (Role::Sidecar, _) => true,
            (Role::Ephemeral, _) | (_, Self::Never) => false,
            (Role::Init, _) | (_, Self::OnFailure) => code != 0,
            (Role::App, Self::Always) => true,
        }
    }
}

/// What the runtime shows of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Its sandboxes, oldest attempt first.
    pub sandboxes: Vec<Sandbox>,
}

impl Observed {
    /// Puts the sandboxes in order.
    pub fn new(mut sandboxes: Vec<Sandbox>) -> Self {
        sandboxes.sort_by_key(|sandbox| (sandbox.meta.attempt, sandbox.created_at));
        Self { sandboxes }
    }

    /// The newest sandbox, if it can take containers.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.last().filter(|sandbox| sandbox.state == SandboxState::Ready)
    }

    /// The attempt of the next sandbox.
    pub fn next_sandbox_attempt(&self) -> u32 {
        self.sandboxes.last().map_or(0, |sandbox| sandbox.meta.attempt + 1)
    }

    /// Every container, oldest sandbox first.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.sandboxes.iter().flat_map(|sandbox| &sandbox.containers)
    }

    /// The lives of one container, newest first.
    pub fn lives(&self, name: &str) -> Vec<&Container> {
        let mut lives: Vec<&Container> = self.containers().filter(|c| c.meta.name == name).collect();
        lives.sort_by_key(|c| std::cmp::Reverse((c.meta.attempt, c.created_at)));
        lives
    }

    /// The newest life of one container.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers().filter(|c| c.meta.name == name).max_by_key(|c| (c.meta.attempt, c.created_at))
    }

    /// Whether anything runs.
    pub fn is_running(&self) -> bool {
        self.containers().any(|container| container.state.is_running())
    }

    /// Whether anything runs or some sandbox still stands.
    pub fn is_up(&self) -> bool {
        self.is_running() || self.sandboxes.iter().any(|sandbox| sandbox.state == SandboxState::Ready)
    }
}

/// Why a container waits, as its status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `ImagePullBackOff`, `CrashLoopBackOff`, `CreateContainerConfigError` …
    pub reason: &'static str,
    /// In words; empty for none.
    pub message: String,
}

/// What the probes of one running container have found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The startup probe passed, or there is none.
    pub started: bool,
    /// The readiness probe passes, or there is none.
    pub ready: bool,
    /// A probe that says the container must be restarted.
    pub failed: Option<FailedProbe>,
}

/// A probe that says the container must be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailedProbe {
    /// The liveness probe.
    Liveness,
    /// The startup probe.
    Startup,
}

/// Why a pod has failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `DeadlineExceeded`, `Evicted` …
    pub reason: String,
    /// In words.
    pub message: String,
    /// The most grace with which it ends, where that is not its own.
    pub grace: Option<Duration>,
}

/// The reason of a pod that ended with its node.
pub const TERMINATED: &str = "Terminated";
/// The reason for which a container waits whose configuration cannot be had.
pub const CONFIG_ERROR: &str = "CreateContainerConfigError";

/// Where a pod's volumes are, by name. Each pod has some, if only its token's: a list takes less than the first entry of a tree.
pub type VolumePaths = LiteMap<String, PathBuf>;

/// When and from what a pod's volumes were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesMade {
    /// When.
    pub at: Timestamp,
    /// The labels and annotations that they show, if they show any.
    pub shown: Option<Metadata>,
}

/// A token that was asked for in the name of a pod.
#[derive(Clone)]
pub struct HeldToken {
    /// The token.
    pub token: String,
    /// When it is to be renewed.
    pub renew: Timestamp,
    /// When it counts no more.
    pub expires: Timestamp,
}

impl fmt::Debug for HeldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("HeldToken").field("renew", &self.renew).finish_non_exhaustive()
    }
}

/// Tokens by the name of their volume and their path in it: a list, as each pod has one, and most no more.
pub type HeldTokens = LiteMap<(String, String), HeldToken>;

/// A volume that a driver shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driven {
    /// The driver wants to be asked again and again to show it.
    pub again: bool,
    /// It is had by a claim.
    pub claimed: bool,
}

/// Why a running container, or a pod as a whole, does not have what is asked for by now.
#[derive(Debug, Clone, PartialEq)]
pub struct Unresized {
    /// What was asked for.
    pub asked: ResourceRequirements,
    /// What kind of reason there is: one of those of [`resize`](super::resize).
    pub reason: &'static str,
    /// Why not.
    pub message: String,
    /// When it is tried again; never, if it cannot be done at all.
    pub retry: Option<Timestamp>,
}

/// What the node has set aside for a pod, as the pod asked for it when there was room.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Allotted {
    /// Of its containers, by name. Each pod has this, most have one container, and the first entry of a tree takes a kilobyte.
    pub containers: LiteMap<String, ResourceRequirements>,
    /// Of the pod as a whole.
    pub whole: Option<ResourceRequirements>,
}

/// What only the agent knows of a pod. All of it can be lost: the next agent does without, a little worse.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The pod is gone from the API: end it and keep nothing.
    pub gone: bool,
    /// When the agent first saw the pod; its status says so from then on.
    pub first_seen: Option<Timestamp>,
    /// There is room for it on the node.
    pub admitted: bool,
    /// There will be when these have gone, by their uids.
    pub goes_in_for: Vec<String>,
    /// Its volumes are on disk.
    pub volumes_ready: bool,
    /// Where they are, by name.
    pub volumes: VolumePaths,
    /// When and from what they were made.
    pub volumes_made: Option<VolumesMade>,
    /// The tokens in them.
    pub tokens: HeldTokens,
    /// When they are to be brought up to date.
    pub volumes_due: Option<Timestamp>,
    /// Those that drivers show, by name.
    pub driven: BTreeMap<String, Driven>,
    /// When it is looked again whether one of them is to have more room.
    pub growth_due: Option<Timestamp>,
    /// Drivers have taken back what they showed to it, as it has ended.
    pub volumes_taken_back: bool,
    /// Its hosts file, where it has one of its own.
    pub hosts_file: Option<PathBuf>,
    /// The sandbox that is connected, and its addresses.
    pub attached: Option<(SandboxId, Vec<IpAddr>)>,
    /// Containers that wait, and why.
    pub waiting: BTreeMap<String, Waiting>,
    /// Containers that are not to be started before a time.
    pub not_before: BTreeMap<String, Timestamp>,
    /// When the pod's own preparations (volumes, sandbox, network) may be tried again.
    pub prepare_not_before: Option<Timestamp>,
    /// How often in a row they have failed.
    pub prepare_failures: u32,
    /// Waits between restarts.
    pub crashes: BackOff,
    /// Waits between pulls.
    pub pulls: BackOff,
    /// Why the last pull of an image failed.
    pub pull_errors: BTreeMap<String, String>,
    /// When its end began.
    pub ending_since: Option<Timestamp>,
    /// Containers that were told to end with it: their hooks have run.
    pub announced: BTreeSet<ContainerId>,
    /// What the probes found, for running containers that have any.
    pub probed: BTreeMap<ContainerId, Probed>,
    /// What the node has set aside for it: it may ask for more by now.
    pub allotted: Option<Allotted>,
    /// What containers were given of processors and memory: a list, for the same reason.
    pub given: LiteMap<ContainerId, ResourceRequirements>,
    /// Running containers that could not be given what their pod asks for by now.
    pub unresized: BTreeMap<ContainerId, Unresized>,
    /// What the pod was given as a whole, in which sandbox.
    pub given_pod: Option<(SandboxId, ResourceRequirements)>,
    /// That the pod could not be given what it asks for as a whole by now.
    pub unresized_pod: Option<Unresized>,
    /// What ended containers left in their termination message files.
    pub messages: BTreeMap<ContainerId, String>,
    /// The pod has failed as a whole.
    pub failure: Option<Failure>,
    /// When it is looked again how much of the node's disk it takes, if it may take only so much.
    pub storage_due: Option<Timestamp>,
    /// The disk of the node is full: if the pod has ended for good, nothing of its containers is kept.
    pub room_is_needed: bool,
    /// The devices that its containers have been given, and how these are.
    pub devices: BTreeMap<String, Vec<ResourceStatus>>,
    /// Why nothing of the pod may be started here: a field that the runtime does not carry out.
    pub refused: Option<String>,
}

impl Memory {
    /// When the first of the tokens in its volumes is to be renewed.
    pub fn tokens_due(&self) -> Option<Timestamp> {
        self.tokens.values().map(|held| held.renew).min()
    }

    /// Something that the pod refers to has changed: what waited for it need not wait longer, and what was made from it
    /// is made anew.
    pub fn sources_changed(&mut self, now: Timestamp) {
        self.prepare_not_before = None;
        self.prepare_failures = 0;
        if self.volumes_ready {
            self.volumes_due = Some(now);
        }
        let waits = |name: &String| self.waiting.get(name).is_some_and(|why| why.reason == CONFIG_ERROR);
        self.not_before.retain(|name, _| !waits(name));
    }

    /// What the probes say of a running container. Without probes it is started and ready.
    pub fn probed(&self, wanted: &Wanted, id: &ContainerId) -> Probed {
        self.probed.get(id).copied().unwrap_or(Probed {
            started: wanted.startup_probe.is_none(),
            ready: wanted.startup_probe.is_none() && wanted.readiness_probe.is_none(),
            failed: None,
        })
    }
}

/// Whether a pod has a volume that shows fields of the pod itself.
pub fn has_downward_api(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        volume.downward_api.is_some() || projected.into_iter().any(|source| source.downward_api.is_some())
    })
}

/// Whether a pod may have a volume that a driver shows.
pub fn may_have_drivers_volumes(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| {
        volume.csi.is_some() || volume.ephemeral.is_some() || volume.persistent_volume_claim.is_some()
    })
}

/// What may change of a pod while it lives and is shown in its volumes; `None` when none of them shows it.
pub fn shown_metadata(pod: &Pod) -> Option<Metadata> {
    let meta = &pod.metadata;
    let shown = || (meta.labels.clone().unwrap_or_default(), meta.annotations.clone().unwrap_or_default());
    has_downward_api(pod).then(shown)
}

/// Labels and annotations.
pub type Metadata = (BTreeMap<String, String>, BTreeMap<String, String>);

/// Whether a pod's volumes show labels or annotations that it no longer has.
pub fn volumes_are_outdated(pod: &Pod, memory: &Memory) -> bool {
    memory.volumes_made.as_ref().is_some_and(|made| made.shown.is_some() && made.shown != shown_metadata(pod))
}

/// The key under which a container's restarts are counted.
pub fn crash_key(container: &Wanted) -> String {
    format!("{}/{}", container.name, container_hash(container))
}

/// A hash of what a container is made from. Only the image may change while a pod lives.
pub fn container_hash(container: &Wanted) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let bytes = container.name.bytes().chain([0]).chain(image.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// What a pod's status says of one of its containers.
pub fn reported<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let usual = status.container_statuses.iter().chain(&status.init_container_statuses);
    let mut all = usual.chain(&status.ephemeral_container_statuses).flatten();
    all.find(|known| known.name == name)
}

/// Whether a pod's status says that it has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// When the agent first reported a pod, which is what its deadline counts from.
pub fn start_time(pod: &Pod, memory: &Memory) -> Option<Timestamp> {
    let reported = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    reported.map(|time| time.0).or(memory.first_seen)
}
