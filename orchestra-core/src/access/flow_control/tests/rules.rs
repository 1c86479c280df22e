use serde_json::json;

use super::super::rules::Rules;
use crate::api::access::AccessRequest;
use crate::api::{Target, User};

fn target(text: &str) -> Target {
    let parts: Vec<&str> = text.split(' ').collect();
    let [group, resource, namespace, sub] = parts.try_into().unwrap();
    let some = |text: &str| Some(text).filter(|text| *text != "-").map(Into::into);
    Target {
        group: if group == "-" { "" } else { group }.into(),
        version: "v1".into(),
        resource: resource.into(),
        namespace: some(namespace),
        name: None,
        subresource: some(sub),
    }
}

#[test]
fn a_schema_matches_by_subject_and_by_what_is_asked() {
    let spec = json!({
        "priorityLevelConfiguration": { "name": "a" },
        "distinguisherMethod": { "type": "ByNamespace" },
        "rules": [
            {
                "subjects": [
                    { "kind": "User", "user": { "name": "ann" } },
                    { "kind": "ServiceAccount", "serviceAccount": { "namespace": "kube-system", "name": "*" } },
                    { "kind": "ServiceAccount", "serviceAccount": { "namespace": "x", "name": "builder" } },
                ],
                "resourceRules": [
                    { "verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes/status"], "clusterScope": true,
                      "namespaces": ["x"] },
                    { "verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"], "namespaces": ["*"] },
                ],
            },
            {
                "subjects": [{ "kind": "Group", "group": { "name": "devs" } }],
                "nonResourceRules": [
                    { "verbs": ["get"], "nonResourceURLs": ["/healthz", "/metrics/*"] },
                    { "verbs": ["put"], "nonResourceURLs": ["*"] },
                ],
            },
        ],
    });
    let rules = Rules::of(&serde_json::from_value(spec).unwrap());
    let [ann, bob] = ["ann", "bob"].map(User::named);
    let dev = User::named("d").in_group("devs");
    let [system, builder, other] = [("kube-system", "any"), ("x", "builder"), ("x", "other")]
        .map(|(namespace, name)| User::service_account(namespace, name));
    for (user, verb, of, matches) in [
        (&ann, "get", "- pods x -", true),
        (&ann, "list", "- pods x -", false),
        (&ann, "get", "- pods y -", false),
        (&ann, "get", "- pods - -", true),
        (&ann, "get", "- pods x log", false),
        (&ann, "get", "- nodes - status", true),
        (&ann, "get", "- nodes - -", false),
        (&ann, "get", "batch pods x -", false),
        (&ann, "delete", "apps deployments any -", true),
        (&ann, "delete", "apps deployments - -", false),
        (&ann, "patch", "apps deployments any scale", true),
        (&bob, "get", "- pods x -", false),
        (&dev, "get", "- pods x -", false),
        (&system, "get", "- pods x -", true),
        (&builder, "get", "- pods x -", true),
        (&other, "get", "- pods x -", false),
    ] {
        let target = target(of);
        let request = AccessRequest::resource(verb, &target);
        assert_eq!(rules.matches(user, &request), matches, "{} {verb} {of}", user.name);
    }
    for (user, verb, path, matches) in [
        (&dev, "get", "/healthz", true),
        (&dev, "get", "/healthz/etcd", true),
        (&dev, "get", "/healthzz", false),
        (&dev, "get", "/metrics/slis", true),
        (&dev, "get", "/version", false),
        (&dev, "put", "/version", true),
        (&ann, "get", "/healthz", false),
    ] {
        assert_eq!(rules.matches(user, &AccessRequest::path(verb, path)), matches, "{verb} {path}");
    }
    let pods = target("- pods x -");
    assert_eq!(rules.flow(&ann, &AccessRequest::resource("get", &pods)), "x");
    assert_eq!(rules.flow(&ann, &AccessRequest::path("get", "/")), "");
}
