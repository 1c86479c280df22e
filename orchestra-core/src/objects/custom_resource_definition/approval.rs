//! Groups of the Kubernetes community, in which a kind needs its approval.

/// The annotation that says where a kind was approved.
const ANNOTATION: &str = "api-approved.kubernetes.io";

const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// Whether a group is one of the Kubernetes community's.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// What the annotation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Nothing.
    Missing,
    /// Neither where the kind was approved, nor that it was not.
    Invalid,
    /// Where it was approved.
    Approved(String),
    /// That it was not.
    Bypassed(String),
}

impl Approval {
    /// The annotation that says it.
    pub(crate) const ANNOTATION: &'static str = ANNOTATION;

    /// What an annotation says.
    pub(crate) fn of(annotation: &str) -> Self {
        if annotation.is_empty() {
            return Self::Missing;
        }
        if annotation.starts_with("unapproved") {
            return Self::Bypassed(annotation.to_owned());
        }
        let host = annotation.split_once("://").filter(|(scheme, _)| !scheme.is_empty());
        match host {
            Some((_, rest)) if !rest.split('/').next().unwrap_or_default().is_empty() => {
                Self::Approved(annotation.to_owned())
            }
            _ => Self::Invalid,
        }
    }

    /// What is said of it.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Missing => {
                format!("protected groups must have approval annotation \"{ANNOTATION}\", {SEE}")
            }
            Self::Invalid => format!(
                "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or a reason starting \
                 with \"unapproved\", {SEE}"
            ),
            Self::Approved(place) => format!("approved in {place}"),
            Self::Bypassed(why) => format!("not approved: {why:?}"),
        }
    }

    /// The status and the reason of the condition `KubernetesAPIApprovalPolicyConformant`.
    pub(crate) fn condition(&self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("False", "MissingAnnotation"),
            Self::Invalid => ("False", "InvalidAnnotation"),
            Self::Approved(_) => ("True", "ApprovedAnnotation"),
            Self::Bypassed(_) => ("False", "UnapprovedAnnotation"),
        }
    }
}
