//! Putting a pod's volumes on disk, and working out what of them each container sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, Volume, VolumeMount};

use super::address::addresses;
use super::backoff::{add, between};
use super::claimed::{self, Claimed};
use super::context::{Context, Tokens};
use super::csi::{Driver, For, is_read_only};
use super::env::Environment;
use super::expand::expand;
use super::fields::Facts;
use super::model::{Driven, HeldTokens, Memory, VolumePaths, VolumesMade, has_downward_api, shown_metadata};
use super::ports::{FileSet, HostError, PodFile, SubPath};
use super::sources::{Needs, Sources};
use super::tokens::held_token;
use super::translate::{pod_ref, propagation};
use super::volumes::{Content, content, fs_group};
use crate::runtime::{ContainerMeta, Device, Mount, PodRef, Propagation};

/// The volumes of a pod.
#[derive(Clone, Copy)]
pub(super) struct Volumes<'a> {
    pub(super) ctx: &'a Context,
    pub(super) pod: &'a Pod,
}

impl Volumes<'_> {
    /// What they refer to.
    pub(super) fn needs(&self) -> Needs {
        self.pod.spec.as_ref().map(Needs::of_volumes).unwrap_or_default()
    }

    /// Whether they were put on disk at least so long ago and what they are made from may have changed since.
    pub(super) fn are_older_than(&self, memory: &Memory, age: Duration) -> bool {
        let made = memory.volumes_made.as_ref();
        let old = made.is_some_and(|made| between(made.at, self.ctx.now()) >= age);
        old && (!self.needs().is_empty() || has_downward_api(self.pod))
    }

    /// Puts all of them on disk. What stands in the way is in the words of a `FailedMount` event.
    pub(super) async fn prepare(&self, memory: &mut Memory) -> Result<(), String> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let sources = self.ctx.sources(namespace, &self.needs()).await;
        self.prepare_from(memory, &sources.map_err(|error| error.to_string())?).await
    }

    /// As [`prepare`](Self::prepare), from what was read before.
    pub(super) async fn prepare_from(&self, memory: &mut Memory, sources: &Sources) -> Result<(), String> {
        let mut paths = VolumePaths::new();
        let shown = memory.volumes_ready;
        let facts = self.ctx.pod_facts(&addresses(self.ctx, self.pod, memory));
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        // Images are shown when a container is made that mounts them.
        for volume in volumes.clone().filter(|volume| volume.image.is_some()) {
            let held = memory.volumes.remove(&volume.name);
            paths.extend(held.map(|path| (volume.name.clone(), path)));
        }
        for volume in volumes.filter(|volume| volume.image.is_none()) {
            let known = memory.driven.get(&volume.name).filter(|known| shown && !known.again);
            if let Some(path) = known.and_then(|_| memory.volumes.get(&volume.name)) {
                paths.insert(volume.name.clone(), path.clone());
                continue;
            }
            let path = self
                .prepare_one(volume, &facts, sources, memory)
                .await
                .map_err(|why| format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name))?;
            paths.insert(volume.name.clone(), path);
        }
        let again = memory.driven.values().any(|known| known.again);
        memory.volumes = paths;
        memory.volumes_due = again.then(|| add(self.ctx.now(), SHOWN_AGAIN));
        memory.volumes_ready = true;
        memory.volumes_made = Some(VolumesMade { at: self.ctx.now(), shown: shown_metadata(self.pod) });
        Ok(())
    }

    async fn prepare_one(
        &self,
        volume: &Volume,
        facts: &Facts,
        sources: &Sources,
        memory: &mut Memory,
    ) -> Result<PathBuf, String> {
        let held = &mut memory.tokens;
        let tokens = tokens(self.ctx, self.pod, volume, held).await?;
        let mut driven = None;
        let content = if let Some(source) = &volume.csi {
            let driver = Driver::find(self.ctx, &source.driver).await?;
            driven = Some(Driven { again: driver.republishes(), claimed: false });
            let place = For { ctx: self.ctx, pod: self.pod, volume };
            Content::Csi(place.own(source, &driver, held).await?)
        } else {
            match claimed::content(self.ctx, self.pod, volume, memory.volumes_ready, held).await? {
                Some(Claimed { content, again }) => {
                    driven = matches!(content, Content::Csi(_)).then_some(Driven { again, claimed: true });
                    content
                }
                None => {
                    content(self.pod, volume, facts, sources, &tokens).map_err(|error| error.to_string())?
                }
            }
        };
        let (host, reference) = (&self.ctx.volumes, pod_ref(self.pod));
        let made = match content {
            Content::EmptyDir(directory) => host.empty_dir(&reference, &volume.name, &directory).await,
            Content::HostPath { path, kind } => host.host_path(Path::new(&path), &kind).await,
            Content::Local { path } => self.local(Path::new(&path)).await,
            Content::Device { path } => host.host_path(Path::new(&path), "BlockDevice").await,
            Content::Nfs(nfs) => host.nfs(&reference, &volume.name, &nfs).await,
            Content::Csi(csi) => host.csi(&reference, &volume.name, &csi).await,
            Content::Files(files) => {
                // A ConfigMap holds no secrets; everything else may.
                let memory = volume.config_map.is_none();
                let set = FileSet { files: &files, memory, group: fs_group(self.pod) };
                host.files(&reference, &volume.name, &set).await
            }
        };
        let path = made.map_err(|error| error.to_string())?;
        if let Some(driven) = driven {
            memory.driven.insert(volume.name.clone(), driven);
            memory.growth_due = driven.claimed.then(|| self.ctx.now()).or(memory.growth_due);
        }
        Ok(path)
    }

    /// A directory of the machine that is a volume of its own, which is the group's that the pod says.
    async fn local(&self, path: &Path) -> Result<PathBuf, HostError> {
        let made = self.ctx.volumes.host_path(path, "Directory").await?;
        let security = self.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        if let Some(group) = fs_group(self.pod) {
            let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
            let unless_root_is = policy == Some("OnRootMismatch");
            self.ctx.volumes.give_to_group(&made, group, unless_root_is).await?;
        }
        Ok(made)
    }

    /// The devices that a container has for volumes without files.
    pub(super) fn devices(&self, wanted: &Wanted, memory: &Memory) -> Result<Vec<Device>, String> {
        let devices = wanted.volume_devices.iter().flatten().map(|device| {
            let missing = || format!("cannot find volume \"{}\" to pass into container", device.name);
            let path = memory.volumes.get(&device.name).ok_or_else(missing)?;
            let permissions = if self.is_read_only(&device.name) { "r" } else { "rwm" };
            Ok(Device {
                host_path: path.clone(),
                container_path: device.device_path.clone(),
                permissions: permissions.to_owned(),
            })
        });
        devices.collect()
    }

    fn is_read_only(&self, name: &str) -> bool {
        let mut volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.any(|volume| volume.name == name && is_read_only(volume))
    }

    /// What a container sees of the machine's files. What is wrong is in the words of its status.
    pub(super) async fn mounts(
        &self,
        wanted: &Wanted,
        meta: &ContainerMeta,
        env: &Environment,
        memory: &Memory,
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        let reference = pod_ref(self.pod);
        let gives_mounts = self.ctx.runtime.capabilities().mounts;
        for (index, mount) in wanted.volume_mounts.iter().flatten().enumerate() {
            if !gives_mounts && is_automatic(mount) {
                // Nobody asked for it by name: the pod runs without a token rather than not at all.
                tracing::debug!(container = wanted.name, "the runtime gives no mounts: no token is given");
                continue;
            }
            let place = Place { pod: &reference, container: &wanted.name, index };
            let mut made = place.mount(self.ctx, mount, env, &memory.volumes).await?;
            made.read_only |= self.is_read_only(&mount.name);
            mounts.push(made);
        }
        if !gives_mounts {
            return Ok(mounts);
        }
        let taken = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
        if let Some(hosts) = memory.hosts_file.as_ref().filter(|_| !taken(&mounts, "/etc/hosts")) {
            mounts.push(plain(hosts, "/etc/hosts", false));
        }
        let message_path = wanted.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if !taken(&mounts, message_path) && !message_path.is_empty() {
            let name = super::messages::file_name(meta);
            let file = PodFile { name: &name, content: b"", mode: 0o666, replace: true };
            match self.ctx.volumes.pod_file(&reference, &file).await {
                Ok(file) => mounts.push(plain(&file, message_path, false)),
                Err(error) => {
                    tracing::warn!(container = wanted.name, %error, "no file for the termination message")
                }
            }
        }
        Ok(mounts)
    }
}

/// Whether a mount was added to the pod when it was created, so that its containers have a token of its account.
fn is_automatic(mount: &VolumeMount) -> bool {
    mount.name.starts_with("kube-api-access-")
        && mount.mount_path == "/var/run/secrets/kubernetes.io/serviceaccount"
}

/// The tokens that a projected volume asks for, by path: those that are held, while they need not be renewed.
async fn tokens(ctx: &Context, pod: &Pod, volume: &Volume, held: &mut HeldTokens) -> Result<Tokens, String> {
    let mut tokens = BTreeMap::new();
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    for source in sources.filter_map(|source| source.service_account_token.as_ref()) {
        let held = held_token(ctx, pod, &volume.name, source, held).await?;
        tokens.insert(source.path.clone(), held.token);
    }
    Ok(tokens)
}

/// How often a driver that wants it is asked again to show what it shows.
const SHOWN_AGAIN: Duration = Duration::from_secs(60);

/// Which mount of which container.
struct Place<'a> {
    pod: &'a PodRef,
    container: &'a str,
    index: usize,
}

impl Place<'_> {
    async fn mount(
        &self,
        ctx: &Context,
        mount: &VolumeMount,
        env: &Environment,
        paths: &VolumePaths,
    ) -> Result<Mount, String> {
        let missing = || format!("cannot find volume \"{}\" to mount into container", mount.name);
        let mut path = paths.get(&mount.name).ok_or_else(missing)?.clone();
        let known = |name: &str| env.get(name).map(str::to_owned);
        let expanded = mount.sub_path_expr.as_deref().map(|expr| expand(expr, known));
        let sub_path = expanded.or_else(|| mount.sub_path.clone()).filter(|sub| !sub.is_empty());
        if let Some(sub_path) = sub_path {
            let wanted =
                SubPath { volume: &path, path: &sub_path, container: self.container, index: self.index };
            let made = ctx.volumes.sub_path(self.pod, &wanted).await;
            path = made.map_err(|error| {
                format!("failed to prepare subPath for volumeMount \"{}\": {error}", mount.name)
            })?;
        }
        Ok(Mount {
            host_path: path,
            container_path: absolute(&mount.mount_path),
            read_only: mount.read_only == Some(true),
            recursive_read_only: match mount.recursive_read_only.as_deref() {
                Some("Enabled") => true,
                Some("IfPossible") => ctx.runtime.capabilities().fields.recursive_read_only,
                _ => false,
            },
            propagation: propagation(mount.mount_propagation.as_deref()),
        })
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn plain(host_path: &Path, container_path: &str, read_only: bool) -> Mount {
    Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        read_only,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }
}
