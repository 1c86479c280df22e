//! From the configuration of a webhook to where it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;

use super::{Call, CallError, Connect};
use crate::api::Caches;
use crate::meta::ObjectName;
use crate::selector::Selector;
use crate::watch::Query;

/// The label of a slice that says of which service it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How many addresses of a service are tried.
const MAX_ADDRESSES: usize = 4;

/// Why it is not known where a service is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlocated {
    /// There is none of this name.
    #[error("service \"{0}\" not found")]
    Service(String),
    /// It has no such port.
    #[error("no service port {1} found for service \"{0}\"")]
    Port(String, u16),
    /// Nothing is behind it.
    #[error("no endpoints available for service \"{0}\"")]
    Endpoints(String),
}

/// Where a webhook is, as its configuration says: at a URL, or behind a service of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    /// The URL.
    pub url: Option<String>,
    /// The service.
    pub service: Option<ServiceReference>,
    /// The authorities whose certificates are believed, in PEM form; those of the machine by default.
    pub ca_bundle: Option<ByteString>,
}

/// A service of the cluster, and what is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The path of the webhook.
    pub path: Option<String>,
    /// The port of the service; 443 by default.
    pub port: Option<u16>,
}

impl ServiceReference {
    fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// The name that the server's certificate must be for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// Finds where services are, by the caches.
#[derive(Clone, Debug)]
pub struct Services {
    caches: Caches,
}

impl Services {
    /// By these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// The call that asks a webhook, without what is to be sent.
    ///
    /// # Errors
    /// When the configuration names no place, or a service that is not there.
    pub fn find(&self, config: &ClientConfig, timeout: Duration) -> Result<Call, CallError> {
        let call = match (&config.url, &config.service) {
            (Some(url), _) => Call::new(with_timeout(url, timeout), timeout),
            (None, Some(service)) => {
                let path = service.path.as_deref().unwrap_or_default();
                let slash = if path.starts_with('/') { "" } else { "/" };
                let url = format!("https://{}:{}{slash}{path}", service.host(), service.port());
                let url = with_timeout(&url, timeout);
                let connect =
                    self.locate(service).map_err(|error| CallError::NoService(error.to_string()).at(&url))?;
                Call::new(url, timeout).connect(connect)
            }
            (None, None) => {
                return Err(CallError::Config(
                    "webhook configuration must have either service or URL".to_owned(),
                ));
            }
        };
        let bundle = config.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty());
        Ok(match bundle {
            Some(bundle) => call.trust(Bytes::from(bundle.0.clone())),
            None => call,
        })
    }

    /// Where a service is: at its ready endpoints, which this process may reach without any proxy, else at its cluster IP.
    ///
    /// # Errors
    /// When there is no such service, it has no such port, or nothing is behind it.
    pub fn locate(&self, reference: &ServiceReference) -> Result<Connect, Unlocated> {
        let name = ObjectName::namespaced(&*reference.namespace, &*reference.name);
        let service = self.caches.of::<Service>().and_then(|cache| cache.get(&name));
        let service = service.and_then(|entry| entry.decode_bare::<Service>().ok());
        let Some(service) = service else {
            return Err(Unlocated::Service(reference.name.to_string()));
        };
        let spec = service.spec.unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            let host = spec.external_name.unwrap_or_default();
            return Ok(Connect::Host(host, reference.port()));
        }
        let ports = spec.ports.unwrap_or_default();
        let Some(port) = ports.iter().find(|port| port.port == i32::from(reference.port())) else {
            return Err(Unlocated::Port(reference.name.to_string(), reference.port()));
        };
        let mut found = self.endpoints(reference, port.name.as_deref().unwrap_or_default());
        let cluster_ip = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        found.extend(cluster_ip.map(|ip| SocketAddr::new(ip, reference.port())));
        if found.is_empty() {
            return Err(Unlocated::Endpoints(reference.name.to_string()));
        }
        Ok(Connect::Addresses(found))
    }

    /// The ready endpoints of a port of a service.
    fn endpoints(&self, service: &ServiceReference, port: &str) -> Vec<SocketAddr> {
        let Some(cache) = self.caches.of::<EndpointSlice>() else { return Vec::new() };
        let Ok(selector) = Selector::parse(&format!("{SERVICE_NAME}={}", service.name)) else {
            return Vec::new();
        };
        let slices = cache.list(&Query::namespace(&*service.namespace).labels(selector));
        let slices = slices.iter().filter_map(|entry| entry.decode_bare::<EndpointSlice>().ok());
        slices.flat_map(|slice| ready(slice, port)).take(MAX_ADDRESSES).collect()
    }
}

/// The addresses in a slice that are ready and serve a port.
fn ready(slice: EndpointSlice, port: &str) -> Vec<SocketAddr> {
    let ports = slice.ports.unwrap_or_default();
    let number = ports.iter().find(|given| given.name.as_deref().unwrap_or_default() == port);
    let Some(number) = number.and_then(|port| port.port).and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    let is_ready = |conditions: Option<&k8s_openapi::api::discovery::v1::EndpointConditions>| {
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let endpoints = slice.endpoints.unwrap_or_default();
    let ready = endpoints.iter().filter(|endpoint| is_ready(endpoint.conditions.as_ref()));
    let addresses = ready.filter_map(|endpoint| endpoint.addresses.first()?.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, number)).collect()
}

/// A URL with the time that the webhook has, as Kubernetes tells it.
fn with_timeout(url: &str, timeout: Duration) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}timeout={}s", timeout.as_secs())
}
