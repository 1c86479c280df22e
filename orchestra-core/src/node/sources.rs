//! ConfigMaps, Secrets and services that a pod refers to: which it needs, and what they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::model::containers;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, PodSpec, Secret, Service, Volume};

/// What a pod refers to, read from the API beforehand so that the rest is a pure function of it.
///
/// An object that was looked for and is not there is not in its map.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace, by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets of the pod's namespace, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Services whose variables its containers get.
    pub services: Vec<Service>,
}

/// Names of the objects to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: BTreeSet<String>,
    /// Secrets of the pod's namespace.
    pub secrets: BTreeSet<String>,
}

impl Needs {
    /// What a container's environment refers to.
    pub fn of_container(container: &Container) -> Self {
        let mut needs = Self::default();
        for from in container.env_from.iter().flatten() {
            needs.config_maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
            needs.secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|EnvVar { value_from, .. }| value_from.as_ref())
        {
            needs.config_maps.extend(from.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            needs.secrets.extend(from.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
        needs
    }

    /// What a pod's volumes refer to.
    pub fn of_volumes(spec: &PodSpec) -> Self {
        let mut needs = Self::default();
        for volume in spec.volumes.iter().flatten() {
            needs.add_volume(volume);
        }
        needs
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.as_ref().map(|v| v.name.clone()));
        self.secrets.extend(volume.secret.as_ref().and_then(|v| v.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        for source in projected {
            self.config_maps.extend(source.config_map.as_ref().map(|v| v.name.clone()));
            self.secrets.extend(source.secret.as_ref().map(|v| v.name.clone()));
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.config_maps.extend(other.config_maps);
        self.secrets.extend(other.secrets);
        self
    }

    /// Everything that a pod's volumes and containers refer to.
    pub fn of_pod(spec: &PodSpec) -> Self {
        containers(spec)
            .fold(Self::of_volumes(spec), |needs, (_, wanted)| needs.and(Self::of_container(wanted)))
    }

    /// Whether nothing is referred to.
    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}
