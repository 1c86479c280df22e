//! What the cluster shows, followed by watches and made into rows.

use std::time::{Duration, Instant};

use futures::future::join_all;
use orchestra_core::api::{Client, ListOptions, Operation, Reply, Target};
use orchestra_core::explain::{Facts, Source, sources, wrong};
use orchestra_core::meta::Revision;
use orchestra_core::watch::{Cache, Query};
use serde_json::Value;

use super::rows::{self, Usage};
use super::state::Data;

/// How often figures of use are asked for: they are measured no more often.
const MEASURED: Duration = Duration::from_secs(15);
/// How often ages are told anew where nothing changes.
const AGED: Duration = Duration::from_secs(2);
/// How many events are shown.
const EVENTS: usize = 2000;

/// The caches of what is looked at, and what was made of them last.
pub(super) struct Feed {
    client: Client,
    caches: Vec<(Source, Option<Cache>)>,
    seen: Vec<Revision>,
    built: Option<Instant>,
    /// How long making it took: what takes long is done seldom.
    took: Duration,
    usage: (Usage, Usage),
    measured: Option<Instant>,
}

impl Feed {
    /// Begins to follow all kinds that may be followed; returns when each has come once or was refused.
    pub(super) async fn open(client: Client) -> Self {
        let opened = sources().map(|source| {
            let client = client.clone();
            async move {
                let target = Target::collection((source.group, source.version, source.resource), None);
                (source, client.service().cache(&target).await.ok())
            }
        });
        let caches = join_all(opened).await;
        let usage = Default::default();
        Self { client, caches, seen: Vec::new(), built: None, took: Duration::ZERO, usage, measured: None }
    }

    /// What is used, if the cluster measures it.
    async fn measure(&mut self) {
        if self.measured.is_some_and(|at| at.elapsed() < MEASURED) {
            return;
        }
        self.measured = Some(Instant::now());
        let figures = ["pods", "nodes"].map(|resource| {
            let target = Target::collection(("metrics.k8s.io", "v1beta1", resource), None);
            self.client.call(target, Operation::List(ListOptions::default()))
        });
        let [pods, nodes] = figures;
        let (pods, nodes) = futures::join!(pods, nodes);
        let read = |answer: Result<orchestra_core::api::Response, _>| match answer.map(|answer| answer.reply)
        {
            Ok(Reply::List(list)) => {
                let values: Vec<Value> =
                    list.objects.iter().filter_map(|entry| entry.to_value().ok()).collect();
                rows::usage(&values)
            }
            _ => Usage::new(),
        };
        self.usage = (read(pods), read(nodes));
    }

    /// What is to be shown now; nothing, if it is what was shown last.
    pub(super) async fn next(&mut self) -> Option<Data> {
        let now: Vec<Revision> = self
            .caches
            .iter()
            .filter_map(|(_, cache)| cache.as_ref())
            .map(|cache| cache.snapshot().changed())
            .collect();
        let since = self.built.map(|at| at.elapsed());
        let is_due = since.is_none_or(|since| since >= AGED || now != self.seen);
        if !is_due || since.is_some_and(|since| since < 4 * self.took) {
            return None;
        }
        self.measure().await;
        let began = Instant::now();
        let data = self.data();
        self.took = began.elapsed();
        self.built = Some(Instant::now());
        self.seen = now;
        Some(data)
    }

    fn values(&self, resource: &str) -> Vec<Value> {
        let cache = self.caches.iter().find(|(source, _)| source.resource == resource);
        let entries = cache.and_then(|(_, cache)| cache.as_ref()).map(|cache| cache.list(&Query::all()));
        entries.into_iter().flatten().filter_map(|entry| entry.to_value().ok()).collect()
    }

    fn data(&self) -> Data {
        let now = self.client.clock().now();
        let mut facts = Facts::new(now);
        let mut unread = Vec::new();
        for (source, cache) in &self.caches {
            match cache {
                Some(cache) => {
                    for entry in cache.list(&Query::all()) {
                        // What cannot be read says nothing of what is wrong.
                        let _ = facts.add_entry(source.resource, &entry);
                    }
                }
                None => unread.push(source.resource.to_owned()),
            }
        }
        let (pods, mut events) = (self.values("pods"), self.values("events"));
        events.sort_by(|a, b| rows::seen(b).cmp(rows::seen(a)));
        let name = |value: &Value| rows::text(value, "/metadata/name").to_owned();
        Data {
            cluster: String::new(),
            pods: pods.iter().map(|pod| rows::pod(pod, &self.usage.0, now)).collect(),
            nodes: self
                .values("nodes")
                .iter()
                .map(|node| rows::node(node, &pods, &self.usage.1, now))
                .collect(),
            events: events.iter().take(EVENTS).map(|event| rows::event(event, now)).collect(),
            wrong: wrong(&facts),
            namespaces: self.values("namespaces").iter().map(name).collect(),
            unread,
            is_whole: true,
        }
    }
}
