//! The lives of sandboxes: here a record, an address, and with root a network namespace.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use orchestra_core::runtime::{
    Duplex, EventKind, Filter, Namespaces, Protocol, Result, RunningSandbox, RuntimeError, RuntimeEvent,
    Sandbox, SandboxId, SandboxSpec, SandboxState, names,
};
use tokio::net::TcpStream;

use super::disk::id;
use super::link::{self, Connection};
use super::pins::{self, Pins};
use super::record::{SandboxRecord, failed};
use super::{ProcessRuntime, blocking, container, pause, users};
use crate::oci::own_users::Users;
use crate::{pod_group, private};

impl ProcessRuntime {
    pub(crate) async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        // What runs a container here is one program, or none.
        if !self.inner.config.handlers().contains(&spec.handler.as_str()) {
            let message = format!("no runtime for {:?} is configured", spec.handler);
            return Err(RuntimeError::InvalidSpec { message });
        }
        for port in &spec.host_ports {
            if port.protocol == Protocol::Sctp {
                return Err(RuntimeError::Unsupported { what: "host ports of SCTP" });
            }
            if !crate::ports::is_free(port) {
                return Err(RuntimeError::PortInUse { port: port.host_port });
            }
        }
        own_users_alone(spec)?;
        let has_users = self.inner.config.separate && self.inner.abilities.own_users;
        if spec.namespaces.own_users && !has_users {
            return Err(RuntimeError::Unsupported { what: "hostUsers: false" });
        }
        if !spec.namespaces.host_network && !self.is_bare() {
            // Nothing is made of a sandbox that could have no address.
            self.range()?;
        }
        let (meta, disk) = (&spec.meta, self.inner.disk.clone());
        let parts =
            [&meta.owner, &meta.pod.namespace, &meta.pod.name, &meta.pod.uid, &meta.attempt.to_string()];
        let id = id(&meta.pod.name, &parts.map(String::as_str));
        let mut record = SandboxRecord::new(spec, &self.inner.boot_id);
        let added = {
            let (id, record) = (id.clone(), record.clone());
            blocking(move || disk.add_sandbox(&id, &record)).await?
        };
        if !added {
            return Err(RuntimeError::AlreadyExists { what: "sandbox", name: names::sandbox(meta) });
        }
        let connected = match self.hold(&record, spec).await {
            Ok(()) => self.connect_sandbox(&id, &mut record, spec).await,
            refused => refused,
        };
        if let Err(error) = connected {
            // What cannot be taken back now shows in a list as a sandbox that is not ready.
            let _ = self.remove_sandbox(&id).await;
            return Err(error);
        }
        Ok(RunningSandbox { ips: ips(&record), netns: record.netns.clone(), id: SandboxId::from(id) })
    }

    /// Makes the control group of a sandbox that is to have one.
    async fn hold(&self, record: &SandboxRecord, spec: &SandboxSpec) -> Result<()> {
        let (Some(group), Some(resources)) = (record.group.clone(), spec.resources) else { return Ok(()) };
        blocking(move || pod_group::make(&group, &resources)).await
    }

    async fn connect_sandbox(&self, id: &str, record: &mut SandboxRecord, spec: &SandboxSpec) -> Result<()> {
        let own = spec.namespaces.own_users;
        if own {
            self.have_users(id, record, spec).await?;
        }
        if !record.host_network && self.is_bare() {
            let (addresses, folder, pin) =
                (self.inner.addresses.clone(), self.inner.disk.sandbox_dir(id)?, self.pin(id));
            blocking(move || addresses.note(&folder).map_err(failed)).await?;
            record.netns = Some(pin.clone());
            self.save(id, record).await?;
            if !own {
                link::release(&pin)?;
            }
            link::make(&pin).await?;
        } else if !record.host_network {
            let (addresses, folder) = (self.inner.addresses.clone(), self.inner.disk.sandbox_dir(id)?);
            let range = self.range()?;
            let address = blocking(move || addresses.take(range, &folder)).await?;
            record.ip = Some(address);
            if self.inner.abilities.networks {
                record.netns = Some(self.pin(id));
                record.second_ip = range.beside(address);
            }
            // Before anything is made that has to be taken away again.
            self.save(id, record).await?;
            if let Some(pin) = &record.netns {
                let (config, device) = (&self.inner.config, link::device(address));
                link::have_bridge(&config.bridge, range, config.mtu).await?;
                match own {
                    true => link::unplug(&device).await?,
                    false => link::detach(pin, &device).await?,
                }
                let (bridge, routed, mtu) = (config.bridge.clone(), config.routed, config.mtu);
                link::attach(
                    pin,
                    &device,
                    &Connection { bridge, address, second: record.second_ip, range, routed, mtu },
                )
                .await?;
            }
        }
        self.separate(id, record, spec).await?;
        record.ready = true;
        self.save(id, record).await
    }

    /// Gives a sandbox users of its own, and all that they are to have rights over: a network with nothing in it, too.
    async fn have_users(&self, id: &str, record: &mut SandboxRecord, spec: &SandboxSpec) -> Result<()> {
        let (dir, pin, inner) = (self.inner.disk.sandbox_dir(id)?, self.pin(id), self.inner.clone());
        let mut pins = Pins::new(spec, &dir);
        let (of, sandbox, root) = (inner.clone(), dir.clone(), inner.root_of_own());
        let first = blocking(move || {
            within_reach(&root)?;
            // Its network, which comes before its address, is known to be somebody's.
            of.addresses.note(&sandbox).map_err(failed)?;
            users::take(&of.config.run, &sandbox)
        });
        pins.users = Some(Users { namespace: dir.join("user"), first: first.await? });
        (record.shared, record.netns) = (Some(pins.clone()), Some(pin.clone()));
        // Before anything is made that has to be taken away again.
        self.save(id, record).await?;
        let (Some(ipc), Some(uts), Some(users)) = (pins.ipc.clone(), pins.uts.clone(), pins.users.clone())
        else {
            return Err(RuntimeError::Unsupported { what: "hostUsers: false here" });
        };
        let sysctls = spec.sysctls.clone().into_iter().filter(|(name, _)| !name.starts_with("net"));
        let wanted = users::Wanted {
            users,
            net: pin,
            ipc,
            uts,
            hostname: spec.hostname.clone(),
            sysctls: sysctls.collect(),
        };
        blocking(move || {
            pins.release().map_err(failed)?;
            link::release(&wanted.net)?;
            let text = wanted.text()?;
            users::make(inner.helper.command(&[OsStr::new(users::MODE), OsStr::new(&text)]))
        })
        .await
    }

    /// Makes what else the containers of a sandbox share, where they are separate from the machine.
    async fn separate(&self, id: &str, record: &mut SandboxRecord, spec: &SandboxSpec) -> Result<()> {
        if !self.inner.config.separate {
            return Ok(());
        }
        let dir = self.inner.disk.sandbox_dir(id)?;
        let pins = record.shared.clone().unwrap_or_else(|| Pins::new(spec, &dir));
        record.shared = Some(pins.clone());
        self.save(id, record).await?;
        let (helper, netns, hostname) =
            (self.inner.helper.clone(), record.netns.clone(), record.hostname.clone());
        let sysctls: Vec<(String, String)> = spec.sysctls.clone().into_iter().collect();
        blocking(move || {
            let invalid = |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::InvalidInput => RuntimeError::InvalidSpec { message: error.to_string() },
                _ => failed(error),
            };
            pins.make(&hostname, &sysctls).map_err(invalid)?;
            if pins.pause.is_some() {
                pause::start(helper.command(&[OsStr::new(pause::MODE), dir.as_os_str()]), &dir)
                    .map_err(failed)?;
            }
            let of_network =
                sysctls.into_iter().filter(|(name, _)| name.starts_with("net")).collect::<Vec<_>>();
            match netns {
                Some(netns) if !of_network.is_empty() => {
                    let set = move || of_network.iter().try_for_each(|(name, value)| pins::set(name, value));
                    crate::netns::within(&netns, set).map_err(invalid)
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Lets go of the networks of sandboxes that nobody has a record of any more, of this runtime and of others that were
    /// on this machine: their folders were removed while nothing of them ran.
    pub(super) async fn sweep_networks(&self) -> Result<()> {
        if !self.inner.abilities.networks {
            return Ok(());
        }
        let inner = self.inner.clone();
        let abandoned = blocking(move || inner.addresses.abandoned().map_err(failed)).await?;
        for (address, id) in abandoned {
            link::detach(&self.pin(&id), &link::device(address)).await?;
            self.inner.addresses.free(address).map_err(failed)?;
        }
        let run = self.inner.config.run.clone();
        blocking(move || {
            let pins = match std::fs::read_dir(run.join("netns")) {
                // All of them first: whoever makes one has had an address before, and gives it back afterwards.
                Ok(pins) => pins.map(|pin| Ok(pin?.path())).collect::<std::io::Result<Vec<_>>>(),
                Err(_) => return Ok(()),
            };
            let owners = super::address::Addresses::owners(&run).map_err(failed)?;
            let unowned = |pin: &PathBuf| pin.file_name().is_some_and(|name| !owners.contains(name));
            pins.map_err(failed)?.iter().filter(|pin| unowned(pin)).try_for_each(|pin| link::release(pin))
        })
        .await
    }

    async fn save(&self, id: &str, record: &SandboxRecord) -> Result<()> {
        let (disk, id, record) = (self.inner.disk.clone(), id.to_owned(), record.clone());
        blocking(move || disk.write_sandbox(&id, &record)).await
    }

    /// Whether pods have networks that others connect.
    fn is_bare(&self) -> bool {
        self.inner.config.bare && self.inner.abilities.networks
    }

    fn pin(&self, id: &str) -> PathBuf {
        self.inner.config.run.join("netns").join(id)
    }

    async fn find_sandbox(&self, id: &str) -> Result<Option<SandboxRecord>> {
        let (disk, id) = (self.inner.disk.clone(), id.to_owned());
        match blocking(move || disk.sandbox(&id)).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Some(mut record) = self.find_sandbox(id).await? else { return Ok(()) };
        if record.ready {
            // First, so that no container is added to those ended below.
            record.ready = false;
            self.save(id, &record).await?;
        }
        for container in self.members(id).await? {
            self.stop_container(&container, std::time::Duration::ZERO).await?;
        }
        match (&record.netns, record.ip) {
            (Some(pin), Some(address)) => link::detach(pin, &link::device(address)).await?,
            (Some(pin), None) => link::release(pin)?,
            (None, _) => {}
        }
        if let Some(pins) = record.shared.clone() {
            blocking(move || pins.release().map_err(failed)).await?;
        }
        let kind = EventKind::SandboxStopped(SandboxId::from(id));
        let _ = self.inner.events.send(RuntimeEvent { pod: record.meta().pod, kind });
        Ok(())
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Some(record) = self.find_sandbox(id).await? else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.members(id).await? {
            self.remove_container(&container.as_str().into()).await?;
        }
        let (inner, id) = (self.inner.clone(), id.to_owned());
        blocking(move || {
            match record.ip {
                Some(address) => inner.addresses.give_back(address, &inner.disk.sandbox_dir(&id)?)?,
                None => inner.addresses.forget(&id).map_err(failed)?,
            }
            if let Some(users) = record.shared.as_ref().and_then(|shared| shared.users.as_ref()) {
                users::give_back(&inner.config.run, users.first, &inner.disk.sandbox_dir(&id)?)?;
                inner.addresses.forget(&id).map_err(failed)?;
            }
            if let Some(group) = &record.group {
                pod_group::remove(group);
            }
            // Another sandbox of the pod may still have logs in it.
            let _ = std::fs::remove_dir(&record.log_directory);
            inner.disk.remove_sandbox(&id)
        })
        .await
    }

    async fn members(&self, sandbox: &str) -> Result<Vec<String>> {
        let (disk, sandbox) = (self.inner.disk.clone(), sandbox.to_owned());
        blocking(move || {
            let all = disk.containers(|of| of == sandbox)?;
            Ok(all.into_iter().map(|(id, ..)| id).collect())
        })
        .await
    }

    pub(crate) async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        let (inner, filter) = (self.inner.clone(), filter.clone());
        blocking(move || {
            let mut found: BTreeMap<String, Sandbox> = inner
                .disk
                .sandboxes(&filter)?
                .into_iter()
                .map(|(id, record)| (id.clone(), observed(id, &record, &inner.boot_id)))
                .collect();
            for (id, dir, record) in inner.disk.containers(|of| found.contains_key(of))? {
                let Some(sandbox) = found.get_mut(&record.sandbox) else { continue };
                sandbox.containers.push(container::observed(id.into(), &dir, &record)?);
            }
            let mut sandboxes: Vec<Sandbox> = found.into_values().collect();
            for sandbox in &mut sandboxes {
                sandbox.containers.sort_by_key(|container| (container.created_at, container.meta.attempt));
            }
            sandboxes.sort_by_key(|sandbox| (sandbox.meta.attempt, sandbox.created_at));
            Ok(sandboxes)
        })
        .await
    }

    pub(crate) async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        let Some(record) = self.find_sandbox(id.as_str()).await? else {
            return Err(RuntimeError::no_sandbox(id));
        };
        if let Some(netns) = &record.netns {
            return Ok(Box::new(crate::netns::connect(netns, port).await?));
        }
        let address = SocketAddr::from((record.ip.unwrap_or(Ipv4Addr::LOCALHOST), port));
        match TcpStream::connect(address).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(RuntimeError::Failed { message: format!("connecting to {address}: {error}") }),
        }
    }
}

/// Refuses by name what a pod with users of its own may not have besides: it would have no rights over it.
fn own_users_alone(spec: &SandboxSpec) -> Result<()> {
    let Namespaces { host_network, host_pid, host_ipc, share_process_namespace, own_users } = spec.namespaces;
    let besides = [
        (host_network, "hostNetwork with hostUsers: false"),
        (host_pid, "hostPID with hostUsers: false"),
        (host_ipc, "hostIPC with hostUsers: false"),
        (share_process_namespace, "shareProcessNamespace with hostUsers: false"),
    ];
    match besides.into_iter().find(|(asked, _)| own_users && *asked) {
        Some((_, what)) => Err(RuntimeError::Unsupported { what }),
        None => Ok(()),
    }
}

/// Makes the folder at which roots are mounted for users that are not the machine's. They must be let through to it.
fn within_reach(root: &Path) -> Result<()> {
    let parent = root.parent().unwrap_or(root);
    private::own_folder_for(root, 0o711).map_err(failed)?;
    let closed = parent
        .ancestors()
        .find(|folder| std::fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0));
    match closed {
        Some(folder) => Err(RuntimeError::InvalidSpec {
            message: format!(
                "hostUsers: false takes a way to {} for all users, and {} is closed to them",
                root.display(),
                folder.display()
            ),
        }),
        None => Ok(()),
    }
}

fn ips(record: &SandboxRecord) -> Vec<IpAddr> {
    record.ip.map(IpAddr::V4).into_iter().chain(record.second_ip.map(IpAddr::V6)).collect()
}

fn observed(id: String, record: &SandboxRecord, boot_id: &str) -> Sandbox {
    let ready = record.is_ready(boot_id);
    Sandbox {
        id: SandboxId::from(id),
        meta: record.meta(),
        state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: record.created_at,
        ips: ips(record),
        netns: record.netns.clone().filter(|_| ready),
        host_network: record.host_network,
        containers: Vec::new(),
    }
}
