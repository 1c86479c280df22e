//! The events of a trace, done again in a cluster that runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};

use super::trim::{is_bare, kind, text};
use super::{HPA, TraceEvent};
use crate::api::history::restored;
use crate::api::{Client, DeleteOptions, Objects, Patch, Status, WriteOptions};
use crate::objects;
use crate::what_if::Hollow;

/// How many refusals are kept.
const REFUSALS: usize = 50;

/// What does the events of a trace again.
pub(super) struct Again {
    pub(super) client: Client,
    pub(super) hollow: Arc<Hollow>,
    /// The pods that were made here by hand.
    pub(super) made: BTreeSet<(String, String)>,
    /// The workloads whose size autoscalers say, and not the trace.
    pub(super) scaled: BTreeSet<String>,
    pub(super) refused: Vec<String>,
}

impl Again {
    pub(super) async fn take(&mut self, event: &TraceEvent) {
        let object = event.object();
        if event.kind == HPA {
            // What it wrote is lived again, or what another one writes.
            return;
        }
        if event.kind == "pods" {
            // Others are made by what makes pods here, and what becomes of each is for this cluster to say.
            let name =
                (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
            let is_over = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
            let concerns = match event.put {
                Some(_) => !is_over && is_bare(object) && self.made.insert(name),
                None => self.made.remove(&name),
            };
            if !concerns {
                return;
            }
        }
        match &event.put {
            Some(object) => self.put(&event.kind, object).await,
            None => self.remove(&event.kind, object).await,
        }
    }

    fn objects(&self, name: &str, object: &Value) -> Option<Objects> {
        objects_of(&self.client, name, object)
    }

    pub(super) async fn put(&mut self, name: &str, object: &Value) {
        let Some(objects) = self.objects(name, object) else { return };
        let called = text(object, "/metadata/name");
        let outcome = match name {
            "nodes" => put_node(&self.client, &self.hollow, object).await,
            _ => write(&objects, name, called, object, self.is_scaled(name, object)).await,
        };
        self.note(name, called, outcome);
    }

    /// Whether autoscalers say how many pods a workload has.
    fn is_scaled(&self, kind: &str, object: &Value) -> bool {
        let (plural, _) = kind.split_once('.').unwrap_or((kind, ""));
        let namespace = text(object, "/metadata/namespace");
        let name = text(object, "/metadata/name");
        self.scaled.contains(&format!("{namespace}/{}/{name}", plural.trim_end_matches('s')))
    }

    async fn remove(&mut self, name: &str, object: &Value) {
        let Some(objects) = self.objects(name, object) else { return };
        let called = text(object, "/metadata/name");
        if name == "nodes" {
            self.hollow.set(called, false);
        }
        let outcome = match objects.delete(called, DeleteOptions::default()).await {
            Err(status) if status.is_not_found() => Ok(()),
            outcome => outcome,
        };
        self.note(name, called, outcome);
    }

    /// Has nothing come any more that only the time asks for: after its end the trace says nothing of it, and a cluster with
    /// a CronJob would never come to rest.
    pub(super) async fn ask_no_more(&mut self) {
        let all = match self.client.cluster::<CronJob>().list().await {
            Ok(all) => all,
            Err(status) => return self.note("cronjobs.batch", "", Err(status)),
        };
        for cron in all.iter() {
            let (namespace, name) = (cron.metadata.namespace.as_deref(), cron.metadata.name.as_deref());
            let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
            let jobs = self.client.api::<CronJob>(namespace);
            let outcome = jobs.patch(name, Patch::Merge(json!({"spec": {"suspend": true}}))).await;
            self.note("cronjobs.batch", name, outcome.map(drop));
        }
    }

    fn note(&mut self, kind: &str, name: &str, outcome: Result<(), Status>) {
        if let Err(status) = outcome
            && self.refused.len() < REFUSALS
        {
            self.refused.push(format!("{kind} {name}: {}", status.message()));
        }
    }
}

fn objects_of(client: &Client, name: &str, object: &Value) -> Option<Objects> {
    let (group, version, resource) = kind(name)?;
    let row = objects::builtin().served(group, version, resource)?.info();
    let namespace = match (object.pointer("/metadata/namespace").and_then(Value::as_str), name) {
        (None, HPA) => Some("default"),
        (namespace, _) => namespace,
    };
    Some(client.objects(&row, namespace))
}

/// Has a node be there as it is said to be; one that is not ready falls silent.
pub(super) async fn put_node(client: &Client, hollow: &Hollow, node: &Value) -> Result<(), Status> {
    let Some(objects) = objects_of(client, "nodes", node) else { return Ok(()) };
    let name = text(node, "/metadata/name");
    let written = write(&objects, "nodes", name, node, false).await;
    let ready = node.pointer("/status/conditions/0/status").is_some_and(|status| status == "True");
    hollow.set(name, ready);
    if ready {
        let status = json!({"status": node["status"]});
        objects.patch_status(name, Patch::Merge(status), WriteOptions::default()).await?;
    }
    written
}

/// Makes an object as it is said to be, or changes it into that; of one that is scaled the size stays.
async fn write(
    objects: &Objects,
    kind: &str,
    name: &str,
    object: &Value,
    is_scaled: bool,
) -> Result<(), Status> {
    let options = WriteOptions::default;
    let mut object = if kind == "pods" { fresh(object) } else { object.clone() };
    let now = match objects.get(name).await {
        Ok(now) => now.to_value().map_err(Status::internal)?,
        Err(status) if status.is_not_found() => return objects.create(object, options()).await.map(drop),
        Err(status) => return Err(status),
    };
    if is_scaled {
        object["spec"]["replicas"] = now["spec"]["replicas"].clone();
    }
    match kind {
        // Of a pod, nothing that matters can be changed.
        "pods" => Ok(()),
        "jobs.batch" => {
            let spec = &object["spec"];
            let change = json!({"spec": {"parallelism": spec["parallelism"], "suspend": spec["suspend"]}});
            objects.patch(name, Patch::Merge(change), options()).await.map(drop)
        }
        "namespaces" | "services" => {
            let change = json!({"metadata": {"labels": object["metadata"]["labels"]}});
            objects.patch(name, Patch::Merge(change), options()).await.map(drop)
        }
        _ => objects.update(name, restored(&object, Some(&now)), options()).await.map(drop),
    }
}

/// A pod as somebody would make it.
fn fresh(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    let mut made =
        json!({"metadata": {"name": meta["name"], "namespace": meta["namespace"]}, "spec": pod["spec"]});
    if meta["labels"].is_object() {
        made["metadata"]["labels"] = meta["labels"].clone();
    }
    if let Some(spec) = made["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    made
}
