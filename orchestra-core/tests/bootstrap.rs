//! What every cluster has from the start comes back as in Kubernetes: some of it at once, some of it when an API server
//! starts, and of what was changed there is kept what Kubernetes keeps.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use orchestra_core::api::{Client, Patch};
use orchestra_core::cluster::Cluster;
use orchestra_core::meta::Object;
use orchestra_core::store::memory::MemoryStore;
use serde_json::{Value, json};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

async fn start(store: &MemoryStore) -> Cluster {
    Cluster::builder().store(store.clone()).rbac().start().await.unwrap()
}

async fn get<K: Object>(client: &Client, name: &str) -> Value {
    serde_json::to_value(client.cluster::<K>().get(name).await.unwrap()).unwrap()
}

async fn patch<K: Object>(client: &Client, name: &str, change: Value) {
    client.cluster::<K>().patch(name, Patch::Merge(change)).await.unwrap();
}

fn uid(object: &Option<impl Object>) -> Option<String> {
    object.as_ref().and_then(|object| object.meta().uid.clone())
}

#[tokio::test(start_paused = true)]
async fn namespaces_and_flow_schemas_come_back_at_once_and_some_never_go() {
    let cluster = start(&MemoryStore::new()).await;
    let client = cluster.client();
    let namespaces = client.cluster::<Namespace>();
    let before = uid(&namespaces.find("kube-node-lease").await.unwrap());
    namespaces.delete("kube-node-lease").await.unwrap();
    namespaces
        .until("kube-node-lease", |held| held.is_some() && uid(&held.cloned()) != before)
        .await
        .unwrap();
    for name in ["default", "kube-system", "kube-public"] {
        assert!(
            namespaces
                .delete(name)
                .await
                .unwrap_err()
                .to_string()
                .contains("this namespace may not be deleted")
        );
    }
    let classes = client.cluster::<PriorityClass>();
    for name in ["system-cluster-critical", "system-node-critical"] {
        let refused = classes.delete(name).await.unwrap_err().to_string();
        assert!(refused.contains("this is a system priority class and cannot be deleted"), "{refused}");
    }
    let schemas = client.cluster::<FlowSchema>();
    // They are made by the controllers, which have only begun.
    let first = schemas.until("service-accounts", |held| held.is_some()).await.unwrap();
    let first = uid(&first);
    schemas.delete("service-accounts").await.unwrap();
    schemas.until("service-accounts", |held| held.is_some() && uid(&held.cloned()) != first).await.unwrap();
    // What somebody changes of one that follows is changed back.
    let precedence = |held: Option<&FlowSchema>| held?.spec.as_ref()?.matching_precedence;
    let as_it_is = precedence(schemas.find("service-accounts").await.unwrap().as_ref());
    patch::<FlowSchema>(&client, "service-accounts", json!({"spec": {"matchingPrecedence": 77}})).await;
    schemas.until("service-accounts", |held| precedence(held) == as_it_is).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn roles_and_bindings_come_back_at_the_next_start_and_keep_what_was_added() {
    let store = MemoryStore::new();
    let cluster = start(&store).await;
    let client = cluster.client();
    let (roles, bindings) = (client.cluster::<ClusterRole>(), client.cluster::<ClusterRoleBinding>());
    let (rules, subjects) = (
        get::<ClusterRole>(&client, "system:discovery").await["rules"].clone(),
        get::<ClusterRoleBinding>(&client, "system:discovery").await["subjects"].clone(),
    );
    let gathered =
        get::<ClusterRole>(&client, "admin").await["aggregationRule"]["clusterRoleSelectors"].clone();
    roles.delete("view").await.unwrap();
    let extra = json!({"apiGroups": ["example.org"], "resources": ["things"], "verbs": ["get"]});
    patch::<ClusterRole>(&client, "system:discovery", json!({"rules": [extra]})).await;
    let other = json!([{"matchLabels": {"example.org/part-of": "admin"}}]);
    patch::<ClusterRole>(&client, "admin", json!({"aggregationRule": {"clusterRoleSelectors": other}})).await;
    let untouchable = json!({"metadata": {"annotations": {AUTOUPDATE: "false"}}, "rules": []});
    patch::<ClusterRole>(&client, "system:basic-user", untouchable).await;
    let alice = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"});
    patch::<ClusterRoleBinding>(&client, "system:discovery", json!({"subjects": [alice]})).await;
    bindings.delete("system:public-info-viewer").await.unwrap();
    let elsewhere = json!({
        "metadata": {"name": "system:public-info-viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [alice],
    });
    bindings.create(&serde_json::from_value(elsewhere).unwrap()).await.unwrap();

    // As in Kubernetes, it is at a start that they are looked at.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(roles.find("view").await.unwrap().is_none());
    cluster.shutdown().await;
    let cluster = start(&store).await;
    let client = cluster.client();

    assert!(get::<ClusterRole>(&client, "view").await["aggregationRule"].is_object());
    let all = |first: Value, rest: &Value| {
        [first].into_iter().chain(rest.as_array().unwrap().iter().cloned()).collect::<Vec<_>>()
    };
    assert_eq!(get::<ClusterRole>(&client, "system:discovery").await["rules"], json!(all(extra, &rules)));
    assert_eq!(
        get::<ClusterRole>(&client, "admin").await["aggregationRule"]["clusterRoleSelectors"],
        json!(all(other[0].clone(), &gathered))
    );
    assert!(
        get::<ClusterRole>(&client, "system:basic-user").await["rules"].as_array().is_none_or(Vec::is_empty)
    );
    assert_eq!(
        get::<ClusterRoleBinding>(&client, "system:discovery").await["subjects"],
        json!(all(alice.clone(), &subjects))
    );
    let again = get::<ClusterRoleBinding>(&client, "system:public-info-viewer").await;
    assert_eq!(again["roleRef"]["name"], "system:public-info-viewer");
    assert!(!again["subjects"].as_array().unwrap().contains(&alice), "it led elsewhere, and is made anew");
    cluster.shutdown().await;
}
