//! Webhooks of admission: programs elsewhere that judge writes, or change them.
//!
//! Those that change are asked one after the other, in the order of their configurations' names; those that judge all at
//! once. What one costs is bounded by its own timeout and by the size that an answer may have, and a request pays it only
//! if the webhook is meant: by its rules, its selectors and its conditions.
//!
//! | file | what |
//! | --- | --- |
//! | `hook` | configurations, made ready |
//! | `review` | what is sent, and what comes back: pure |
//! | `call` | one question to one webhook |
//! | `mutating`, `validating` | the two admissions |

mod call;
mod hook;
mod mutating;
mod review;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod validating;

pub use mutating::MutatingWebhooks;
pub use validating::ValidatingWebhooks;
