use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Action, Context, Controller, Error, predicate};
use crate::api::access::Authenticated;
use crate::api::{
    Client, Kind, Operation, Patch, Reply, Response, Server, ServerConfig, Service, Status, Target, User,
    WatchOptions, WatchStream,
};
use crate::clock::{SharedClock, TokioClock};
use crate::meta::{Object, Revision, controller_of};
use crate::selector::Selector;
use crate::store::memory::MemoryStore;
use crate::watch::{Cache, CacheWriter, Entry, IndexedFields, Progress, Update};

async fn client() -> Client {
    let config = ServerConfig {
        store: Arc::new(MemoryStore::new()),
        kinds: Arc::new(crate::objects::builtin()),
        clock: TokioClock::simulated(1),
        admission: Box::new(|_| Vec::new()),
        authorizer: Box::new(|_| Arc::new(Authenticated)),
    };
    let server = Server::start(config, CancellationToken::new()).await.unwrap();
    let client = server.client(User::admin());
    create::<Namespace>(&client, json!({"metadata": {"name": "default"}})).await;
    client
}

async fn create<K: Object>(client: &Client, object: Value) -> K {
    let object: K = serde_json::from_value(object).unwrap();
    let api = match K::SCOPE {
        crate::meta::Scope::Namespaced => client.api::<K>("default"),
        crate::meta::Scope::Cluster => client.cluster::<K>(),
    };
    api.create(&object).await.unwrap()
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// The names that are reconciled, as they are.
struct Seen(mpsc::UnboundedReceiver<String>);

impl Seen {
    /// The next ones, in order of name, until nothing more happens for a minute.
    async fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(Some(name)) = tokio::time::timeout(Duration::from_secs(60), self.0.recv()).await {
            all.push(name);
        }
        all.sort();
        all
    }
}

/// Runs a controller of ConfigMaps that only says for what it runs.
fn watch(controller: Controller<ConfigMap>) -> Seen {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reconcile = move |context: Context| {
        let _ = sender.send(context.name().name().to_owned());
        std::future::ready(Ok::<_, Error>(Action::Done))
    };
    tokio::spawn(controller.run(reconcile, std::future::pending()));
    Seen(receiver)
}

#[tokio::test(start_paused = true)]
async fn what_changes_leads_to_its_owner_its_selector_and_its_namesake() {
    let client = client().await;
    let owner = create::<ConfigMap>(&client, named("owner")).await;
    let selecting = json!({"metadata": {"name": "selecting"}, "data": {"selector": "app=web"}});
    create::<ConfigMap>(&client, selecting).await;
    let selector = |entry: &Entry| {
        let map: ConfigMap = entry.decode().ok()?;
        Selector::parse(map.data?.get("selector")?).ok()
    };
    let controller = Controller::new::<ConfigMap>(client.clone())
        .owns::<Secret>()
        .selects::<Secret>(selector)
        .named_by_label::<Secret>("for");
    let mut seen = watch(controller);
    assert_eq!(seen.all().await, ["owner", "selecting"]);

    let owned = json!({"metadata": {"name": "a", "ownerReferences": [controller_of(&owner)]}});
    create::<Secret>(&client, owned).await;
    assert_eq!(seen.all().await, ["owner"]);
    let labeled = json!({"metadata": {"name": "b", "labels": {"app": "web", "for": "namesake"}}});
    create::<Secret>(&client, labeled).await;
    assert_eq!(seen.all().await, ["namesake", "selecting"]);
    // A change counts for those it led to before and for those it leads to now.
    let moved = Patch::Merge(json!({"metadata": {"labels": {"app": null, "for": "other"}}}));
    client.api::<Secret>("default").patch("b", moved).await.unwrap();
    assert_eq!(seen.all().await, ["namesake", "other", "selecting"]);
    client.api::<Secret>("default").delete("a").await.unwrap();
    client.api::<ConfigMap>("default").delete("selecting").await.unwrap();
    assert_eq!(seen.all().await, ["owner", "selecting"]);
}

#[tokio::test(start_paused = true)]
async fn predicates_hold_back_events_of_the_kind_named_last() {
    let client = client().await;
    let controller = Controller::new::<ConfigMap>(client.clone())
        .when(predicate::labels_changed)
        .watches::<Secret, _, _>(|entry| [entry.name().clone()])
        .when(predicate::deleted);
    let mut seen = watch(controller);
    create::<ConfigMap>(&client, named("map")).await;
    create::<Secret>(&client, named("secret")).await;
    assert_eq!(seen.all().await, ["map"]);
    let maps = client.api::<ConfigMap>("default");
    maps.patch("map", Patch::Merge(json!({"data": {"a": "b"}}))).await.unwrap();
    assert_eq!(seen.all().await, [""; 0]);
    maps.patch("map", Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await.unwrap();
    client.api::<Secret>("default").delete("secret").await.unwrap();
    assert_eq!(seen.all().await, ["map", "secret"]);
}

#[tokio::test(start_paused = true)]
async fn failures_and_panics_are_tried_again_ever_later_and_answers_are_kept() {
    let client = client().await;
    create::<ConfigMap>(&client, named("map")).await;
    let (sender, mut runs) = mpsc::unbounded_channel();
    let reconcile = move |context: Context| {
        let sender = sender.clone();
        async move {
            let _ = sender.send((Instant::now(), context.attempt()));
            match context.attempt() {
                0..3 => Err(Error::from("not yet")),
                3 => panic!("what a mess"),
                _ => Ok(Action::Again(Duration::from_secs(60))),
            }
        }
    };
    let start = Instant::now();
    tokio::spawn(Controller::new::<ConfigMap>(client).run(reconcile, std::future::pending()));
    let mut seen = Vec::new();
    for _ in 0..6 {
        let (at, attempt) = runs.recv().await.unwrap();
        seen.push((at.duration_since(start).as_millis(), attempt));
    }
    let attempts: Vec<_> = seen.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [0, 1, 2, 3, 4, 0], "an answer ends the row of failures");
    let delays: Vec<_> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(delays[..4].iter().map(|delay| delay / 5 * 5).collect::<Vec<_>>(), [5, 10, 20, 40]);
    assert!((60_000..60_010).contains(&delays[4]), "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_stopped_lets_its_runs_end() {
    let client = client().await;
    create::<ConfigMap>(&client, named("map")).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let reconcile = move |_: Context| {
        let (ended, stop) = (Arc::clone(&counted), stopping.clone());
        async move {
            stop.cancel();
            tokio::time::sleep(Duration::from_secs(5)).await;
            ended.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Error>(Action::Again(Duration::ZERO))
        }
    };
    Controller::new::<ConfigMap>(client).run(reconcile, stop.cancelled()).await;
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

/// A service whose cache lags behind its writes until the test says otherwise.
#[derive(Debug)]
struct Lagging {
    clock: SharedClock,
    progress: Arc<Progress>,
    caches: Mutex<BTreeMap<String, CacheWriter>>,
    writes: AtomicUsize,
}

/// The revision of every write to it.
const WRITTEN: Revision = Revision(5);

fn secret(name: &str) -> Arc<Entry> {
    let json = json!({"metadata": {"name": name, "namespace": "default", "uid": name}});
    Arc::new(Entry::read(Bytes::from(json.to_string()), WRITTEN, &IndexedFields::none()).unwrap())
}

impl Lagging {
    fn catch_up(&self, revision: Revision) {
        let update = (revision == WRITTEN).then(|| Update::Put(secret("child")));
        self.caches.lock().unwrap().get_mut("secrets").unwrap().apply(revision, update);
        self.progress.advance(revision);
    }
}

#[async_trait]
impl Service for Lagging {
    async fn call(&self, _: &User, _: Target, _: Operation) -> Result<Response, Status> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(Reply::Object(secret("child"))))
    }

    async fn watch(&self, _: &User, _: Target, _: WatchOptions) -> Result<WatchStream, Status> {
        Err(Status::internal("not here"))
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        let mut caches = self.caches.lock().unwrap();
        let new = || {
            let mut writer = CacheWriter::new(&IndexedFields::none(), Arc::clone(&self.progress));
            let objects = (&*target.resource == "configmaps").then(|| secret("parent"));
            writer.fill(objects, Revision(1));
            writer
        };
        let cache = caches.entry(target.resource.to_string()).or_insert_with(new).cache().clone();
        self.progress.advance(Revision(1));
        Ok(cache)
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        Ok(Vec::new())
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_for_an_object_before_its_own_writes_were_seen() {
    let service = Arc::new(Lagging {
        clock: TokioClock::simulated(1),
        progress: Progress::new(),
        caches: Mutex::default(),
        writes: AtomicUsize::new(0),
    });
    let client = Client::new(Arc::clone(&service) as Arc<dyn Service>, User::admin());
    // Creates a child if it sees none, and would like to look again soon.
    let reconcile = |context: Context| async move {
        let secrets = context.cache::<Secret>().await?;
        if !secrets.is_empty() {
            return Ok(Action::Done);
        }
        let child = serde_json::from_value(json!({"metadata": {"name": "child"}}))?;
        context.api::<Secret>().create(&child).await?;
        Ok::<_, Error>(Action::Again(Duration::from_secs(1)))
    };
    let controller = Controller::new::<ConfigMap>(client).owns::<Secret>();
    tokio::spawn(controller.run(reconcile, std::future::pending()));
    let writes = || service.writes.load(Ordering::SeqCst);
    for revision in 2..5 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(writes(), 1);
        service.catch_up(Revision(revision));
    }
    service.catch_up(WRITTEN);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(writes(), 1, "the child was seen, so there is nothing to do");
}
