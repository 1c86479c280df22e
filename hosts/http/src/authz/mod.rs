//! Whether somebody may do something, as others say it: `SubjectAccessReview` of `authorization.k8s.io/v1`.
//!
//! | module | what |
//! | --- | --- |
//! | `webhook` | a server that is asked |
//! | `file` | which servers are asked, and in which order, as a file says it |

mod file;
mod webhook;

pub use file::{AuthorizationError, AuthorizationFile, Authorizers};
pub use webhook::{AccessWebhook, FailurePolicy, Remembered};
