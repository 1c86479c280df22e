//! Volumes that a driver attaches to a node before its pods can have them.
//!
//! Where a CSIDriver asks for that (`attachRequired`), each volume of it that a pod on a node needs has a VolumeAttachment to
//! that node, which the driver's own controller carries out. When it has, the node is told so in its status
//! (`volumesAttached`) and may show the volume; what it shows it says itself (`volumesInUse`). When no pod there needs the
//! volume any more and the node has let go of it, it is told that it has it no more, and the attachment goes. A node that does
//! not let go is waited for, unless it is not ready for six minutes, or somebody says that it is out of service.
//!
//! The order of the two writes is what makes this safe: a node first says that it uses a volume and then looks whether it
//! still has it; here it is first told that it has it no more, by a write that fails if the node has said anything meanwhile.
//!
//! A run is for a volume, so that no two nodes are given one at once that is for one of them.

mod known;
mod plan;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use serde_json::{Value, json};

use self::known::Known;
use self::plan::{Attachment, Need, Observed, Plan, Step};
use self::view::{
    AttachmentView, ClaimView, DriverView, NodeView, PodView, Source, VolumeView, attachment_name,
    may_be_ours,
};
use super::Host;
use crate::api::{Body, Operation, Status, Target};
use crate::control::events::{Recorder, reference_to};
use crate::control::predicate::{self, Predicate};
use crate::control::{Action, Context, Error, Reconciler, write};
use crate::meta::ObjectName;
use crate::objects::attached_name;
use crate::watch::{Cache, Entry, Event};

const NAME: &str = "attachdetach-controller";

struct Attacher {
    recorder: Recorder,
    known: Arc<Known>,
    memory: Mutex<HashMap<String, Memory>>,
}

/// What is kept of a volume between runs. It can be lost: then people are told again, and nodes waited for anew.
#[derive(Default)]
struct Memory {
    /// What the pods of a node were told last.
    told: BTreeMap<String, String>,
    /// Since when nobody needs an attachment.
    unneeded: BTreeMap<String, Duration>,
}

/// A volume as a run finds it.
struct Found {
    /// What nodes call it, if that is known.
    name: Option<String>,
    seen: Observed,
    /// The pods that need it, by their nodes.
    pods: BTreeMap<String, Vec<Arc<Entry>>>,
    /// The nodes as they were read.
    nodes: BTreeMap<String, Arc<Entry>>,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let known = Arc::new(Known::default());
    let claims = host.client.cache::<PersistentVolumeClaim>().await?;
    let moves = predicate::field_changed("spec.nodeName").or(predicate::field_changed("status.phase"));
    let leads = |known: &Arc<Known>| Arc::clone(known);
    let (of_pods, of_attachments) = (leads(&known), leads(&known));
    let (of_nodes, of_drivers) = (leads(&known), leads(&known));
    let controller = host
        .controller::<PersistentVolume>()
        .named(NAME)
        .watches::<PersistentVolumeClaim, _, _>(|entry| {
            let view = entry.view::<ClaimView>().ok();
            view.and_then(|view| view.volume().map(ObjectName::cluster))
        })
        .watches::<Pod, _, _>(move |entry| volumes_of(&of_pods.pod(entry), &claims))
        .when(moves.or(|event: &Event| event.object.is_deleting()))
        .watches::<VolumeAttachment, _, _>(move |entry| of_attachments.attachment(entry))
        .watches::<Node, _, _>(move |entry| of_nodes.on_node(entry.name().name()))
        .watches::<CSIDriver, _, _>(move |entry| of_drivers.of_driver(entry.name().name()));
    let attacher = Attacher { recorder: host.recorder(NAME), known, memory: Mutex::default() };
    host.run(controller, attacher).await
}

/// The volumes that claims are bound to.
fn volumes_of(claims: &[ObjectName], cache: &Cache) -> Vec<ObjectName> {
    let held = claims.iter().filter_map(|claim| cache.get(claim)?.view::<ClaimView>().ok());
    held.filter_map(|claim| claim.volume().map(ObjectName::cluster)).collect()
}

#[async_trait]
impl Reconciler for Attacher {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        self.known.fill(&context).await?;
        let name = context.name().name();
        let entry = context.entry::<PersistentVolume>().await?;
        let source = match &entry {
            Some(entry) => {
                self.known.volume(entry);
                entry.view::<VolumeView>()?.spec.csi.clone()
            }
            None => None,
        };
        let alike = match &source {
            Some(source) => self.known.alike(source, &context.cache::<PersistentVolume>().await?),
            None => vec![name.to_owned()],
        };
        // Those that are the same volume are looked at together, and by one run.
        if let Some(first) = alike.first().filter(|first| *first != name) {
            context.run_for(ObjectName::cluster(first));
            return Ok(Action::Done);
        }
        if let Some(source) = &source
            && !is_attached(&context, &source.driver).await?
        {
            return Ok(Action::Done);
        }
        let found = self.observe(&context, source.as_ref(), &alike).await?;
        let plan = plan::plan(&found.seen);
        self.tell(name, &context, &found, &plan);
        self.apply(&context, source.as_ref(), &found, &plan).await?;
        Ok(Action::again(plan.again))
    }
}

/// Whether volumes of a driver are to be attached: they are, unless it says that they need not be.
async fn is_attached(context: &Context, driver: &str) -> Result<bool, Error> {
    let held = context.cache::<CSIDriver>().await?.get(&ObjectName::cluster(driver));
    Ok(match held {
        Some(driver) => driver.view::<DriverView>()?.attaches(),
        None => true,
    })
}

impl Attacher {
    /// Looks at all that has to do with a volume, which goes by several names it may be.
    async fn observe(
        &self,
        context: &Context,
        source: Option<&Source>,
        volumes: &[String],
    ) -> Result<Found, Error> {
        let name = source.map(|source| attached_name(&source.driver, &source.handle));
        let seen = Observed { shared: true, ..Observed::default() };
        let mut found = Found { name, seen, pods: BTreeMap::new(), nodes: BTreeMap::new() };
        for volume in volumes {
            self.needs(context, volume, &mut found).await?;
        }
        found.seen.needs.sort_by(|a, b| (a.since, &a.node).cmp(&(b.since, &b.node)));
        let attachments = context.cache::<VolumeAttachment>().await?;
        let nodes = context.cache::<Node>().await?;
        let all: Vec<_> = volumes
            .iter()
            .flat_map(|volume| {
                let of_volume = self.known.attachments_of(volume);
                of_volume.into_iter().map(move |(attachment, node)| (volume, attachment, node))
            })
            .collect();
        let names: Vec<&str> = all.iter().map(|(_, attachment, _)| &**attachment).collect();
        let needing = found.seen.needs.iter().map(|need| &need.node);
        for node in needing.chain(all.iter().map(|(_, _, node)| node)) {
            if let Some(entry) = nodes.get(&ObjectName::cluster(node)) {
                let state = entry.view::<NodeView>()?.state(found.name.as_deref(), &names);
                found.seen.nodes.insert(node.clone(), state);
                found.nodes.insert(node.clone(), entry);
            }
        }
        for (volume, attachment, node) in &all {
            let Some(entry) = attachments.get(&ObjectName::cluster(attachment)) else {
                let reports = found.seen.nodes.get(node).and_then(|node| node.reports.as_ref());
                if reports != Some(attachment) {
                    self.known.detached(volume, attachment);
                }
                continue;
            };
            found.seen.attachments.push(self.attachment(context, source, &entry)?);
        }
        Ok(found)
    }

    /// Adds the nodes whose pods need one PersistentVolume.
    async fn needs(&self, context: &Context, volume: &str, found: &mut Found) -> Result<(), Error> {
        let volumes = context.cache::<PersistentVolume>().await?;
        let Some(entry) = volumes.get(&ObjectName::cluster(volume)) else { return Ok(()) };
        let view = entry.view::<VolumeView>()?;
        found.seen.shared &= view.is_shared();
        let Some(held) = view.spec.claim_ref.as_ref().filter(|_| view.spec.csi.is_some()) else {
            return Ok(());
        };
        let claim = ObjectName::namespaced(&*held.namespace, &*held.name);
        let Some(claim) = context.cache::<PersistentVolumeClaim>().await?.get(&claim) else { return Ok(()) };
        if claim.uid().as_str() != held.uid || !claim.view::<ClaimView>()?.is_bound_to(volume) {
            return Ok(());
        }
        for pod in self.known.pods_of(claim.name(), &context.cache::<Pod>().await?) {
            let view = pod.view::<PodView>()?;
            let owned = claim.controller().is_some_and(|owner| owner.uid == *pod.uid());
            let Some(node) = view.node().filter(|_| view.has(claim.name().name(), owned)) else { continue };
            let needs = &mut found.seen.needs;
            let name = pod.name().name().to_owned();
            match needs.iter_mut().find(|need| need.node == node) {
                Some(need) => {
                    need.since = need.since.min(view.made());
                    need.pods.push(name);
                }
                None => needs.push(Need {
                    node: node.to_owned(),
                    volume: volume.to_owned(),
                    since: view.made(),
                    pods: vec![name],
                }),
            }
            found.pods.entry(node.to_owned()).or_default().push(pod);
        }
        Ok(())
    }

    fn attachment(
        &self,
        context: &Context,
        source: Option<&Source>,
        entry: &Entry,
    ) -> Result<Attachment, Error> {
        let view = entry.view::<AttachmentView>()?;
        let (name, node) = (entry.name().name().to_owned(), view.node().to_owned());
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let unneeded = memory.get(context.name().name()).and_then(|memory| memory.unneeded.get(&name));
        let waited = unneeded.map(|since| context.clock().elapsed().saturating_sub(*since));
        Ok(Attachment {
            ours: match source {
                Some(source) => attachment_name(source, &node) == name,
                // Of a volume that is gone it is not known what the attachment would be called.
                None => may_be_ours(&name),
            },
            leaving: entry.is_deleting(),
            attached: view.is_attached(),
            error: view.error(),
            waited: waited.unwrap_or_default(),
            name,
            node,
        })
    }

    /// Tells the pods of each node what is new to them, and notes since when nobody needs an attachment.
    fn tell(&self, volume: &str, context: &Context, found: &Found, plan: &Plan) {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(volume).unwrap_or_default();
        let mut now = Memory::default();
        for step in &plan.steps {
            let Some((kind, reason, message)) = step.told() else { continue };
            if before.told.get(step.node()) != Some(&message) {
                for pod in found.pods.get(step.node()).into_iter().flatten() {
                    self.recorder.record(&reference_to::<Pod>(pod), kind, reason, message.clone());
                }
            }
            now.told.insert(step.node().to_owned(), message);
        }
        let elapsed = context.clock().elapsed();
        for attachment in &plan.waiting {
            let since = before.unneeded.get(attachment).copied().unwrap_or(elapsed);
            now.unneeded.insert(attachment.clone(), since);
        }
        if !now.told.is_empty() || !now.unneeded.is_empty() {
            all.insert(volume.to_owned(), now);
        }
    }

    async fn apply(
        &self,
        context: &Context,
        source: Option<&Source>,
        found: &Found,
        plan: &Plan,
    ) -> Result<(), Error> {
        for step in &plan.steps {
            match step {
                Step::Detach { attachment, node } => {
                    found.report(context, node, attachment, false).await?;
                    let name = ObjectName::cluster(attachment);
                    if let Some(entry) = context.cache::<VolumeAttachment>().await?.get(&name) {
                        write::delete::<VolumeAttachment>(context.client(), &name, entry.uid()).await?;
                    }
                }
                Step::Unreport { attachment, node } => {
                    found.report(context, node, attachment, false).await?;
                }
                Step::Report { attachment, node, .. } => {
                    found.report(context, node, attachment, true).await?;
                }
                Step::Attach { volume, node } => {
                    let Some(source) = source else { continue };
                    self.create(context, source, volume, node).await?;
                }
                Step::Refuse { .. } | Step::Fail { .. } => {}
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        context: &Context,
        source: &Source,
        volume: &str,
        node: &str,
    ) -> Result<(), Error> {
        let name = attachment_name(source, node);
        // Before it is there: the next run must know of it, and may come before the news.
        self.known.attached(volume, &name, node);
        let object = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name},
            "spec": {
                "attacher": source.driver, "nodeName": node, "source": {"persistentVolumeName": volume},
            },
        });
        let create = Operation::Create { body: Body::Value(object), options: Default::default() };
        match context.client().call(Target::of::<VolumeAttachment>(None), create).await {
            Err(status) if !status.is_already_exists() => Err(status.into()),
            _ => Ok(()),
        }
    }
}

impl Found {
    /// Tells a node that it has the volume, or has it no more, if it was not told so. It is a conflict when anything was said
    /// by the node, or about it, since it was read.
    async fn report(&self, context: &Context, node: &str, attachment: &str, has: bool) -> Result<(), Error> {
        let (Some(entry), volume) = (self.nodes.get(node), self.name.as_deref()) else { return Ok(()) };
        let view = entry.view::<NodeView>()?;
        let held = &view.status.volumes_attached;
        let is_it = |held: &&AttachedVolume| Some(&*held.name) == volume || held.device_path == attachment;
        let mut now: Vec<AttachedVolume> = held.iter().filter(|held| !is_it(held)).cloned().collect();
        if let Some(volume) = volume.filter(|_| has) {
            now.push(AttachedVolume { name: volume.to_owned(), device_path: attachment.to_owned() });
        }
        if *held == now {
            return Ok(());
        }
        let list = if now.is_empty() { Value::Null } else { json!(now) };
        let status = json!({"volumesAttached": list});
        write::unless_gone(write::patch_status::<Node>(context.client(), entry, status).await)
    }
}
