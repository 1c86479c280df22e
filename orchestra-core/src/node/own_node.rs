//! The node's own object, as far as pods are let in by it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::sync::Mutex;

use super::config::Config;
use super::object::new_node;
use crate::api::Client;
use crate::runtime::MachineInfo;
use crate::scheduler::NodeSpec;

/// How long the API may take to say how the node is, before the node is taken to be as it was.
const DEADLINE: Duration = Duration::from_secs(10);
/// A look at the node serves all pods that come within this.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// The node as it was seen last.
pub(super) struct OwnNode {
    name: String,
    seen: Mutex<Seen>,
}

struct Seen {
    node: Arc<NodeSpec>,
    /// By the clock's count of what has elapsed; never, as long as nobody has looked.
    at: Option<Duration>,
}

impl OwnNode {
    /// The node as it will register: that is all a node without an API ever knows of itself.
    pub(super) fn new(name: &str, machine: &MachineInfo, config: &Config) -> Self {
        let node = serde_json::to_vec(&new_node(name, machine, config)).ok();
        let node = node.and_then(|json| NodeSpec::from_json(&json).ok()).unwrap_or_default();
        Self { name: name.to_owned(), seen: Mutex::new(Seen { node: Arc::new(node), at: None }) }
    }

    /// The node as it was seen last, however long ago.
    pub(super) async fn known(&self) -> Arc<NodeSpec> {
        self.seen.lock().await.node.clone()
    }

    /// The node as it was at a moment or later; where the API does not answer, as it was seen last.
    pub(super) async fn since(&self, client: &Client, moment: Duration) -> Arc<NodeSpec> {
        let (mut seen, clock) = (self.seen.lock().await, client.clock());
        if seen.at.is_none_or(|at| at < moment) {
            let at = clock.elapsed();
            let asked = tokio::select! {
                biased;
                asked = self.ask(client) => asked,
                () = clock.sleep(DEADLINE) => Err("the API does not answer".to_owned()),
            };
            match asked {
                Ok(node) => *seen = Seen { node: Arc::new(node), at: Some(at) },
                Err(why) => tracing::debug!(node = self.name, why, "the node is taken to be as it was"),
            }
        }
        seen.node.clone()
    }

    async fn ask(&self, client: &Client) -> Result<NodeSpec, String> {
        let found = client.cluster::<Node>().objects().get(&self.name).await;
        let entry = found.map_err(|error| error.to_string())?;
        entry.with_bare(NodeSpec::from_json).map_err(|error| error.to_string())
    }
}
