//! Who is asked about writes beside the API server itself: webhooks, and policies that are written down as expressions.
//!
//! | file | what it says |
//! | --- | --- |
//! | `rules` | which requests are meant: groups, versions, kinds, verbs, selectors, conditions |
//! | `client` | where a webhook is |
//! | `expressions` | what conditions, policies and changes are written in |
//! | `webhooks` | the two kinds of webhooks, which differ in one field |
//! | `validating_policy`, `mutating_policy` | policies |
//! | `bindings` | where a policy holds, and with which parameters |

mod bindings;
pub(super) mod client;
pub(crate) mod expressions;
mod mutating_policy;
mod rules;
mod validating_policy;
mod webhooks;

pub(super) use bindings::{MutatingBindingRules, ValidatingBindingRules};
pub(super) use mutating_policy::MutatingPolicyRules;
pub(super) use validating_policy::ValidatingPolicyRules;
pub(crate) use webhooks::plain;
pub(super) use webhooks::{MutatingWebhookRules, ValidatingWebhookRules};

use super::{check, names};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
