//! The node's life in the API: it registers, says that it lives, and says how it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;

use super::backoff::between;
use super::context::Context;
use super::object::{Facts, Health, missing_labels, new_node, node_status, says_something_new};
use crate::api::{Patch, Status};
use crate::runtime::RuntimeInfo;

/// The namespace of the leases by which nodes say that they live.
pub(super) const LEASES: &str = "kube-node-lease";
/// How soon an API that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the node's objects up to date until the end. Ready once the node is registered.
pub(super) struct Registrar {
    ctx: Arc<Context>,
    runtime: RuntimeInfo,
    lease: Option<Lease>,
    reported: Option<(NodeStatus, Timestamp)>,
    node_uid: Option<String>,
}

impl Registrar {
    pub(super) fn new(ctx: Arc<Context>, runtime: RuntimeInfo) -> Self {
        Self { ctx, runtime, lease: None, reported: None, node_uid: None }
    }

    /// Registers the node, and says how it is. Tries until the API answers.
    pub(super) async fn register(&mut self) {
        while let Err(error) = self.round().await {
            tracing::debug!(node = self.ctx.name, %error, "cannot register the node yet");
            self.ctx.clock().sleep(AGAIN).await;
        }
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(self.ctx.name.clone()),
            uid: self.node_uid.clone(),
            ..ObjectReference::default()
        };
        self.ctx.normal(&about, "Starting", "Starting kubelet.");
    }

    /// Says that the node lives, for ever.
    pub(super) async fn run(mut self) {
        loop {
            self.ctx.clock().sleep(self.ctx.config.heartbeat).await;
            if let Err(error) = self.round().await {
                // The lease is held by what it says; the next round says it again.
                tracing::debug!(node = self.ctx.name, %error, "the node's heartbeat was not written");
                self.lease = None;
            }
        }
    }

    async fn round(&mut self) -> Result<(), Status> {
        self.report().await?;
        self.renew().await
    }

    /// Writes the node's status if there is something to say.
    async fn report(&mut self) -> Result<(), Status> {
        let health = match self.ctx.runtime.info().await {
            Ok(info) => {
                self.runtime = info;
                Health::Ready
            }
            Err(error) => Health::NotReady(format!("container runtime is down: {error}")),
        };
        let now = self.ctx.now();
        let images = match &self.reported {
            // Images are looked at when the status is due anyway; they are not news by themselves.
            Some((old, at)) if between(*at, now) < self.ctx.config.status_period => old.images.clone(),
            _ => None,
        };
        if let Some((old, at)) = &self.reported {
            let mut new = self.status(old, &[], &health, now);
            new.images = images;
            let due = between(*at, now) >= self.ctx.config.status_period;
            if !due && !says_something_new(old, &new) {
                return Ok(());
            }
        }
        let node = self.ensure_node().await?;
        let images = self.ctx.runtime.images().await.unwrap_or_default();
        let status = self.status(&node.status.clone().unwrap_or_default(), &images, &health, now);
        let patch = json!({"metadata": {"uid": node.metadata.uid}, "status": status});
        let api = self.ctx.client.cluster::<Node>();
        let written = api.patch_status(&self.ctx.name, Patch::Merge(patch)).await?;
        self.node_uid = written.metadata.uid.clone();
        self.reported = written.status.map(|status| (status, now));
        Ok(())
    }

    fn status(
        &self,
        old: &NodeStatus,
        images: &[crate::runtime::Image],
        health: &Health,
        now: Timestamp,
    ) -> NodeStatus {
        let ctx = &self.ctx;
        node_status(
            old,
            Facts {
                name: &ctx.name,
                machine: &ctx.machine,
                runtime: &self.runtime,
                images,
                config: &ctx.config,
            },
            health,
            now,
        )
    }

    /// The node, made if it is not there, with the labels it must have.
    async fn ensure_node(&self) -> Result<Node, Status> {
        let ctx = &self.ctx;
        let api = ctx.client.cluster::<Node>();
        let Some(node) = api.find(&ctx.name).await? else {
            return match api.create(&new_node(&ctx.name, &ctx.machine, &ctx.config)).await {
                Err(error) if error.is_already_exists() => api.get(&ctx.name).await,
                other => other,
            };
        };
        match missing_labels(&node, &ctx.name, &ctx.machine, &ctx.config) {
            Some(labels) => api.patch(&ctx.name, Patch::Merge(json!({"metadata": {"labels": labels}}))).await,
            None => Ok(node),
        }
    }

    /// Renews the node's lease, or makes it.
    async fn renew(&mut self) -> Result<(), Status> {
        let api = self.ctx.client.api::<Lease>(LEASES);
        let held = match self.lease.take() {
            Some(lease) => Some(lease),
            None => api.find(&self.ctx.name).await?,
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.ctx.name.clone()),
            lease_duration_seconds: i32::try_from(self.ctx.config.lease.as_secs()).ok(),
            renew_time: Some(MicroTime(self.ctx.now())),
            ..LeaseSpec::default()
        };
        let written = match held {
            Some(mut lease) => {
                lease.spec = Some(spec);
                api.update(&lease).await
            }
            None => api.create(&self.new_lease(spec)).await,
        };
        match written {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(())
            }
            // Somebody else wrote it, or took it away: the next round reads it first.
            Err(error) if error.is_conflict() || error.is_not_found() || error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn new_lease(&self, spec: LeaseSpec) -> Lease {
        let owner = self.node_uid.clone().map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.ctx.name.clone(),
            uid,
            ..OwnerReference::default()
        });
        Lease {
            metadata: ObjectMeta {
                name: Some(self.ctx.name.clone()),
                namespace: Some(LEASES.to_owned()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        }
    }
}
