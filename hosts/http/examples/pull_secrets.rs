//! A controller for a cluster that is elsewhere, of this or any other make: the Secret `registry` of the namespace `default`,
//! with which images are pulled, is in every namespace, and stays as it is there.
//!
//! ```text
//! cargo run -p orchestra-http --example pull_secrets -- ~/.kube/config      from outside
//! pull_secrets                                                              in a pod, as its service account
//! ```
//!
//! In a pod it may `get`, `list`, `watch` and `patch` Secrets, `create` them, and `list` and `watch` namespaces.

use std::path::Path;

use orchestra_core::api::{Client, Patch, Status, WriteOptions};
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::k8s_openapi::api::core::v1::{Namespace, Secret};
use orchestra_core::meta::ObjectName;
use orchestra_core::watch::{Entry, Query};
use orchestra_http::{Kubeconfig, Remote, RemoteConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The namespace and the name of the Secret that is copied.
const SOURCE: (&str, &str) = ("default", "registry");
/// Who owns the fields of the copies, so that what others write into them stays.
const MANAGER: &str = "pull-secrets";

/// Runs for a namespace whenever it changes, or a Secret in it of that name.
async fn reconcile(context: Context) -> Result<Action, Error> {
    let (home, name) = SOURCE;
    let namespaces = context.cache::<Namespace>().await?;
    if context.name().name() == home {
        // The source may have changed, which is everybody's business.
        let all = namespaces.list(&Query::all());
        let others = all.iter().map(|entry| entry.name()).filter(|found| found.name() != home);
        others.for_each(|found| context.run_for(found.clone()));
        return Ok(Action::Done);
    }
    let secrets = context.cache::<Secret>().await?;
    let Some(source) = secrets.get(&ObjectName::namespaced(home, name)) else { return Ok(Action::Done) };
    if namespaces.get(context.name()).is_none_or(|entry| entry.is_deleting()) {
        return Ok(Action::Done);
    }
    let source = source.decode::<Secret>()?;
    let target = ObjectName::namespaced(context.name().name(), name);
    let held = secrets.get(&target).map(|entry| entry.decode::<Secret>()).transpose()?;
    if held.is_some_and(|held| held.data == source.data) {
        return Ok(Action::Done);
    }
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": source.type_,
        "data": source.data,
    });
    let options = WriteOptions { field_manager: Some(MANAGER.to_owned()), ..WriteOptions::default() };
    let apply = Patch::Apply { config: wanted, force: true };
    context.client().api::<Secret>(context.name().name()).patch_with(name, apply, options).await?;
    println!("{target}");
    Ok(Action::Done)
}

async fn run_controller(client: Client, stop: CancellationToken) -> Result<(), Status> {
    let of_namespace = |entry: &Entry| {
        let named = entry.name().name() == SOURCE.1;
        entry.name().namespace().filter(|_| named).map(ObjectName::cluster)
    };
    let controller = Controller::new::<Namespace>(client).watches::<Secret, _, _>(of_namespace);
    controller.named("pull-secrets").run(reconcile, stop.cancelled_owned()).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = match std::env::args().nth(1) {
        Some(kubeconfig) => Kubeconfig::read(Path::new(&kubeconfig))?,
        None => RemoteConfig::in_cluster()?,
    };
    let remote = Remote::connect(config)?;
    let stop = CancellationToken::new();
    let controller = tokio::spawn(run_controller(remote.client(), stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    Ok(controller.await??)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use orchestra_core::api::Api;
    use orchestra_core::clock::TokioClock;
    use orchestra_core::cluster::Cluster;
    use orchestra_core::meta::Object;
    use serde_json::Value;

    use super::*;

    /// Waits until a copy says this; as time is made up, two minutes cost nothing.
    async fn says(copies: &Api<Secret>, text: &str) {
        let is = |held: Option<&Secret>| {
            let data = held.and_then(|held| held.data.as_ref()?.get("a"));
            data.is_some_and(|data| data.0 == text.as_bytes())
        };
        let found = tokio::time::timeout(Duration::from_secs(120), copies.until(SOURCE.1, is)).await;
        found.unwrap_or_else(|_| panic!("it never says {text}")).unwrap();
    }

    fn object<K: Object>(value: Value) -> Result<K, serde_json::Error> {
        serde_json::from_value(value)
    }

    /// The controller knows a client only, so here it has that of a cluster in the test.
    #[tokio::test(start_paused = true)]
    async fn every_namespace_has_the_secret_as_it_is() -> Result<(), Box<dyn std::error::Error>> {
        let cluster = Cluster::builder().clock(TokioClock::simulated(1)).start().await?;
        let client = cluster.client();
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        tokio::spawn(run_controller(client.clone(), stop));

        let source = client.api::<Secret>(SOURCE.0);
        source.create(&object(json!({"metadata": {"name": SOURCE.1}, "stringData": {"a": "1"}}))?).await?;
        let team = json!({"metadata": {"name": "team"}});
        client.cluster::<Namespace>().create(&object(team)?).await?;
        let copies = client.api::<Secret>("team");
        says(&copies, "1").await;
        source.patch(SOURCE.1, Patch::Merge(json!({"stringData": {"a": "2"}}))).await?;
        says(&copies, "2").await;
        copies.delete(SOURCE.1).await?;
        says(&copies, "2").await;
        copies.patch(SOURCE.1, Patch::Merge(json!({"stringData": {"a": "3"}}))).await?;
        says(&copies, "2").await;
        Ok(())
    }
}
