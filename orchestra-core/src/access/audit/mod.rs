//! What is written down of who did what: `audit.k8s.io/v1`.
//!
//! A [`Policy`] says of each request how much of it is recorded and at which stages; that is decided here, and so is
//! what an [`Event`] says. Where events go is a host's matter.
//!
//! What is secret is not recorded, whatever a policy says: of Secrets and of what asks for tokens or about them, an event
//! says who did what to which, and never what was in it.

mod event;
mod policy;
mod terms;
#[cfg(test)]
mod tests;

pub use event::{Event, ObjectReference, Outcome, without_managed_fields};
pub use policy::{Policy, PolicyError, Recorded};
pub use terms::{Level, Stage};

use crate::api::Target;

/// Whether what is sent to a resource, or comes back from it, is secret.
pub fn is_secret(target: &Target) -> bool {
    match (&*target.group, &*target.resource) {
        ("", "secrets") | ("authentication.k8s.io", "tokenreviews") => true,
        ("", "serviceaccounts") => target.subresource.as_deref() == Some("token"),
        _ => false,
    }
}
