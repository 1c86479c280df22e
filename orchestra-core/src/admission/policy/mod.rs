//! Policies of admission: expressions that judge writes, and expressions that change them.
//!
//! A policy says which requests it is about and what is to be so; a binding makes it hold, somewhere, with parameters.
//! Both are made ready once a generation. What they say is evaluated with a bounded budget, so that no policy costs more
//! than it may.
//!
//! | file | what |
//! | --- | --- |
//! | `definition` | policies and bindings, made ready |
//! | `invocation` | which of them hold for a request, with which parameters |
//! | `validating` | the judgement of those that judge |
//! | `mutating`, `patch` | the changes of those that change |

mod definition;
mod invocation;
mod mutating;
mod patch;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod validating;

pub use mutating::MutatingPolicies;
pub use validating::ValidatingPolicies;
