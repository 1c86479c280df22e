//! The Kubernetes HTTP API over an orchestra control plane, and the client side of it.
//!
//! [`serve`] serves a cluster in this process in a line. [`ApiHost`] is the same in pieces: it takes a bound listener, certificates and a [`Frontend`], and speaks the Kubernetes API over TLS until it is
//! stopped. [`Authority`] makes the certificates, [`Kubeconfig`] the file that `kubectl` reads.
//! [`Frontend::local`] is the same API without a socket.
//! [`Remote`] is the other side: a [`Service`](orchestra_core::api::Service) that makes a remote master look like a
//! local one.
//!
//! | module | what |
//! | --- | --- |
//! | `path`, `query`, `body`, `call` | requests, read into the terms of the core |
//! | `frontend`, `listing`, `watch` | routes and answers, long ones part by part; decide nothing that the core decides |
//! | `reply`, `layout` | answers in the format and encoding that were asked for |
//! | `openapi` | OpenAPI documents |
//! | `health`, `metrics`, `collect` | how the server is, for whoever watches over it |
//! | `serve` | the accept loop, TLS, deadlines, draining |
//! | `streams` | commands, terminals and connections to ports, between clients and containers |
//! | `local` | the API without a socket |
//! | `auth`, `impersonation` | from a certificate or a token to a user, and from one user to another |
//! | `audit` | what is written down of who did what |
//! | `aggregate` | APIs that others serve |
//! | `measured` | the figures of autoscalers, those among them that others serve |
//! | `endpoint` | servers that this one asks or tells |
//! | `authn`, `authz` | who sends a request, and what they may, as others know it |
//! | `pki`, `tls`, `kubeconfig`, `address` | what a client needs to trust and be trusted |
//! | `keys`, `issuer` | the keys that sign the tokens of service accounts, and the documents by which others know them |
//! | `join` | how a node becomes one of the cluster: a token, a certificate |
//! | `console` | the dashboard of a cluster elsewhere, on this machine |
//! | `remote` | a master elsewhere, as a service of the core |
//! | `webhook` | webhooks, asked over HTTPS |
//! | `nodes` | the agents of nodes elsewhere, served and asked |
//! | `line` | connections within a connection that whoever is asked holds |
//!
//! # What runs
//!
//! | task | belongs to | takes in | gives out |
//! | --- | --- | --- | --- |
//! | accept, with one task a connection | [`ApiHost`], or who polls [`serve_node`] | connections | requests for the [`Frontend`]; all end when it is stopped |
//! | audit | the frontend | events | a file, or batches to a server |
//! | looker, one a cluster with aggregation | the frontend | APIServices, time | their conditions, and the groups of others in discovery |
//! | reflector, one a kind that is asked for | [`Remote`] | a master's list and watch | a cache |
//! | holder, one a master | who polls [`hold_node`] | the master's requests | answers, and a connection again when it ends |
//! | carrier, one a session (a command, a port, a WebSocket) | the session | bytes both ways | bytes both ways |
//! | connection, one to a webhook, an endpoint or a node | who sends through it | requests | answers |

mod address;
mod aggregate;
mod audit;
mod auth;
mod authn;
mod authz;
mod body;
mod call;
mod collect;
mod console;
mod descriptors;
mod endpoint;
mod frontend;
mod health;
mod host;
mod impersonation;
mod issuer;
mod join;
mod keys;
mod kubeconfig;
mod layout;
mod line;
mod listing;
mod local;
mod logs;
mod manifest_url;
mod measured;
mod metrics;
mod nodes;
mod openapi;
#[cfg(feature = "flags")]
mod options;
mod path;
mod pki;
mod query;
mod remote;
mod reply;
mod serve;
mod streams;
mod tls;
mod watch;
mod webhook;

pub use address::{own_address, reachable_address};
pub use aggregate::Aggregation;
pub use audit::{Audit, AuditSink, Batches, FileSink, Rotation, WebhookSink};
pub use auth::{Anonymous, Certificates, Tokens};
pub use authn::{AuthenticationFile, FrontProxy, Issuer, OidcError, OidcTokens, TokenWebhook};
pub use authz::{
    AccessWebhook, AuthorizationError, AuthorizationFile, Authorizers, FailurePolicy, Remembered,
};
pub use console::Console;
pub use descriptors::raise_descriptor_limit;
pub use endpoint::{Endpoint, EndpointError};
pub use frontend::Frontend;
pub use host::{ApiHost, ServeError, Serving, serve};
pub use issuer::issuer_url;
pub use join::{Enrolment, EnrolmentError, Identity, JoinError, JoinToken, TokenError, join};
pub use keys::TokenKeys;
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use local::LocalService;
pub use manifest_url::{ManifestUrl, ManifestUrlError};
pub use measured::AggregatedMetrics;
pub use nodes::{HeldNodes, HttpDialer, Submitted, hold_node, serve_node};
#[cfg(feature = "flags")]
pub use options::{
    ApiOptions, AuditOptions, AuthenticationOptions, AuthorizationOptions, OptionsError, SchedulerOptions,
};
pub use pki::{Authority, Issued, PkiError, ServerTls, make_private_directory};
pub use remote::{AddressError, BearerError, ConnectError, Credential, Masters, Remote, RemoteConfig};
pub use reply::Body;
pub use serve::Limits;
pub use webhook::WebhookCaller;
