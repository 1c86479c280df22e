//! The typed client's forms with options.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use orchestra_core::api::{
    Api, DeleteOptions, FieldValidation, ListOptions, Patch, Reason, WatchOptions, Watched, WriteOptions,
};
use orchestra_core::meta::{Object, ObjectName, Scope};
use orchestra_core::testing::TestServer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{config_map, server};

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_writes_nothing() {
    let server = server().await;
    let maps = server.api::<ConfigMap>();
    let dry = || WriteOptions { dry_run: true, ..WriteOptions::default() };
    let made = maps.create_with(&config_map("a", "1"), dry()).await.unwrap();
    assert!(made.metadata.uid.is_some());
    assert_eq!(maps.find("a").await.unwrap(), None);

    let kept = maps.create(&config_map("a", "1")).await.unwrap();
    let updated = maps.update_with(&config_map("a", "2"), dry()).await.unwrap();
    let patched = maps.patch_with("a", Patch::Merge(json!({"data": {"key": "3"}})), dry()).await.unwrap();
    assert_eq!(updated.data.unwrap()["key"], "2");
    assert_eq!(patched.data.unwrap()["key"], "3");
    maps.delete_with("a", DeleteOptions { dry_run: true, ..DeleteOptions::default() }).await.unwrap();
    assert_eq!(maps.get("a").await.unwrap(), kept);
}

#[tokio::test(start_paused = true)]
async fn a_write_says_who_manages_and_what_becomes_of_unknown_fields() {
    let server = server().await;
    let maps = server.api::<ConfigMap>();
    let options = WriteOptions { field_manager: Some("tool".to_owned()), ..WriteOptions::default() };
    let made = maps.create_with(&config_map("a", "1"), options).await.unwrap();
    assert_eq!(made.metadata.managed_fields.unwrap()[0].manager.as_deref(), Some("tool"));

    let strict = WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() };
    let unknown = Patch::Merge(json!({"made": "up"}));
    let refused = maps.patch_with("a", unknown, strict).await.unwrap_err();
    assert!(refused.to_string().contains("made"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_page_says_where_the_next_begins() {
    let server = server().await;
    let maps = server.api::<ConfigMap>();
    for index in 0..5 {
        maps.create(&config_map(&format!("m{index}"), "1")).await.unwrap();
    }
    let mut options = ListOptions { limit: 2, ..ListOptions::default() };
    let mut sizes = Vec::new();
    loop {
        let page = maps.list_with(options.clone()).await.unwrap();
        sizes.push((page.items.len(), page.remaining));
        match page.continue_token {
            Some(token) => options.continue_token = Some(token),
            None => break,
        }
    }
    assert_eq!(sizes, [(2, Some(3)), (2, Some(1)), (1, None)]);
}

/// The pages of all ConfigMaps of a selection, with a write before each but the first: the names, and what was said to remain.
async fn pages(server: &TestServer, late: &str, options: ListOptions) -> (Vec<String>, Vec<Option<u64>>) {
    let all: Api<ConfigMap> = server.client().cluster();
    let mut options = ListOptions { limit: 1, ..options };
    let (mut names, mut remaining, mut writes) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = all.list_with(options.clone()).await.unwrap();
        names.extend(page.items.iter().map(|map| ObjectName::of(map).to_string()));
        remaining.push(page.remaining);
        let Some(token) = page.continue_token else { return (names, remaining) };
        options.continue_token = Some(token);
        writes += 1;
        let late = config_map(&format!("{late}-{writes}"), "1");
        server.client().api::<ConfigMap>("a-b").create(&late).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_pages_has_each_object_once_though_others_come_between_them() {
    let server = TestServer::builder().namespace("a").namespace("a-b").namespace("a0").start().await;
    let names = ["a-b/x", "a-b/y", "a/x", "a/y", "a0/x"];
    for (namespace, name) in names.iter().rev().filter_map(|name| name.split_once('/')) {
        server.client().api::<ConfigMap>(namespace).create(&config_map(name, "1")).await.unwrap();
    }
    let (listed, remaining) = pages(&server, "late", ListOptions::default()).await;
    assert_eq!(listed, names);
    assert_eq!(remaining, [Some(4), Some(3), Some(2), Some(1), None]);
    // What a selector finds nobody counts.
    let selector = Some("app in (x)".parse().unwrap());
    let selected = ListOptions { labels: selector, ..ListOptions::default() };
    let (listed, remaining) = pages(&server, "later", selected).await;
    assert_eq!(listed, ["a-b/x", "a/x", "a0/x"]);
    assert_eq!(remaining, [None; 3]);
    // A page that is asked for when nothing has changed is of the cache, of one namespace too.
    let a: Api<ConfigMap> = server.client().api("a");
    let first = a.list_with(ListOptions { limit: 1, ..ListOptions::default() }).await.unwrap();
    assert_eq!((first.items.len(), first.remaining), (1, Some(1)));
    let rest = ListOptions { limit: 1, continue_token: first.continue_token, ..ListOptions::default() };
    let rest = a.list_with(rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.remaining, rest.continue_token), (1, None, None));
}

/// A ConfigMap as a program knows it that expects a number in `data.key`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbered {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    data: Numbers,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbers {
    #[serde(with = "text")]
    key: u32,
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(number: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&number.to_string())
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<u32, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Object for Numbered {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ConfigMap";
    const PLURAL: &'static str = "configmaps";
    const SCOPE: Scope = Scope::Namespaced;

    fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &mut self.metadata
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_rust_type_is_told_beside_what_does() {
    use futures::StreamExt;

    let server = server().await;
    let maps = server.api::<ConfigMap>();
    maps.create(&config_map("a", "one")).await.unwrap();
    maps.create(&config_map("b", "2")).await.unwrap();
    let numbers: Api<Numbered> = server.api();

    let list = numbers.list_with(ListOptions::default()).await.unwrap();
    assert_eq!(list.items.iter().map(|item| item.data.key).collect::<Vec<_>>(), [2]);
    assert_eq!(list.unreadable[0].0.name(), "a");
    let refused = numbers.list().await.unwrap_err();
    assert_eq!(refused.reason(), Reason::InternalError);
    assert!(refused.to_string().contains("default/a does not fit"), "{refused}");

    let mut events = numbers.watch(WatchOptions::default()).await.unwrap();
    assert!(events.next().await.unwrap().is_err());
    assert!(matches!(events.next().await, Some(Ok(Watched::Added(number))) if number.data.key == 2));
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_with_options_too() {
    let server = server().await;
    let pods = server.api::<Pod>();
    pods.create(&super::pod("a")).await.unwrap();
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let running = Patch::Merge(json!({"status": {"phase": "Running"}}));
    let answered = pods.patch_status_with("a", running, dry).await.unwrap();
    assert_eq!(phase(&answered).as_deref(), Some("Running"));
    assert_eq!(phase(&pods.get("a").await.unwrap()).as_deref(), Some("Pending"));
}

/// What two managers want of one object, each in its own words.
#[tokio::test(start_paused = true)]
async fn what_is_applied_is_merged_and_conflicts_are_told() {
    let server = server().await;
    let maps = server.api::<ConfigMap>();
    let apply = async |manager: &str, data: serde_json::Value, force| {
        let config =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        let options = WriteOptions { field_manager: Some(manager.to_owned()), ..WriteOptions::default() };
        maps.patch_with("a", Patch::Apply { config, force }, options).await
    };
    let data = |map: ConfigMap| json!(map.data.unwrap_or_default());
    assert_eq!(
        data(apply("anna", json!({"x": "1", "y": "1"}), false).await.unwrap()),
        json!({"x": "1", "y": "1"})
    );
    let refused = apply("ben", json!({"x": "2"}), false).await.unwrap_err();
    assert!(refused.is_conflict() && refused.message().contains("anna"), "{refused}");
    assert_eq!(data(apply("ben", json!({"x": "2"}), true).await.unwrap()), json!({"x": "2", "y": "1"}));
    // What anna wants no more goes, if it is hers alone.
    assert_eq!(data(apply("anna", json!({}), false).await.unwrap()), json!({"x": "2"}));
}
