//! Groups of nodes of which there are more while pods wait for room, and fewer while some are not needed: what a cluster's
//! autoscaler does, in a trace that is lived again.
//!
//! What is to be done is decided by [`grow`] and [`needless`], pure functions of a scheduler's snapshot. A node is added when
//! a pod waits that no node can take, not even one that is on its way, and that a node of the group could. One goes when for
//! a while less than half of it was asked for and others could take its pods; those are evicted, as budgets allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::again::put_node;
use super::error::ReplayError;
use super::trim::text;
use crate::api::{Body, Client, DeleteOptions, Operation, Status, Target, WriteOptions};
use crate::clock::SharedClock;
use crate::scheduler::{NodeSpec, Plan, PodInfo, Profile, Snapshot, plan};
use crate::watch::Query;
use crate::what_if::Hollow;
use k8s_openapi::api::core::v1::{Node, Pod};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);
/// How many nodes of a group there are: a number, or the least and the most, as in `2-10`.
pub(super) const COUNT: &str = "orchestra.dev/count";
/// How many seconds a node of a group takes from when it is asked for until it is ready.
const BOOT: &str = "orchestra.dev/boot-seconds";
/// For how many seconds a node must not be needed until it goes.
const IDLE: &str = "orchestra.dev/idle-seconds";
/// What a group of which nothing else is said takes.
const USUAL: (u64, u64) = (60, 600);
/// The most nodes that one entry of a file may stand for.
const MOST: usize = 10_000;

/// Nodes that are like each other.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    node: Value,
    pub(super) least: usize,
    most: usize,
    boot: Duration,
    idle: Duration,
}

impl Group {
    /// What a node of a file stands for, trimmed to what matters; `None` for one node and no more.
    pub(super) fn of(node: &Value, trimmed: &Value) -> Result<Option<Self>, ReplayError> {
        let name = text(node, "/metadata/name").to_owned();
        let told = |key: &str| node["metadata"]["annotations"][key].as_str();
        let Some(count) = told(COUNT) else { return Ok(None) };
        let wrong = |key: &str, wanted: &str| {
            let is = told(key).unwrap_or_default();
            ReplayError::Node(format!("{key} of the node {name} is {is:?}, not {wanted}"))
        };
        let (least, most) = count.split_once('-').unwrap_or((count, count));
        let (least, most) = match (least.trim().parse(), most.trim().parse()) {
            (Ok(least), Ok(most)) if least <= most && (1..=MOST).contains(&most) => (least, most),
            _ => return Err(wrong(COUNT, "a number from 1 to 10000 or two, such as 2-10")),
        };
        let seconds = |key: &str, usual: u64| match told(key).map(str::parse) {
            None => Ok(Duration::from_secs(usual)),
            Some(Ok(seconds)) => Ok(Duration::from_secs(seconds)),
            Some(Err(_)) => Err(wrong(key, "a number of seconds")),
        };
        let (boot, idle) = (seconds(BOOT, USUAL.0)?, seconds(IDLE, USUAL.1)?);
        Ok(Some(Self { name, node: trimmed.clone(), least, most, boot, idle }))
    }

    /// Its node of a number.
    pub(super) fn node(&self, number: usize) -> Value {
        self.named(&format!("{}-{number}", self.name))
    }

    fn named(&self, name: &str) -> Value {
        let mut node = self.node.clone();
        node["metadata"]["name"] = json!(name);
        node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
        node
    }

    pub(super) fn grows(&self) -> bool {
        self.least < self.most
    }
}

/// Which groups have to grow, once for each node, for pods that wait to be placed. The snapshot is left with those nodes and
/// with the pods on them.
fn grow<'g>(
    snapshot: &mut Snapshot,
    waiting: Vec<Arc<PodInfo>>,
    profile: &Profile,
    groups: impl Iterator<Item = (usize, &'g Group, usize)> + Clone,
) -> Vec<usize> {
    let (mut grown, mut room) = (Vec::new(), BTreeMap::new());
    for (at, group, there) in groups.clone() {
        room.insert(at, group.most.saturating_sub(there));
    }
    for pod in waiting {
        snapshot.track(&pod);
        if let Plan::Place { node, .. } = plan(snapshot, &pod, profile, 0) {
            snapshot.set_pod(pod, Some(&node));
            continue;
        }
        for (at, group, there) in groups.clone() {
            let Some(left) = room.get_mut(&at).filter(|left| **left > 0) else { continue };
            // No number of a node that is there: it is for the plan alone.
            let name = group.node(usize::MAX - there - *left);
            let Ok(spec) = NodeSpec::from_json(name.to_string().as_bytes()) else { continue };
            let name = Arc::clone(&spec.name);
            snapshot.set_node(spec);
            match plan(snapshot, &pod, profile, 0) {
                Plan::Place { node, .. } if node == name => {
                    snapshot.set_pod(pod, Some(&node));
                    grown.push(at);
                    *left -= 1;
                    break;
                }
                _ => snapshot.remove_node(&name),
            }
        }
    }
    grown
}

/// Whether a node is not needed: less than half of it is asked for, and other nodes could take its pods.
fn needless(snapshot: &Snapshot, name: &str, profile: &Profile) -> bool {
    let Some(node) = snapshot.node_named(name) else { return false };
    let half = |asked: i64, has: i64| asked * 2 < has.max(1);
    let (asked, has) = (&node.requested, &node.spec.allocatable);
    if !half(asked.milli_cpu, has.milli_cpu) || !half(asked.memory, has.memory) {
        return false;
    }
    let pods: Vec<_> = node.pods.iter().filter(|pod| !is_of_daemon_set(pod)).cloned().collect();
    if pods.is_empty() {
        return true;
    }
    let mut without = snapshot.clone();
    pods.iter().for_each(|pod| drop(without.remove_pod(&pod.uid)));
    without.remove_node(name);
    pods.into_iter().all(|pod| match plan(&without, &pod, profile, 0) {
        Plan::Place { node, .. } => {
            without.set_pod(pod, Some(&node));
            true
        }
        Plan::Unschedulable(_) => false,
    })
}

fn is_of_daemon_set(pod: &PodInfo) -> bool {
    pod.controller.as_ref().is_some_and(|(kind, _)| &**kind == "DaemonSet")
}

/// A node of a group.
struct Member {
    group: usize,
    /// When it is ready, of one that is on its way.
    due: Option<Duration>,
    /// Since when it has not been needed.
    idle: Option<Duration>,
    leaves: bool,
}

/// The groups of a cluster that runs.
pub(super) struct Growing {
    client: Client,
    clock: SharedClock,
    hollow: Arc<Hollow>,
    profile: Profile,
    groups: Vec<Group>,
    members: BTreeMap<String, Member>,
    /// The number of the next node of each group.
    next: Vec<usize>,
}

impl Growing {
    /// The groups that grow, with the nodes that each had from the beginning.
    pub(super) fn new(client: Client, hollow: Arc<Hollow>, profile: Profile, groups: Vec<Group>) -> Self {
        let mut members = BTreeMap::new();
        for (at, group) in groups.iter().enumerate() {
            for number in 0..group.least {
                let name = text(&group.node(number), "/metadata/name").to_owned();
                members.insert(name, Member { group: at, due: None, idle: None, leaves: false });
            }
        }
        let next = groups.iter().map(|group| group.least).collect();
        let clock = Arc::clone(client.clock());
        Self { client, clock, hollow, profile, groups, members, next }
    }

    /// Looks again and again, for ever.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(status) = self.look().await {
                tracing::warn!(%status, "groups of nodes cannot be looked at");
            }
            self.clock.sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> Result<(), Status> {
        let now = self.clock.elapsed();
        self.boot(now).await?;
        let (mut snapshot, waiting) = self.see().await?;
        if waiting.is_empty() {
            return self.shrink(&snapshot, now).await;
        }
        self.members.values_mut().for_each(|member| member.idle = None);
        let count = |at: usize| self.members.values().filter(|member| member.group == at).count();
        let groups = self.groups.iter().enumerate().map(|(at, group)| (at, group, count(at)));
        let groups: Vec<_> = groups.collect();
        for at in grow(&mut snapshot, waiting, &self.profile, groups.iter().copied()) {
            let number = self.next[at];
            self.next[at] += 1;
            let name = text(&self.groups[at].node(number), "/metadata/name").to_owned();
            let due = Some(now + self.groups[at].boot);
            self.members.insert(name, Member { group: at, due, idle: None, leaves: false });
        }
        Ok(())
    }

    /// Has nodes come whose time has come.
    async fn boot(&mut self, now: Duration) -> Result<(), Status> {
        for (name, member) in &mut self.members {
            if member.due.is_some_and(|due| due <= now) {
                let node = self.groups[member.group].named(name);
                put_node(&self.client, &self.hollow, &node).await?;
                member.due = None;
            }
        }
        Ok(())
    }

    /// The cluster as the scheduler sees it, with the nodes that are on their way; and the pods for which it found no node.
    async fn see(&self) -> Result<(Snapshot, Vec<Arc<PodInfo>>), Status> {
        let service = self.client.service();
        let (nodes, pods) = (
            service.cache(&Target::of::<Node>(None)).await?.list(&Query::all()),
            service.cache(&Target::of::<Pod>(None)).await?.list(&Query::all()),
        );
        let mut snapshot = Snapshot::new();
        for node in nodes {
            snapshot.set_node(NodeSpec::from_json(node.bytes()).map_err(Status::internal)?);
        }
        // One that has just come is not seen as ready everywhere yet; that it will be is what counts.
        for (name, member) in &self.members {
            let node = self.groups[member.group].named(name).to_string();
            let mut spec = NodeSpec::from_json(node.as_bytes()).map_err(Status::internal)?;
            spec.unschedulable |= member.leaves;
            snapshot.set_node(spec);
        }
        let mut waiting = Vec::new();
        for pod in pods {
            let Ok(info) = PodInfo::from_entry(&pod).map(Arc::new) else { continue };
            match &info.node {
                Some(node) => {
                    let node = Arc::clone(node);
                    snapshot.set_pod(info, Some(&node));
                }
                // One that was not tried yet may have room; of one that was, its condition says why not.
                None if info.is_active() && !info.deleting && info.reported.is_some() => waiting.push(info),
                None => {}
            }
        }
        waiting.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        Ok((snapshot, waiting))
    }

    /// Has one node go that was not needed for a while, and those that are going be emptied.
    async fn shrink(&mut self, snapshot: &Snapshot, now: Duration) -> Result<(), Status> {
        let going: BTreeSet<String> =
            self.members.iter().filter(|(_, it)| it.leaves).map(|(name, _)| name.clone()).collect();
        for name in &going {
            self.empty(snapshot, name).await?;
        }
        if !going.is_empty() {
            return Ok(());
        }
        let mut left: Vec<usize> = self.groups.iter().map(|_| 0).collect();
        self.members.values().for_each(|member| left[member.group] += 1);
        let mut goes = None;
        for (name, member) in &mut self.members {
            let group = &self.groups[member.group];
            if member.due.is_some() || left[member.group] <= group.least {
                member.idle = None;
            } else if needless(snapshot, name, &self.profile) {
                let since = *member.idle.get_or_insert(now);
                if goes.is_none() && now.saturating_sub(since) >= group.idle {
                    member.leaves = true;
                    goes = Some(name.clone());
                }
            } else {
                member.idle = None;
            }
        }
        match goes {
            Some(name) => self.empty(snapshot, &name).await,
            None => Ok(()),
        }
    }

    /// Takes a node that is empty out of the cluster; evicts what another has, which may take several looks.
    async fn empty(&mut self, snapshot: &Snapshot, name: &str) -> Result<(), Status> {
        let pods = snapshot.node_named(name).map(|node| node.pods.clone()).unwrap_or_default();
        let mut stays = false;
        for pod in pods.iter().filter(|pod| !is_of_daemon_set(pod)) {
            stays = true;
            if !pod.deleting && !evict(&self.client, pod).await? {
                // A budget wants it: the node stays.
                if let Some(member) = self.members.get_mut(name) {
                    (member.leaves, member.idle) = (false, None);
                }
                return Ok(());
            }
        }
        if stays {
            return Ok(());
        }
        self.hollow.set(name, false);
        self.members.remove(name);
        match self.client.cluster::<Node>().delete_with(name, DeleteOptions::default()).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}

/// Evicts a pod; whether it goes.
async fn evict(client: &Client, pod: &PodInfo) -> Result<bool, Status> {
    let (namespace, name) = (pod.namespace(), pod.name.name());
    let target = Target::of::<Pod>(Some(namespace)).named(name).sub("eviction");
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
    });
    let operation = Operation::Create { body: Body::Value(body), options: WriteOptions::default() };
    match client.call(target, operation).await {
        Err(status) if status.is_not_found() => Ok(true),
        Err(status) if status.code() == 429 => Ok(false),
        Err(status) => Err(status),
        Ok(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(count: &str) -> Value {
        json!({
            "kind": "Node", "metadata": {"name": "g", "annotations": {COUNT: count, BOOT: "30"}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    fn group(count: &str) -> Group {
        Group::of(&node(count), &node(count)).unwrap().unwrap()
    }

    fn pod(name: &str, cpu: &str) -> Arc<PodInfo> {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"metadata": {"namespace": "a", "name": name, "uid": name}, "spec": {"containers": [container]}});
        Arc::new(PodInfo::from_json(pod.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn as_many_come_as_the_waiting_pods_fill() {
        let profile = Profile::default();
        let groups = [group("0-3")];
        let grown = |pods: Vec<Arc<PodInfo>>, there: usize| {
            let groups = groups.iter().enumerate().map(|(at, group)| (at, group, there));
            grow(&mut Snapshot::new(), pods, &profile, groups).len()
        };
        assert_eq!(grown(vec![], 0), 0);
        assert_eq!(grown((0..5).map(|n| pod(&n.to_string(), "2")).collect(), 0), 3);
        assert_eq!(grown((0..9).map(|n| pod(&n.to_string(), "2")).collect(), 0), 3);
        assert_eq!(grown((0..9).map(|n| pod(&n.to_string(), "2")).collect(), 2), 1);
        // What fits no node of the group is not helped by one.
        assert_eq!(grown(vec![pod("large", "5")], 0), 0);
    }

    #[test]
    fn a_node_is_needless_when_others_can_take_what_it_has() {
        let profile = Profile::default();
        let group = group("0-3");
        let mut snapshot = Snapshot::new();
        for number in 0..2 {
            let node = group.node(number).to_string();
            snapshot.set_node(NodeSpec::from_json(node.as_bytes()).unwrap());
        }
        assert!(needless(&snapshot, "g-0", &profile));
        snapshot.set_pod(pod("small", "1"), Some("g-0"));
        assert!(needless(&snapshot, "g-0", &profile));
        snapshot.set_pod(pod("large", "3500m"), Some("g-1"));
        assert!(!needless(&snapshot, "g-0", &profile), "the other has no room");
        assert!(!needless(&snapshot, "g-1", &profile), "most of it is asked for");
    }

    #[test]
    fn a_count_is_a_number_or_two() {
        for (count, expected) in
            [("3", Some((3, 3))), ("0-4", Some((0, 4))), ("4-2", None), ("x", None), ("0", None)]
        {
            let group = Group::of(&node(count), &node(count)).ok().flatten();
            assert_eq!(group.map(|group| (group.least, group.most)), expected, "{count}");
        }
        assert_eq!(group("1").boot, Duration::from_secs(30));
    }
}
