mod own_writes;

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

use super::{Action, Context, Controller, Error, EveryKind, Key, Metrics, Seen as Told, Terminal, predicate};
use crate::api::access::Authenticated;
use crate::api::{
    Client, Kind, Operation, Patch, Reply, Responders, Response, Server, ServerConfig, Service, Status,
    Target, User, WatchOptions, WatchStream,
};
use crate::clock::{SharedClock, TokioClock};
use crate::meta::{Object, ObjectName, Revision, controller_of};
use crate::selector::Selector;
use crate::store::memory::MemoryStore;
use crate::supervise::Backoff;
use crate::watch::{Cache, CacheWriter, Entry, Event, IndexedFields, Progress, Update};

async fn client() -> Client {
    let config = ServerConfig {
        store: Arc::new(MemoryStore::new()),
        kinds: Arc::new(crate::objects::builtin()),
        clock: TokioClock::simulated(1),
        admission: Box::new(|_, _| Vec::new()),
        authorizer: Box::new(|_| Arc::new(Authenticated)),
        responders: Box::new(|_, _, _| Responders::new()),
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

impl Seen {
    /// The next ones within ten seconds, however much more happens.
    async fn soon(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        let collect = async {
            while let Some(name) = self.0.recv().await {
                seen.push(name);
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), collect).await;
        seen
    }
}

/// Runs a controller of ConfigMaps that only says for what it runs.
fn watch(controller: Controller) -> Seen {
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
        let map: ConfigMap = entry.decode_bare().ok()?;
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
    Controller::new::<ConfigMap>(client).run(reconcile, stop.cancelled()).await.unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

/// What a controller does whose reconciler is told apart from the others by what it answers.
async fn answers(
    controller: Controller,
    answer: impl Fn(u32) -> Result<Action, Error> + Send + Sync + 'static,
) -> Seen {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reconcile = move |context: Context| {
        let _ = sender.send(context.name().name().to_owned());
        std::future::ready(answer(context.attempt()))
    };
    tokio::spawn(controller.run(reconcile, std::future::pending()));
    Seen(receiver)
}

#[tokio::test(start_paused = true)]
async fn a_trigger_outlives_a_panic_and_makes_good_what_it_missed() {
    let client = client().await;
    // Both the map and the predicate panic for an object as long as it is poisonous.
    let poison = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (in_map, in_predicate) = (Arc::clone(&poison), Arc::clone(&poison));
    let controller = Controller::new::<ConfigMap>(client.clone())
        .when(move |event: &Event| {
            let poisonous = event.object.name().name() == "poison" && in_predicate.load(Ordering::SeqCst);
            assert!(!poisonous, "a bug in a predicate");
            true
        })
        .watches::<Secret, _, _>(move |entry| {
            let poisonous = entry.name().name() == "venom" && in_map.load(Ordering::SeqCst);
            assert!(!poisonous, "a bug in a map");
            [entry.name().clone()]
        });
    let mut seen = watch(controller);
    create::<ConfigMap>(&client, named("poison")).await;
    create::<Secret>(&client, named("venom")).await;
    create::<ConfigMap>(&client, named("map")).await;
    create::<Secret>(&client, named("secret")).await;
    let all = seen.soon().await;
    assert!(all.contains(&"map".to_owned()) && all.contains(&"secret".to_owned()), "{all:?}");
    assert!(!all.contains(&"venom".to_owned()), "{all:?}");
    poison.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(seen.soon().await.contains(&"venom".to_owned()), "it is told of it again");
    assert_eq!(seen.all().await, [""; 0], "and of nothing more than that");
}

#[tokio::test(start_paused = true)]
async fn two_predicates_must_both_let_an_event_through_and_one_of_a_kind_that_is_read_filters_nothing() {
    let client = client().await;
    let controller = Controller::new::<ConfigMap>(client.clone())
        .when(|event: &Event| event.object.labels().has("a", "1"))
        .when(|event: &Event| event.object.labels().has("b", "1"))
        .reads::<Secret>()
        .when(|_: &Event| false);
    let mut seen = watch(controller);
    assert_eq!(seen.all().await, [""; 0]);
    for (name, labels) in
        [("one", json!({"a": "1"})), ("other", json!({"b": "1"})), ("both", json!({"a": "1", "b": "1"}))]
    {
        create::<ConfigMap>(&client, json!({"metadata": {"name": name, "labels": labels}})).await;
    }
    assert_eq!(seen.all().await, ["both"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_told_to_stop_and_then_dropped() {
    let client = client().await;
    create::<ConfigMap>(&client, named("map")).await;
    let clock = Arc::clone(client.clock());
    let stop = CancellationToken::new();
    let (begun, told) = (stop.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&told);
    let reconcile = move |context: Context| {
        let (begun, told) = (begun.clone(), Arc::clone(&counted));
        async move {
            begun.cancel();
            context.stopping().cancelled().await;
            told.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Action, Error>>().await
        }
    };
    let began = clock.elapsed();
    let controller = Controller::new::<ConfigMap>(client).grace(Duration::from_secs(5));
    controller.run(reconcile, stop.cancelled()).await.unwrap();
    assert_eq!((told.load(Ordering::SeqCst), (clock.elapsed() - began).as_secs()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_error_is_not_retried_before_something_changes() {
    let client = client().await;
    create::<ConfigMap>(&client, named("map")).await;
    let terminal = |_| Err(Terminal::new("it makes no sense").into());
    let mut seen = answers(Controller::new::<ConfigMap>(client.clone()), terminal).await;
    assert_eq!(seen.all().await, ["map"]);
    let maps = client.api::<ConfigMap>("default");
    maps.patch("map", Patch::Merge(json!({"data": {"a": "b"}}))).await.unwrap();
    assert_eq!(seen.all().await, ["map"]);
}

#[tokio::test(start_paused = true)]
async fn delays_are_those_that_were_asked_for() {
    let client = client().await;
    create::<ConfigMap>(&client, named("map")).await;
    let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(10));
    let controller = Controller::new::<ConfigMap>(client.clone()).backoff(backoff);
    let fails = |attempt| if attempt < 3 { Err("not yet".into()) } else { Ok(Action::Done) };
    let began = client.clock().elapsed();
    let mut seen = answers(controller, fails).await;
    for _ in 0..4 {
        seen.0.recv().await.unwrap();
    }
    assert_eq!((client.clock().elapsed() - began).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn names_may_come_from_outside() {
    let client = client().await;
    let (sender, names) = mpsc::unbounded_channel();
    let names = futures::stream::unfold(names, |mut names| async { Some((names.recv().await?, names)) });
    let mut seen = watch(Controller::new::<ConfigMap>(client).named_by(names));
    sender.send(ObjectName::namespaced("default", "a")).unwrap();
    sender.send(ObjectName::namespaced("default", "b")).unwrap();
    assert_eq!(seen.all().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_keeps_to_its_namespace_and_its_labels() {
    let client = client().await;
    create::<Namespace>(&client, named("other")).await;
    let blue = Selector::parse("color=blue").unwrap();
    let controller = Controller::new::<ConfigMap>(client.clone())
        .in_namespace("default")
        .labelled(&blue)
        .watches::<Secret, _, _>(|entry| [entry.name().clone()]);
    let mut seen = watch(controller);
    let colored = |name: &str, color: &str| {
        let object = json!({"metadata": {"name": name, "labels": {"color": color}}});
        serde_json::from_value::<ConfigMap>(object).unwrap()
    };
    for (namespace, name, color) in
        [("default", "a", "blue"), ("default", "b", "red"), ("other", "c", "blue")]
    {
        client.api::<ConfigMap>(namespace).create(&colored(name, color)).await.unwrap();
    }
    assert_eq!(seen.all().await, ["a"]);
    // Whatever leads there.
    create::<Secret>(&client, named("b")).await;
    create::<Secret>(&client, named("a")).await;
    assert_eq!(seen.all().await, ["a"]);
    let repainted = Patch::Merge(json!({"metadata": {"labels": {"color": "red"}}}));
    client.api::<ConfigMap>("default").patch("a", repainted).await.unwrap();
    assert_eq!(seen.all().await, [""; 0], "it is not one of its objects any more");
}

#[tokio::test(start_paused = true)]
async fn a_host_can_read_how_a_controller_keeps_up() {
    let client = client().await;
    let metrics = Metrics::default();
    let fails = |attempt| if attempt < 3 { Err("not yet".into()) } else { Ok(Action::Done) };
    let controller = Controller::new::<ConfigMap>(client.clone()).metrics(&metrics);
    let mut seen = answers(controller, fails).await;
    create::<ConfigMap>(&client, named("map")).await;
    assert_eq!(seen.all().await.len(), 4);
    let stats = metrics.read().remove("configmap").unwrap();
    assert_eq!((stats.retries, stats.ran.count, stats.waited.count, stats.added), (3, 4, 4, 4));
    assert_eq!((stats.ready, stats.running, stats.delayed, stats.failing), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_ever_is_told_why_the_caches_are_not_filled() {
    let client = client().await;
    let kind = Kind {
        id: crate::meta::GroupResource::new("example.org", "widgets"),
        version: "v1".into(),
        kind: "Widget".into(),
        scope: crate::meta::Scope::Namespaced,
    };
    let controller = Controller::of(kind, client).fill_within(Duration::from_secs(60));
    let reconcile = |_: Context| std::future::ready(Ok::<_, Error>(Action::Done));
    let error = controller.run(reconcile, std::future::pending()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_controller_of_every_kind_is_told_of_which_kind_a_key_is() {
    let client = client().await;
    let itself =
        |_: &EveryKind, kind: &Arc<Kind>, seen: Told<'_>| vec![Key::of(kind, seen.object().name().clone())];
    let is_meant = |kind: &Kind| matches!(&*kind.kind, "ConfigMap" | "Secret");
    let (sender, receiver) = mpsc::unbounded_channel();
    let reconcile = move |context: Context| {
        let kind = context.kind().unwrap();
        let held = context.every_kind().get(&kind.id).unwrap().1.get(context.name());
        let _ = sender.send(format!("{} {}", kind.kind, held.unwrap().name()));
        std::future::ready(Ok::<_, Error>(Action::Done))
    };
    let controller = Controller::every_kind(client.clone(), is_meant, itself);
    tokio::spawn(controller.run(reconcile, std::future::pending()));
    create::<ConfigMap>(&client, named("a")).await;
    create::<Secret>(&client, named("a")).await;
    assert_eq!(Seen(receiver).all().await, ["ConfigMap default/a", "Secret default/a"]);
}
