//! What a Job says of failures and successes: its pod failure policy and its success policy. Pure.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};

use super::indexes::Indexes;
use super::model::JobPod;
use crate::controllers::pod::{ContainerStatus, Pod};

/// What a failure of a pod leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Count,
    /// It does not count.
    Ignore,
    /// No other pod of its index is made.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// What the first rule says that a failed pod fulfils. Without one it counts.
pub(super) fn verdict(policy: Option<&PodFailurePolicy>, pod: &JobPod<'_>) -> Verdict {
    let rules = policy.into_iter().flat_map(|policy| policy.rules.iter().enumerate());
    rules.filter_map(|(place, rule)| rule_verdict(place, rule, pod)).next().unwrap_or(Verdict::Count)
}

fn rule_verdict(place: usize, rule: &PodFailurePolicyRule, failed: &JobPod<'_>) -> Option<Verdict> {
    let (pod, name) = (&**failed.pod(), failed.member.entry.name());
    let name = || format!("{}/{}", name.namespace().unwrap_or_default(), name.name());
    let message = if let Some(codes) = &rule.on_exit_codes {
        let (container, code) = exited_with(pod, codes)?;
        format!(
            "Container {container} for pod {} failed with exit code {code} matching {} rule at index {place}",
            name(),
            rule.action
        )
    } else {
        let kind = has_condition(pod, rule)?;
        format!("Pod {} has condition {kind} matching {} rule at index {place}", name(), rule.action)
    };
    match rule.action.as_str() {
        "Ignore" => Some(Verdict::Ignore),
        "Count" => Some(Verdict::Count),
        "FailIndex" => Some(Verdict::FailIndex),
        "FailJob" => Some(Verdict::FailJob(message)),
        _ => None,
    }
}

/// The first container that ended with a code that is meant.
fn exited_with<'p>(pod: &'p Pod, codes: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'p str, i32)> {
    let status = &pod.status;
    let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let matching = |status: &'p ContainerStatus| {
        let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
        let is_meant = codes.container_name.as_deref().is_none_or(|name| *name == *status.name);
        let listed = codes.values.contains(&code);
        let fulfils = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (is_meant && code != 0 && fulfils).then_some((&*status.name, code))
    };
    statuses.filter_map(matching).next()
}

fn has_condition<'p>(pod: &'p Pod, rule: &PodFailurePolicyRule) -> Option<&'p str> {
    let patterns = || rule.on_pod_conditions.iter().flatten();
    let mut conditions = pod.status.conditions.iter().flatten();
    let met = conditions.find(|held| {
        patterns().any(|pattern| {
            let status = pattern.status.as_deref().unwrap_or("True");
            *pattern.type_ == *held.kind && *status == *held.status
        })
    });
    met.map(|held| &*held.kind)
}

/// The rule of a success policy that is fulfilled, in words.
pub(super) fn succeeded(
    policy: Option<&SuccessPolicy>,
    completions: u32,
    succeeded: &Indexes,
) -> Option<String> {
    let policy = policy.filter(|_| !succeeded.is_empty())?;
    let place = policy.rules.iter().position(|rule| {
        let count = rule.succeeded_count.and_then(|count| usize::try_from(count).ok());
        match &rule.succeeded_indexes {
            Some(list) => {
                let required = Indexes::parse(list, completions);
                let met = required.common(succeeded);
                !required.is_empty() && (met == required.len() || count.is_some_and(|count| met >= count))
            }
            None => count.is_some_and(|count| succeeded.len() >= count),
        }
    })?;
    Some(format!("Matched rules at index {place}"))
}
