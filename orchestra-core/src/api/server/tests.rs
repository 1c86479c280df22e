use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::thread::LocalKey;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Server, ServerConfig};
use crate::api::Responders;
use crate::api::access::Authenticated;
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{
    Body, Client, DeleteOptions, Operation, Patch, Reply, Status, Target, User, WriteOptions, decode,
};
use crate::clock::TokioClock;
use crate::store::memory::MemoryStore;
use crate::store::{Key, Txn};
use crate::watch::counted;

/// One call of an admission: what was asked for, and of the states before and after whether they are there and marked.
type Asked = (WriteVerb, Option<bool>, Option<bool>);

/// Notes what it is asked, and gives each object a record of its own.
#[derive(Clone, Debug, Default)]
struct Noting {
    mutated: Arc<Mutex<usize>>,
    checked: Arc<Mutex<Vec<Asked>>>,
}

impl Noting {
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.checked.lock().unwrap())
    }
}

fn record(name: &str) -> Key {
    Key::new(format!("/~noted/{name}"))
}

#[async_trait]
impl Admission for Noting {
    async fn mutate(&self, _: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        *self.mutated.lock().unwrap() += 1;
        object["metadata"]["annotations"]["noted"] = "yes".into();
        Ok(Vec::new())
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let marked = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
        self.checked.lock().unwrap().push((attributes.verb, attributes.old.map(marked), new.map(marked)));
        let key = record(attributes.name.name());
        *txn = match (attributes.old, new) {
            (None, Some(_)) => std::mem::take(txn).create(key, "given"),
            (Some(_), None) => std::mem::take(txn).delete(key),
            _ => std::mem::take(txn),
        };
        Ok(Vec::new())
    }
}

async fn server(noting: &Noting) -> (Arc<Server>, Client) {
    let noting = noting.clone();
    let config = ServerConfig {
        store: Arc::new(MemoryStore::new()),
        kinds: Arc::new(crate::objects::builtin()),
        clock: TokioClock::simulated(1),
        admission: Box::new(move |_, _| vec![Arc::new(noting)]),
        authorizer: Box::new(|_| Arc::new(Authenticated)),
        responders: Box::new(|_, _, _| Responders::new()),
    };
    let server = Server::start(config, CancellationToken::new()).await.unwrap();
    let client = server.client(User::admin());
    (server, client)
}

async fn is_recorded(server: &Server, name: &str) -> bool {
    server.store().unwrap().get(&record(name), None).await.unwrap().is_some()
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
    })
}

#[tokio::test(start_paused = true)]
async fn admission_is_asked_once_a_step_and_what_it_gave_goes_with_the_object() {
    let noting = Noting::default();
    let (server, client) = server(&noting).await;
    let pods = client.api::<Pod>("default");
    pods.create(&serde_json::from_value(pod("a")).unwrap()).await.unwrap();
    assert_eq!(
        (noting.take(), *noting.mutated.lock().unwrap()),
        (vec![(WriteVerb::Create, None, Some(false))], 1)
    );
    assert!(is_recorded(&server, "a").await);
    pods.delete("a").await.unwrap();
    assert_eq!(noting.take(), [(WriteVerb::Delete, Some(false), Some(true))], "first it is only marked");
    assert!(is_recorded(&server, "a").await);
    let now = DeleteOptions { grace_period: Some(0), ..DeleteOptions::default() };
    pods.delete_with("a", now).await.unwrap();
    assert_eq!(noting.take(), [(WriteVerb::Delete, Some(true), None)]);
    assert!(!is_recorded(&server, "a").await);
    assert_eq!(*noting.mutated.lock().unwrap(), 1, "a deletion changes nothing of the object");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_lets_an_object_go_frees_what_it_had() {
    let noting = Noting::default();
    let (server, client) = server(&noting).await;
    let maps = client.api::<ConfigMap>("default");
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.org/held"]}});
    maps.create(&serde_json::from_value(held).unwrap()).await.unwrap();
    maps.delete("a").await.unwrap();
    noting.take();
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", released).await.unwrap();
    assert_eq!(noting.take(), [(WriteVerb::Update, Some(true), None)]);
    assert!(maps.find("a").await.unwrap().is_none() && !is_recorded(&server, "a").await);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_nothing_is_no_write() {
    let noting = Noting::default();
    let (server, client) = server(&noting).await;
    let maps = client.api::<ConfigMap>("default");
    maps.create(&serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap()).await.unwrap();
    let before = server.store().unwrap().revision().await.unwrap();
    maps.update(&maps.get("a").await.unwrap()).await.unwrap();
    assert_eq!(server.store().unwrap().revision().await.unwrap(), before);
}

fn count(of: &'static LocalKey<Cell<usize>>) -> usize {
    of.with(Cell::get)
}

#[tokio::test(start_paused = true)]
async fn a_creation_decodes_once_and_encodes_once() {
    let (_server, client) = server(&Noting::default()).await;
    let mut manifest = pod("a");
    manifest["metadata"]["annotations"]["long"] = "x".repeat(1_800).into();
    let create = |manifest: &Value| {
        let body = Body::Json(manifest.to_string().into());
        Operation::Create { body, options: WriteOptions::default() }
    };
    let pods = Target::of::<Pod>(Some("default"));
    let counts = || (count(&decode::DECODED), count(&counted::ENCODED), count(&counted::READ));
    let before = counts();
    let made = client.call(pods.clone(), create(&manifest)).await.unwrap();
    let after = counts();
    assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (1, 1, 0));
    // The caches hold the very object that was answered.
    let Reply::Object(made) = made.reply else { panic!("no object") };
    let cache = client.service().cache(&pods).await.unwrap();
    assert!(Arc::ptr_eq(&made, &cache.get(made.name()).unwrap()));
}
