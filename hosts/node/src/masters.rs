//! Which masters a node knows: those of the command line, and those that the cluster says it has, which are kept for the
//! next start.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use orchestra_core::api::{Client, Status};
use orchestra_core::k8s_openapi::api::discovery::v1::EndpointSlice;
use orchestra_core::selector::Selector;
use orchestra_core::watch::Query;
use orchestra_http::Masters;
use tracing::{debug, warn};

/// The Service that has the masters behind it.
const NAMESPACE: &str = "default";
const OF_SERVICE: &str = "kubernetes.io/service-name=kubernetes";

/// The file of the data directory that has the addresses of masters, one a line.
pub(crate) struct Kept(PathBuf);

impl Kept {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.join("masters"))
    }

    /// All masters that are known when the node starts.
    ///
    /// # Errors
    /// When what the command line says is no address.
    pub(crate) fn masters(&self, told: &[String]) -> anyhow::Result<Masters> {
        let masters = Masters::new(told).context("--join does not say where a master is")?;
        masters.found(self.read());
        Ok(masters)
    }

    /// What cannot be read is nothing: the cluster says it again.
    fn read(&self) -> Vec<SocketAddr> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    fn write(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        let draft = self.0.with_extension("draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, &self.0)
    }
}

/// Follows which masters the cluster has, for as long as it is polled.
///
/// # Errors
/// When that may not be read.
pub(crate) async fn follow(client: &Client, masters: &Masters, kept: &Kept) -> Result<(), Status> {
    let slices = client.cache::<EndpointSlice>().await?;
    let selector = Selector::parse(OF_SERVICE).map_err(Status::internal)?;
    let query = Query::namespace(NAMESPACE).labels(selector);
    loop {
        let (entries, mut changes) = slices.list_and_watch(&query);
        let mut found: Vec<SocketAddr> = Vec::new();
        for entry in entries {
            found.extend(entry.decode::<EndpointSlice>().iter().flat_map(addresses));
        }
        found.sort_unstable();
        found.dedup();
        // A cluster that says nothing of its masters has some all the same.
        if !found.is_empty() && masters.found(found.iter().copied()) {
            debug!(?masters, "masters");
            if let Err(error) = kept.write(&found) {
                warn!(%error, "the addresses of the masters are not kept");
            }
        }
        // Having fallen behind is a reason to look again, like any other.
        let _ = changes.next().await;
    }
}

/// Where those are that a slice says are ready.
fn addresses(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    let ports: Vec<u16> = ports.collect();
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| is_ready(endpoint.conditions.as_ref().and_then(|seen| seen.ready)));
    let ips = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse::<IpAddr>().ok());
    ips.flat_map(|ip| ports.iter().map(move |port| SocketAddr::new(ip, *port))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn masters_are_where_slices_say_and_are_known_after_a_restart() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4", "ports": [{"name": "https", "port": 6443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        }))
        .unwrap();
        let found = addresses(&slice);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:6443", "10.0.0.3:6443"]);

        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::new(directory.path());
        let told = ["https://10.0.0.1:6443".to_owned()];
        assert_eq!(kept.masters(&told).unwrap().urls(), told);
        kept.write(&found).unwrap();
        let again = Kept::new(directory.path()).masters(&told).unwrap();
        assert_eq!(again.urls(), ["https://10.0.0.1:6443", "https://10.0.0.3:6443"]);
        assert!(kept.masters(&["10.0.0.1".to_owned()]).is_err());
    }
}
