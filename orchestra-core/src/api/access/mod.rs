//! Who asks, and who may: authentication and authorization as ports.
//!
//! An [`Authenticator`] makes a [`User`](super::User) of what a request shows; an [`Authorizer`] says of a user and an
//! [`AccessRequest`] whether it may be. Both can be chained. Every request is asked about before its body is read: those
//! for resources, whatever the subresource, and those for paths that are none, such as `/metrics` or `/openapi/v3`. In
//! this process the [`Server`](super::Server) asks for each call and watch of each client.
//!
//! [`standard`] is what a cluster does by default: the group `system:masters` may do everything; anyone may read how the
//! server is and which version it has; whoever proved who they are may do all but read a backup.

mod authenticate;
mod authorize;
mod policy;
mod rules;

pub use authenticate::{API_AUDIENCE, Authenticator, Authenticators, Certificate, Credentials, Known};
pub use authorize::{AccessRequest, Authorizer, Chain, Decision, Verdict};
pub(crate) use policy::is_in;
pub use policy::{
    AUTHENTICATED, Authenticated, BACKUP_PATH, BackupsForMasters, MASTERS, Masters, PublicPaths,
    UNAUTHENTICATED, standard,
};
pub(crate) use rules::quoted;
pub use rules::{PathRule, Permissions, ResourceRule};
