//! Nodes: those that fall silent are reported as unknown and tainted, and their pods as not ready; those that come
//! back are cleared.
//!
//! A node is heard of by its lease in `kube-node-lease` or by its status. What counts is when a change was seen here,
//! by this clock, not what time the node says it is.

mod plan;
mod zones;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::{Grace, Health, Plan};
pub use self::zones::EvictionRates;
use self::zones::{GiveUp, Given, Zone};
use super::Host;
use crate::api::{Patch, Reply, Status};
use crate::clock::SharedClock;
use crate::control::events::{Recorder, reference_to};
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::{ObjectName, Revision};
use crate::selector::FieldSelector;
use crate::watch::{Entry, Query};

const NAME: &str = "node-controller";
const LEASES: &str = "kube-node-lease";

/// How long nodes may be silent.
#[derive(Clone, Copy, Debug)]
pub struct NodeTimes {
    /// How long a node may be silent before it counts as unknown: 40 s.
    pub monitor_grace: Duration,
    /// How long a node that has never reported may take for its first report: 60 s.
    pub startup_grace: Duration,
    /// How fast those that fail are given up.
    pub eviction: EvictionRates,
}

impl Default for NodeTimes {
    fn default() -> Self {
        Self {
            monitor_grace: Duration::from_secs(40),
            startup_grace: Duration::from_secs(60),
            eviction: EvictionRates::default(),
        }
    }
}

struct Nodes {
    recorder: Recorder,
    grace: Grace,
    eviction: EvictionRates,
    heard: Mutex<HashMap<ObjectName, Heard>>,
    given: Mutex<Given>,
}

/// The last sign of life of a node.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    lease: Option<Revision>,
    heartbeat: Option<Timestamp>,
    at: Duration,
    ready: bool,
}

/// Runs the controller.
pub(super) async fn run(host: Host, times: NodeTimes) -> Result<(), Status> {
    let duration = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    let nodes = Nodes {
        recorder: host.recorder(NAME),
        grace: Grace {
            running: duration(times.monitor_grace),
            starting: duration(times.startup_grace.max(times.monitor_grace)),
        },
        eviction: times.eviction,
        heard: Mutex::default(),
        given: Mutex::default(),
    };
    let controller = host
        .controller::<Node>()
        .named(NAME)
        .watches::<Lease, _, _>(node_of_lease)
        .reads::<Pod>()
        .concurrency(8);
    host.run(controller, nodes).await
}

fn node_of_lease(lease: &Entry) -> Option<ObjectName> {
    let name = lease.name();
    (name.namespace() == Some(LEASES)).then(|| ObjectName::cluster(name.name()))
}

#[async_trait]
impl Reconciler for Nodes {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Node>().await? else {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(context.name());
            return Ok(Action::Done);
        };
        // Decoded once a revision: leases are renewed far more often than nodes change.
        let node = entry.view::<Node>()?;
        let lease = context.cache::<Lease>().await?;
        let lease = lease.get(&ObjectName::namespaced(LEASES, context.name().name()));
        let lease = lease.map(|lease| lease.revision());
        let (heard, was_ready) = self.listen(&node, context.name(), lease, context.clock());
        let decide = |health| plan::plan(&node, heard, was_ready, self.grace, health, context.now());
        let mut plan = decide(Health::Normal);
        if !plan::is_well(&node, heard, self.grace, context.now())
            && self.health(&context, &entry, &node, &plan).await? == Health::Disrupted
        {
            plan = decide(Health::Disrupted);
        }
        self.apply(&context, &entry, &plan).await?;
        let labels = plan::labels(entry.labels());
        if !labels.is_empty() {
            let labels: serde_json::Map<_, _> =
                labels.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
            let patch = Patch::Merge(json!({"metadata": {"labels": labels, "uid": entry.uid().as_str()}}));
            write::unless_gone(
                context.client().call(write::target::<Node>(entry.name()), patch.operation()).await,
            )?;
        }
        Ok(Action::again(plan.again.and_then(|again| Duration::try_from(again).ok())))
    }
}

impl Nodes {
    /// When the node was last heard of, and whether it was ready then. The first time it is looked at counts as a
    /// sign of life: the controller may have been away. How long ago that was is counted by steady time, whatever was
    /// done to the machine's clock; the answer is the time of day that it would have been by the clock as it is now.
    fn listen(
        &self,
        node: &Node,
        name: &ObjectName,
        lease: Option<Revision>,
        clock: &SharedClock,
    ) -> (Timestamp, bool) {
        let conditions =
            node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let beats = conditions.iter().filter_map(|condition| Some(condition.last_heartbeat_time.as_ref()?.0));
        let heartbeat = beats.max();
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.elapsed();
        let fresh = |ready| Heard { lease, heartbeat, at: now, ready };
        let heard = all.entry(name.clone()).or_insert_with(|| fresh(false));
        let was_ready = std::mem::replace(&mut heard.ready, plan::ready(conditions) == "True");
        if (heard.lease, heard.heartbeat) != (lease, heartbeat) {
            *heard = fresh(heard.ready);
        }
        let ago = now.saturating_sub(heard.at);
        (clock.now().checked_sub(ago).unwrap_or(Timestamp::MIN), was_ready)
    }

    /// Whether pods may be driven from a node that fails, as a plan would have it.
    async fn health(
        &self,
        context: &Context,
        entry: &Entry,
        node: &Node,
        plan: &Plan,
    ) -> Result<Health, Error> {
        let mut all: HashMap<String, Zone> = HashMap::new();
        let nodes = context.cache::<Node>().await?.snapshot();
        for other in nodes.range(None, None).filter(|other| zones::counts(other.labels())) {
            let zone = all.entry(zones::name(other.labels())).or_default();
            match plan::ready(&other.view::<View>()?.status.conditions) {
                // This one fails, whatever it says of itself.
                "True" if other.name() != entry.name() => zone.ready += 1,
                _ => zone.failing += 1,
            }
        }
        let zone = zones::name(entry.labels());
        let may = match zones::give_up(&all, &zone, self.eviction) {
            GiveUp::TakeBack => false,
            _ if plan::is_given_up(node) || !plan.gives_up() => true,
            GiveUp::NotNow => false,
            GiveUp::After(pause) => {
                let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                given.take(&zone, pause, context.clock().elapsed())
            }
        };
        Ok(if may { Health::Normal } else { Health::Disrupted })
    }

    async fn apply(
        &self,
        context: &Context,
        entry: &std::sync::Arc<Entry>,
        plan: &Plan,
    ) -> Result<(), Error> {
        let client = context.client();
        let mut entry = std::sync::Arc::clone(entry);
        if let Some(conditions) = &plan.conditions {
            let status = json!({ "conditions": conditions });
            if let Reply::Object(changed) = write::patch_status::<Node>(client, &entry, status).await?.reply {
                entry = changed;
            }
        }
        if plan.lost {
            let message = format!("Node {} status is now: NodeNotReady", context.name().name());
            self.recorder.normal(&reference_to::<Node>(&entry), "NodeNotReady", message);
        }
        if plan.unready {
            self.mark_pods(context).await?;
        }
        if let Some(taints) = &plan.taints {
            let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
            write::patch::<Node>(client, &entry, json!({"spec": {"taints": taints}})).await?;
        }
        Ok(())
    }

    /// Reports that the pods of a node are not ready: nobody knows whether they are.
    async fn mark_pods(&self, context: &Context) -> Result<(), Error> {
        for entry in pods_on(context, context.name().name()).await? {
            let view = entry.view::<PodView>()?;
            let mut conditions = view.status.conditions.clone();
            let ready = conditions
                .iter_mut()
                .find(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let Some(ready) = ready else { continue };
            ready["status"] = "False".into();
            ready["lastTransitionTime"] =
                json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(context.now()));
            let status = json!({ "conditions": conditions });
            self.recorder.warning(&reference_to::<Pod>(&entry), "NodeNotReady", "Node is not ready");
            write::unless_gone(write::patch_status::<Pod>(context.client(), &entry, status).await)?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct View {
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    conditions: Vec<NodeCondition>,
}

#[derive(Debug, Deserialize)]
struct PodView {
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    conditions: Vec<Value>,
}

/// The pods that are bound to a node; with an empty name, those that are bound to none.
pub(super) async fn pods_on(context: &Context, node: &str) -> Result<Vec<std::sync::Arc<Entry>>, Error> {
    let pods = context.cache::<Pod>().await?;
    let on_node = pods.known(FieldSelector::parse(&format!("spec.nodeName={node}"))?)?;
    Ok(pods.list(&Query::all().fields(on_node)))
}
