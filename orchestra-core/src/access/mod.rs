//! The cluster's own answers to who may do what, behind the ports of [`api::access`](crate::api::access).
//!
//! | module | what |
//! | --- | --- |
//! | [`audit`] | what is written down of who did what |
//! | [`flow_control`] | who may ask now, and who waits |
//! | [`rbac`] | roles and bindings: an authorizer over the caches, and who may give rights to others |
//! | [`node`] | what nodes may do: what their pods need |
//! | [`bootstrap`] | the roles and bindings that every cluster has from the start |
//! | [`bootstrap_tokens`] | tokens by which machines are known for the first time |
//! | [`tokens`] | tokens of service accounts: issued, and known again |
//! | [`reviews`] | the kinds that ask who one is and what one may do |

pub mod audit;
pub mod bootstrap;
pub mod bootstrap_tokens;
pub mod flow_control;
pub mod node;
pub mod rbac;
pub mod reviews;
pub mod tokens;

pub use rbac::Rbac;

use self::node::NodeAuthorizer;
use crate::api::Caches;
use crate::api::access::{BackupsForMasters, Chain, Masters};

/// What a cluster allows whose rights are given by roles: the group `system:masters` may do everything, nodes what their
/// pods need, and everybody else what roles say that are bound to them.
pub fn standard(caches: &Caches) -> Chain {
    Chain::new()
        .then(Masters)
        .then(BackupsForMasters)
        .then(NodeAuthorizer::new(caches))
        .then(Rbac::new(caches))
}
