//! The Kubernetes HTTP API over an orchestra control plane, and the client side of it.
//!
//! [`serve`] takes a bound listener, a [`Frontend`] and a shutdown token, and speaks the Kubernetes API over TLS until
//! the token is cancelled. [`Authority`] makes the certificates, [`Kubeconfig`] the file that `kubectl` reads.
//! [`Remote`] is the other side: a [`Service`](orchestra_core::api::Service) that makes a remote master look like a
//! local one.
//!
//! | module | what |
//! | --- | --- |
//! | `path`, `query`, `call` | requests, read into the terms of the core |
//! | `frontend`, `watch` | routes and answers; decide nothing that the core decides |
//! | `reply` | answers in the format and encoding that were asked for |
//! | `openapi` | OpenAPI documents |
//! | `health`, `metrics` | how the server is, for whoever watches over it |
//! | `serve` | the accept loop, TLS, draining |
//! | `auth` | from a certificate or a token to a user |
//! | `pki`, `tls`, `kubeconfig`, `address` | what a client needs to trust and be trusted |
//! | `join` | how a node becomes one of the cluster: a token, a certificate |
//! | `remote` | a master elsewhere, as a service of the core |
//! | `nodes` | the agents of nodes elsewhere, served and asked |

mod address;
mod auth;
mod call;
mod frontend;
mod health;
mod host;
mod join;
mod kubeconfig;
mod logs;
mod metrics;
mod nodes;
mod openapi;
mod path;
mod pki;
mod query;
mod remote;
mod reply;
mod serve;
mod tls;
mod watch;

pub use address::{own_address, reachable_address};
pub use auth::Tokens;
pub use frontend::Frontend;
pub use host::ApiHost;
pub use join::{Enrolment, EnrolmentError, Identity, JoinError, JoinToken, TokenError, join};
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use nodes::{HttpDialer, serve_node};
pub use pki::{Authority, Issued, PkiError, ServerTls, make_private_directory};
pub use remote::{AddressError, ConnectError, Credential, Remote, RemoteConfig};
pub use serve::serve;
