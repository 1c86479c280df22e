//! The drivers that have registered on this machine, and what each calls it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestra_core::node::{CsiDriver, HostError};

use super::proto::{InfoRequest, NodeInfoRequest, RegistrationStatus};
use super::{Driver, connect, sockets};

/// How long a driver may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The drivers, by their sockets: each is asked once for as long as its socket is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registered(Arc<Mutex<HashMap<PathBuf, (Socket, CsiDriver)>>>);

/// What tells a socket from one that was at its place before.
type Socket = (u64, i64, i64);

impl Registered {
    /// Those that are there now, by name.
    pub(crate) async fn drivers(&self, kubelet: &Path) -> Vec<CsiDriver> {
        let mut found = HashMap::new();
        for socket in sockets(kubelet) {
            let Ok(state) = fs::metadata(&socket) else { continue };
            let state: Socket = (state.ino(), state.ctime(), state.ctime_nsec());
            let known = self.lock().get(&socket).filter(|(held, _)| *held == state).cloned();
            let driver = match known {
                Some((_, driver)) => Some(driver),
                None => match tokio::time::timeout(PATIENCE, ask(&socket)).await {
                    Ok(Ok(driver)) => driver,
                    // It may not listen yet, or not any more.
                    Ok(Err(_)) | Err(_) => None,
                },
            };
            found.extend(driver.map(|driver| (socket, (state, driver))));
        }
        let mut drivers: Vec<_> = found.values().map(|(_, driver)| driver.clone()).collect();
        drivers.sort_by(|a, b| a.name.cmp(&b.name));
        drivers.dedup_by(|a, b| a.name == b.name);
        *self.lock() = found;
        drivers
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Socket, CsiDriver)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks who is at a socket, and what it calls this machine; then tells it that it is registered, or why not. `None`: it is no
/// driver of volumes.
async fn ask(socket: &Path) -> Result<Option<CsiDriver>, HostError> {
    let registrar = Driver { name: socket.display().to_string(), channel: connect(socket, "")? };
    let info = registrar.ask(InfoRequest {}).await?;
    if info.r#type != "CSIPlugin" {
        return Ok(None);
    }
    let endpoint = if info.endpoint.is_empty() { socket.to_owned() } else { info.endpoint.into() };
    let driver = Driver { channel: connect(&endpoint, &info.name)?, name: info.name };
    let said = driver.ask(NodeInfoRequest {}).await;
    let error = said.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let status = RegistrationStatus { plugin_registered: said.is_ok(), error };
    // Who does not want to know is registered all the same.
    let _ = registrar.ask(status).await;
    let said = said?;
    Ok(Some(CsiDriver {
        name: driver.name,
        node_id: said.node_id,
        topology: said.accessible_topology.unwrap_or_default().segments,
        // None and less than that stand for as many as there are.
        most_volumes: i32::try_from(said.max_volumes_per_node).ok().filter(|most| *most > 0),
    }))
}
