//! What the scheduler writes. Every write names the pod by uid, and so can be made again without harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use serde_json::{Value, json};

use super::devices::{self, Allocation};
use super::pod::PodInfo;
use super::profile::{Profile, Profiles};
use super::state::SetAside;
use super::volumes::{Binding, bind_volumes};
use crate::api::{Api, Client, DeleteOptions, Patch, Status, Target};
use crate::control::events::Recorder;
use crate::meta::{ObjectName, Uid};

#[derive(Debug)]
pub(super) struct Worker {
    client: Client,
    /// By whom a pod is told, by the name of its profile.
    recorders: BTreeMap<Arc<str>, Recorder>,
    profiles: Profiles,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// The pod was not bound; with what was set aside for it.
    NotBound(Uid, SetAside),
    /// What was to be said about the pod was not said, or not all of the room was made for it.
    NotReported(Uid),
}

impl Worker {
    pub(super) fn new(client: Client, profiles: Profiles) -> Self {
        let recorder = |profile: &Arc<Profile>| {
            (profile.name.clone(), Recorder::new(client.clone(), &*profile.name, ""))
        };
        Self { recorders: profiles.all().map(recorder).collect(), client, profiles }
    }

    /// Waits until what was told is written.
    pub(super) async fn finish(&self) {
        for recorder in self.recorders.values() {
            recorder.clone().finish().await;
        }
    }

    /// How long the volumes of a pod may take.
    fn patience(&self, pod: &PodInfo) -> Duration {
        let default = || Profile::default().binding_patience;
        self.profiles.of_pod(pod).map_or_else(default, |profile| profile.binding_patience)
    }

    /// By whom people are told of a pod.
    fn recorder(&self, pod: &PodInfo) -> Option<&Recorder> {
        self.recorders.get(&pod.scheduler)
    }

    /// Binds a pod to a node, its devices and volumes first.
    pub(super) async fn bind(
        &self,
        pod: &PodInfo,
        node: &str,
        volumes: &[Binding],
        devices: &[Allocation],
    ) -> Outcome {
        let not_bound = || Outcome::NotBound(pod.uid.clone(), SetAside::of(volumes, devices));
        if let Err(status) = devices::reserve(&self.client, pod, devices).await {
            tracing::debug!(pod = %pod.name, node, error = %status, "devices not allocated");
            return not_bound();
        }
        if let Err(status) = devices::until_ready(&self.client, pod, devices).await {
            tracing::warn!(pod = %pod.name, node, error = %status, "devices not ready");
            for allocation in devices {
                self.give_back(pod, &allocation.claim.name).await;
            }
            return not_bound();
        }
        if let Err(status) = bind_volumes(&self.client, node, volumes, self.patience(pod)).await {
            if !status.is_conflict() {
                tracing::warn!(pod = %pod.name, node, error = %status, "volumes not bound");
            }
            return not_bound();
        }
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name.name(), "namespace": pod.namespace(), "uid": pod.uid.as_str()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        match self.pods(pod).create_sub(pod.name.name(), "binding", binding).await {
            Ok(()) => {
                let message = format!("Successfully assigned {} to {node}", pod.name);
                if let Some(recorder) = self.recorder(pod) {
                    recorder.normal(&reference(pod), "Scheduled", message);
                }
                Outcome::Done
            }
            Err(status) => {
                // A pod that is bound already, or gone, is no fault: the cache is about to say so.
                if !status.is_conflict() && !status.is_not_found() {
                    tracing::warn!(pod = %pod.name, node, error = %status, "pod not bound");
                }
                not_bound()
            }
        }
    }

    /// Has a claim give back devices that keep the pod from all nodes. It is tried anew when that fails.
    pub(super) async fn give_back(&self, pod: &PodInfo, claim: &ObjectName) {
        if let Err(status) = devices::release(&self.client, pod, claim).await {
            tracing::debug!(pod = %pod.name, %claim, error = %status, "devices not given back");
        }
    }

    /// Says why a pod waits, and makes room for it on the node that is nominated.
    pub(super) async fn report(
        &self,
        pod: &PodInfo,
        message: &str,
        nominated: Option<&str>,
        victims: &[Arc<PodInfo>],
    ) -> Outcome {
        if let Some(recorder) = self.recorder(pod).filter(|_| pod.reported.as_deref() != Some(message)) {
            recorder.warning(&reference(pod), "FailedScheduling", message);
        }
        let result = async {
            self.write_status(pod, message, nominated).await?;
            for victim in victims.iter().filter(|victim| !victim.deleting) {
                self.evict(pod, victim, nominated.unwrap_or_default()).await?;
            }
            Ok::<(), Status>(())
        };
        match result.await {
            Ok(()) => Outcome::Done,
            Err(status) => {
                tracing::debug!(pod = %pod.name, error = %status, "status not written");
                Outcome::NotReported(pod.uid.clone())
            }
        }
    }

    /// The condition, and the node that room is made on. The precondition keeps it from overtaking a binding.
    async fn write_status(
        &self,
        pod: &PodInfo,
        message: &str,
        nominated: Option<&str>,
    ) -> Result<(), Status> {
        if pod.reported.as_deref() == Some(message) && nominated == pod.nominated_node.as_deref() {
            return Ok(());
        }
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "observedGeneration": pod.generation,
        });
        if pod.reported.is_none() {
            condition["lastTransitionTime"] = self.now();
        }
        let patch = json!({
            "metadata": {"uid": pod.uid.as_str(), "resourceVersion": pod.revision.to_string()},
            "status": {"conditions": [condition], "nominatedNodeName": nominated},
        });
        let target = Target::of::<Pod>(Some(pod.namespace())).named(pod.name.name()).status();
        self.client.call(target, Patch::Strategic(patch).operation()).await.map(drop)
    }

    /// Removes a pod to make room for another, with all the time it asks for to end.
    async fn evict(&self, pod: &PodInfo, victim: &PodInfo, node: &str) -> Result<(), Status> {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler),
            "lastTransitionTime": self.now(), "observedGeneration": victim.generation,
        });
        let patch = json!({
            "metadata": {"uid": victim.uid.as_str()},
            "status": {"conditions": [condition]},
        });
        let pods = self.pods(victim);
        let name = victim.name.name();
        if gone_is_done(pods.patch_status(name, Patch::Strategic(patch)).await.map(drop))? {
            return Ok(());
        }
        let options = DeleteOptions { uid: Some(victim.uid.to_string()), ..DeleteOptions::default() };
        gone_is_done(pods.delete_with(name, options).await)?;
        let message = format!("Preempted by pod {} on node {node}", pod.uid);
        if let Some(recorder) = self.recorder(pod) {
            recorder.normal(&reference(victim), "Preempted", message);
        }
        Ok(())
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        self.client.api(pod.namespace())
    }

    /// To the second, as the API keeps times.
    fn now(&self) -> Value {
        self.client.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
    }
}

/// Whether the pod was not there any more.
fn gone_is_done(result: Result<(), Status>) -> Result<bool, Status> {
    match result {
        Ok(()) => Ok(false),
        Err(status) if status.is_not_found() => Ok(true),
        Err(status) => Err(status),
    }
}

fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace().to_owned()),
        name: Some(pod.name.name().to_owned()),
        uid: Some(pod.uid.to_string()),
        resource_version: Some(pod.revision.to_string()),
        field_path: None,
    }
}
