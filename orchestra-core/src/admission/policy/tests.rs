use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::api::{Body, Operation, Status, Target, WriteOptions};
use crate::testing::TestServer;

fn rules(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"resourceRules": [{
        "apiGroups": [group], "apiVersions": ["v1"], "operations": operations, "resources": [resource],
    }]})
}

/// Makes a policy of configuration maps hold, which says what it says beside.
async fn hold(server: &TestServer, name: &str, spec: Value, binding: Value) {
    let mut policy = json!({"matchConstraints": rules("", "configmaps", &["*"])});
    policy.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let policy = json!({"metadata": {"name": name}, "spec": policy});
    server.create::<ValidatingAdmissionPolicy>(policy).await;
    let mut bound = json!({"policyName": name, "validationActions": ["Deny"]});
    bound.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
    let binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": bound});
    server.create::<ValidatingAdmissionPolicyBinding>(binding).await;
}

async fn make(server: &TestServer, name: &str, data: Value) -> Result<ConfigMap, Status> {
    let object = json!({"metadata": {"name": name}, "data": data});
    server.api::<ConfigMap>().create(&serde_json::from_value(object).unwrap()).await
}

/// What a creation is refused for, after the words that are always the same.
fn why(outcome: Result<ConfigMap, Status>) -> String {
    let message = outcome.expect_err("it is refused").message().to_owned();
    message.split_once("denied request: ").map_or(message.clone(), |(_, why)| why.to_owned())
}

#[tokio::test(start_paused = true)]
async fn rules_of_policies_are_kept() {
    let server = TestServer::start().await;
    let spec = json!({
        "variables": [
            {"name": "count", "expression": "has(object.data) ? size(object.data) : 0"},
            {"name": "twice", "expression": "variables.count * 2"},
            {"name": "wrong", "expression": "object.data.none"},
        ],
        "matchConditions": [{"name": "not-free", "expression": "!object.metadata.name.startsWith('free')"}],
        "validations": [
            {"expression": "variables.twice < 6", "messageExpression": "'too many: ' + string(variables.count)"},
            {"expression": "object.metadata.name != 'bad'", "message": "a bad name", "reason": "Forbidden"},
            {"expression": "object.metadata.name != 'lazy' || variables.wrong == 'x'"},
            {"expression": "request.userInfo.groups.exists(g, g == 'system:masters')"},
            {"expression": "namespaceObject.metadata.name == 'default'"},
            {"expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"},
            {"expression": "authorizer.requestResource.check('update').allowed()"},
        ],
    });
    hold(&server, "p", spec, json!({})).await;
    make(&server, "good", json!({"a": "1"})).await.unwrap();
    make(&server, "free", json!({"a": "1", "b": "1", "c": "1"})).await.unwrap();
    let many = make(&server, "many", json!({"a": "1", "b": "1", "c": "1"})).await.unwrap_err();
    assert_eq!((many.code(), many.reason().as_str()), (422, "Invalid"));
    assert_eq!(
        many.message(),
        "configmaps \"many\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: too \
         many: 3"
    );
    let bad = make(&server, "bad", json!({})).await.unwrap_err();
    assert_eq!((bad.code(), bad.reason().as_str()), (403, "Forbidden"));
    assert_eq!(
        why(make(&server, "lazy", json!({"a": "1"})).await),
        "expression 'object.metadata.name != 'lazy' || variables.wrong == 'x'' resulted in error: composited variable \
         \"wrong\" fails to evaluate: no such key: none"
    );
}

#[tokio::test(start_paused = true)]
async fn parameters_are_found_by_name_and_by_selector() {
    let server = TestServer::start().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-params", "expression": "!object.metadata.name.startsWith('limit')"}],
        "validations": [{
            "expression": "size(object.data) <= int(params.data.max)",
            "messageExpression": "'max ' + params.data.max",
        }],
    });
    for (name, most) in [("limit-a", "3"), ("limit-b", "1")] {
        let limit = json!({"metadata": {"name": name, "labels": {"limit": "yes"}}, "data": {"max": most}});
        server.create::<ConfigMap>(limit).await;
    }
    let named = json!({"paramRef": {"name": "limit-a", "parameterNotFoundAction": "Deny"}});
    hold(&server, "by-name", spec.clone(), named).await;
    assert_eq!(why(make(&server, "x", json!({"a": "", "b": "", "c": "", "d": ""})).await), "max 3");
    make(&server, "y", json!({"a": "", "b": ""})).await.unwrap();
    let selected = json!({"paramRef": {
        "selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow",
    }});
    hold(&server, "by-selector", spec.clone(), selected).await;
    assert_eq!(why(make(&server, "z", json!({"a": "", "b": ""})).await), "max 1");
    let absent = json!({"paramRef": {"name": "none", "parameterNotFoundAction": "Deny"}});
    hold(&server, "a", spec, absent).await;
    assert_eq!(
        why(make(&server, "early", json!({"a": "1"})).await),
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
}

#[tokio::test(start_paused = true)]
async fn updates_and_deletions_are_judged_and_warnings_are_told() {
    let server = TestServer::start().await;
    let spec = json!({"validations": [
        {"expression": "request.operation != 'DELETE' || !('keep' in oldObject.data)", "message": "kept"},
        {"expression": "request.operation != 'UPDATE' || object.data == oldObject.data", "message": "fixed"},
    ]});
    hold(&server, "p", spec, json!({})).await;
    let told =
        json!({"validations": [{"expression": "size(object.metadata.name) > 3", "message": "a short name"}]});
    hold(&server, "w", told, json!({"validationActions": ["Warn", "Audit"]})).await;
    make(&server, "kept", json!({"keep": "1"})).await.unwrap();
    make(&server, "gone", json!({"free": "1"})).await.unwrap();
    let maps = server.api::<ConfigMap>();
    let changed = maps.patch("kept", crate::api::Patch::Merge(json!({"data": {"x": "1"}}))).await;
    assert_eq!(why(changed), "fixed");
    maps.patch("kept", crate::api::Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await.unwrap();
    assert!(maps.delete("kept").await.unwrap_err().message().ends_with("denied request: kept"));
    maps.delete("gone").await.unwrap();
    let body = Body::Value(json!({"metadata": {"name": "abc"}}));
    let create = Operation::Create { body, options: WriteOptions::default() };
    let target = Target::of::<ConfigMap>(Some("default"));
    let response = server.client().service().call(server.client().user(), target, create).await.unwrap();
    assert_eq!(
        response.warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'w' with binding 'w-binding': a short name"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_costs_too_much_fails_as_the_policy_says_and_policies_judge_no_policies() {
    let server = TestServer::start().await;
    let dear = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, \
                [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a + b + c + d + e > 0)))))";
    let spec = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": dear}]});
    hold(&server, "ignored", spec("Ignore"), json!({})).await;
    make(&server, "a", json!({})).await.unwrap();
    hold(&server, "failing", spec("Fail"), json!({})).await;
    let refused = why(make(&server, "b", json!({})).await);
    assert!(refused.ends_with("operation cancelled: actual cost limit exceeded"), "{refused}");
    // A policy that refuses everything does not refuse its own end.
    let spec = json!({"matchConstraints": rules("*", "*", &["*"]), "validations": [{"expression": "false"}]});
    hold(&server, "all", spec, json!({})).await;
    server.api::<ValidatingAdmissionPolicyBinding>().delete("all-binding").await.unwrap();
}

/// Makes a policy hold that changes what is made.
async fn change(server: &TestServer, name: &str, spec: Value) {
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    server.create::<MutatingAdmissionPolicy>(policy).await;
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    server.create::<MutatingAdmissionPolicyBinding>(binding).await;
}

#[tokio::test(start_paused = true)]
async fn policies_change_what_is_written_by_merging_and_by_patches() {
    let server = TestServer::start().await;
    let sidecar = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: \
                   [Object.spec.template.spec.containers{name: 'proxy', image: 'proxy:1'}]}}}}";
    change(
        &server,
        "sidecar",
        json!({
            "matchConstraints": rules("apps", "deployments", &["CREATE"]),
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": sidecar}}],
        }),
    )
    .await;
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    });
    let made = server.create::<Deployment>(deployment).await;
    let containers = made.spec.unwrap().template.spec.unwrap().containers;
    let names: Vec<_> = containers.iter().map(|container| &*container.name).collect();
    assert_eq!(names, ["web", "proxy"]);
    assert_eq!(
        containers[1].image_pull_policy.as_deref(),
        Some("IfNotPresent"),
        "what is added is defaulted"
    );

    let patch = "[JSONPatch{op: 'add', path: '/data/added', value: string(size(object.data))}]";
    change(
        &server,
        "patch",
        json!({
            "matchConstraints": rules("", "configmaps", &["CREATE"]),
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        }),
    )
    .await;
    let made = make(&server, "a", json!({"x": "1"})).await.unwrap();
    assert_eq!(made.data.unwrap().get("added").map(String::as_str), Some("1"));
    let refused = server
        .api::<ConfigMap>()
        .create(&serde_json::from_value(json!({"metadata": {"name": "b"}})).unwrap())
        .await
        .unwrap_err();
    assert_eq!((refused.code(), refused.reason().as_str()), (403, "Invalid"));
    assert!(
        refused.message().starts_with("policy 'patch' with binding 'patch' denied request: "),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_wants_is_asked_again_after_another_has_changed_the_object() {
    let server = TestServer::start().await;
    let change_of = |expression: &str, again: &str| {
        json!({
            "matchConstraints": rules("", "configmaps", &["CREATE"]),
            "reinvocationPolicy": again,
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        })
    };
    let count = "[JSONPatch{op: 'add', path: '/data/count', value: string(size(object.data))}]";
    change(&server, "a-count", change_of(count, "IfNeeded")).await;
    let add = "[JSONPatch{op: 'add', path: '/data/other', value: 'x'}]";
    change(&server, "b-add", change_of(add, "Never")).await;
    let made = make(&server, "m", json!({"x": "1"})).await.unwrap();
    assert_eq!(made.data.unwrap().get("count").map(String::as_str), Some("3"), "x, count and other");
}
