//! The node's life in the API: it registers, says that it lives, and says how it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::backoff::{add, between};
use super::context::Context;
use super::object::{
    Facts, Health, changes, is_another_machine, missing_metadata, new_node, node_status, says_something_new,
    status_patch,
};
use super::plugins::Devices;
use super::ports::CsiDriver;
use super::pressure::{Pressure, Short};
use super::{devices, drivers, evict};
use crate::api::{Patch, Reason, Status, WriteOptions};
use crate::meta::Revision;
use crate::runtime::RuntimeInfo;
use crate::watch::Entry;

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
    /// The lease as it was read or written last.
    lease: Option<Value>,
    /// When the whole status was last written.
    reported_at: Option<Timestamp>,
    node_uid: Option<String>,
    /// Of what there was nothing to say, and at which revision of the node.
    settled: Option<(Revision, Seen)>,
    /// The drivers of volumes that the node was last said to have, and when.
    drivers: Option<(Vec<CsiDriver>, Timestamp)>,
    pressure: Pressure,
    /// Room was made on the disk when it was looked at last.
    made_room: bool,
}

/// What a node's status follows from, beside its machine, which stays as it is, and what stands there already.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    health: Health,
    runtime: RuntimeInfo,
    short: Vec<Short>,
    devices: BTreeMap<String, Devices>,
    in_use: Vec<String>,
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
        let (lease, reported_at, node_uid, settled, drivers) = (None, None, None, None, None);
        Self { ctx, runtime, lease, reported_at, node_uid, settled, drivers, pressure, made_room: false }
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
        let (seen, entry) = (self.seen(health), self.find_node().await?);
        let now = self.ctx.now();
        let due = self.reported_at.is_none_or(|at| between(at, now) >= self.ctx.config.status_period);
        let drivers = self.unsaid_drivers(now).await;
        let mut revision = entry.as_ref().map(|entry| entry.revision());
        let is_settled = |(at, of): &(Revision, Seen)| revision == Some(*at) && *of == seen;
        if !due && drivers.is_none() && self.settled.as_ref().is_some_and(is_settled) {
            // The same of the same: nearly every heartbeat ends here.
            return Ok(());
        }
        self.settled = None;
        let node = match entry {
            Some(entry) => entry.view::<Node>().map_err(Status::internal)?,
            None => self.make_node().await?,
        };
        let node = match missing_metadata(&node, &self.ctx.name, &self.ctx.machine, &self.ctx.config) {
            Some(metadata) => {
                revision = None;
                self.put_metadata(metadata).await?
            }
            None => node,
        };
        self.node_uid.clone_from(&node.metadata.uid);
        if let Some(drivers) = drivers {
            drivers::tell(&self.ctx, &node, &drivers).await?;
            self.drivers = Some((drivers, now));
        }
        let unsaid = NodeStatus::default();
        let known = node.status.as_ref().unwrap_or(&unsaid);
        // Images are looked at when the status is due anyway; they are not news by themselves.
        let mut status = self.status(known, &[], &seen, now);
        status.images.clone_from(&known.images);
        if !due && !says_something_new(known, &status) {
            self.settled = revision.map(|revision| (revision, seen));
            return Ok(());
        }
        if due {
            let images = self.ctx.runtime.images().await.unwrap_or_default();
            status = self.status(known, &images, &seen, now);
        }
        let patch = json!({"metadata": {"uid": self.node_uid}, "status": status_patch(&status)});
        let nodes = self.ctx.client.cluster::<Node>();
        nodes.objects().patch_status(&self.ctx.name, Patch::Merge(patch), WriteOptions::default()).await?;
        self.reported_at = Some(now);
        for reason in changes(known, &status) {
            let message = format!("Node {} status is now: {reason}", self.ctx.name);
            self.ctx.normal(&self.about(), &reason, message);
        }
        Ok(())
    }

    /// The drivers of volumes that the machine has, when they are others than were said, and now and then whatever they
    /// are.
    async fn unsaid_drivers(&self, now: Timestamp) -> Option<Vec<CsiDriver>> {
        let drivers = match self.ctx.volumes.csi_drivers().await {
            Ok(drivers) => drivers,
            Err(error) => {
                tracing::debug!(node = self.ctx.name, %error, "it is not known which drivers there are");
                return None;
            }
        };
        let is_said = |(said, at): &(Vec<CsiDriver>, Timestamp)| {
            *said == drivers && between(*at, now) < self.ctx.config.status_period
        };
        (!self.drivers.as_ref().is_some_and(is_said)).then_some(drivers)
    }

    fn seen(&self, health: Health) -> Seen {
        let devices = self.ctx.plugins.as_ref().map(|plugins| plugins.resources()).unwrap_or_default();
        let (runtime, in_use) = (self.runtime.clone(), self.ctx.in_use.volumes());
        Seen { health, runtime, short: self.pressure.held(), devices, in_use }
    }

    fn status(
        &self,
        old: &NodeStatus,
        images: &[crate::runtime::Image],
        seen: &Seen,
        now: Timestamp,
    ) -> NodeStatus {
        let ctx = &self.ctx;
        node_status(
            old,
            Facts {
                name: &ctx.name,
                machine: &ctx.machine,
                runtime: &seen.runtime,
                images,
                config: &ctx.config,
                pressure: &self.pressure,
                devices: &seen.devices,
                in_use: &seen.in_use,
            },
            &seen.health,
            now,
        )
    }

    /// The node as the API has it, if it has it.
    async fn find_node(&self) -> Result<Option<Arc<Entry>>, Status> {
        match self.ctx.client.cluster::<Node>().objects().get(&self.ctx.name).await {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn make_node(&self) -> Result<Arc<Node>, Status> {
        let (ctx, api) = (&self.ctx, self.ctx.client.cluster::<Node>());
        match api.create(&new_node(&ctx.name, &ctx.machine, &ctx.config)).await {
            Err(error) if error.is_already_exists() => api.get(&ctx.name).await.map(Arc::new),
            made => made.map(Arc::new),
        }
    }

    /// Gives the node the labels and annotations that it must have.
    async fn put_metadata(&self, metadata: Value) -> Result<Arc<Node>, Status> {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.ctx.client.cluster::<Node>().patch(&self.ctx.name, patch).await.map(Arc::new)
    }

    /// Renews the node's lease, or makes it.
    async fn renew(&mut self) -> Result<(), Status> {
        let api = self.ctx.client.api::<Lease>(LEASES);
        let held = match self.lease.take() {
            Some(lease) => Some(lease),
            None => self.find_lease().await?,
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.ctx.name.clone()),
            lease_duration_seconds: i32::try_from(self.ctx.config.lease.as_secs()).ok(),
            renew_time: Some(MicroTime(self.ctx.now())),
            ..LeaseSpec::default()
        };
        let (lease, written) = match held {
            Some(mut lease) => {
                lease["spec"] = json!(spec);
                let written =
                    api.objects().update(&self.ctx.name, lease.clone(), WriteOptions::default()).await;
                (lease, written)
            }
            None => {
                let lease = json!(self.new_lease(spec));
                let made = api.objects().create(lease, WriteOptions::default()).await;
                (Value::Null, made)
            }
        };
        match written {
            Ok(entry) => {
                self.lease = Some(match lease {
                    Value::Null => plain(&entry)?,
                    // It is as it was sent, but for its revision: there is no need to read it back.
                    mut lease => {
                        lease["metadata"]["resourceVersion"] = entry.revision().to_string().into();
                        lease
                    }
                });
                Ok(())
            }
            // Somebody else wrote it, or took it away: the next round reads it first.
            Err(error) if error.is_conflict() || error.is_not_found() || error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The lease as it is, if it is there.
    async fn find_lease(&self) -> Result<Option<Value>, Status> {
        match self.ctx.client.api::<Lease>(LEASES).objects().get(&self.ctx.name).await {
            Ok(entry) => plain(&entry).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
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

/// An object without what says whose its fields are, which is the server's to say.
fn plain(entry: &Entry) -> Result<Value, Status> {
    let mut object = entry.to_value().map_err(Status::internal)?;
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    Ok(object)
}

/// Resolves when the devices of the machine have changed.
async fn devices_changed(ctx: &Context) {
    match &ctx.plugins {
        Some(plugins) => plugins.changed().await,
        None => std::future::pending().await,
    }
}
