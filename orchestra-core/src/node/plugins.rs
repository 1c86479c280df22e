//! What the agent needs of the device plugins of a machine: programs that know its devices, say how these are, and what a
//! container is given with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::runtime::{Device, Mount, Propagation};

/// The device plugins of a machine. Each has a resource, which is called as a plugin says: `example.com/dongle`.
#[async_trait]
pub trait DevicePlugins: Send + Sync + 'static {
    /// The devices of all plugins, by the names of their resources, as they are now. A plugin that has gone leaves its
    /// resource, with devices that are not well, or none.
    fn resources(&self) -> BTreeMap<String, Devices>;

    /// Resolves when they have changed since it resolved last.
    async fn changed(&self);

    /// Which of the devices that can be had are best given; none where the plugin does not mind.
    async fn preferred(&self, resource: &str, choice: &Choice) -> Result<Vec<String>, DeviceError>;

    /// Gives devices to a container: what it has to be given with them.
    async fn allocate(&self, resource: &str, devices: &[String]) -> Result<Given, DeviceError>;

    /// A container that has these devices is about to start, again it may be.
    async fn pre_start(&self, resource: &str, devices: &[String]) -> Result<(), DeviceError>;
}

/// The devices of a resource, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Those that are well.
    pub healthy: BTreeSet<String>,
    /// The others, which nobody is given.
    pub unhealthy: BTreeSet<String>,
}

/// Devices to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// All that can be had, those among them that have to be.
    pub available: Vec<String>,
    /// Those that have to be chosen.
    pub must_include: Vec<String>,
    /// How many are wanted in all.
    pub size: usize,
}

/// What a container is given with devices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Given {
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// What it sees of the machine's files.
    pub mounts: Vec<GivenMount>,
    /// What it has of the machine's devices.
    pub devices: Vec<Device>,
    /// Annotations that the runtime is to be told.
    pub annotations: BTreeMap<String, String>,
    /// Devices by the names of the Container Device Interface.
    pub cdi_devices: Vec<String>,
}

/// What a container sees of the machine's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenMount {
    /// Where it is on the machine.
    pub host_path: PathBuf,
    /// Where it goes.
    pub container_path: String,
    /// It cannot be written.
    pub read_only: bool,
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no such plugin now.
    #[error("no device plugin is registered for {resource}")]
    Gone {
        /// The resource.
        resource: String,
    },
    /// It does not answer, or said no.
    #[error("the device plugin of {resource}: {message}")]
    Failed {
        /// The resource.
        resource: String,
        /// What it said.
        message: String,
    },
}

impl Given {
    /// Adds what comes with other devices. What is there already stays as it is.
    pub(super) fn add(&mut self, more: &Self) {
        for (name, value) in &more.env {
            self.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for mount in &more.mounts {
            if self.mounts.iter().all(|held| held.container_path != mount.container_path) {
                self.mounts.push(mount.clone());
            }
        }
        for device in &more.devices {
            if self.devices.iter().all(|held| held.container_path != device.container_path) {
                self.devices.push(device.clone());
            }
        }
        for (name, value) in &more.annotations {
            self.annotations.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// The variables of a container's environment, after those that come with its devices: what the pod says counts.
    pub(super) fn env_before(&self, variables: Vec<(String, String)>) -> Vec<(String, String)> {
        let said = |name: &String| variables.iter().any(|(held, _)| held == name);
        let added = self.env.iter().filter(|(name, _)| !said(name));
        let mut all: Vec<(String, String)> =
            added.map(|(name, value)| (name.clone(), value.clone())).collect();
        all.extend(variables);
        all
    }

    /// The files as mounts of a container.
    pub(super) fn as_mounts(&self) -> impl Iterator<Item = Mount> {
        self.mounts.iter().map(|given| Mount {
            host_path: given.host_path.clone(),
            container_path: given.container_path.clone(),
            read_only: given.read_only,
            recursive_read_only: false,
            propagation: Propagation::Private,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &str) -> Given {
        let text = value.to_owned();
        let (from, to) = (PathBuf::from(format!("/from/{value}")), "/to".to_owned());
        Given {
            env: [("A".to_owned(), text.clone()), (format!("ONLY_{value}"), text.clone())].into(),
            mounts: vec![GivenMount { host_path: from.clone(), container_path: to.clone(), read_only: true }],
            devices: vec![Device { host_path: from, container_path: to, permissions: "rw".into() }],
            annotations: [("note".to_owned(), text)].into(),
            cdi_devices: Vec::new(),
        }
    }

    #[test]
    fn what_comes_first_counts_and_the_pod_before_that() {
        let mut all = given("one");
        all.add(&given("two"));
        assert_eq!((all.mounts.len(), all.devices.len(), &*all.annotations["note"]), (1, 1, "one"));
        let said =
            [("ONLY_two", "pod"), ("B", "pod")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = all.env_before(said.to_vec());
        let env: Vec<String> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=one", "ONLY_one=one", "ONLY_two=pod", "B=pod"]);
        let mounts: Vec<Mount> = all.as_mounts().collect();
        assert_eq!((mounts[0].host_path.to_str(), mounts[0].read_only), (Some("/from/one"), true));
    }
}
