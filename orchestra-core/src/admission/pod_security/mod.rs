//! The pod security standards: what pods of a namespace may ask of their nodes.
//!
//! Labels of the namespace say which of three levels holds, for each of three modes: what violates `enforce` is refused,
//! what violates `audit` is noted in the audit log, what violates `warn` is told to whoever writes it. Pods are judged by
//! all modes; what holds a template of pods, such as a Deployment, is only noted and warned of, and its pods are refused
//! later.

mod baseline;
mod finding;
mod policy;
mod restricted;

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use self::finding::Finding;
use self::policy::{Level, Policy, Standard, WrongLabel};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::field::{Errors, Path};
use crate::api::{Caches, Resource, Status};
use crate::meta::{GroupResource, ObjectName};
use crate::store::Txn;
use crate::watch::Query;

/// How many pods of a namespace are looked at when its labels become stricter.
const PODS_CHECKED: usize = 3000;

/// The kinds whose objects make pods, and where the template stands.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

/// Subresources of pods that do not change what a pod asks for.
const IGNORED: &[&str] =
    &["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "resize", "status"];

/// By which standard a pod was let pass or refused, in the audit log.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
/// How a pod or a template violates what is to be audited.
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";

/// Holds pods to the standard of their namespace.
#[derive(Debug)]
pub struct PodSecurity {
    caches: Caches,
}

/// A pod, or the template of one.
struct Subject {
    metadata: ObjectMeta,
    spec: PodSpec,
}

impl PodSecurity {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// What the labels of a namespace ask for. One that is not known asks for nothing.
    fn policy_of(&self, namespace: &str) -> Policy {
        let cache = self.caches.of::<Namespace>();
        let entry = cache.and_then(|cache| cache.get(&ObjectName::cluster(namespace)));
        entry.map_or_else(Policy::default, |entry| Policy::read(|key| entry.labels().get(key)).0)
    }

    fn check_namespace(&self, attributes: &Attributes<'_>, new: &Value) -> Result<Vec<String>, Status> {
        let labels = |object: &Value| {
            Policy::read(|key| object["metadata"]["labels"][key].as_str().map(str::to_owned))
        };
        let (policy, wrong) = labels(new);
        let (held, held_wrong) = attributes.old.map(labels).unwrap_or_default();
        if !wrong.is_empty() && wrong != held_wrong {
            return Err(invalid(attributes, &wrong));
        }
        if attributes.verb != WriteVerb::Update || !policy.enforce.is_stricter_than(&held.enforce) {
            return Ok(Vec::new());
        }
        Ok(self.violations_in(attributes.name.name(), &policy.enforce))
    }

    /// What is to be said of the pods that are in a namespace already.
    fn violations_in(&self, namespace: &str, standard: &Standard) -> Vec<String> {
        let Some(cache) = self.caches.of::<Pod>() else { return Vec::new() };
        let pods = cache.list(&Query::namespace(namespace));
        let mut found = BTreeMap::<String, (String, usize)>::new();
        for entry in pods.iter().take(PODS_CHECKED) {
            let Ok(pod) = entry.decode_bare::<Pod>() else { continue };
            let Some(spec) = pod.spec else { continue };
            let reasons = reasons(&judge(standard, &Subject { metadata: pod.metadata, spec }));
            if !reasons.is_empty() {
                let name = entry.name().name().to_owned();
                found.entry(reasons).and_modify(|(_, others)| *others += 1).or_insert((name, 0));
            }
        }
        let mut warnings = Vec::new();
        if pods.len() > PODS_CHECKED {
            let all = pods.len();
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {PODS_CHECKED} of {all} existing pods"
            ));
        }
        if !found.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
            ));
        }
        let mut told: Vec<_> =
            found.into_iter().map(|(reasons, (name, others))| told(&name, others, &reasons)).collect();
        told.sort();
        warnings.extend(told);
        warnings
    }

    fn check_subject(
        &self,
        attributes: &Attributes<'_>,
        subject: &Subject,
        policy: &Policy,
        enforced: bool,
    ) -> Result<Vec<String>, Status> {
        let violated = |standard: &Standard| details(&judge(standard, subject));
        if enforced {
            attributes.note(ENFORCED, || policy.enforce.to_string());
        }
        let would_violate =
            |standard: &Standard, found| format!("would violate PodSecurity \"{standard}\": {found}");
        let found = violated(&policy.audit);
        if !found.is_empty() {
            attributes.note(VIOLATIONS, || would_violate(&policy.audit, found));
        }
        if enforced {
            let found = violated(&policy.enforce);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {found}", policy.enforce);
                return Err(Status::forbidden(&attributes.resource.id, attributes.name.name(), why));
            }
        }
        let found = violated(&policy.warn);
        if found.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![would_violate(&policy.warn, found)])
    }
}

/// Where objects of a kind have the template of their pods, if they have one.
fn template_of(kind: &GroupResource) -> Option<&'static str> {
    let of = TEMPLATES.iter().find(|(group, plural, _)| (*group, *plural) == (&*kind.group, &*kind.resource));
    of.map(|(_, _, at)| *at)
}

#[async_trait]
impl Admission for PodSecurity {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Namespace>() || kind.id.is::<Pod>() || template_of(&kind.id).is_some()
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let (id, Some(new)) = (&attributes.resource.id, new) else { return Ok(Vec::new()) };
        if attributes.verb == WriteVerb::Delete {
            return Ok(Vec::new());
        }
        if id.is::<Namespace>() {
            return match attributes.subresource {
                None => self.check_namespace(attributes, new),
                Some(_) => Ok(Vec::new()),
            };
        }
        let is_pod = id.is::<Pod>();
        let template = template_of(id);
        let ignored = match attributes.subresource {
            Some(part) => !is_pod || IGNORED.contains(&part),
            None => false,
        };
        let (at, Some(namespace)) = (template.unwrap_or_default(), attributes.name.namespace()) else {
            return Ok(Vec::new());
        };
        if ignored || (!is_pod && template.is_none()) {
            return Ok(Vec::new());
        }
        let policy = self.policy_of(namespace);
        let has_a_say = |standard: &Standard| standard.level != Level::Privileged;
        if is_pod && ![policy.enforce, policy.audit, policy.warn].iter().any(has_a_say) {
            attributes.note(ENFORCED, || policy.enforce.to_string());
            return Ok(Vec::new());
        }
        let silent = !is_pod && !has_a_say(&policy.audit) && !has_a_say(&policy.warn);
        if silent || (is_pod && attributes.old.is_some_and(|old| asks_the_same(old, new))) {
            return Ok(Vec::new());
        }
        match new.pointer(at).and_then(subject) {
            Some(subject) => self.check_subject(attributes, &subject, &policy, is_pod),
            None => Ok(Vec::new()),
        }
    }
}

/// A pod or a template, read. It is valid already, so that it fits its type.
fn subject(value: &Value) -> Option<Subject> {
    let metadata = value.get("metadata").map(ObjectMeta::deserialize).transpose().ok()?;
    let spec = PodSpec::deserialize(value.get("spec")?).ok()?;
    Some(Subject { metadata: metadata.unwrap_or_default(), spec })
}

/// Whether an update changes nothing that is judged. Only images can change of the containers that a pod began with, and
/// ephemeral ones can be added.
fn asks_the_same(old: &Value, new: &Value) -> bool {
    let images = |pod: &Value| -> Vec<Vec<(Value, Value)>> {
        let lists =
            ["initContainers", "containers", "ephemeralContainers"].map(|list| pod["spec"][list].as_array());
        let of = |list: Option<&Vec<Value>>| {
            list.into_iter().flatten().map(|each| (each["name"].clone(), each["image"].clone())).collect()
        };
        lists.into_iter().map(of).collect()
    };
    images(old) == images(new)
}

/// What a pod violates of a standard, in Kubernetes' order.
fn judge(standard: &Standard, pod: &Subject) -> Vec<Finding> {
    let minor = standard.version.minor();
    match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => {
            let mut found = baseline::common(&pod.metadata, &pod.spec, minor);
            found.extend(baseline::overridden(&pod.metadata, &pod.spec, minor));
            found
        }
        Level::Restricted => {
            let mut found = baseline::common(&pod.metadata, &pod.spec, minor);
            found.extend(restricted::all(&pod.spec, minor));
            found
        }
    }
}

fn reasons(found: &[Finding]) -> String {
    found.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn details(found: &[Finding]) -> String {
    found.iter().map(Finding::to_string).collect::<Vec<_>>().join(", ")
}

fn told(name: &str, others: usize, reasons: &str) -> String {
    match others {
        0 => format!("{name}: {reasons}"),
        1 => format!("{name} (and 1 other pod): {reasons}"),
        _ => format!("{name} (and {others} other pods): {reasons}"),
    }
}

fn invalid(attributes: &Attributes<'_>, wrong: &[WrongLabel]) -> Status {
    let mut errors = Errors::new();
    let labels = Path::new("metadata").child("labels");
    for WrongLabel { key, value, detail } in wrong {
        errors.invalid(&labels.key(key), value.as_str(), *detail);
    }
    Status::invalid("", "Namespace", attributes.name.name(), &errors)
}

#[cfg(test)]
mod tests;
