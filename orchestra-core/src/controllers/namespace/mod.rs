//! Namespaces: what one has from the start, and the emptying of one that is to go.
//!
//! A namespace that is deleted stays until its finalizer `kubernetes` is taken away. Before that, every object of
//! every kind in it is deleted: pods first, since other objects may be what they need to end well. Nothing new comes
//! in meanwhile; the API sees to that. Each run deletes what there is and looks again; it can be cut off anywhere.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, NamespaceCondition, Pod, ServiceAccount};
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::Left;
use super::Host;
use crate::api::{
    Body, DeleteOptions, Kind, ListOptions, Operation, Propagation, Reply, Status, WriteOptions,
};
use crate::control::write;
use crate::control::{Action, Context, Error, EveryKind, Key, Seen, Trigger, predicate};
use crate::meta::{GroupResource, ObjectName, Scope};
use crate::watch::Entry;

const FINALIZER: &str = "kubernetes";
const DEFAULT_ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const ROOT_CA_IS: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                          such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                          distributions of Kubernetes clusters.";
/// How long to wait for what is on its way out, unless the end of something says so earlier.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is read of a namespace.
#[derive(Debug, Deserialize)]
struct View {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: NamespaceStatus,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    finalizers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamespaceStatus {
    conditions: Vec<NamespaceCondition>,
}

/// Runs the controller that empties namespaces.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let is_meant = |kind: &Kind| kind.scope == Scope::Namespaced || kind.id.is::<Namespace>();
    let controller = host
        .controller::<Namespace>()
        .named("namespace-controller")
        .trigger(Trigger::every_kind(is_meant, emptied).when(predicate::deleted))
        .concurrency(10);
    host.run(controller, empty).await
}

/// An object that went leads to its namespace, if that waits to be empty.
fn emptied(kinds: &EveryKind, _: &Arc<Kind>, seen: Seen<'_>) -> Vec<Key> {
    let is_going = |name: &ObjectName| {
        let (_, namespaces) = kinds.get(&GroupResource::of::<Namespace>())?;
        namespaces.get(name).map(|namespace| namespace.is_deleting())
    };
    let namespace = namespace_of(seen.object()).filter(|name| is_going(name).unwrap_or(true));
    namespace.map(Key::from).into_iter().collect()
}

fn namespace_of(entry: &Entry) -> Option<ObjectName> {
    entry.name().namespace().map(ObjectName::cluster)
}

async fn empty(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<Namespace>().await?.filter(|entry| entry.is_deleting()) else {
        return Ok(Action::Done);
    };
    let view = entry.view::<View>()?;
    if !view.spec.finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::Done);
    }
    // What is deleted goes by the name of the namespace, which may be another's by now: the caches may be of the past.
    let name = entry.name().name();
    match context.client().cluster::<Namespace>().objects().get(name).await {
        Ok(now) if now.uid() == entry.uid() => {}
        Ok(_) => return Ok(Action::Done),
        Err(status) if status.is_not_found() => return Ok(Action::Done),
        Err(status) => return Err(status.into()),
    }
    let left = delete_contents(&context, name).await;
    if left.is_nothing() {
        finalize(&context, &entry, &view).await?;
        return Ok(Action::Done);
    }
    let conditions = plan::conditions(&left, &view.status.conditions, context.now());
    if conditions != view.status.conditions {
        let status = json!({ "conditions": conditions });
        write::unless_gone(write::patch_status::<Namespace>(context.client(), &entry, status).await)?;
    }
    match left.errors.first() {
        Some(error) => Err(Error::from(error.clone())),
        None => Ok(Action::Again(LOOK_AGAIN)),
    }
}

async fn delete_contents(context: &Context, namespace: &str) -> Left {
    let mut left = Left::default();
    let kinds = match context.client().service().kinds().await {
        Ok(kinds) => kinds,
        Err(error) => {
            left.discovery = Some(error.to_string());
            return left;
        }
    };
    let pods = GroupResource::of::<Pod>();
    let (first, rest): (Vec<_>, Vec<_>) =
        kinds.iter().filter(|kind| kind.scope == Scope::Namespaced).partition(|kind| kind.id == pods);
    for kinds in [first, rest] {
        for kind in kinds {
            if let Err(error) = delete_kind(context, kind, namespace, &mut left).await {
                left.errors.push(format!("{}: {error}", kind.id));
            }
        }
        if !left.kinds.is_empty() {
            break;
        }
    }
    left
}

/// Deletes the objects of a kind, and notes which of them are still there.
async fn delete_kind(context: &Context, kind: &Kind, namespace: &str, left: &mut Left) -> Result<(), Status> {
    let list = Operation::List(ListOptions::default());
    let before = objects(context, kind, namespace, list.clone()).await?;
    if before.is_empty() {
        return Ok(());
    }
    if before.iter().any(|entry| !entry.is_deleting()) {
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let delete = Operation::DeleteCollection(ListOptions::default(), options);
        context.client().call(kind.target(Some(namespace)), delete).await?;
    }
    let after = objects(context, kind, namespace, list).await?;
    if !after.is_empty() {
        left.kinds.insert(kind.id.clone(), after.len());
    }
    for entry in &after {
        let value = entry.to_value().map_err(Status::internal)?;
        let finalizers = value["metadata"]["finalizers"].as_array().into_iter().flatten();
        for finalizer in finalizers.filter_map(Value::as_str) {
            *left.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

async fn objects(
    context: &Context,
    kind: &Kind,
    namespace: &str,
    list: Operation,
) -> Result<Vec<Arc<Entry>>, Status> {
    match context.client().call(kind.target(Some(namespace)), list).await?.reply {
        Reply::List(list) => Ok(list.objects),
        Reply::Object(_) | Reply::Value(_) => Ok(Vec::new()),
    }
}

/// Lets the namespace go.
async fn finalize(context: &Context, entry: &Entry, view: &View) -> Result<(), Error> {
    let kept: Vec<_> = view.spec.finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let mut namespace = entry.to_value()?;
    namespace["spec"]["finalizers"] = json!(kept);
    let target = write::target::<Namespace>(entry.name()).sub("finalize");
    let update = Operation::Update { body: Body::Value(namespace), options: WriteOptions::default() };
    write::unless_gone(context.client().call(target, update).await)
}

/// Runs the controller that gives each namespace its `default` service account.
pub(super) async fn run_accounts(host: Host) -> Result<(), Status> {
    let reconcile = |context: Context| async move {
        ensure::<ServiceAccount>(&context, DEFAULT_ACCOUNT, |held| held.is_none().then(|| json!({}))).await
    };
    let controller = host
        .controller::<Namespace>()
        .named("serviceaccount-controller")
        .watches::<ServiceAccount, _, _>(|entry| only(entry, DEFAULT_ACCOUNT))
        .when(predicate::deleted);
    host.run(controller, reconcile).await
}

/// Runs the controller that puts the certificate of the cluster's authority into each namespace.
pub(super) async fn run_root_ca(host: Host, certificate: String) -> Result<(), Status> {
    let data = json!(BTreeMap::from([("ca.crt", certificate)]));
    let reconcile = move |context: Context| {
        let data = data.clone();
        async move {
            let annotations = json!({ DESCRIPTION: ROOT_CA_IS });
            let differs = |held: Option<&Value>| {
                let same = held.is_some_and(|held| {
                    held["data"] == data && held["metadata"]["annotations"][DESCRIPTION] == ROOT_CA_IS
                });
                (!same).then(|| json!({ "metadata": { "annotations": annotations }, "data": data }))
            };
            ensure::<ConfigMap>(&context, ROOT_CA, differs).await
        }
    };
    let controller = host
        .controller::<Namespace>()
        .named("root-ca-certificate-publisher-controller")
        .watches::<ConfigMap, _, _>(|entry| only(entry, ROOT_CA));
    host.run(controller, reconcile).await
}

fn only(entry: &Entry, name: &str) -> Option<ObjectName> {
    namespace_of(entry).filter(|_| entry.name().name() == name)
}

/// Sees to it that there is an object of that name in the namespace. `wanted` says what it is to be made of, or
/// changed by; nothing, if what there is will do.
async fn ensure<K: crate::meta::Object>(
    context: &Context,
    name: &str,
    wanted: impl Fn(Option<&Value>) -> Option<Value>,
) -> Result<Action, Error> {
    let namespace = context.name().name();
    let entry = context.entry::<Namespace>().await?.filter(|entry| !entry.is_deleting());
    if entry.is_none() {
        return Ok(Action::Done);
    }
    let held = context.cache::<K>().await?.get(&ObjectName::namespaced(namespace, name));
    let outcome = match &held {
        Some(held) => match wanted(Some(&held.to_value()?)) {
            Some(patch) => write::patch::<K>(context.client(), held, patch).await.map(drop),
            None => Ok(()),
        },
        None => match wanted(None) {
            Some(mut object) => {
                object["metadata"]["name"] = name.into();
                write::create::<K>(context.client(), namespace, object).await.map(drop)
            }
            None => Ok(()),
        },
    };
    match outcome {
        Err(status) if !status.is_already_exists() && !write::namespace_terminating(&status) => {
            Err(status.into())
        }
        _ => Ok(Action::Done),
    }
}
