//! What Services ask for and which pods answer: shared by Endpoints and EndpointSlices. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use crate::controllers::pod::Pod;
use crate::selector::Selector;
use crate::watch::{Entry, EntryError};

/// Says when that happened which endpoints were last changed for, so that it can be told how long that took.
pub(crate) const CHANGED_AT: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Marks what belongs to a Service without an address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// A Service with the few fields that are read here.
#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) creation_timestamp: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(rename = "type")]
    pub(crate) kind: Option<Box<str>>,
    pub(crate) selector: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "null_is_none")]
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) publish_not_ready_addresses: bool,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<Box<str>>,
    pub(crate) ip_families: Vec<Family>,
    pub(crate) traffic_distribution: Option<Distribution>,
}

/// Which endpoints are to be preferred by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Distribution {
    #[serde(alias = "PreferClose")]
    PreferSameZone,
    PreferSameNode,
    /// One that is not known here.
    #[serde(other)]
    Other,
}

/// A headless Service may have no ports, and says so in any of three ways: not at all, `[]` or `null`.
fn null_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<ServicePort>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePort {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) app_protocol: Option<String>,
    pub(crate) target_port: Option<IntOrString>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    pub(crate) fn of(address: &str) -> Option<Self> {
        match address.parse().ok()? {
            IpAddr::V4(_) => Some(Self::V4),
            IpAddr::V6(_) => Some(Self::V6),
        }
    }

    /// The type of addresses in an EndpointSlice.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A port as endpoints offer it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) port: Option<i32>,
    pub(crate) app_protocol: Option<String>,
}

impl Service {
    /// When the last thing happened that the endpoints of a Service hang on: it came to be, or one of its pods became
    /// ready or ceased to be.
    pub(crate) fn changed_at(&self, backends: &[Backend]) -> Option<Time> {
        let pods = backends.iter().filter_map(|backend| {
            let mut conditions = backend.pod.status.conditions.iter().flatten();
            let ready = conditions.find(|condition| &*condition.kind == "Ready")?;
            ready.last_transition_time.clone()
        });
        pods.chain(self.metadata.creation_timestamp.clone()).max_by_key(|time| time.0)
    }

    /// The pods it is for; `None` when it is not the controller's business to find them: there is no selector, or
    /// the Service is but another name of something outside.
    pub(crate) fn selector(&self) -> Option<Selector> {
        let selector = self.spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
        (self.spec.kind.as_deref() != Some("ExternalName")).then(|| Selector::from_map(selector))
    }

    /// Whether it has no address of its own.
    pub(crate) fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }

    /// The families of addresses it has, the first one first.
    pub(crate) fn families(&self) -> Vec<Family> {
        match &self.spec.ip_families[..] {
            [] => {
                let own = self.spec.cluster_ip.as_deref().and_then(Family::of);
                vec![own.unwrap_or(Family::V4)]
            }
            families => families.to_vec(),
        }
    }

    /// The ports at which a pod offers the Service. One whose name the pod does not know is left out.
    pub(crate) fn ports_of(&self, pod: &Pod) -> Vec<Port> {
        self.spec.ports.iter().filter_map(|port| port.on(pod)).collect()
    }
}

/// The selector of a cached Service.
pub(crate) fn selector_of(entry: &Entry) -> Option<Selector> {
    entry.view::<Service>().ok()?.selector()
}

impl ServicePort {
    fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }

    fn on(&self, pod: &Pod) -> Option<Port> {
        let number = match &self.target_port {
            None | Some(IntOrString::Int(0)) => self.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => pod.port(name, self.protocol())?,
        };
        Some(Port {
            name: self.name.clone(),
            protocol: self.protocol().to_owned(),
            port: Some(number),
            app_protocol: self.app_protocol.clone(),
        })
    }
}

/// A pod that a Service selects.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) entry: Arc<Entry>,
    pub(crate) pod: Arc<Pod>,
}

impl Backend {
    pub(crate) fn new(entry: Arc<Entry>) -> Result<Self, EntryError> {
        Ok(Self { pod: Pod::of(&entry)?, entry })
    }

    /// Whether it can be an endpoint at all: it has not ended and has an address.
    pub(crate) fn is_addressable(&self) -> bool {
        !self.pod.has_ended() && !self.pod.addresses().is_empty()
    }

    pub(crate) fn address(&self, family: Family) -> Option<&str> {
        self.pod.addresses().into_iter().find(|address| Family::of(address) == Some(family))
    }

    /// Its host name, if that is one of the Service's domain.
    pub(crate) fn hostname(&self, service: &Entry) -> Option<String> {
        let hostname = self.pod.spec.hostname.as_deref().filter(|hostname| !hostname.is_empty())?;
        let subdomain = self.pod.spec.subdomain.as_deref();
        (subdomain == Some(service.name().name())).then(|| hostname.to_owned())
    }

    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: self.entry.name().namespace().map(str::to_owned),
            name: Some(self.entry.name().name().to_owned()),
            uid: Some(self.entry.uid().to_string()),
            ..ObjectReference::default()
        }
    }
}
