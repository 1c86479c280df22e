//! A whole runtime in memory: containers that exist, start, speak, crash and end in virtual time.
//!
//! It is what tests, simulations and `orchestra up --runtime fake` run on. Everything a real runtime does wrong can be
//! asked for: a [`Behaviour`] for the containers of an image or of a name ([`FakeRuntime::on`]), an error from the next
//! call of a kind ([`FakeRuntime::fail_next`]), a daemon that is away ([`FakeRuntime::set_available`]), a crash now
//! ([`FakeRuntime::exit`]).
//!
//! A container that runs for ever costs no task and no timer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::{
    ContainerId, ContainerSpec, EventKind, Filter, Image, MachineInfo, MachineStats, Resources, RuntimeError,
    Sandbox, SupportedFields,
};
use crate::clock::SharedClock;
use crate::supervise::Task;

mod behaviour;
mod logs;
mod port;
mod sessions;
mod state;

pub use behaviour::{Behaviour, ExecFn};
use state::State;

/// A [`Runtime`](super::Runtime) in memory. Clones are the same runtime.
#[derive(Clone)]
pub struct FakeRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    pub(super) clock: SharedClock,
    machine: MachineInfo,
    state: Mutex<State>,
    /// Told after every change that somebody may wait for.
    pub(super) changed: Notify,
}

/// A method of the port, for [`FakeRuntime::fail_next`] and [`FakeRuntime::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the method of that name")]
#[non_exhaustive]
pub enum Call {
    Info,
    RunSandbox,
    StopSandbox,
    RemoveSandbox,
    UpdateSandbox,
    CreateContainer,
    StartContainer,
    UpdateContainer,
    StopContainer,
    RemoveContainer,
    List,
    PullImage,
    RemoveImage,
    MountImage,
    Logs,
    ExecSync,
    Stats,
    MachineStats,
    PortForward,
    Attach,
}

/// Which containers a [`Behaviour`] is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum On {
    /// Those of this image, as written in the pod.
    Image(String),
    /// Those of this name, in any pod.
    Container(String),
    /// The one of this name in pods of this name.
    PodContainer(String, String),
    /// Those that run exactly this command; and this command, executed in any container.
    Command(Vec<String>),
}

impl On {
    /// Those of this image.
    pub fn image(image: impl Into<String>) -> Self {
        Self::Image(image.into())
    }

    /// Those of this name.
    pub fn container(name: impl Into<String>) -> Self {
        Self::Container(name.into())
    }

    fn matches(&self, pod: &str, spec: &ContainerSpec) -> bool {
        match self {
            Self::Image(image) => *image == spec.image,
            Self::Container(name) => *name == spec.meta.name,
            Self::PodContainer(of, name) => of == pod && *name == spec.meta.name,
            Self::Command(command) => command.iter().eq(spec.command.iter().chain(&spec.args)),
        }
    }
}

impl FakeRuntime {
    /// A runtime on a machine of the default size, in which every image is present.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_machine(clock, MachineInfo::default())
    }

    /// A runtime on a machine of this size.
    pub fn with_machine(clock: SharedClock, machine: MachineInfo) -> Self {
        let inner = Inner { clock, machine, state: Mutex::default(), changed: Notify::new() };
        inner.lock().fields = SupportedFields::ALL;
        Self { inner: Arc::new(inner) }
    }

    /// Says what some containers do from their next start on. Of several that match, the last said counts.
    pub fn on(&self, which: On, behaviour: Behaviour) {
        self.inner.lock().scripts.push((which, Arc::new(behaviour)));
    }

    /// The images that were pulled and not removed, by name.
    pub fn present_images(&self) -> Vec<String> {
        let mut names: Vec<String> = self.inner.lock().images.keys().cloned().collect();
        names.sort();
        names
    }

    /// How many sandboxes there are.
    pub fn sandbox_count(&self) -> usize {
        self.inner.lock().sandboxes.len()
    }

    /// The images that are shown to pods: whose, by uid, which, by id, and where.
    pub fn shown_images(&self) -> Vec<(String, String, PathBuf)> {
        self.inner.lock().shown_images.clone()
    }

    /// Says which fields of a pod it carries out; all of them until it is told otherwise.
    pub fn support(&self, fields: SupportedFields) {
        self.inner.lock().fields = fields;
    }

    /// Has the machine's figures be changed before they are told, as by others who use it too.
    pub fn on_machine_stats(&self, change: impl FnMut(&mut MachineStats) + Send + 'static) {
        self.inner.lock().machine = Some(Box::new(change));
    }

    /// Has somebody take connections to a port of any sandbox.
    pub fn listen(&self, port: u16, take: impl Fn(DuplexStream) + Send + Sync + 'static) {
        self.inner.lock().ports.insert(port, Arc::new(take));
    }

    /// Makes the next call of this kind fail. Several wait in line.
    pub fn fail_next(&self, call: Call, error: RuntimeError) {
        self.inner.lock().failures.push_back((call, error));
    }

    /// Takes the daemon away, or brings it back. Containers run on meanwhile; event streams end.
    pub fn set_available(&self, available: bool) {
        let mut state = self.inner.lock();
        state.away = !available;
        if state.away {
            for subscriber in std::mem::take(&mut state.subscribers) {
                let _ = subscriber.send(Err(away()));
            }
        }
    }

    /// Ends a running container now. Whether there was one.
    pub fn exit(&self, id: &ContainerId, code: i32) -> bool {
        let now = self.inner.clock.now();
        let ended = self.inner.lock().end(id, code, false, now);
        self.inner.changed.notify_waiters();
        ended
    }

    /// Stops a pod's sandbox behind the agent's back, as a machine that lost it would.
    pub fn lose_sandbox(&self, pod_uid: &str) {
        let now = self.inner.clock.now();
        let mut state = self.inner.lock();
        let ids: Vec<u32> = state.of_pod(pod_uid).map(|(number, _)| number).collect();
        for number in ids {
            state.stop_sandbox(&format!("{number:08x}").into(), now);
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Forgets all sandboxes and images, as a machine does that comes back with an empty disk.
    pub fn wipe(&self) {
        self.inner.lock().wipe();
        self.inner.changed.notify_waiters();
    }

    /// Writes a line to a container's log.
    pub fn write_log(&self, id: &ContainerId, line: impl Into<String>) {
        let now = self.inner.clock.now();
        if let Ok(container) = self.inner.lock().container(id) {
            container.written.push((now, line.into()));
        }
        self.inner.changed.notify_waiters();
    }

    /// What there is, also while the daemon is away.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        self.inner.lock().list(&Filter::default())
    }

    /// What a container may use, if there is one of the id.
    pub fn resources(&self, id: &ContainerId) -> Option<Resources> {
        self.inner.lock().container(id).ok().map(|container| container.resources)
    }

    /// What the containers of a pod may use together, if that was said.
    pub fn pod_resources(&self, uid: &str) -> Option<Resources> {
        let state = self.inner.lock();
        let newest = state.of_pod(uid).last()?.1;
        newest.resources.as_deref().copied()
    }

    /// How often a method of the port was called.
    pub fn calls(&self, call: Call) -> u64 {
        self.inner.lock().calls.get(&call).copied().unwrap_or_default()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it when that was asked for.
    fn enter(&self, call: Call) -> super::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        if state.away {
            return Err(away());
        }
        match state.failures.iter().position(|(of, _)| *of == call) {
            Some(at) => Err(state.failures.remove(at).map_or_else(away, |(_, error)| error)),
            None => Ok(state),
        }
    }

    /// What an executed command does, if anything was said about it.
    fn behaviour_of_command(state: &State, command: &[String]) -> Option<Arc<Behaviour>> {
        let of_command = |on: &On| matches!(on, On::Command(words) if words == command);
        let found = state.scripts.iter().rev().find(|(on, _)| of_command(on));
        found.map(|(_, behaviour)| behaviour.clone())
    }

    /// What a container does, if anything was said about it.
    fn behaviour(state: &State, pod: &str, spec: &ContainerSpec) -> Option<Arc<Behaviour>> {
        if let Some((_, behaviour)) = state.scripts.iter().rev().find(|(on, _)| on.matches(pod, spec)) {
            return Some(behaviour.clone());
        }
        let by_command = !spec.command.is_empty() || !spec.args.is_empty();
        by_command.then(|| Behaviour::of_command(spec)).filter(|b| b.end.is_some()).map(Arc::new)
    }

    /// Ends a container once its time has come.
    fn end_later(self: &Arc<Self>, id: ContainerId, end: behaviour::End) -> Task {
        let (inner, clock) = (Arc::downgrade(self), self.clock.clone());
        Task::once(async move {
            clock.sleep(end.after).await;
            let Some(inner) = inner.upgrade() else { return };
            let now = inner.clock.now();
            inner.lock().end(&id, end.code, end.oom, now);
            inner.changed.notify_waiters();
        })
    }

    /// Marks a container as running, and says so.
    fn run(self: &Arc<Self>, id: &ContainerId) -> super::Result<()> {
        let now = self.clock.now();
        let mut state = self.lock();
        let container = state.container(id)?;
        container.state = super::ContainerState::Running { started_at: now };
        let end = container.behaviour.as_ref().and_then(|b| b.end);
        let later = end.filter(|end| !end.after.is_zero());
        container.ending = later.map(|end| self.end_later(id.clone(), end));
        state.tell(id.as_str(), EventKind::Started(id.clone()));
        if let Some(end) = end.filter(|end| end.after.is_zero()) {
            // As of a program that has ended before anybody looks.
            state.end(id, end.code, end.oom, now);
            drop(state);
            self.changed.notify_waiters();
        }
        Ok(())
    }
}

fn away() -> RuntimeError {
    RuntimeError::Unavailable { message: "the fake runtime was taken away".into() }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

fn invented(image: &str) -> Image {
    let hash = image
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let digest = format!("{hash:016x}").repeat(4);
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let path_end = name.rfind(':').filter(|colon| !name[*colon..].contains('/')).unwrap_or(name.len());
    Image {
        id: format!("sha256:{digest}"),
        tags: vec![image.to_owned()],
        digests: vec![format!("{}@sha256:{digest}", &name[..path_end])],
        size_bytes: 1 << 20,
        uid: None,
        username: None,
    }
}
