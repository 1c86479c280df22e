//! The cluster with which every life of a scenario begins.
//!
//! Every cluster makes the same objects first: namespaces, priority levels, flow schemas, accounts. A scenario's cluster
//! does so once, and each life goes on from a fork of its store.

use std::time::Duration;

use jiff::Timestamp;

use super::state::State;
use super::world::{Setting, World};
use crate::clock::run_virtual;
use crate::store::memory::MemoryStore;
use crate::store::{KeyRange, Store};

/// From what the prepared cluster's chance follows: the same for all lives, in every process.
const SEED: u64 = 0;

/// How long it is given to come to rest.
const REST: Duration = Duration::from_secs(20);

/// What a cluster without nodes and without parts of the embedder's own holds when it has come to rest.
pub(super) struct Prepared {
    /// Its store.
    pub(super) store: MemoryStore,
    /// What that holds, as invariants see it.
    pub(super) state: State,
    /// The time of day then.
    pub(super) at: Timestamp,
}

/// Lives the beginning, in this thread; why there is none, if there is none.
pub(super) fn prepare(setting: &Setting) -> Result<Prepared, String> {
    let setting = Setting { nodes: 0, bare: true, ..setting.clone() };
    let prepared = run_virtual(SEED, None, |clock| async move {
        let (world, _dying) =
            World::start(setting, &clock, MemoryStore::new()).await.map_err(|error| error.to_string())?;
        world.sleep(REST).await;
        let kinds = world.cluster().server().kinds();
        world.cluster().stop_all().await;
        world.wire().close();
        let store = world.store().fork();
        let all = store.list(&KeyRange::all(), None, None, 0).await.map_err(|error| error.to_string())?;
        let state = State::of(&kinds, all.records, all.revision);
        Ok(Prepared { store, state, at: clock.now() })
    });
    prepared.unwrap_or_else(|stuck| Err(stuck.to_string()))
}
