//! The node's life in the API: it registers, says that it lives, and says how it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;

use super::backoff::{add, between};
use super::context::Context;
use super::object::{
    Facts, Health, changes, is_another_machine, missing_metadata, new_node, node_status, says_something_new,
    status_patch,
};
use super::ports::CsiDriver;
use super::pressure::Pressure;
use super::{devices, drivers, evict};
use crate::api::{Patch, Reason, Status};
use crate::runtime::RuntimeInfo;

/// The namespace of the leases by which nodes say that they live.
pub(super) const LEASES: &str = "kube-node-lease";
/// How soon the registration is tried again.
const REGISTER_RETRY: Duration = Duration::from_secs(1);
/// How long an API may take to answer before the heartbeat is tried anew.
const API_DEADLINE: Duration = Duration::from_secs(10);

/// Keeps the node's objects up to date until the end. Ready once the node is registered.
pub(super) struct Registrar {
    ctx: Arc<Context>,
    runtime: RuntimeInfo,
    lease: Option<Lease>,
    /// When the whole status was last written.
    reported_at: Option<Timestamp>,
    node_uid: Option<String>,
    /// The drivers of volumes that the node was last said to have, and when.
    drivers: Option<(Vec<CsiDriver>, Timestamp)>,
    pressure: Pressure,
    /// Room was made on the disk when it was looked at last.
    made_room: bool,
}

/// Why the node is not registered.
enum Refused {
    /// Another machine, which is alive, has the name.
    NameTaken,
    /// The API refused, or is away.
    Api(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Api(status)
    }
}

impl Registrar {
    pub(super) fn new(ctx: Arc<Context>, runtime: RuntimeInfo) -> Self {
        let pressure = Pressure::default();
        let (lease, reported_at, node_uid, drivers) = (None, None, None, None);
        Self { ctx, runtime, lease, reported_at, node_uid, drivers, pressure, made_room: false }
    }

    /// Registers the node, and says how it is. Tries until the API answers and the name is free.
    pub(super) async fn register(&mut self) {
        let mut told = false;
        while let Err(refused) = self.try_register().await {
            match refused {
                Refused::Api(error) => {
                    tracing::debug!(node = self.ctx.name, %error, "cannot register the node yet");
                }
                Refused::NameTaken if !told => {
                    told = true;
                    tracing::error!(
                        node = self.ctx.name,
                        "another machine is a node of this name and alive; give this one another name"
                    );
                }
                Refused::NameTaken => {}
            }
            self.ctx.clock().sleep(REGISTER_RETRY).await;
        }
        self.ctx.normal(&self.about(), "Starting", "Starting kubelet.");
    }

    async fn try_register(&mut self) -> Result<(), Refused> {
        let known = self.ctx.client.cluster::<Node>().find(&self.ctx.name).await?;
        if known.is_some_and(|node| is_another_machine(&node, &self.ctx.machine))
            && self.lease_holds().await?
        {
            return Err(Refused::NameTaken);
        }
        Ok(self.round().await?)
    }

    /// Whether whoever has the node's lease has renewed it in time.
    async fn lease_holds(&self) -> Result<bool, Status> {
        let lease = self.ctx.client.api::<Lease>(LEASES).find(&self.ctx.name).await?;
        let Some(spec) = lease.and_then(|lease| lease.spec) else { return Ok(false) };
        let seconds = spec.lease_duration_seconds.unwrap_or_default().max(0).unsigned_abs();
        let renewed = spec.renew_time.map(|time| time.0);
        Ok(renewed.is_some_and(|at| self.ctx.now() < add(at, Duration::from_secs(seconds.into()))))
    }

    fn about(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(self.ctx.name.clone()),
            uid: self.node_uid.clone(),
            ..ObjectReference::default()
        }
    }

    /// Says that the node lives, for ever.
    pub(super) async fn run(&mut self) {
        loop {
            let told = self.ctx.ending.is_cancelled();
            tokio::select! {
                biased;
                () = self.ctx.ending.cancelled(), if !told => {}
                () = devices_changed(&self.ctx) => devices::tell(&self.ctx),
                () = self.ctx.in_use.changed() => {}
                () = self.ctx.clock().sleep(self.ctx.config.heartbeat) => {}
            }
            evict::look(&self.ctx, &mut self.pressure, &mut self.made_room).await;
            if let Err(error) = self.round().await {
                // The lease is held by what it says; the next round says it again.
                tracing::debug!(node = self.ctx.name, %error, "the node's heartbeat was not written");
                self.lease = None;
            }
        }
    }

    /// Writes what is to be written, unless the API takes too long.
    async fn round(&mut self) -> Result<(), Status> {
        let clock = self.ctx.clock().clone();
        let written = async {
            self.report().await?;
            self.renew().await
        };
        tokio::select! {
            biased;
            written = written => written,
            () = clock.sleep(API_DEADLINE) => Err(Status::new(Reason::Timeout, "the API does not answer")),
        }
    }

    /// Writes the node's status if there is something to say. It is compared with what the API has, not with what was
    /// written last: a node that was silent too long is marked by the control plane, and must take that back.
    async fn report(&mut self) -> Result<(), Status> {
        let health = match self.ctx.runtime.info().await {
            Ok(info) => {
                self.runtime = info;
                match self.ctx.ending.is_cancelled() {
                    true => Health::NotReady("node is shutting down".to_owned()),
                    false => Health::Ready,
                }
            }
            Err(error) => Health::NotReady(format!("container runtime is down: {error}")),
        };
        let node = self.ensure_node().await?;
        self.node_uid.clone_from(&node.metadata.uid);
        self.tell_drivers(&node).await?;
        let unsaid = NodeStatus::default();
        let known = node.status.as_ref().unwrap_or(&unsaid);
        let now = self.ctx.now();
        let due = self.reported_at.is_none_or(|at| between(at, now) >= self.ctx.config.status_period);
        // Images are looked at when the status is due anyway; they are not news by themselves.
        let mut status = self.status(known, &[], &health, now);
        status.images.clone_from(&known.images);
        if !due && !says_something_new(known, &status) {
            return Ok(());
        }
        if due {
            let images = self.ctx.runtime.images().await.unwrap_or_default();
            status = self.status(known, &images, &health, now);
        }
        let patch = json!({"metadata": {"uid": self.node_uid}, "status": status_patch(&status)});
        let api = self.ctx.client.cluster::<Node>();
        api.patch_status(&self.ctx.name, Patch::Merge(patch)).await?;
        self.reported_at = Some(now);
        for reason in changes(known, &status) {
            let message = format!("Node {} status is now: {reason}", self.ctx.name);
            self.ctx.normal(&self.about(), &reason, message);
        }
        Ok(())
    }

    /// Says which drivers of volumes the machine has, when they are others, and now and then whatever they are.
    async fn tell_drivers(&mut self, node: &Node) -> Result<(), Status> {
        let drivers = match self.ctx.volumes.csi_drivers().await {
            Ok(drivers) => drivers,
            Err(error) => {
                tracing::debug!(node = self.ctx.name, %error, "it is not known which drivers there are");
                return Ok(());
            }
        };
        let now = self.ctx.now();
        let is_said = |(said, at): &(Vec<CsiDriver>, Timestamp)| {
            *said == drivers && between(*at, now) < self.ctx.config.status_period
        };
        if !self.drivers.as_ref().is_some_and(is_said) {
            drivers::tell(&self.ctx, node, &drivers).await?;
            self.drivers = Some((drivers, now));
        }
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
        let devices = ctx.plugins.as_ref().map(|plugins| plugins.resources()).unwrap_or_default();
        node_status(
            old,
            Facts {
                name: &ctx.name,
                machine: &ctx.machine,
                runtime: &self.runtime,
                images,
                config: &ctx.config,
                pressure: &self.pressure,
                devices: &devices,
                in_use: &ctx.in_use.volumes(),
            },
            health,
            now,
        )
    }

    /// The node, made if it is not there, with the labels it must have.
    async fn ensure_node(&self) -> Result<Arc<Node>, Status> {
        let ctx = &self.ctx;
        let api = ctx.client.cluster::<Node>();
        // Where the API is in this process, what it has is decoded once a revision and not at each heartbeat.
        let node = match api.objects().get(&ctx.name).await {
            Ok(entry) => entry.view::<Node>().map_err(Status::internal)?,
            Err(error) if error.is_not_found() => {
                return match api.create(&new_node(&ctx.name, &ctx.machine, &ctx.config)).await {
                    Err(error) if error.is_already_exists() => api.get(&ctx.name).await.map(Arc::new),
                    made => made.map(Arc::new),
                };
            }
            Err(error) => return Err(error),
        };
        match missing_metadata(&node, &ctx.name, &ctx.machine, &ctx.config) {
            Some(metadata) => {
                let patch = Patch::Merge(json!({"metadata": metadata}));
                api.patch(&ctx.name, patch).await.map(Arc::new)
            }
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

/// Resolves when the devices of the machine have changed.
async fn devices_changed(ctx: &Context) {
    match &ctx.plugins {
        Some(plugins) => plugins.changed().await,
        None => std::future::pending().await,
    }
}
