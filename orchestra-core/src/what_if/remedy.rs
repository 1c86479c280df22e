//! Which small change helps an object with which something is the matter: what might help is tried in forks, one after another.

use std::fmt;

use serde::Serialize;
use serde_json::json;

use super::{AskError, CALM, Intervention, Question, observe, start};
use crate::api::{Client, Status, Target};
use crate::clock::run_virtual;
use crate::cluster::Fork;
use crate::explain::{About, Attempt, Facts, Story, attempts, explain, sources};
use crate::watch::Query;

/// A change that helped in a fork.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// What was done, in words.
    pub does: String,
    /// What was done.
    pub change: Intervention,
    /// After how many seconds all was at rest.
    pub seconds: u64,
    /// What is the matter then, if it is less and not nothing.
    pub left: Option<String>,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.seconds {
            0 => "at once".to_owned(),
            seconds => format!("{seconds} s later"),
        };
        match &self.left {
            None => write!(f, "{}: nothing is the matter any more {when}", self.does),
            Some(left) => write!(f, "{}: {when} there is less the matter: {left}", self.does),
        }
    }
}

/// Finds the smallest change that helps an object, in a thread of its own, which belongs to the async runtime of the caller.
/// Nothing, if nothing is the matter with it or nothing helps that was tried.
///
/// # Errors
/// See [`AskError`].
pub async fn remedy(fork: Fork, about: About) -> Result<Option<Remedy>, AskError> {
    let found = tokio::task::spawn_blocking(move || remedy_here(&fork, &about)).await;
    found.unwrap_or_else(|error| Err(AskError::Died(error.to_string())))
}

/// The same in this thread, which must not be one of an async runtime.
///
/// # Errors
/// See [`AskError`].
pub fn remedy_here(fork: &Fork, about: &About) -> Result<Option<Remedy>, AskError> {
    let Some((before, all)) = look(fork, about)? else { return Ok(None) };
    for attempt in all {
        let Some(change) = change_of(&attempt) else { continue };
        let (after, seconds) = match live(fork, about, &change) {
            // What is not even possible does not help.
            Err(AskError::Refused { .. }) => continue,
            lived => lived?,
        };
        if after.as_ref().is_none_or(|after| after.severity > before.severity) {
            let left = after.map(|story| story.summary);
            return Ok(Some(Remedy { does: attempt.to_string(), change, seconds, left }));
        }
    }
    Ok(None)
}

/// What is the matter with an object as things are, and what might help.
fn look(fork: &Fork, about: &About) -> Result<Option<(Story, Vec<Attempt>)>, AskError> {
    let (fork, about) = (fork.clone(), about.clone());
    run_virtual(1, Some(fork.at()), move |clock| async move {
        let cluster = start(&fork, &clock, Vec::new()).await?;
        let facts = gather(&cluster.client()).await?;
        let found = explain(&facts, &about).map(|story| {
            let all = attempts(&facts, &story);
            (story, all)
        });
        cluster.shutdown().await;
        Ok(found)
    })?
}

/// What is the matter with an object when a change was made and all is at rest.
fn live(fork: &Fork, about: &About, change: &Intervention) -> Result<(Option<Story>, u64), AskError> {
    let (fork, about, question) = (fork.clone(), about.clone(), Question::new([change.clone()]));
    run_virtual(1, Some(fork.at()), move |clock| async move {
        let cluster = start(&fork, &clock, Vec::new()).await?;
        let lived = observe(&cluster, &question, CALM, None).await;
        let facts = gather(&cluster.client()).await?;
        cluster.shutdown().await;
        Ok((explain(&facts, &about), lived?.changed_until.as_secs()))
    })?
}

async fn gather(client: &Client) -> Result<Facts, Status> {
    let mut facts = Facts::new(client.clock().now());
    for source in sources() {
        let target = Target::collection((source.group, source.version, source.resource), None);
        for entry in client.service().cache(&target).await?.list(&Query::all()) {
            // What cannot be read says nothing.
            let _ = facts.add_entry(source.resource, &entry);
        }
    }
    Ok(facts)
}

/// An attempt as a change of the cluster.
fn change_of(attempt: &Attempt) -> Option<Intervention> {
    let kind = |about: &About| match &*about.resource {
        "deployments" => Some("Deployment"),
        "statefulsets" => Some("StatefulSet"),
        "daemonsets" => Some("DaemonSet"),
        _ => None,
    };
    let applied = |about: &About, spec| {
        let metadata = json!({"namespace": about.namespace, "name": about.name});
        let (kind, version) = (kind(about)?, "apps/v1");
        Some(Intervention::Apply(
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}),
        ))
    };
    match attempt {
        Attempt::Uncordon(node) => Some(Intervention::Uncordon(node.clone())),
        Attempt::Resume(about) => applied(about, json!({"paused": false})),
        Attempt::RaiseQuota { namespace, name, hard } => Some(Intervention::Apply(json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"namespace": namespace, "name": name},
            "spec": {"hard": hard},
        }))),
        Attempt::AskLess { workload, container, resource, to } => {
            let mut requests = serde_json::Map::new();
            requests.insert(resource.clone(), json!(to));
            let container = json!({"name": container, "resources": {"requests": requests}});
            applied(workload, json!({"template": {"spec": {"containers": [container]}}}))
        }
    }
}
