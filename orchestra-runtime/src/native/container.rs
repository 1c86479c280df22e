//! Making a container: what its image and its pod say, as a bundle.

use std::path::PathBuf;

use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, ImageRef, Result, RuntimeError, SandboxId,
};

use super::{NativeRuntime, stored};
use crate::images::Defaults;
use crate::oci::bundle::{self, Bundle, Processes, Shared};
use crate::oci::machine::Machine;
use crate::private;
use crate::process::record::{How, SandboxRecord, failed};
use crate::process::{Inner, pause};

/// How names are looked up, where nothing else is said.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl NativeRuntime {
    pub(super) async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId> {
        let image = match spec.image_id.as_str() {
            "" => ImageRef::parse(&spec.image)?.full().to_owned(),
            id => id.to_owned(),
        };
        let seen = match &spec.processes_of {
            Some(other) => self.processes_of(other).await?,
            None => None,
        };
        let (inner, store) = (self.processes.inner.clone(), self.images.store().clone());
        let (runc, state) = (self.runc.clone(), self.state.clone());
        let (sandbox_id, spec_of, name) = (sandbox.clone(), spec.clone(), spec.image.clone());
        let how = move |id: &str, owner: &SandboxRecord| {
            let held = store.hold(&image).map_err(|error| stored::failed(&name, error))?;
            let held = held.ok_or(RuntimeError::ImageNotFound { image: name })?;
            let mut shared = shared(&inner, sandbox_id.as_str(), owner)?;
            if let Some(seen) = seen.filter(|_| shared.processes == Processes::Own) {
                shared.processes = Processes::Of(seen);
            }
            let made = made(id, &spec_of, &held.defaults, &shared)?;
            let bundle = Bundle {
                image: held.id.clone(),
                layers: held.layers.clone(),
                runc,
                state,
                log: owner.log_directory.join(&spec_of.log_path),
                ..made
            };
            // The image is held until the container is there, which then holds it.
            Ok((How::Bundle(Box::new(bundle)), held))
        };
        let mut spec = spec.clone();
        if spec.stop_signal.is_none() {
            spec.stop_signal = self.stop_signal(&spec).await?;
        }
        self.processes.add_container(sandbox, &spec, how).await
    }

    /// What the image says ends it.
    async fn stop_signal(&self, spec: &ContainerSpec) -> Result<Option<String>> {
        let (store, name) = (self.images.store().clone(), spec.image.clone());
        let image = match spec.image_id.as_str() {
            "" => ImageRef::parse(&spec.image)?.full().to_owned(),
            id => id.to_owned(),
        };
        crate::process::blocking(move || {
            let held = store.hold(&image).map_err(|error| stored::failed(&name, error))?;
            Ok(held.and_then(|held| held.defaults.stop_signal))
        })
        .await
    }

    /// The namespace of the processes of another container, if it runs.
    async fn processes_of(&self, other: &ContainerId) -> Result<Option<PathBuf>> {
        let (dir, _, state) = self.processes.state(other.as_str()).await?;
        let running = matches!(state, ContainerState::Running { .. });
        let state = dir.state().map_err(failed)?.filter(|_| running);
        Ok(state.map(|state| format!("/proc/{}/ns/pid", state.process).into()))
    }
}

fn made(id: &str, spec: &ContainerSpec, image: &Defaults, shared: &Shared) -> Result<Bundle> {
    let machine = Machine::look();
    Ok(Bundle {
        image: String::new(),
        layers: Vec::new(),
        shared: bundle::shared(spec),
        pod_group: shared.group.clone(),
        own: bundle::own(spec, shared)?,
        runc: PathBuf::new(),
        state: PathBuf::new(),
        log: PathBuf::new(),
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        tty: spec.tty,
        user: bundle::user(&spec.security, image)?,
        config: bundle::config(id, spec, image, shared, &machine)?,
    })
}

/// What a container has of its sandbox.
fn shared(inner: &Inner, id: &str, owner: &SandboxRecord) -> Result<Shared> {
    let dir = inner.disk.sandbox_dir(id)?;
    let pins = owner.shared.as_ref();
    let processes = match pins {
        Some(pins) if pins.host_pid => Processes::Machine,
        Some(pins) => match &pins.pause {
            Some(pause) => {
                let number =
                    pause::number(pause).ok_or_else(|| RuntimeError::NotRunning { id: id.to_owned() })?;
                Processes::Of(format!("/proc/{number}/ns/pid").into())
            }
            None => Processes::Own,
        },
        None => Processes::Own,
    };
    let hostname_file = match owner.hostname.is_empty() {
        true => None,
        false => {
            let path = dir.join("hostname");
            let written = std::fs::write(&path, format!("{}\n", owner.hostname));
            written.and_then(|()| private::permit(&path, 0o644)).map_err(failed)?;
            Some(path)
        }
    };
    let resolv_conf = inner.disk.resolv_conf(id, owner)?;
    let machines = || Some(PathBuf::from(RESOLV_CONF)).filter(|path| path.exists());
    Ok(Shared {
        network: owner.netns.clone(),
        ipc: pins.and_then(|pins| pins.ipc.clone()),
        uts: pins.and_then(|pins| pins.uts.clone()),
        processes,
        shm: Some(pins.and_then(|pins| pins.shm.clone()).unwrap_or_else(|| "/dev/shm".into())),
        resolv_conf: resolv_conf.or_else(machines),
        hostname_file,
        hostname: owner.hostname.clone(),
        group: owner.group.clone(),
        users: pins.and_then(|pins| pins.users.clone()).map(|users| (users, inner.root_of_own())),
    })
}
