//! The agents of nodes in other processes: what the master asks them, over HTTPS.
//!
//! [`serve_node`] is the node's side, [`HttpDialer`] the master's. Both have certificates of the cluster's authority: the
//! agent answers the master's client certificate and those of the group `system:masters`, and the master believes only the
//! node that it means. The master connects to the node's port, or by a connection that the node [holds](held).
//!
//! The paths are the kubelet's: `/containerLogs/NAMESPACE/POD/CONTAINER?follow=…&tailLines=…`, and `/exec/…`, `/attach/…`
//! and `/portForward/NAMESPACE/POD`, whose connections become WebSockets or, for ports, SPDY. The pod's uid is a
//! parameter too, so that a pod of the same name that came later is not mistaken for it; without one, as a kubelet is
//! asked, it is the pod that has the name now. `/stats/summary` and `/metrics/resource` tell what the node and its pods use.

mod dial;
mod door;
mod figures;
mod held;
mod hold;
mod logs;
mod read;
mod sessions;
mod submitted;

pub use dial::HttpDialer;
pub use door::serve_node;
pub use held::HeldNodes;
pub use hold::hold_node;
pub(crate) use read::read;
pub use submitted::Submitted;

/// Whose members may ask an agent for everything, and submit manifests.
const MASTERS: &str = "system:masters";
/// Whom the agents answer.
const MASTER: &str = "kube-apiserver-kubelet-client";
