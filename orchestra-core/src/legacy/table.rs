//! Which kind of which version became what.

use serde_json::{Map, Value};

use super::autoscaling::{by_metrics, by_processor};
use super::ingress::ingress;
use super::parts::Tell;
use super::policy::{binding, disruption_budget, same};
use super::workloads::{daemon_set, deployment, job, replica_set, stateful_set};
use super::{first, third};

/// Makes an object of an old version one of today, but for `apiVersion` and `kind`; `None` when it cannot be.
pub(super) type Convert = fn(Map<String, Value>, &str, &mut Tell) -> Option<Value>;

/// A kind as it was, and as it is.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The versions that are no more.
    from: &'static [&'static str],
    /// What it was called.
    was: &'static str,
    /// The version of today.
    pub(super) to: &'static str,
    /// What it is called.
    pub(super) kind: &'static str,
    /// How.
    pub(super) convert: Convert,
}

const FIRST: &[&str] = &["v1beta1", "v1beta2"];
const THIRD: &[&str] = &["v1beta3"];
const EXTENSIONS: &[&str] = &["extensions/v1beta1"];
const APPS: &[&str] = &["apps/v1beta1", "apps/v1beta2"];
const ALL_APPS: &[&str] = &["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"];
const LATER_APPS: &[&str] = &["extensions/v1beta1", "apps/v1beta2"];
const CRON: &[&str] = &["batch/v1beta1", "batch/v2alpha1"];
const INGRESS: &[&str] = &["extensions/v1beta1", "networking.k8s.io/v1beta1"];
const NETWORKING: &[&str] = &["networking.k8s.io/v1beta1"];
const POLICY: &[&str] = &["policy/v1beta1"];
const RBAC: &[&str] = &["rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1alpha1"];
const METRICS: &[&str] = &["autoscaling/v2beta1", "autoscaling/v2beta2"];
const PRIORITY: &[&str] = &["scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha1"];
const STORAGE: &[&str] = &["storage.k8s.io/v1beta1"];
const LEASES: &[&str] = &["coordination.k8s.io/v1beta1"];

const fn kind_row(
    from: &'static [&'static str],
    was: &'static str,
    to: &'static str,
    kind: &'static str,
    convert: Convert,
) -> Row {
    Row { from, was, to, kind, convert }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    kind_row(FIRST, "Pod", "v1", "Pod", first::pod),
    kind_row(FIRST, "ContainerManifest", "v1", "Pod", first::container_manifest),
    kind_row(FIRST, "ReplicationController", "v1", "ReplicationController", first::replication_controller),
    kind_row(FIRST, "Service", "v1", "Service", first::service),
    kind_row(FIRST, "Minion", "v1", "Node", first::minion),
    kind_row(FIRST, "Node", "v1", "Node", first::minion),
    kind_row(FIRST, "Endpoints", "v1", "Endpoints", first::endpoints),
    kind_row(FIRST, "PersistentVolume", "v1", "PersistentVolume", first::persistent_volume),
    kind_row(FIRST, "PersistentVolumeClaim", "v1", "PersistentVolumeClaim", first::plain),
    kind_row(FIRST, "Namespace", "v1", "Namespace", first::plain),
    kind_row(FIRST, "Secret", "v1", "Secret", first::plain),
    kind_row(FIRST, "ServiceAccount", "v1", "ServiceAccount", first::plain),
    kind_row(FIRST, "LimitRange", "v1", "LimitRange", first::plain),
    kind_row(FIRST, "ResourceQuota", "v1", "ResourceQuota", first::plain),

    kind_row(THIRD, "Pod", "v1", "Pod", third::pod),
    kind_row(THIRD, "PodTemplate", "v1", "PodTemplate", third::pod_template),
    kind_row(THIRD, "ReplicationController", "v1", "ReplicationController", third::replication_controller),
    kind_row(THIRD, "Service", "v1", "Service", third::service),
    kind_row(THIRD, "Node", "v1", "Node", third::node),
    kind_row(THIRD, "Minion", "v1", "Node", third::node),
    kind_row(THIRD, "Endpoints", "v1", "Endpoints", same),
    kind_row(THIRD, "PersistentVolume", "v1", "PersistentVolume", same),
    kind_row(THIRD, "PersistentVolumeClaim", "v1", "PersistentVolumeClaim", same),
    kind_row(THIRD, "Namespace", "v1", "Namespace", same),
    kind_row(THIRD, "Secret", "v1", "Secret", same),
    kind_row(THIRD, "ServiceAccount", "v1", "ServiceAccount", same),
    kind_row(THIRD, "LimitRange", "v1", "LimitRange", same),
    kind_row(THIRD, "ResourceQuota", "v1", "ResourceQuota", same),

    kind_row(ALL_APPS, "Deployment", "apps/v1", "Deployment", deployment),
    kind_row(LATER_APPS, "ReplicaSet", "apps/v1", "ReplicaSet", replica_set),
    kind_row(LATER_APPS, "DaemonSet", "apps/v1", "DaemonSet", daemon_set),
    kind_row(APPS, "StatefulSet", "apps/v1", "StatefulSet", stateful_set),
    kind_row(APPS, "ControllerRevision", "apps/v1", "ControllerRevision", same),
    kind_row(EXTENSIONS, "Job", "batch/v1", "Job", job),
    kind_row(CRON, "CronJob", "batch/v1", "CronJob", same),
    kind_row(CRON, "ScheduledJob", "batch/v1", "CronJob", same),
    kind_row(EXTENSIONS, "HorizontalPodAutoscaler", "autoscaling/v1", "HorizontalPodAutoscaler", by_processor),
    kind_row(METRICS, "HorizontalPodAutoscaler", "autoscaling/v2", "HorizontalPodAutoscaler", by_metrics),

    kind_row(INGRESS, "Ingress", "networking.k8s.io/v1", "Ingress", ingress),
    kind_row(EXTENSIONS, "NetworkPolicy", "networking.k8s.io/v1", "NetworkPolicy", same),
    kind_row(NETWORKING, "IngressClass", "networking.k8s.io/v1", "IngressClass", same),

    kind_row(POLICY, "PodDisruptionBudget", "policy/v1", "PodDisruptionBudget", disruption_budget),
    kind_row(RBAC, "Role", "rbac.authorization.k8s.io/v1", "Role", same),
    kind_row(RBAC, "ClusterRole", "rbac.authorization.k8s.io/v1", "ClusterRole", same),
    kind_row(RBAC, "RoleBinding", "rbac.authorization.k8s.io/v1", "RoleBinding", binding),
    kind_row(RBAC, "ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", binding),

    kind_row(PRIORITY, "PriorityClass", "scheduling.k8s.io/v1", "PriorityClass", same),
    kind_row(STORAGE, "StorageClass", "storage.k8s.io/v1", "StorageClass", same),
    kind_row(STORAGE, "CSIDriver", "storage.k8s.io/v1", "CSIDriver", same),
    kind_row(STORAGE, "CSINode", "storage.k8s.io/v1", "CSINode", same),
    kind_row(LEASES, "Lease", "coordination.k8s.io/v1", "Lease", same),
];

/// Kinds that came to an end, and what is there in their place.
const GONE: &[(&str, &str)] = &[
    (
        "PodSecurityPolicy",
        "namespaces are labelled with a level of Pod Security, pod-security.kubernetes.io/enforce",
    ),
    ("ThirdPartyResource", "a CustomResourceDefinition defines a kind"),
    ("DeploymentRollback", "kubectl rollout undo does it"),
    ("PodPreset", "a MutatingAdmissionPolicy changes pods as they are made"),
    ("JobTemplate", "a CronJob has its template in it"),
];

/// What became of a kind, if it has gone on.
pub(super) fn row(version: &str, kind: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.was == kind && row.from.contains(&version))
}

/// What is there in the place of a kind that came to an end.
pub(super) fn gone(version: &str, kind: &str) -> Option<&'static str> {
    let is_own = is_of(version) || !version.contains('.') || version.ends_with("k8s.io/v1alpha1");
    GONE.iter().find(|(was, _)| is_own && *was == kind).map(|(_, instead)| *instead)
}

/// Whether any kind here was of this version.
pub(super) fn is_of(version: &str) -> bool {
    ROWS.iter().any(|row| row.from.contains(&version))
}

/// Whether it is a version of before there were groups.
pub(super) fn is_first(version: &str) -> bool {
    FIRST.contains(&version) || THIRD.contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::Place;

    #[test]
    fn what_it_became_is_known_and_one_row_speaks_for_a_kind() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(Place::of_kind(row.to, row.kind).is_some(), "{} {}", row.to, row.kind);
            for version in row.from {
                let first =
                    ROWS.iter().position(|other| other.was == row.was && other.from.contains(version));
                assert_eq!(first, Some(index), "{version} {}", row.was);
            }
        }
    }
}
