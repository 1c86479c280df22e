//! What the three operators have in common: the kind `Database`, and a cluster with nothing in it but the operator.

use std::time::Duration;

use orchestra_core::api::{Client, Resource, Status};
use orchestra_core::cluster::Component;
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orchestra_core::meta::{Object, ObjectName, Scope};
use orchestra_core::simulation::Scenario;
use orchestra_core::watch::Entry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::OPERATOR;

/// A kind of `example.org`, with what its owner wants.
macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name {
            pub metadata: ObjectMeta,
            #[serde(default)]
            pub spec: Spec,
        }

        impl Object for $name {
            const GROUP: &'static str = "example.org";
            const VERSION: &'static str = "v1";
            const KIND: &'static str = stringify!($name);
            const PLURAL: &'static str = $plural;
            const SCOPE: Scope = Scope::Namespaced;

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

kind! {
    /// A database: how many members it has, and whether it is ready.
    Database, "databases"
}
kind! {
    /// A member of a database, `DATABASE-NUMBER`: what would be a pod.
    Member, "members"
}
kind! {
    /// The data of a database or of a member: what would be a claim of a volume.
    Volume, "volumes"
}

/// What is said of an object; of each kind its part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spec {
    #[serde(default)]
    pub members: u32,
    #[serde(default)]
    pub ready: bool,
}

/// A cluster whose one controller is an operator of databases.
pub fn scenario<F>(
    name: &'static str,
    reconcile: impl Fn(Context) -> F + Clone + Send + Sync + 'static,
) -> Scenario
where
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let scenario = Scenario::new(name).patience(Duration::from_secs(300));
    scenario.cluster(move |builder| {
        let reconcile = reconcile.clone();
        let builder = builder.without(Component::ControllerManager).without(Component::Scheduler);
        let builder = builder.kind(Resource::plain::<Database>()).kind(Resource::plain::<Member>());
        builder.kind(Resource::plain::<Volume>()).part(OPERATOR, move |client: Client, stop| {
            let controller = Controller::new::<Database>(client);
            let controller =
                controller.watches::<Member, _, _>(database_of).watches::<Volume, _, _>(database_of);
            let reconcile = reconcile.clone();
            async move {
                if let Err(status) = controller.run(reconcile, stop.cancelled_owned()).await {
                    eprintln!("the operator ended: {status}");
                }
            }
        })
    })
}

/// Members and volumes are named after their database.
fn database_of(entry: &Entry) -> Option<ObjectName> {
    let (database, _) = entry.name().name().split_once('-')?;
    Some(ObjectName::namespaced(entry.name().namespace()?, database))
}

/// An object of which there is nothing to say.
pub fn plain(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// Makes an object if it is not there.
pub async fn ensure<K: Object>(context: &Context, name: &str) -> Result<(), Error> {
    let there = context.cache::<K>().await?.get(&named(context, name)).is_some();
    if !there {
        context.api::<K>().create(&serde_json::from_value(plain(name))?).await?;
    }
    Ok(())
}

/// The name of an object in the namespace of the one that a run is for.
pub fn named(context: &Context, name: &str) -> ObjectName {
    ObjectName::namespaced(context.namespace(), name)
}

/// Makes an object of what stands in its manifest, as a person does.
pub async fn create<K: Object>(client: &Client, object: Value) -> Result<(), Status> {
    let object = serde_json::from_value(object).map_err(Status::internal)?;
    client.api::<K>("default").create(&object).await.map(drop)
}
