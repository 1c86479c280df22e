//! A cluster that an embedder adds to and takes from.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use orchestra_core::api::access::{AccessRequest, Authorizer, Decision};
use orchestra_core::api::admission::Attributes;
use orchestra_core::api::{Admission, Caches, Resource, Status, Target, User, WatchEvent, WatchOptions};
#[cfg(feature = "openapi")]
use orchestra_core::api::{Body, Operation, WriteOptions};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Secret};
#[cfg(feature = "openapi")]
use orchestra_core::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
#[cfg(feature = "openapi")]
use orchestra_core::k8s_openapi::schemars::{JsonSchema, Schema, SchemaGenerator};
use orchestra_core::meta::Object;
#[cfg(feature = "openapi")]
use orchestra_core::objects::definition_of;
#[cfg(feature = "openapi")]
use orchestra_core::testing;
use orchestra_core::testing::TestServer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

/// Refuses what is called so.
#[derive(Debug)]
struct Refuses(&'static str);

#[async_trait]
impl Admission for Refuses {
    async fn mutate(&self, attributes: &Attributes<'_>, _: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.name.name() == self.0 {
            return Err(Status::forbidden(&attributes.resource.id, self.0, "not that one"));
        }
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn an_admission_of_ones_own_is_asked_for_every_write() {
    let cluster = Cluster::builder().admission(|_| Refuses("bad")).start().await.unwrap();
    let maps = cluster.client().api::<ConfigMap>("default");
    maps.create(&map("good")).await.unwrap();
    assert_eq!(maps.create(&map("bad")).await.unwrap_err().code(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_ones_own_runs_and_stops_as_the_others() {
    let builder =
        Cluster::builder().without(Component::Scheduler).part("greeter", |client, stop| async move {
            let data = Some([("to".to_owned(), "all".to_owned())].into());
            client.api("default").create(&ConfigMap { data, ..map("hello") }).await.unwrap();
            stop.cancelled().await;
        });
    let cluster = builder.start().await.unwrap();
    let maps = cluster.client().api::<ConfigMap>("default");
    let hello = maps.until("hello", |map| map.is_some()).await.unwrap().unwrap();
    let managers = hello.metadata.managed_fields.unwrap();
    assert_eq!(managers[0].manager.as_deref(), Some("system:serviceaccount:kube-system:greeter"));
    let greeter = Component::Own("greeter".into());
    assert_eq!(Component::parse(&greeter.to_string()), Some(greeter.clone()));
    assert!(cluster.is_running(&greeter));
    assert!(cluster.stop(&greeter).await);
    assert!(!cluster.is_running(&greeter));
    assert!(!cluster.start(&Component::Scheduler), "it was left out");
}

/// Lets a user read what a ConfigMap of the same name allows: it reads the caches.
#[derive(Debug)]
struct ByConfigMap(orchestra_core::watch::Cache);

#[async_trait]
impl Authorizer for ByConfigMap {
    async fn authorize(&self, user: &User, _: &AccessRequest<'_>) -> Decision {
        let name = orchestra_core::meta::ObjectName::new(Some("default"), &user.name);
        match self.0.get(&name) {
            Some(_) => Decision::allow(),
            None => Decision::no_opinion().because("there is no such ConfigMap"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_authorizer_reads_the_caches() {
    let maps = orchestra_core::meta::GroupResource::new("", "configmaps");
    let make = move |caches: &Caches| ByConfigMap(caches.get(&maps).unwrap());
    let cluster = Cluster::builder().authorizer(make).start().await.unwrap();
    let secrets = cluster.client_as(User::named("anna")).api::<Secret>("default");
    let refused = secrets.list().await.unwrap_err();
    assert_eq!(
        refused.message(),
        "secrets is forbidden: User \"anna\" cannot list resource \"secrets\" in API group \"\" in the namespace \
         \"default\": there is no such ConfigMap"
    );
    cluster.client().api("default").create(&map("anna")).await.unwrap();
    secrets.list().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_to_end_gets_a_bookmark_before() {
    let server = TestServer::start().await;
    let clock = server.clock();
    let options = WatchOptions {
        bookmarks: true,
        initial_events: Some(false),
        timeout: Some(Duration::from_secs(10)),
        ..WatchOptions::default()
    };
    server.create::<ConfigMap>(json!({"metadata": {"name": "before"}})).await;
    let began = clock.now();
    let mut watch = server.client().watch(Target::of::<ConfigMap>(Some("default")), options).await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Bookmark { initial_events_end: false, .. }), "{event:?}");
    assert_eq!(clock.now().duration_since(began).as_secs(), 8);
}

#[derive(Clone, Debug, Serialize, Deserialize, Object)]
#[object(group = "example.org", version = "v1", plural = "greetings")]
#[cfg_attr(feature = "openapi", object(schema))]
struct Greeting {
    metadata: ObjectMeta,
    spec: GreetingSpec,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct GreetingSpec {
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
}

/// As the derive macro of schemars makes it.
#[cfg(feature = "openapi")]
impl JsonSchema for Greeting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Greeting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let schema = json!({
            "type": "object",
            "properties": {
                "metadata": {"type": "object"},
                "spec": {
                    "type": "object",
                    "properties": {
                        "to": {"type": "string"},
                        "times": {"type": ["integer", "null"], "format": "uint32", "minimum": 0},
                    },
                    "required": ["to"],
                },
            },
            "required": ["metadata", "spec"],
        });
        Schema::try_from(schema).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_of_ones_own_follows_a_kind_of_ones_own() {
    async fn greet(context: Context) -> Result<Action, Error> {
        if let Some(greeting) = context.object::<Greeting>().await? {
            let data = Some([("to".to_owned(), greeting.spec.to)].into());
            context.api::<ConfigMap>().update(&ConfigMap { data, ..map("greeting") }).await.ok();
        }
        Ok(Action::Done)
    }
    let builder = Cluster::builder().kind(Resource::plain::<Greeting>());
    let builder = builder.controller("greeter", Controller::new::<Greeting>, greet);
    let cluster = builder.start().await.unwrap();
    let client = cluster.client();
    client.api("default").create(&map("greeting")).await.unwrap();
    let spec = GreetingSpec { to: "all".into(), times: None };
    let metadata = ObjectMeta { name: Some("hello".into()), ..ObjectMeta::default() };
    client.api("default").create(&Greeting { metadata, spec }).await.unwrap();
    let greeted = |map: Option<&ConfigMap>| map.is_some_and(|map| map.data.is_some());
    let map = client.api::<ConfigMap>("default").until("greeting", greeted).await.unwrap().unwrap();
    assert_eq!(map.data.unwrap()["to"], "all");
    assert!(cluster.stop(&Component::Own("greeter".into())).await);
}

/// A cluster that does not know the type serves its kind by the definition.
#[cfg(feature = "openapi")]
#[tokio::test(start_paused = true)]
async fn a_type_is_defined_in_a_cluster_that_does_not_know_it() {
    let cluster = Cluster::builder().start().await.unwrap();
    let client = cluster.client();
    let definitions = client.cluster::<CustomResourceDefinition>();
    definitions.create(&definition_of::<Greeting>()).await.unwrap();
    let established = |definition: Option<&CustomResourceDefinition>| {
        let conditions = definition.and_then(|definition| definition.status.as_ref()?.conditions.clone());
        conditions.into_iter().flatten().any(|of| of.type_ == "Established" && of.status == "True")
    };
    definitions.until("greetings.example.org", established).await.unwrap();
    let greetings = client.api::<Greeting>("default");
    testing::until("the kind is served", Duration::from_secs(60), async || greetings.list().await.ok()).await;
    let spec = GreetingSpec { to: "all".into(), times: Some(3) };
    let metadata = ObjectMeta { name: Some("hello".into()), ..ObjectMeta::default() };
    let made = greetings.create(&Greeting { metadata, spec }).await.unwrap();
    assert_eq!(made.spec.times, Some(3));
    let wrong = json!({
        "apiVersion": "example.org/v1", "kind": "Greeting", "metadata": {"name": "wrong"}, "spec": {"times": -1},
    });
    let create = Operation::Create { body: Body::Value(wrong), options: WriteOptions::default() };
    let refused = client.call(Target::of::<Greeting>(Some("default")), create).await.unwrap_err();
    for why in ["spec.to: Required value", "spec.times in body should be greater than or equal to 0"] {
        assert!(refused.message().contains(why), "{refused}");
    }
}
