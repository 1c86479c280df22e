use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use orchestra_core::api::{Reason, Status};
use orchestra_core::k8s_openapi::api::core::v1::Node;
use orchestra_core::node::figures::Summary;
use orchestra_core::node::{Dialer, LogRequest, NodeService};
use orchestra_core::runtime::{
    AttachOptions, ByteStream, Duplex, ExecOptions, PodRef, RuntimeError, Session,
};
use rustls::pki_types::ServerName;

use super::held::HeldNodes;
use super::sessions::{self, SessionRequest};
use super::{MASTER, figures, logs};
use crate::pki::{Authority, PkiError, node_host};
use crate::remote::{Call, Channel, forward, session};
use crate::tls::ClientTls;

/// Reaches the agents of nodes as the master: by the connections that they hold, or else where the nodes say that they are.
pub struct HttpDialer {
    tls: ClientTls,
    held: HeldNodes,
}

impl fmt::Debug for HttpDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDialer").finish_non_exhaustive()
    }
}

impl HttpDialer {
    /// A dialer that shows the agents a certificate of this authority, and believes theirs.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(authority: &Authority) -> Result<Self, PkiError> {
        let identity = authority.issue_client(MASTER, &["system:masters"])?;
        let tls = ClientTls::new(authority.certificate(), Some(&identity))?;
        Ok(Self { tls, held: HeldNodes::default() })
    }

    /// The connections that nodes hold, for the [`Frontend`](crate::Frontend) that lets them.
    pub fn held(&self) -> HeldNodes {
        self.held.clone()
    }
}

#[async_trait]
impl Dialer for HttpDialer {
    async fn dial(&self, node: &Node) -> Result<Arc<dyn NodeService>, Status> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if let Some(line) = self.held.of(name) {
            let channel = Channel::over(line, &self.tls, node_host(name));
            return Ok(Arc::new(DialedNode { channel: channel.map_err(Status::internal)? }));
        }
        let address = address(node).ok_or_else(|| {
            let message = format!("the node {name} does not say where its agent answers");
            Status::new(Reason::ServiceUnavailable, message)
        })?;
        let host = ServerName::try_from(node_host(name)).map_err(Status::internal)?;
        let channel = Channel::new(&format!("https://{address}"), &self.tls, Some(host), None);
        Ok(Arc::new(DialedNode { channel: channel.map_err(Status::internal)? }))
    }
}

/// Where the agent of a node answers.
fn address(node: &Node) -> Option<SocketAddr> {
    let status = node.status.as_ref()?;
    let endpoint = status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?;
    let port = u16::try_from(endpoint.port).ok().filter(|port| *port != 0)?;
    let addresses = status.addresses.iter().flatten();
    let of = |kind: &str| -> Option<IpAddr> {
        addresses
            .clone()
            .filter(|address| address.type_ == kind)
            .find_map(|address| address.address.parse().ok())
    };
    Some(SocketAddr::new(of("InternalIP").or_else(|| of("ExternalIP"))?, port))
}

/// The agent of one node.
struct DialedNode {
    channel: Channel,
}

#[async_trait]
impl NodeService for DialedNode {
    async fn logs(&self, request: &LogRequest) -> Result<ByteStream, Status> {
        let response = self.channel.open(Call::get(logs::write(request)), "*/*").await?;
        // The channel comes along: a pool that is dropped takes its connections with it.
        let state = (response.into_body(), self.channel.clone());
        let chunks = stream::unfold(Some(state), |state| async move {
            let (mut body, channel) = state?;
            match body.frame().await? {
                Ok(frame) => Some((Ok(frame.into_data().unwrap_or_default()), Some((body, channel)))),
                Err(error) => Some((Err(RuntimeError::Unavailable { message: error.to_string() }), None)),
            }
        });
        Ok(chunks.boxed())
    }

    async fn summary(&self) -> Result<Summary, Status> {
        let (_, _, body) =
            self.channel.call(Call::get(figures::SUMMARY.to_owned()), "application/json").await?;
        figures::read(&body)
    }

    async fn probe_metrics(&self) -> Result<String, Status> {
        let (_, _, body) = self.channel.call(Call::get(figures::PROBES.to_owned()), "text/plain").await?;
        String::from_utf8(body.into()).map_err(Status::internal)
    }

    async fn exec(&self, pod: &PodRef, container: &str, options: &ExecOptions) -> Result<Session, Status> {
        let (pod, container, options) = (pod.clone(), container.to_owned(), options.clone());
        let path = sessions::write(&SessionRequest::Exec { pod, container, options: options.clone() });
        session::begin(&self.channel, path, &options.streams).await
    }

    async fn attach(
        &self,
        pod: &PodRef,
        container: &str,
        streams: &AttachOptions,
    ) -> Result<Session, Status> {
        let (pod, container) = (pod.clone(), container.to_owned());
        let request = SessionRequest::Attach { pod, container, streams: streams.clone() };
        session::begin(&self.channel, sessions::write(&request), streams).await
    }

    async fn port_forward(&self, pod: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let request = SessionRequest::Port { pod: pod.clone(), port };
        forward::port_of_agent(&self.channel, sessions::write(&request), port).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_are_where_their_nodes_say() {
        let node = |addresses, port: i64| -> Node {
            let daemons = json!({"kubeletEndpoint": {"Port": port}});
            serde_json::from_value(json!({"status": {"addresses": addresses, "daemonEndpoints": daemons}}))
                .unwrap()
        };
        let both =
            json!([{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.2"}]);
        assert_eq!(address(&node(both.clone(), 10250)), Some("10.0.0.2:10250".parse().unwrap()));
        assert_eq!(address(&node(both.clone(), 0)), None);
        assert_eq!(address(&node(both, 65_536)), None);
        assert_eq!(address(&node(json!([{"type": "InternalIP", "address": "nowhere"}]), 1)), None);
        assert_eq!(
            address(&node(json!([{"type": "InternalIP", "address": "::1"}]), 1)),
            Some("[::1]:1".parse().unwrap())
        );
    }
}
