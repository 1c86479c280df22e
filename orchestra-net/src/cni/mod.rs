//! Pods connected by plugins of CNI, as other runtimes of Kubernetes do it: Flannel, Calico, Cilium or the reference plugins.
//!
//! [`CniNetwork`] gives pods their addresses by the first configuration of a folder, and leaves services and policies to the
//! network beside it. What a plugin answered is kept on disk until its pod is gone: it is told again when the pod is looked
//! at after a restart (`CHECK`) and when it goes (`DEL`), also if that was missed while this program did not run.
//!
//! The runtime makes each pod's network namespace with nothing in it but loopback. What plugins are told is made by
//! `config.rs`, which is pure. It starts no task.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::network::{
    Applied, AttachRequest, Attachment, Network, NetworkError, PodRef, PolicyPlan, Result, SandboxId,
    ServicePlan,
};
use tokio::sync::Mutex;

mod config;
mod plugin;
#[cfg(test)]
mod tests;

use config::{Asked, List};
use plugin::Call;

/// The device of a pod, as Kubernetes has it.
const DEVICE: &str = "eth0";

/// Where things of CNI are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its configurations: the first by name counts.
    pub configurations: PathBuf,
    /// Its programs.
    pub programs: Vec<PathBuf>,
    /// Where is kept what they answered.
    pub answers: PathBuf,
}

/// Pods get their addresses from plugins; services and policies are another network's.
pub struct CniNetwork {
    list: List,
    places: Places,
    services: Arc<dyn Network>,
    /// Sandboxes that were looked at since this program began; one at a time is connected, as addresses are found by it.
    seen: Mutex<HashSet<SandboxId>>,
}

impl std::fmt::Debug for CniNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CniNetwork").field("list", &self.list.name).finish_non_exhaustive()
    }
}

impl CniNetwork {
    /// A network by the first configuration there is.
    ///
    /// # Errors
    /// When there is none, or it cannot be read, or one of its programs is not there.
    pub fn open(places: Places, services: Arc<dyn Network>) -> io::Result<Self> {
        let list = List::first_of(&places.configurations)?;
        for plugin in &list.plugins {
            plugin::find(&places.programs, &plugin.program)?;
        }
        std::fs::create_dir_all(&places.answers)?;
        Ok(Self { list, places, services, seen: Mutex::default() })
    }

    /// The name of its configuration.
    pub fn name(&self) -> &str {
        &self.list.name
    }

    /// Connects a sandbox by each plugin in turn. When one fails, those before it are told that it is over.
    async fn add(&self, asked: &Asked) -> Result<Vec<IpAddr>> {
        // Before anything is made, so that it is taken away again whatever happens.
        let sandbox = SandboxId::from(asked.sandbox.clone());
        let (list, programs) = (self.list.clone(), self.places.programs.clone());
        let mut kept = Kept { asked: asked.clone(), list, programs, answer: None };
        let answers = &self.places.answers;
        keep(answers, &sandbox, &kept)?;
        let mut answer = None;
        for plugin in &self.list.plugins {
            let input = self.list.input(plugin, asked, answer.as_ref());
            match Call::of(&self.places.programs, "ADD", asked).run(&plugin.program, &input).await {
                // A plugin that has nothing to add may say nothing.
                Ok(None) => {}
                Ok(said) => answer = said,
                Err(error) => {
                    if let Err(error) = remove(answers, &sandbox, &kept).await {
                        tracing::warn!(sandbox = %sandbox, %error, "a pod that was not connected left something");
                    }
                    return Err(error);
                }
            }
        }
        let ips = config::addresses(answer.as_ref());
        kept.answer = answer;
        keep(answers, &sandbox, &kept)?;
        if ips.is_empty() {
            return Err(NetworkError::NoAddress { sandbox: asked.sandbox.clone() });
        }
        Ok(ips)
    }

    /// Whether a sandbox is connected as its plugins answered. Old ones cannot say.
    async fn check(&self, kept: &Kept) -> Result<()> {
        if !kept.list.can_check() {
            return Ok(());
        }
        for plugin in &kept.list.plugins {
            let input = kept.list.input(plugin, &kept.asked, kept.answer.as_ref());
            Call::of(&self.places.programs, "CHECK", &kept.asked).run(&plugin.program, &input).await?;
        }
        Ok(())
    }

    /// Takes all sandboxes off the network that something is kept of in a folder, whatever became of them.
    ///
    /// # Errors
    /// What a plugin said that did not do it.
    pub async fn remove_all(answers: &Path) -> Result<()> {
        for sandbox in all(answers)? {
            if let Some(kept) = kept(answers, &sandbox)? {
                remove(answers, &sandbox, &kept).await?;
            }
        }
        Ok(())
    }
}

/// Takes a sandbox off the network, by the configuration that it was connected by.
async fn remove(answers: &Path, sandbox: &SandboxId, kept: &Kept) -> Result<()> {
    let mut first = Ok(());
    for plugin in kept.list.plugins.iter().rev() {
        let input = kept.list.input(plugin, &kept.asked, kept.answer.as_ref());
        let done = Call::of(&kept.programs, "DEL", &kept.asked).run(&plugin.program, &input).await;
        first = first.and(done.map(drop));
    }
    first?;
    match std::fs::remove_file(file(answers, sandbox)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error.to_string())),
        _ => Ok(()),
    }
}

/// The sandboxes that something is kept of.
fn all(answers: &Path) -> Result<Vec<SandboxId>> {
    let entries = match std::fs::read_dir(answers) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(format!("{}: {error}", answers.display())))?,
    };
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let is_answer = path.extension().is_some_and(|extension| extension == "json");
        let name = path.file_stem()?.to_str()?.to_owned();
        is_answer.then(|| SandboxId::from(name))
    };
    Ok(entries.filter_map(name).collect())
}

fn file(answers: &Path, sandbox: &SandboxId) -> PathBuf {
    answers.join(format!("{sandbox}.json"))
}

fn kept(answers: &Path, sandbox: &SandboxId) -> Result<Option<Kept>> {
    let path = file(answers, sandbox);
    let unread =
        |error: &dyn std::fmt::Display| failed(format!("{} cannot be read: {error}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unread(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(&error)),
    }
}

/// Writes it as a whole or not at all.
fn keep(answers: &Path, sandbox: &SandboxId, kept: &Kept) -> Result<()> {
    let path = file(answers, sandbox);
    let bytes = serde_json::to_vec(kept).map_err(|error| failed(error.to_string()))?;
    let new = path.with_extension("new");
    let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &path));
    written.map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))
}

/// What is kept of a sandbox.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Kept {
    asked: Asked,
    list: List,
    programs: Vec<PathBuf>,
    /// What the last plugin answered; none before all of them have.
    answer: Option<serde_json::Value>,
}

#[async_trait]
impl Network for CniNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment> {
        let Some(netns) = &request.netns else {
            let message =
                "plugins connect network namespaces, and the pod has none: it takes root".to_owned();
            return Err(NetworkError::NotPermitted { message });
        };
        let asked = || Asked::of(request, netns).map_err(|message| NetworkError::Refused { message });
        let mut seen = self.seen.lock().await;
        let answers = &self.places.answers;
        let held = kept(answers, &request.sandbox)?;
        let ips = match held.filter(|kept| kept.answer.is_some()) {
            Some(kept) if seen.contains(&request.sandbox) => config::addresses(kept.answer.as_ref()),
            Some(kept) => match self.check(&kept).await {
                Ok(()) => config::addresses(kept.answer.as_ref()),
                Err(error) => {
                    tracing::warn!(pod = %request.pod, %error, "the pod's network is not what it was; making it anew");
                    remove(answers, &request.sandbox, &kept).await?;
                    self.add(&asked()?).await?
                }
            },
            None => self.add(&asked()?).await?,
        };
        seen.insert(request.sandbox.clone());
        drop(seen);
        let by_plugin = self.list.has_capability("portMappings");
        let host_ports = if by_plugin { Vec::new() } else { request.host_ports.clone() };
        let known = AttachRequest { runtime_ips: ips, host_ports, ..request.clone() };
        self.services.attach(&known).await
    }

    async fn detach(&self, sandbox: &SandboxId, pod: &PodRef) -> Result<()> {
        self.services.detach(sandbox, pod).await?;
        let mut seen = self.seen.lock().await;
        let answers = &self.places.answers;
        if let Some(kept) = kept(answers, sandbox)? {
            remove(answers, sandbox, &kept).await?;
        }
        seen.remove(sandbox);
        Ok(())
    }

    async fn apply(&self, plan: &ServicePlan) -> Result<Applied> {
        self.services.apply(plan).await
    }

    fn holds_to_policies(&self) -> bool {
        self.services.holds_to_policies()
    }

    async fn apply_policies(&self, plan: &PolicyPlan) -> Result<()> {
        self.services.apply_policies(plan).await
    }

    async fn retain(&self, sandboxes: &[SandboxId]) -> Result<()> {
        self.services.retain(sandboxes).await?;
        let _seen = self.seen.lock().await;
        let (answers, mut valid) = (&self.places.answers, Vec::new());
        for sandbox in all(answers)? {
            let Some(kept) = kept(answers, &sandbox)? else { continue };
            if sandboxes.contains(&sandbox) {
                valid.push(sandbox.to_string());
            } else if let Err(error) = remove(answers, &sandbox, &kept).await {
                tracing::warn!(%sandbox, %error, "what is left of a pod is not taken away");
            }
        }
        if self.list.can_collect() {
            for plugin in &self.list.plugins {
                let input = self.list.collection(plugin, valid.iter().map(String::as_str));
                let call = Call::without_pod(&self.places.programs, "GC");
                if let Err(error) = call.run(&plugin.program, &input).await {
                    tracing::debug!(plugin = plugin.program, %error, "a plugin did not collect what is left");
                }
            }
        }
        Ok(())
    }
}

fn failed(message: String) -> NetworkError {
    NetworkError::Failed { message }
}
