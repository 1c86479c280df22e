//! Devices of plugins for the containers that ask for them: chosen before anything of a pod runs, given when a container
//! is made, and had by whoever comes after the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, ResourceHealth, ResourceStatus};

use super::context::Context;
use super::ledger::{Held, LONGEST_NOTE, NOTE, choice, chosen};
use super::model::{Role, containers};
use super::plugins::{DevicePlugins, Devices, Given};
use super::ports::PodFile;
use super::resources::limit;
use super::translate::pod_ref;
use crate::runtime::PodRef;

/// Devices that an init container has had, by resource: the containers after it may have them.
type Reusable = BTreeMap<String, Vec<String>>;

/// Reads what was noted of the node's pods, before anything is given to one.
pub(super) async fn load(ctx: &Context) {
    if ctx.plugins.is_none() {
        return;
    }
    for uid in ctx.volumes.pods().await.unwrap_or_default() {
        let pod = PodRef { namespace: String::new(), name: String::new(), uid };
        let note = ctx.volumes.read_pod_file(&pod, NOTE, LONGEST_NOTE).await.unwrap_or_default();
        if note.is_empty() {
            continue;
        }
        match serde_json::from_slice(&note) {
            Ok(noted) => ctx.ledger.noted(&pod.uid, noted),
            Err(error) => {
                tracing::warn!(pod = pod.uid, %error, "the note of a pod's devices cannot be read; others may be given them");
            }
        }
    }
}

/// Chooses devices for all containers of a pod that is about to begin. Those that hold some keep them. Why it cannot be is
/// in the words of the pod's status.
pub(super) async fn admit(ctx: &Context, pod: &Pod) -> Result<(), String> {
    let (Some(plugins), Some(spec)) = (&ctx.plugins, &pod.spec) else { return Ok(()) };
    let mut reusable = Reusable::new();
    let mut any = false;
    for (role, wanted) in containers(spec) {
        let giving = Giving { ctx, plugins: plugins.as_ref(), pod, wanted };
        for (resource, size) in giving.asked() {
            let held = giving.give(&resource, size, &mut reusable).await;
            let held = held.map_err(|why| format!("Allocate failed due to {why}, which is unexpected"))?;
            any = true;
            let reusable = reusable.entry(resource).or_default();
            reusable.retain(|device| !held.devices.contains(device));
            if role == Role::Init {
                reusable.extend(held.devices);
            }
        }
    }
    if any { note(ctx, &pod_ref(pod)).await } else { Ok(()) }
}

/// What a container that is about to be made is given with its devices.
pub(super) async fn of_container(ctx: &Context, pod: &Pod, wanted: &Wanted) -> Result<Given, String> {
    let mut all = Given::default();
    let Some(plugins) = &ctx.plugins else { return Ok(all) };
    let giving = Giving { ctx, plugins: plugins.as_ref(), pod, wanted };
    for (resource, size) in giving.asked() {
        let own = pod_ref(pod);
        let known =
            ctx.ledger.get(&own.uid, &wanted.name, &resource).is_some_and(|held| held.given.is_some());
        let held = giving.give(&resource, size, &mut Reusable::new()).await?;
        if !known {
            note(ctx, &own).await?;
        }
        let given = held.given.unwrap_or_default();
        if let Some(name) = given.cdi_devices.first() {
            return Err(format!(
                "{name} of {resource} is a device of the CDI, which this node does not give"
            ));
        }
        let ready = plugins.pre_start(&resource, &held.devices).await;
        ready.map_err(|error| format!("PreStartContainer: {error}"))?;
        all.add(&given);
    }
    Ok(all)
}

/// The devices that the containers of a pod have, as their statuses show them.
pub(super) fn health(ctx: &Context, uid: &str) -> BTreeMap<String, Vec<ResourceStatus>> {
    let held = ctx.ledger.of_pod(uid);
    let Some(plugins) = ctx.plugins.as_ref().filter(|_| !held.is_empty()) else { return BTreeMap::new() };
    let known = plugins.resources();
    let of_container = |held: BTreeMap<String, Held>| {
        let shown = held.into_iter().map(|(name, held)| {
            let unhealthy = known.get(&name).map(|devices| &devices.unhealthy);
            let of_device = |id: String| {
                let is_ill = unhealthy.is_some_and(|ill| ill.contains(&id));
                let health = if is_ill { "Unhealthy" } else { "Healthy" };
                ResourceHealth { health: Some(health.into()), resource_id: id, ..ResourceHealth::default() }
            };
            ResourceStatus { name, resources: Some(held.devices.into_iter().map(of_device).collect()) }
        });
        shown.collect()
    };
    held.into_iter().map(|(container, held)| (container, of_container(held))).collect()
}

/// The devices of the machine have changed: pods that have some look again.
pub(super) fn tell(ctx: &Context) {
    for uid in ctx.ledger.pods() {
        if let Some(mailbox) = ctx.residents.get(&uid) {
            mailbox.poke();
        }
    }
}

/// Notes what a pod holds among its files.
async fn note(ctx: &Context, pod: &PodRef) -> Result<(), String> {
    let content = serde_json::to_vec(&ctx.ledger.of_pod(&pod.uid)).map_err(|error| error.to_string())?;
    let file = PodFile { name: NOTE, content: &content, mode: 0o600, replace: true };
    match ctx.volumes.pod_file(pod, &file).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the pod's devices could not be noted: {error}")),
    }
}

/// Devices for one container.
struct Giving<'a> {
    ctx: &'a Context,
    plugins: &'a dyn DevicePlugins,
    pod: &'a Pod,
    wanted: &'a Wanted,
}

impl Giving<'_> {
    /// The resources of plugins that the container asks for, and how many of each.
    fn asked(&self) -> Vec<(String, usize)> {
        let resources = self.wanted.resources.as_ref();
        let names = resources.into_iter().flat_map(|resources| resources.limits.iter().flatten());
        let extended: Vec<&String> = names.map(|(name, _)| name).filter(|name| name.contains('/')).collect();
        if extended.is_empty() {
            return Vec::new();
        }
        let known = self.plugins.resources();
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let is_device = |name: &&String| {
            known.contains_key(*name) || self.ctx.ledger.get(uid, &self.wanted.name, name).is_some()
        };
        let sized = extended.into_iter().filter(is_device).filter_map(|name| {
            let size = usize::try_from(limit(self.wanted, name)?.value()).ok().filter(|size| *size > 0)?;
            Some((name.clone(), size))
        });
        sized.collect()
    }

    /// What the container holds of a resource, which it is given if it holds nothing yet.
    async fn give(&self, resource: &str, size: usize, reusable: &mut Reusable) -> Result<Held, String> {
        let (ledger, container) = (&self.ctx.ledger, self.wanted.name.as_str());
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        let held = match ledger.get(uid, container, resource) {
            Some(held) => held,
            None => {
                let _choosing = ledger.choosing.lock().await;
                let reusable = reusable.get(resource).map(Vec::as_slice).unwrap_or_default();
                let devices = self.choose(resource, size, reusable).await?;
                let held = Held { devices, given: None };
                ledger.put(uid, container, resource, held.clone());
                held
            }
        };
        if held.given.is_some() {
            return Ok(held);
        }
        match self.plugins.allocate(resource, &held.devices).await {
            Ok(given) => {
                let held = Held { given: Some(given), ..held };
                ledger.put(uid, container, resource, held.clone());
                Ok(held)
            }
            Err(error) => {
                ledger.take_back(uid, container, resource);
                Err(error.to_string())
            }
        }
    }

    async fn choose(&self, resource: &str, size: usize, reusable: &[String]) -> Result<Vec<String>, String> {
        let devices: Devices = self.plugins.resources().remove(resource).unwrap_or_default();
        let taken = self.ctx.ledger.taken(resource);
        let choice = choice(resource, &devices, &taken, reusable, size)?;
        let preferred = match choice.available.len() > size {
            true => self.plugins.preferred(resource, &choice).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what a device plugin prefers is not known");
                Vec::new()
            }),
            false => Vec::new(),
        };
        Ok(chosen(&choice, preferred))
    }
}
