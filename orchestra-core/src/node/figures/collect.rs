//! Looking at a node's figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::rates::{Look, Rate};
use super::summary::{
    ContainerFigures, CpuStats, FsStats, MemoryStats, NodeStats, PodReference, PodStats, RlimitStats,
    Summary, VolumeStats,
};
use crate::clock::SharedClock;
use crate::node::backoff::between;
use crate::node::ports::{VolumeHost, VolumeUsage};
use crate::runtime::{
    ContainerState, ContainerStats, Filter, MachineStats, PodRef, Runtime, RuntimeError, Sandbox, names,
};

/// Between two looks for one who asks first.
const SPAN: Duration = Duration::from_secs(1);
/// Figures that are not older are told again.
const FRESH: Duration = Duration::from_secs(1);
/// A look that is older says nothing of the use now.
const STALE: Duration = Duration::from_secs(60);

/// The figures of one node. Clones are the same.
#[derive(Clone)]
pub(in crate::node) struct Figures(Arc<Inner>);

struct Inner {
    node: String,
    owner: String,
    runtime: Arc<dyn Runtime>,
    volumes: Option<Arc<dyn VolumeHost>>,
    log_root: PathBuf,
    clock: SharedClock,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    look: Option<Look>,
    told: Option<Summary>,
}

/// What was found at one time.
struct Found {
    machine: MachineStats,
    containers: Vec<ContainerStats>,
}

impl Figures {
    pub(in crate::node) fn new(
        (node, owner): (String, String),
        runtime: Arc<dyn Runtime>,
        volumes: Option<Arc<dyn VolumeHost>>,
        log_root: PathBuf,
        clock: SharedClock,
    ) -> Self {
        let held = Mutex::default();
        Self(Arc::new(Inner { node, owner, runtime, volumes, log_root, clock, held }))
    }

    /// The figures now.
    pub(in crate::node) async fn summary(&self) -> Result<Summary, RuntimeError> {
        let this = &*self.0;
        let mut held = this.held.lock().await;
        let age = |at: Timestamp| between(at, this.clock.now());
        if let (Some(told), Some(look)) = (&held.told, &held.look)
            && age(look.at()) < FRESH
        {
            return Ok(told.clone());
        }
        let look = match held.look.take().filter(|look| (FRESH..STALE).contains(&age(look.at()))) {
            Some(look) => look,
            None => {
                let first = this.look().await?;
                this.clock.sleep(SPAN).await;
                Look::new(&first.machine, &first.containers)
            }
        };
        let found = this.look().await?;
        let sandboxes = this.runtime.list(&this.filter()).await?;
        let summary = this.tell(&look, &found, &sandboxes).await;
        held.look = Some(Look::new(&found.machine, &found.containers));
        held.told = Some(summary.clone());
        Ok(summary)
    }
}

impl Inner {
    fn filter(&self) -> Filter {
        Filter::owner(&self.owner)
    }

    async fn look(&self) -> Result<Found, RuntimeError> {
        let machine = self.runtime.machine_stats().await?;
        Ok(Found { machine, containers: self.runtime.stats(&self.filter()).await? })
    }

    async fn tell(&self, look: &Look, found: &Found, sandboxes: &[Sandbox]) -> Summary {
        let mut by_pod = BTreeMap::<&PodRef, Vec<&ContainerStats>>::new();
        for one in &found.containers {
            by_pod.entry(&one.pod).or_default().push(one);
        }
        let mut pods = Vec::new();
        for (pod, mut containers) in by_pod {
            containers.sort_by(|a, b| a.container.cmp(&b.container));
            let newest = sandboxes.iter().rfind(|sandbox| sandbox.meta.pod == *pod);
            let each = containers.iter().map(|one| container(one, look, newest)).collect();
            let mut stats = of_pod(pod, newest, each, found.machine.at);
            self.add_disk(pod, &mut stats, &containers).await;
            pods.push(stats);
        }
        Summary { node: node(&self.node, look.machine_since(&found.machine), &found.machine), pods }
    }

    /// What the pod takes of the disk. What cannot be found out is left out.
    async fn add_disk(&self, pod: &PodRef, stats: &mut PodStats, containers: &[&ContainerStats]) {
        let Some(volumes) = &self.volumes else { return };
        let at = self.clock.now();
        let used = volumes.usage(pod).await.unwrap_or_default();
        let logs = volumes.size_of(&self.log_root.join(names::log_directory(pod))).await.unwrap_or(0);
        let written: u64 = containers.iter().map(|one| one.disk_bytes).sum();
        let kept: u64 = used.iter().filter(|volume| !volume.memory).map(|volume| volume.bytes).sum();
        stats.volumes = used.into_iter().map(|volume| of_volume(volume, at)).collect();
        stats.ephemeral_storage = Some(taken(at, written + logs + kept));
    }
}

fn of_volume(VolumeUsage { volume, bytes, inodes, .. }: VolumeUsage, at: Timestamp) -> VolumeStats {
    VolumeStats { name: volume, fs: FsStats { inodes_used: Some(inodes), ..taken(at, bytes) } }
}

fn taken(at: Timestamp, used_bytes: u64) -> FsStats {
    FsStats {
        time: at,
        available_bytes: None,
        capacity_bytes: None,
        used_bytes,
        inodes_free: None,
        inodes: None,
        inodes_used: None,
    }
}

fn container(one: &ContainerStats, look: &Look, sandbox: Option<&Sandbox>) -> ContainerFigures {
    let started = sandbox.and_then(|sandbox| {
        sandbox.containers.iter().filter(|known| known.meta.name == one.container).find_map(|known| {
            match known.state {
                ContainerState::Running { started_at } => Some(started_at),
                _ => None,
            }
        })
    });
    ContainerFigures {
        name: one.container.clone(),
        start_time: started,
        cpu: cpu(one.at, one.cpu_nanos, look.since(one, started)),
        memory: memory(one.at, one.memory_working_set_bytes),
        rootfs: Some(taken(one.at, one.disk_bytes)),
    }
}

fn of_pod(
    pod: &PodRef,
    sandbox: Option<&Sandbox>,
    containers: Vec<ContainerFigures>,
    at: Timestamp,
) -> PodStats {
    let PodRef { namespace, name, uid } = pod.clone();
    let nanos = containers.iter().map(|one| one.cpu.usage_core_nano_seconds).sum();
    let rates: Vec<Rate> = containers.iter().filter_map(|one| rate(&one.cpu)).collect();
    let all_known = rates.len() == containers.len();
    let together = Rate {
        nano_cores: rates.iter().map(|rate| rate.nano_cores).sum(),
        window_millis: rates.iter().map(|rate| rate.window_millis).max().unwrap_or_default(),
    };
    let in_use = containers.iter().map(|one| one.memory.working_set_bytes).sum();
    PodStats {
        pod_ref: PodReference { name, namespace, uid },
        start_time: sandbox.map(|sandbox| sandbox.created_at),
        cpu: Some(cpu(at, nanos, all_known.then_some(together))),
        memory: Some(memory(at, in_use)),
        containers,
        volumes: Vec::new(),
        ephemeral_storage: None,
    }
}

fn rate(cpu: &CpuStats) -> Option<Rate> {
    Some(Rate { nano_cores: cpu.usage_nano_cores?, window_millis: cpu.window_millis? })
}

fn node(name: &str, rate: Option<Rate>, machine: &MachineStats) -> NodeStats {
    let MachineStats { at, disk, .. } = *machine;
    NodeStats {
        node_name: name.to_owned(),
        start_time: machine.started_at,
        cpu: Some(cpu(at, machine.cpu_nanos, rate)),
        memory: Some(MemoryStats {
            available_bytes: Some(machine.memory_available_bytes),
            usage_bytes: Some(machine.memory_usage_bytes),
            ..memory(at, machine.memory_working_set_bytes)
        }),
        fs: Some(FsStats {
            available_bytes: Some(disk.available_bytes),
            capacity_bytes: Some(disk.capacity_bytes),
            inodes_free: Some(disk.inodes_free),
            inodes: Some(disk.inodes),
            inodes_used: Some(disk.inodes.saturating_sub(disk.inodes_free)),
            ..taken(at, disk.capacity_bytes.saturating_sub(disk.available_bytes))
        }),
        rlimit: Some(RlimitStats { time: at, most: machine.most_processes, running: machine.processes }),
    }
}

fn cpu(time: Timestamp, nanos: u64, rate: Option<Rate>) -> CpuStats {
    CpuStats {
        time,
        usage_nano_cores: rate.map(|rate| rate.nano_cores),
        usage_core_nano_seconds: nanos,
        window_millis: rate.map(|rate| rate.window_millis),
    }
}

fn memory(time: Timestamp, working_set_bytes: u64) -> MemoryStats {
    MemoryStats { time, available_bytes: None, usage_bytes: None, working_set_bytes }
}
