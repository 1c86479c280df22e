//! Waiting for containers to end, without asking again and again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::time::Duration;

use futures::{StreamExt, stream};
use orchestra_core::runtime::{
    ContainerId, ContainerState, EventKind, EventStream, Filter, PodRef, Result, RuntimeError, RuntimeEvent,
};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::ProcessRuntime;
use super::record::{ContainerDir, failed};

impl ProcessRuntime {
    pub(crate) async fn events(&self) -> Result<EventStream> {
        let receiver = self.inner.events.subscribe();
        // Containers of an earlier life of the agent have nobody who waits for them yet.
        for sandbox in self.list(&Filter::default()).await? {
            for container in sandbox.containers {
                if matches!(container.state, ContainerState::Running { .. }) {
                    let (dir, _) = self.inner.disk.container(container.id.as_str())?;
                    self.watch(container.id, dir, sandbox.meta.pod.clone(), None);
                }
            }
        }
        let events = stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), Some(receiver))),
                Err(broadcast::error::RecvError::Closed) => None,
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    let message = format!("{lost} events were not read in time");
                    Some((Err(RuntimeError::Failed { message }), None))
                }
            }
        });
        Ok(events.boxed())
    }

    /// Tells of a container's end, once. `shim` is what holds it, if it is our child.
    pub(super) fn watch(&self, id: ContainerId, dir: ContainerDir, pod: PodRef, shim: Option<Child>) {
        let mut watched = self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.contains_key(id.as_str()) {
            return;
        }
        let name = id.to_string();
        // Not the runtime itself: a task must not keep alive what nobody uses any more.
        let inner = std::sync::Arc::downgrade(&self.inner);
        let watching = tokio::spawn(async move {
            if let Err(error) = ended(&dir).await {
                tracing::warn!(container = %id, %error, "cannot wait for a container");
            }
            if let Some(mut shim) = shim {
                let _ = shim.wait().await;
            }
            let Some(inner) = inner.upgrade() else { return };
            let kind = EventKind::Exited(id.clone());
            let _ = inner.events.send(RuntimeEvent { pod, kind });
            inner.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(id.as_str());
        });
        watched.insert(name, Watching(watching.abort_handle()));
    }
}

/// A task that waits for a container's end, for as long as somebody may be told of it.
#[derive(Debug)]
pub(super) struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until a container's shim is gone, and with it the container.
pub(super) async fn ended(dir: &ContainerDir) -> Result<()> {
    loop {
        if !dir.has_shim().map_err(failed)? {
            return Ok(());
        }
        let handle = match dir.state().map_err(failed)?.and_then(|state| Pid::from_raw(state.shim)) {
            Some(shim) => rustix::process::pidfd_open(shim, PidfdFlags::empty()),
            None => Err(Errno::SRCH),
        };
        match handle {
            Ok(handle) => {
                // Asked again: only if the shim lived after its handle was got is the handle the shim's.
                if !dir.has_shim().map_err(failed)? {
                    return Ok(());
                }
                drop(readable(handle).map_err(failed)?.readable().await.map_err(failed)?);
            }
            // It is about to say who it is, or about to be gone.
            Err(Errno::SRCH) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// A handle that is waited for until it is readable, which one of a process is when it has ended.
pub(crate) fn readable(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    async_handle(handle, Interest::READABLE)
}

/// A handle that is waited for.
#[allow(
    deprecated,
    reason = "its successor is unsafe, for the sake of descriptors that are not owned; this one is"
)]
pub(super) fn async_handle(handle: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, interest)
}
