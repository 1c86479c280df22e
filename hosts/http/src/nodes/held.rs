//! Connections that nodes hold to masters, for those whose ports nobody reaches: behind NAT, or a firewall.
//!
//! ```text
//! node ── TCP, TLS, HTTP/1.1 upgrade ──► master          the node asks, as itself
//! node ◄═ HTTP/2: a CONNECT for each connection ═ master  and is asked from then on
//! node ◄─ TLS, HTTP in each ─ master                      as at its port
//!      ◄─ bytes, in one to an address ─ master            as at another port of the machine
//! ```
//!
//! A node [holds](super::hold_node) one to each master that it knows, so whichever master is asked has a way to it, and none
//! has to know of the others'. A stream of it stands for one TCP connection to the node's port and is used as one would be:
//! both sides show the same certificates in it. So holding a connection gives nobody a right, and who holds one in a node's
//! name without being the node is not believed. The name is that of the certificate, and is not asked for.
//!
//! A CONNECT to an address leads to a port of the node's machine, at one of its own addresses: so `proxy` reaches what else
//! listens there. Who may use that is the master's to say, as it is of connections that it makes itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::OptionFuture;
use h2::client::Builder;
use http::Response;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use orchestra_core::access::node::node_of;
use orchestra_core::api::{Reason, Status, User};
use tracing::{debug, info};

use crate::line::{Line, STREAM_WINDOW, WINDOW, silent};
use crate::reply::{self, Body};
use crate::streams::upgrade::{Raw, Upgrade};

/// Where a master is asked for the connection to be held.
pub(super) const PATH: &str = "/orchestra/v1/node-connection";
/// What the connection becomes.
pub(super) const PROTOCOL: &str = "orchestra-node/1";
/// The connections that nodes hold to this master. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct HeldNodes(Arc<Mutex<HashMap<String, Vec<Line>>>>);

impl fmt::Debug for HeldNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().unwrap_or_else(PoisonError::into_inner).keys()).finish()
    }
}

impl HeldNodes {
    /// The connection that a node holds; the last one, if there are several.
    pub(crate) fn of(&self, node: &str) -> Option<Line> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(node)?.last().cloned()
    }

    /// Agrees to a node's holding the connection that a request came by, and has it held.
    ///
    /// # Errors
    /// When who asks is no node, or asks for something else.
    pub(crate) fn hold(&self, head: &Parts, user: &User) -> Result<Response<Body>, Status> {
        let Some(node) = node_of(user).filter(|name| !name.is_empty()) else {
            let message =
                format!("the user {} is no node: only nodes are asked over what they hold", user.name);
            return Err(Status::new(Reason::Forbidden, message));
        };
        if head.headers.get(UPGRADE).is_none_or(|wanted| wanted != PROTOCOL) {
            return Err(Status::bad_request(format!("a connection is held by an upgrade to {PROTOCOL}")));
        }
        let (held, node) = (self.clone(), node.to_owned());
        Upgrade::of(&head.extensions)?.then(move |connection| async move {
            if let Err(error) = held.carry(&node, connection).await {
                debug!(node, %error, "a connection that a node held broke off");
            }
        });
        let mut response = reply::text(101, "");
        let headers = response.headers_mut();
        headers.clear();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }

    /// Has a node be asked over a connection for as long as that lasts.
    async fn carry(&self, node: &str, connection: Raw) -> Result<(), h2::Error> {
        let mut builder = Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
        let (sender, mut connection) = builder.handshake(connection).await?;
        let pings = connection.ping_pong();
        let line = Line::new(sender);
        let _listed = Listed::new(self, node, &line);
        info!(node, "a node holds a connection");
        tokio::select! {
            ended = connection => ended,
            Some(()) = OptionFuture::from(pings.map(silent)) => {
                debug!(node, "a node that held a connection does not answer");
                Ok(())
            }
        }
    }
}

/// That a connection is held.
struct Listed<'h> {
    held: &'h HeldNodes,
    node: &'h str,
    line: &'h Line,
}

impl<'h> Listed<'h> {
    fn new(held: &'h HeldNodes, node: &'h str, line: &'h Line) -> Self {
        let mut all = held.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(node.to_owned()).or_default().push(line.clone());
        Self { held, node, line }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut all = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = all.get_mut(self.node) else { return };
        lines.retain(|line| !line.is(self.line));
        if lines.is_empty() {
            all.remove(self.node);
        }
    }
}
