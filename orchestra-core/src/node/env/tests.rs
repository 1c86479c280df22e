use super::*;
use serde_json::{Value, json};

fn pod(container: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [container]},
    }))
    .unwrap()
}

fn sources() -> Sources {
    let map = json!({"data": {"LEVEL": "debug", "bad=key": "x", "a.b": "1"}});
    let secret = json!({"data": {"PASSWORD": "aHVudGVyMg=="}});
    let service = |namespace: &str, name: &str, ip: &str| {
        json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": [
            {"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
        ]}})
    };
    Sources {
        config_maps: [("conf".to_owned(), serde_json::from_value(map).unwrap())].into(),
        secrets: [("key".to_owned(), serde_json::from_value(secret).unwrap())].into(),
        services: [
            service("default", "kubernetes", "10.96.0.1"),
            service("shop", "my-db.x", "10.96.0.9"),
            service("shop", "headless", "None"),
            service("other", "far", "10.96.0.8"),
        ]
        .into_iter()
        .map(|service| serde_json::from_value(service).unwrap())
        .collect(),
    }
}

fn env_of(container: Value) -> Result<Environment, EnvError> {
    let pod = pod(container);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    environment(&pod, container, &Facts::default(), &sources())
}

#[test]
fn later_entries_see_and_override_earlier_ones() {
    let env = env_of(json!({"name": "app",
    "envFrom": [{"configMapRef": {"name": "conf"}}, {"prefix": "DB_", "secretRef": {"name": "key"}}],
    "env": [
        {"name": "LEVEL", "value": "info"},
        {"name": "URL", "value": "http://$(MY_DB_X_SERVICE_HOST)/$(LEVEL)/$(LATER)/$$(LEVEL)"},
        {"name": "LATER", "value": "x"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a.b"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
        {"name": "EMPTY"},
    ]}))
    .unwrap();
    for (name, value) in [
        ("LEVEL", Some("info")),
        ("a.b", Some("1")),
        ("bad=key", None),
        ("DB_PASSWORD", Some("hunter2")),
        ("URL", Some("http://10.96.0.9/info/$(LATER)/$(LEVEL)")),
        ("NODE", Some("n1")),
        ("ONE", Some("1")),
        ("NONE", None),
        ("EMPTY", Some("")),
        ("KUBERNETES_SERVICE_HOST", Some("10.96.0.1")),
        ("MY_DB_X_PORT_53_UDP", Some("udp://10.96.0.9:53")),
        ("FAR_SERVICE_HOST", None),
        ("HEADLESS_SERVICE_HOST", None),
    ] {
        assert_eq!(env.get(name), value, "{name}");
    }
    assert_eq!(env.skipped, [("conf".to_owned(), vec!["bad=key".to_owned()])]);
}

#[test]
fn without_links_only_the_api_is_told_of() {
    let mut pod = pod(json!({"name": "app"}));
    pod.spec.as_mut().unwrap().enable_service_links = Some(false);
    let env =
        environment(&pod, &pod.spec.as_ref().unwrap().containers[0], &Facts::default(), &sources()).unwrap();
    assert!(env.variables.iter().all(|(name, _)| name.starts_with("KUBERNETES_")));
    let names: Vec<&str> = env.variables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 13, "{names:?}");
}

#[test]
fn what_is_missing_is_named() {
    for (env, message) in [
        (json!({"configMapKeyRef": {"name": "x", "key": "k"}}), "configmap \"x\" not found"),
        (
            json!({"configMapKeyRef": {"name": "conf", "key": "k"}}),
            "couldn't find key k in ConfigMap shop/conf",
        ),
        (json!({"secretKeyRef": {"name": "x", "key": "k"}}), "secret \"x\" not found"),
        (json!({"secretKeyRef": {"name": "key", "key": "k"}}), "couldn't find key k in Secret shop/key"),
        (json!({"fieldRef": {"fieldPath": "spec.x"}}), "unsupported fieldPath: spec.x"),
    ] {
        let error = env_of(json!({"name": "app", "env": [{"name": "A", "valueFrom": env}]})).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = env_of(json!({"name": "app", "envFrom": [{"secretRef": {"name": "x"}}]})).unwrap_err();
    assert_eq!(error.to_string(), "secret \"x\" not found");
}

#[test]
fn words_are_expanded() {
    let env = env_of(json!({"name": "app", "env": [{"name": "A", "value": "1"}]})).unwrap();
    let words = vec!["echo".to_owned(), "$(A) $(B) $$(A)".to_owned()];
    assert_eq!(expand_words(Some(&words), &env), ["echo", "1 $(B) $(A)"]);
    assert!(expand_words(None, &env).is_empty());
}
