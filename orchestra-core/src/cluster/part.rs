use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::supervise::Task;

/// A part of a cluster that can be stopped and started by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Component {
    /// Gives pods their nodes.
    Scheduler,
    /// Runs the controllers.
    ControllerManager,
    /// The agent of one node.
    Kubelet(String),
    /// The service proxy of one node.
    Proxy(String),
    /// A part of the embedder's own.
    Own(String),
}

impl Component {
    /// The part of that name, as [`Component`] prints it: `kube-scheduler`, `kube-controller-manager`,
    /// `kubelet/NODE`, `kube-proxy/NODE`, `own/NAME`.
    pub fn parse(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None => match name {
                "kube-scheduler" | "scheduler" => Some(Self::Scheduler),
                "kube-controller-manager" | "controller-manager" => Some(Self::ControllerManager),
                _ => None,
            },
            Some(("kubelet", node)) => Some(Self::Kubelet(node.to_owned())),
            Some(("kube-proxy", node)) => Some(Self::Proxy(node.to_owned())),
            Some(("own", name)) => Some(Self::Own(name.to_owned())),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler => f.write_str("kube-scheduler"),
            Self::ControllerManager => f.write_str("kube-controller-manager"),
            Self::Kubelet(node) => write!(f, "kubelet/{node}"),
            Self::Proxy(node) => write!(f, "kube-proxy/{node}"),
            Self::Own(name) => write!(f, "own/{name}"),
        }
    }
}

/// Makes what a part does until its token is cancelled.
pub(super) type Make = Box<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// How a part is run, and its task while it runs.
pub(super) struct Part {
    component: Component,
    clock: SharedClock,
    make: Arc<Make>,
    running: Mutex<Option<(CancellationToken, Task)>>,
}

impl Part {
    pub(super) fn new(component: Component, clock: &SharedClock, make: Make) -> Self {
        Self { component, clock: Arc::clone(clock), make: Arc::new(make), running: Mutex::default() }
    }

    pub(super) fn start(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(|(_, task)| task.is_finished()) {
            let token = CancellationToken::new();
            let (make, stop) = (Arc::clone(&self.make), token.clone());
            let name = self.component.to_string();
            let task = Task::start(name, Arc::clone(&self.clock), move || make(stop.clone()));
            *running = Some((token, task));
        }
    }

    pub(super) async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((token, task)) = running {
            token.cancel();
            task.ended().await;
        }
    }

    pub(super) fn kill(&self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn cancel(&self) {
        if let Some((token, _)) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            token.cancel();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }
}
