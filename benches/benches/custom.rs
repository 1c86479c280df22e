//! What a kind costs that is defined by a manifest: `cargo bench -p orchestra-benches --bench custom`.
//!
//! An object of a kind whose schema has 5 KB is created in process, beside a ConfigMap of about the same size: it should
//! take at most twice as long. A rule in CEL is applied to an object that was read before: at most 5 µs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orchestra_core::api::field::Errors;
use orchestra_core::api::structural::{RuleSet, Schema};
use orchestra_core::api::{Body, Client, Operation, Target, WriteOptions};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use orchestra_core::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many fields the schema has: about 5 KB.
const FIELDS: usize = 40;

criterion_group! {
    name = custom;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).sample_size(50);
    targets = creation, rule
}
criterion_main!(custom);

fn schema() -> Value {
    let field = |place: usize| {
        let schema = match place % 4 {
            0 => {
                json!({"type": "string", "maxLength": 64, "pattern": "^[a-z]+$", "description": "One of many texts."})
            }
            1 => json!({"type": "integer", "minimum": 0, "maximum": 65535, "default": 80}),
            2 => json!({"type": "array", "maxItems": 8, "items": {"type": "string", "maxLength": 32}}),
            _ => json!({"type": "object", "properties": {"on": {"type": "boolean", "default": true}}}),
        };
        (format!("field{place}"), schema)
    };
    let spec: serde_json::Map<String, Value> = (0..FIELDS).map(field).collect();
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}})
}

fn spec() -> Value {
    let field = |place: usize| {
        let value = match place % 4 {
            0 => json!("text"),
            1 => json!(443),
            2 => json!(["a", "b"]),
            _ => json!({}),
        };
        (format!("field{place}"), value)
    };
    (0..FIELDS).map(field).collect::<serde_json::Map<_, _>>().into()
}

async fn defined() -> Cluster {
    let cluster = Cluster::builder().store(MemoryStore::new()).start().await.expect("it starts");
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()}}],
        },
    }))
    .expect("a definition");
    let definitions = cluster.client().cluster::<CustomResourceDefinition>();
    definitions.create(&definition).await.expect("it is created");
    let established = |held: Option<&CustomResourceDefinition>| {
        let status = held.and_then(|held| held.status.as_ref());
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Established" && condition.status == "True")
    };
    definitions.until("widgets.example.com", established).await.expect("it is established");
    cluster
}

async fn create(client: &Client, target: &Target, object: Value) {
    let create =
        Operation::Create { body: Body::Json(object.to_string().into()), options: WriteOptions::default() };
    black_box(client.call(target.clone(), create).await.expect("it is created"));
}

fn creation(c: &mut Criterion) {
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cluster = runtime.block_on(defined());
    let client = cluster.client();
    let widgets = Target {
        group: "example.com".into(),
        version: "v1".into(),
        resource: "widgets".into(),
        ..Target::of::<ConfigMap>(Some("default"))
    };
    let (spec, mut round) = (spec(), 0_u64);
    let data: Value = (0..FIELDS)
        .map(|place| (format!("field{place}"), json!("text of it")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut group = c.benchmark_group("custom/create");
    group.bench_function("config_map", |b| {
        b.iter(|| {
            round += 1;
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{round}")}, "data": data});
            runtime.block_on(create(&client, &Target::of::<ConfigMap>(Some("default")), object));
        });
    });
    group.bench_function("schema_5kb", |b| {
        b.iter(|| {
            round += 1;
            let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": format!("w{round}")}, "spec": spec});
            runtime.block_on(create(&client, &widgets, object));
        });
    });
    group.finish();
}

fn rule(c: &mut Criterion) {
    let document = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string", "maxLength": 64}},
        "x-kubernetes-validations": [{"rule": "self.min <= self.max && self.name.startsWith('web')"}],
    }}});
    let schema = Schema::read(&document).expect("a schema");
    let rules = RuleSet::compile(&schema).expect("rules");
    let object = json!({"spec": {"min": 1, "max": 2, "name": "web-1"}});
    c.bench_function("custom/rule", |b| {
        b.iter(|| {
            let mut errors = Errors::new();
            rules.check(&schema, black_box(&object), None, &mut errors);
            assert!(errors.is_empty());
        });
    });
}
