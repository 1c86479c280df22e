//! What webhooks and policies have in common: which requests they are about, what they are told of one, and conditions.
//!
//! | file | what |
//! | --- | --- |
//! | `subject` | a request, as those see it who judge it |
//! | `matching` | whether rules and selectors mean it |
//! | `evaluation` | expressions over it, which may ask the authorizer |
//! | `view` | the request in the versions in which it is looked at |
//! | `compiled` | configurations, made ready once a generation |

mod compiled;
mod evaluation;
mod matching;
mod subject;
mod view;

pub(super) use compiled::Compiled;
pub(super) use evaluation::{Access, Conditions, Decided, Evaluation, Failure, Inputs, Judge, Unknown};
pub(super) use matching::{Matcher, Rule, RuleSet};
pub(super) use subject::{Subject, accepted};
pub(super) use view::{View, Views};
