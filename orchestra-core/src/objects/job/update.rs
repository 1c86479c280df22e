use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Affinity, Container, PodSpec, PodTemplateSpec};
use serde_json::Value;

use super::{is_indexed, policies, status};
use crate::api::field::{Errors, Path, Shown};
use crate::objects::check::{self, IMMUTABLE, shown};

/// Says what is wrong with a change of a Job.
pub(super) fn validate(new: &Job, old: &Job, errors: &mut Errors) {
    let none = JobSpec::default();
    let (next, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    let path = Path::new("spec");
    completions(next, before, &path.child("completions"), errors);
    let shown_or_null = |shown: Option<Shown>| shown.unwrap_or_else(|| Value::Null.into());
    let objects = [
        (
            "selector",
            next.selector == before.selector,
            shown_or_null(next.selector.as_ref().map(check::shown_selector)),
        ),
        (
            "podFailurePolicy",
            next.pod_failure_policy == before.pod_failure_policy,
            shown_or_null(next.pod_failure_policy.as_ref().map(policies::shown_failure)),
        ),
        (
            "successPolicy",
            next.success_policy == before.success_policy,
            shown_or_null(next.success_policy.as_ref().map(policies::shown_success)),
        ),
    ];
    for (field, _, shown) in objects.into_iter().filter(|(_, is_same, _)| !is_same) {
        errors.invalid_object(&path.child(field), shown, IMMUTABLE);
    }
    check::unchanged(errors, &path.child("completionMode"), &next.completion_mode, &before.completion_mode);
    check::unchanged(
        errors,
        &path.child("backoffLimitPerIndex"),
        &next.backoff_limit_per_index,
        &before.backoff_limit_per_index,
    );
    check::unchanged(errors, &path.child("managedBy"), &next.managed_by, &before.managed_by);
    template(&next.template, before, may_change_template(old), &path.child("template"), errors);
}

/// How many completions there must be may change with the number of pods, where each has its index.
fn completions(new: &JobSpec, old: &JobSpec, path: &Path, errors: &mut Errors) {
    if new.completions == old.completions {
        return;
    }
    if !is_indexed(new) {
        return check::unchanged(errors, path, &new.completions, &old.completions);
    }
    if new.completions.is_some() && new.completions != new.parallelism {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid(path, shown(&new.completions), detail);
    }
}

/// A Job that is suspended and has no pods may yet run elsewhere, and with more.
fn may_change_template(old: &Job) -> bool {
    let status = old.status.as_ref();
    let suspended = old.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let not_started = status.is_none_or(|status| status.start_time.is_none());
    let stopped = status.is_some_and(|status| status::is_true(status, "Suspended"));
    let active = status.and_then(|status| status.active).unwrap_or_default();
    suspended && (not_started || stopped) && active == 0
}

fn template(new: &PodTemplateSpec, old: &JobSpec, may_change: bool, path: &Path, errors: &mut Errors) {
    if !may_change {
        return check::unchanged(errors, path, new, &old.template);
    }
    let none = PodSpec::default();
    let next = new.spec.as_ref().unwrap_or(&none);
    let mut before = old.template.spec.clone().unwrap_or_default();
    before.affinity = with_node_affinity_of(next.affinity.as_ref(), before.affinity);
    before.node_selector.clone_from(&next.node_selector);
    before.tolerations.clone_from(&next.tolerations);
    before.scheduling_gates.clone_from(&next.scheduling_gates);
    take_resources(&mut before.containers, &next.containers);
    if let (Some(old), Some(new)) = (&mut before.init_containers, &next.init_containers) {
        take_resources(old, new);
    }
    check::unchanged(errors, &path.child("spec"), next, &before);
}

/// What pods may run next to stays; on which nodes, is as it now says.
fn with_node_affinity_of(new: Option<&Affinity>, old: Option<Affinity>) -> Option<Affinity> {
    let node_affinity = new.and_then(|new| new.node_affinity.clone());
    let merged = Affinity { node_affinity, ..old.unwrap_or_default() };
    (new.is_some() || merged != Affinity::default()).then_some(merged)
}

fn take_resources(old: &mut [Container], new: &[Container]) {
    if old.len() != new.len() {
        return;
    }
    for (old, new) in old.iter_mut().zip(new).filter(|(old, new)| old.name == new.name) {
        old.resources.clone_from(&new.resources);
    }
}
