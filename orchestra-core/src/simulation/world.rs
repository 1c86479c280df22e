//! A simulated cluster that runs, for scripts and faults to act on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::fault::{Fault, FaultKind};
use super::machine::{BOOT, Machine};
use super::replica::Replica;
use super::wire::{Sight, Tapped, Trouble, Wire};
use crate::api::Client;
use crate::clock::SharedClock;
use crate::cluster::{Builder, Cluster, Component, StartError};
use crate::meta::Revision;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::supervise::{Supervisor, Task};

/// How long a client that died needs to start again.
const RESTART: Duration = Duration::from_secs(1);

pub(super) type Describe = dyn Fn(Builder) -> Builder + Send + Sync;
pub(super) type OwnFault = dyn Fn(World, Fault) -> BoxFuture<'static, ()> + Send + Sync;

/// What a world is made of.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) nodes: usize,
    /// How often they say that they live, if not as nodes do.
    pub(super) heartbeat: Option<Duration>,
    /// Without the embedder's own parts.
    pub(super) bare: bool,
    pub(super) describe: Arc<Describe>,
    pub(super) own_faults: BTreeMap<String, Arc<OwnFault>>,
}

/// A simulated cluster that runs. Cheap to clone.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    store: MemoryStore,
    wire: Arc<Wire>,
    machines: Vec<Machine>,
    own_faults: BTreeMap<String, Arc<OwnFault>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("machines", &self.inner.machines).finish_non_exhaustive()
    }
}

impl World {
    /// Starts the cluster over a store. What else it gives is told who is to die.
    pub(super) async fn start(
        setting: Setting,
        clock: &SharedClock,
        store: MemoryStore,
    ) -> Result<(Self, mpsc::UnboundedReceiver<String>), StartError> {
        let (dies, dying) = mpsc::unbounded_channel();
        let wire = Wire::new(Arc::clone(clock), dies);
        let machines: Vec<Machine> = (0..setting.nodes).map(|number| Machine::new(number, clock)).collect();
        let tap = Arc::clone(&wire);
        let mut builder = (setting.describe)(Cluster::builder());
        if let Some(heartbeat) = setting.heartbeat {
            // As many times that as nodes of a real cluster may.
            builder = builder.silence(heartbeat * 4, heartbeat * 6);
        }
        if setting.bare {
            builder = builder.without_own_parts();
        }
        builder = builder.store(store.clone()).clock(Arc::clone(clock));
        builder = builder.layer(move |server| Tapped::new(server, tap));
        for machine in &machines {
            builder = machine.join(setting.heartbeat, builder);
        }
        let cluster = builder.start().await?;
        let inner = Inner { cluster, store, wire, machines, own_faults: setting.own_faults };
        Ok((Self { inner: Arc::new(inner) }, dying))
    }

    /// A client that may do everything and that no fault meets.
    pub fn client(&self) -> Client {
        self.inner.cluster.client()
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Its clock.
    pub fn clock(&self) -> &SharedClock {
        self.inner.cluster.clock()
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Duration) {
        self.clock().sleep(time).await;
    }

    /// The machine of a node.
    pub fn machine(&self, node: &str) -> Option<&Machine> {
        let node = node.strip_prefix("node/").unwrap_or(node);
        self.inner.machines.iter().find(|machine| machine.name == node)
    }

    /// All machines.
    pub fn machines(&self) -> &[Machine] {
        &self.inner.machines
    }

    /// Adds a line to the story.
    pub fn tell(&self, who: impl Into<String>, what: impl Into<String>, why: impl Into<String>) {
        self.inner.wire.tell(who, what, why);
    }

    pub(super) fn store(&self) -> &MemoryStore {
        &self.inner.store
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.inner.wire
    }

    /// The parts that a client is the client of: those that die with it.
    fn parts_of(&self, actor: &str) -> Vec<Component> {
        if let Some(node) = actor.strip_prefix("node/") {
            return vec![Component::Kubelet(node.to_owned()), Component::Proxy(node.to_owned())];
        }
        let own = Component::Own(actor.to_owned());
        match actor {
            "kube-scheduler" => vec![Component::Scheduler],
            // The proxies of all nodes are one user.
            "kube-proxy" => {
                let proxies = self.cluster().components().filter(|it| matches!(it, Component::Proxy(_)));
                proxies.cloned().collect()
            }
            _ if self.cluster().components().any(|component| *component == own) => vec![own],
            _ => vec![Component::ControllerManager],
        }
    }

    fn start_parts(&self, actor: &str) {
        for part in self.parts_of(actor) {
            self.cluster().start(&part);
        }
        self.tell(actor, "starts", "");
    }

    fn kill_parts(&self, actor: &str) {
        for part in self.parts_of(actor) {
            self.cluster().kill(&part);
        }
    }

    /// Ends a client's process and starts it again a moment later.
    pub(super) async fn restart(&self, actor: &str) {
        self.kill_parts(actor);
        self.sleep(RESTART).await;
        self.start_parts(actor);
    }

    /// Kills whoever is to die and starts it again, for ever.
    pub(super) async fn bury(self, mut dying: mpsc::UnboundedReceiver<String>) {
        let mut restarts = Supervisor::new("simulation/restarts", Arc::clone(self.clock()));
        let mut number = 0_u64;
        loop {
            tokio::select! {
                biased;
                Some(_) = restarts.next() => {}
                actor = dying.recv() => {
                    let Some(actor) = actor else { return };
                    number += 1;
                    let world = self.clone();
                    restarts.run_once(number, async move { world.restart(&actor).await });
                }
            }
        }
    }

    /// Has a client see the cluster through a copy of its own, as of a revision. The copy lives as long as the task.
    pub(super) fn replicate(&self, actor: &str, revision: Revision) -> Task {
        let server = self.cluster().server();
        let replica = Replica::new(actor, server, &self.inner.store, &self.inner.wire, revision);
        self.inner.wire.give_replica(actor, Arc::clone(&replica) as Arc<dyn Sight>);
        Task::once(replica.run())
    }

    /// Has a fault come and go.
    pub(super) async fn suffer(self, fault: Fault) {
        self.sleep(fault.at).await;
        self.tell(format!("fault on {}", fault.who), fault.kind.to_string(), fault.to_string());
        match &fault.kind {
            FaultKind::Own(name) => match self.inner.own_faults.get(name) {
                Some(happen) => happen(self.clone(), fault.clone()).await,
                None => self.tell("simulation", format!("has no fault own:{name}"), ""),
            },
            FaultKind::Stop | FaultKind::PowerOff | FaultKind::LoseDisk => self.stop_and_start(&fault).await,
            FaultKind::RestartInPast => return self.restart_in_past(&fault).await,
            FaultKind::Crash => {
                // It ends with the death that it is about.
                self.inner.wire.trouble(trouble(&fault));
                return;
            }
            FaultKind::RuntimeAway
            | FaultKind::FillDisk
            | FaultKind::FailProbes
            | FaultKind::FailPulls
            | FaultKind::EndContainer => self.break_machine(&fault).await,
            _ => {
                let number = self.inner.wire.trouble(trouble(&fault));
                self.sleep(fault.lasts).await;
                self.inner.wire.relieve(number);
            }
        }
        self.tell(format!("fault on {}", fault.who), format!("{} ends", fault.kind), "");
    }

    async fn stop_and_start(&self, fault: &Fault) {
        if matches!(fault.kind, FaultKind::PowerOff | FaultKind::LoseDisk) {
            let actor = format!("node/{}", fault.who.strip_prefix("node/").unwrap_or(&fault.who));
            self.kill_parts(&actor);
            if let Some(machine) = self.machine(&fault.who) {
                machine.lose_power();
                if fault.kind == FaultKind::LoseDisk {
                    machine.lose_disk();
                }
            }
            self.sleep(fault.lasts + BOOT).await;
            return self.start_parts(&actor);
        }
        for part in self.parts_of(&fault.who) {
            self.cluster().stop(&part).await;
        }
        self.sleep(fault.lasts).await;
        self.start_parts(&fault.who);
    }

    async fn restart_in_past(&self, fault: &Fault) {
        let past = self.inner.store.revision().await.unwrap_or_default();
        let until_death = Duration::from_millis(fault.amount.into());
        self.sleep(until_death).await;
        self.kill_parts(&fault.who);
        self.tell(fault.who.as_str(), "dies", "fault: is to start again in the past");
        let number = self.inner.wire.trouble(trouble(fault));
        let replica = self.replicate(&fault.who, past);
        self.sleep(RESTART).await;
        self.start_parts(&fault.who);
        self.sleep(fault.lasts.saturating_sub(until_death + RESTART)).await;
        self.inner.wire.relieve(number);
        self.tell(fault.who.as_str(), "sees the present again", "");
        // The copy goes on for as long as there is a world.
        replica.ended().await;
    }

    async fn break_machine(&self, fault: &Fault) {
        let Some(machine) = self.machine(&fault.who) else {
            return self.tell("simulation", format!("has no machine {}", fault.who), "");
        };
        match fault.kind {
            FaultKind::RuntimeAway => machine.runtime.set_available(false),
            FaultKind::FillDisk => machine.fill_disk(true),
            FaultKind::FailProbes => machine.fail_probes(true),
            FaultKind::FailPulls => return machine.fail_pulls(fault.amount),
            _ => {
                let ended = machine.end_container(fault.amount);
                let what =
                    ended.map_or("none runs".to_owned(), |it| format!("{} of {}", it.container, it.pod));
                return self.tell(fault.who.as_str(), "a container ends", what);
            }
        }
        self.sleep(fault.lasts).await;
        match fault.kind {
            FaultKind::RuntimeAway => machine.runtime.set_available(true),
            FaultKind::FillDisk => machine.fill_disk(false),
            _ => machine.fail_probes(false),
        }
    }
}

fn trouble(fault: &Fault) -> Trouble {
    Trouble { kind: fault.kind.clone(), who: fault.who.clone(), amount: fault.amount }
}
