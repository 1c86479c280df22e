//! The Kubernetes HTTP API over an orchestra control plane, and the client side of it.
//!
//! [`serve`] takes a bound listener, a [`Frontend`] and a shutdown token, and speaks the Kubernetes API over TLS until
//! the token is cancelled. [`Authority`] makes the certificates, [`Kubeconfig`] the file that `kubectl` reads.
//! [`Remote`] is the other side: a [`Service`](orchestra_core::api::Service) that makes a remote master look like a
//! local one.
//!
//! | module | what |
//! | --- | --- |
//! | `path`, `query` | requests, read into the terms of the core; pure |
//! | `frontend` | routes and answers; decides nothing that the core decides |
//! | `openapi` | OpenAPI documents |
//! | `serve` | the accept loop, TLS, draining |
//! | `auth` | from a certificate or a token to a user |
//! | `pki`, `kubeconfig` | what a client needs to trust and be trusted |

mod auth;
mod frontend;
mod host;
mod kubeconfig;
mod logs;
mod openapi;
mod path;
mod pki;
mod query;
mod reply;
mod serve;

pub use auth::Tokens;
pub use frontend::Frontend;
pub use host::ApiHost;
pub use kubeconfig::Kubeconfig;
pub use pki::{Authority, Issued, PkiError, ServerTls};
pub use serve::serve;
