//! A runtime of one's own, whose containers are async functions of this program.
//!
//! An *image* is a function, registered under a name; a *container* is a task that runs it. The cluster does the rest:
//! it keeps so many of them running, restarts those that fail, replaces old ones by new ones, and shows their logs.
//!
//! A [`Runtime`] keeps what it was told about each container, because the agent does not: that is how an agent that was
//! restarted finds its containers again. Here it is a map in memory; a runtime of processes or machines writes it onto
//! them as labels (`orchestra_core::runtime::labels`).

mod log;
mod port;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use orchestra_core::clock::SharedClock;
use orchestra_core::runtime::{ContainerId, EventKind, Result, RuntimeError, RuntimeEvent};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use log::Log;
use state::{Process, State};

/// The code of a container that was killed: 128 and the number of SIGKILL.
const KILLED: i32 = 137;
/// The code of a function that panicked: 128 and the number of SIGABRT.
const ABORTED: i32 = 134;
/// The code of a command that does not exist.
const NO_COMMAND: i32 = 127;

/// How many events a reader may be behind before it has to begin anew.
const EVENTS: usize = 1024;

/// One call of a function.
pub(crate) struct Call {
    /// `command` and `args` of the container; empty if it gives none.
    pub(crate) command: Vec<String>,
    /// Cancelled when the function is asked to end. If it has not after the pod's grace period, it is dropped.
    pub(crate) stopping: CancellationToken,
    log: Arc<Log>,
}

impl Call {
    /// Writes a line to the container's log.
    pub(crate) fn print(&self, line: impl Into<String>) {
        self.log.line(line.into());
    }
}

/// What an image is: gives the exit code, in time, or `None` if there is no such command in it.
type Function = Arc<dyn Fn(Call) -> Option<BoxFuture<'static, i32>> + Send + Sync>;

/// A runtime of functions. Clones are the same runtime.
#[derive(Clone)]
pub(crate) struct Functions(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    images: BTreeMap<String, Function>,
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
}

/// The functions of a runtime to be.
#[derive(Default)]
pub(crate) struct Library(BTreeMap<String, Function>);

impl Library {
    /// Adds an image that is one function, whatever the command.
    pub(crate) fn function<F, Fut>(self, image: &str, function: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = i32> + Send + 'static,
    {
        self.commands(image, move |call| Some(function(call).boxed()))
    }

    /// Adds an image that knows several commands.
    pub(crate) fn commands(
        mut self,
        image: &str,
        commands: impl Fn(Call) -> Option<BoxFuture<'static, i32>> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(image.to_owned(), Arc::new(commands));
        self
    }

    /// The runtime.
    pub(crate) fn runtime(self, clock: SharedClock) -> Functions {
        let events = broadcast::Sender::new(EVENTS);
        Functions(Arc::new(Inner { clock, images: self.0, state: Mutex::default(), events }))
    }
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn function(&self, image: &str) -> Result<Function> {
        let found = self.0.images.get(image).cloned();
        found.ok_or_else(|| RuntimeError::ImageNotFound { image: image.to_owned() })
    }

    /// Calls the function of a container, which is not yet to run.
    fn call(&self, process: &Process) -> Option<BoxFuture<'static, i32>> {
        let call = Call {
            command: process.command.clone(),
            stopping: process.stopping.clone(),
            log: Arc::clone(&process.log),
        };
        (process.function)(call)
    }

    /// Runs a container's function in a task of its own.
    fn spawn(&self, state: &mut State, id: &ContainerId, running: BoxFuture<'static, i32>) -> Result<()> {
        let task = {
            let (functions, id) = (self.clone(), id.clone());
            async move {
                let code = std::panic::AssertUnwindSafe(running).catch_unwind().await.unwrap_or(ABORTED);
                functions.end(&id, code);
            }
        };
        // The task cannot end before this returns, because it needs the lock for it.
        let pod = state.start(id, self.0.clock.now(), tokio::spawn(task).abort_handle())?;
        self.tell(RuntimeEvent { pod, kind: EventKind::Started(id.clone()) });
        Ok(())
    }

    /// Marks a container as ended, and sees to it that it has. Nothing if it does not run.
    fn end(&self, id: &ContainerId, code: i32) {
        let now = self.0.clock.now();
        if let Some(pod) = self.lock().end(id, code, now) {
            self.tell(RuntimeEvent { pod, kind: EventKind::Exited(id.clone()) });
        }
    }

    fn tell(&self, event: RuntimeEvent) {
        // That nobody listens is no error.
        let _ = self.0.events.send(event);
    }
}
