//! Why something is not as it should be: the chain from an object to its cause, each step with its evidence and what to
//! do about it.
//!
//! All is worked out of [`Facts`], the objects that somebody may see, by pure functions: so nobody is told of an object
//! that they may not read, and the same question can be asked of a cluster here, of one elsewhere, and of a simulated one.
//!
//! | module | what |
//! | --- | --- |
//! | `facts` | what is known, and how it is found again |
//! | `seen` | the fields of objects that are looked at |
//! | `pods`, `containers` | why a pod does not serve |
//! | `workloads` | why there are not as many pods as there should be |
//! | `services` | why a service leads nowhere |
//! | `others` | nodes, claims and what else has conditions |
//! | `wrong` | all that is wrong, the worst first |
//! | `attempts` | what might help, for whoever can try it |
//!
//! ```
//! use orchestra_core::explain::{Facts, wrong};
//! use serde_json::json;
//!
//! let mut facts = Facts::new("2026-01-01T00:10:00Z".parse().unwrap());
//! facts.add("nodes", json!({
//!     "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
//!     "status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]},
//! })).unwrap();
//! assert_eq!(wrong(&facts)[0].summary, "Node a is not ready: its agent has gone silent.");
//! ```

mod attempts;
mod containers;
mod facts;
mod others;
mod pods;
mod seen;
mod services;
#[cfg(test)]
mod tests;
mod workloads;
mod wrong;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use attempts::{Attempt, attempts};
pub use facts::{Facts, Source, sources};
pub use wrong::{explain, wrong};

/// Which object something is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The plural of the kind, as URLs have it.
    pub resource: String,
    /// The group of the kind; empty for the core group.
    pub group: String,
    /// Its namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How bad something is; the worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Something does not serve at all.
    Critical,
    /// Something serves less than it should, or cannot begin.
    Serious,
    /// It serves, and something should be looked at.
    Minor,
}

/// Where a step is known from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A field of the object, or an event.
    pub from: String,
    /// What it says.
    pub says: String,
}

/// One step from an object towards the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Whose step it is.
    pub about: About,
    /// What is the matter with it, as a sentence.
    pub says: String,
    /// Where that is known from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What would help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// What is the matter with an object, down to the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// The object.
    pub about: About,
    /// How bad it is.
    pub severity: Severity,
    /// All of it in a sentence: what is the matter, and why.
    pub summary: String,
    /// From the object to the cause.
    pub steps: Vec<Step>,
    /// What suffers by it, beside the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affects: Vec<About>,
}

impl About {
    /// An object of a kind.
    pub fn new(group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        let [group, resource, namespace, name] = [group, resource, namespace, name].map(str::to_owned);
        Self { resource, group, namespace, name }
    }

    /// The kind, in a word that people use.
    pub fn kind(&self) -> &str {
        match &*self.resource {
            "pods" => "Pod",
            "nodes" => "Node",
            "services" => "Service",
            "deployments" => "Deployment",
            "replicasets" => "ReplicaSet",
            "statefulsets" => "StatefulSet",
            "daemonsets" => "DaemonSet",
            "jobs" => "Job",
            "cronjobs" => "CronJob",
            "persistentvolumeclaims" => "PersistentVolumeClaim",
            "horizontalpodautoscalers" => "HorizontalPodAutoscaler",
            "namespaces" => "Namespace",
            other => other,
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name)
    }
}

impl Step {
    fn new(about: About, says: impl Into<String>) -> Self {
        Self { about, says: says.into(), evidence: Vec::new(), advice: Vec::new() }
    }

    fn because(mut self, from: impl Into<String>, says: impl Into<String>) -> Self {
        let says = says.into();
        if !says.trim().is_empty() {
            self.evidence.push(Evidence { from: from.into(), says: says.trim().to_owned() });
        }
        self
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

impl Story {
    /// A story of steps, of which there is at least one: the first is the object's, the last is the cause.
    fn of(severity: Severity, steps: Vec<Step>) -> Option<Self> {
        let (first, last) = (steps.first()?, steps.last()?);
        let own = without_dot(&first.says);
        let summary = match steps.len() {
            1 => format!("{} {own}.", first.about),
            _ => format!(
                "{} {own}: {} {}.",
                first.about,
                named(&last.about, &first.about),
                without_dot(&last.says)
            ),
        };
        Some(Self { about: first.about.clone(), severity, summary, steps, affects: Vec::new() })
    }
}

/// An object beside another: its namespace need not be told, and a pod's name tells whose it is.
fn named(about: &About, beside: &About) -> String {
    match about.resource == "pods" && beside.resource != "pods" {
        true => format!("pod {}", about.name),
        false => about.to_string(),
    }
}

fn without_dot(text: &str) -> &str {
    text.trim_end_matches('.')
}
