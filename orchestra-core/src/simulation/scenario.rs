//! What is simulated: a cluster, what people do with it, and what must be true.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;

use super::fault::Fault;
use super::prepared::{Prepared, prepare};
use super::state::State;
use super::world::{OwnFault, Setting, World};
use crate::api::Status;
use crate::cluster::Builder;

type Script = dyn Fn(World) -> BoxFuture<'static, Result<(), Status>> + Send + Sync;
type Check = dyn Fn(&State) -> Result<(), String> + Send + Sync;

/// Something that must be true.
#[derive(Clone)]
pub(super) struct Invariant {
    pub(super) name: Arc<str>,
    pub(super) check: Arc<Check>,
}

/// A cluster, a script of what people do with it, and what must be true meanwhile and in the end. See the
/// [module](super) for an example. Cheap to clone.
#[derive(Clone)]
pub struct Scenario {
    pub(super) name: Arc<str>,
    setting: Setting,
    prepared: Arc<OnceLock<Result<Prepared, String>>>,
    pub(super) script: Arc<Script>,
    pub(super) always: Vec<Invariant>,
    pub(super) eventually: Vec<Invariant>,
    pub(super) patience: Duration,
    pub(super) calm: Duration,
    pub(super) rests: bool,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scenario {
    /// A cluster without nodes in which nothing happens.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            setting: Setting {
                nodes: 0,
                heartbeat: None,
                bare: false,
                describe: Arc::new(|builder| builder),
                own_faults: BTreeMap::new(),
            },
            prepared: Arc::default(),
            script: Arc::new(|_| Box::pin(async { Ok(()) })),
            always: Vec::new(),
            eventually: Vec::new(),
            patience: Duration::from_secs(1800),
            calm: Duration::from_secs(30),
            rests: true,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With so many nodes, `fake-0` and on.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.setting.nodes = nodes;
        self
    }

    /// Nodes say this often that they live, and all of their status thirty times as rarely, and count as lost after four
    /// times as long; without, every ten seconds, every five minutes and after forty seconds. For lives of days, of which
    /// heartbeats would be the most, and in which it does not matter how soon a node is missed.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.setting.heartbeat = Some(every);
        self.prepared = Arc::default();
        self
    }

    /// What else the cluster is: kinds, parts of one's own, parts that are left out. Its store, clock and nodes are the
    /// simulation's.
    #[must_use]
    pub fn cluster(mut self, describe: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.setting.describe = Arc::new(describe);
        self.prepared = Arc::default();
        self
    }

    /// What people do. No fault meets their client.
    #[must_use]
    pub fn script<F>(self, script: impl Fn(World) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        Self { script: Arc::new(move |world| Box::pin(script(world))), ..self }
    }

    /// What must be true after every commit, whatever goes wrong.
    #[must_use]
    pub fn always(
        mut self,
        name: impl Into<Arc<str>>,
        check: impl Fn(&State) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.always.push(Invariant { name: name.into(), check: Arc::new(check) });
        self
    }

    /// What must come true once the script and the faults are over, and stay so.
    #[must_use]
    pub fn eventually(
        mut self,
        name: impl Into<Arc<str>>,
        check: impl Fn(&State) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.eventually.push(Invariant { name: name.into(), check: Arc::new(check) });
        self
    }

    /// A fault of one's own, which plans name `own:NAME`. It ends when the future does.
    #[must_use]
    pub fn fault<F>(
        mut self,
        name: impl Into<String>,
        happen: impl Fn(World, Fault) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let happen: Arc<OwnFault> = Arc::new(move |world, fault| Box::pin(happen(world, fault)));
        self.setting.own_faults.insert(name.into(), happen);
        self
    }

    /// How long the cluster may take, once the script and the faults are over, to be as it must: half an hour without.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Something goes on in this cluster all the time, such as a CronJob: that it comes to rest is not asked for.
    #[must_use]
    pub fn never_rests(self) -> Self {
        Self { rests: false, ..self }
    }

    /// What its lives begin with, made when it is first asked for.
    pub(super) fn prepared(&self) -> Result<&Prepared, String> {
        self.prepared.get_or_init(|| prepare(&self.setting)).as_ref().map_err(String::clone)
    }

    pub(super) fn setting(&self) -> Setting {
        self.setting.clone()
    }
}
