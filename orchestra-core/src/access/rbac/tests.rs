//! Decisions by table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::index::{Binding, Index, Role};
use crate::api::access::{AccessRequest, Authorizer as _};
use crate::api::{Target, User};
use crate::meta::ObjectName;

fn name(text: &str) -> ObjectName {
    match text.split_once('/') {
        Some((namespace, name)) => ObjectName::namespaced(namespace, name),
        None => ObjectName::cluster(text),
    }
}

fn role(rules: Value) -> Option<Role> {
    Some(Role::of(&serde_json::from_value::<Vec<_>>(rules).unwrap()))
}

fn bind(index: &mut Index, binding: &str, kind: &str, role: &str, subjects: Value) {
    let reference = serde_json::from_value(json!({"apiGroup": "", "kind": kind, "name": role})).unwrap();
    let subjects = serde_json::from_value(subjects).unwrap();
    index.set_binding(&name(binding), Binding::of(&name(binding), &reference, subjects));
}

fn user(text: &str) -> Value {
    json!({"kind": "User", "name": text})
}

fn group(text: &str) -> Value {
    json!({"kind": "Group", "name": text})
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
}

/// `group/resource[/subresource] [namespace] [name]` as a target.
fn target(text: &str) -> Target {
    let (path, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut path = path.split('/');
    let mut rest = rest.split(' ');
    let some = |text: Option<&str>| text.filter(|text| !text.is_empty() && *text != "-").map(Arc::from);
    Target {
        group: path.next().unwrap().into(),
        version: "v1".into(),
        resource: path.next().unwrap().into(),
        subresource: some(path.next()),
        namespace: some(rest.next()),
        name: some(rest.next()),
    }
}

fn allows(index: &Index, user: &User, verb: &str, what: &str) -> Option<String> {
    match what.starts_with('=') {
        true => index.allows(user, &AccessRequest::path(verb, &what[1..])),
        false => index.allows(user, &AccessRequest::resource(verb, &target(what))),
    }
}

fn example() -> Index {
    let mut index = Index::default();
    index.set_role(
        &name("reader"),
        role(json!([
            rule(&["get", "list"], &[""], &["pods", "pods/log"], &[]),
            rule(&["get"], &["apps"], &["*"], &[]),
            rule(&["update"], &["*"], &["*/scale"], &[]),
            {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]},
        ])),
    );
    index.set_role(&name("all"), role(json!([rule(&["*"], &["*"], &["*"], &[])])));
    index.set_role(&name("a/one"), role(json!([rule(&["get", "delete"], &[""], &["secrets"], &["s", "t"])])));
    bind(&mut index, "readers", "ClusterRole", "reader", json!([group("devs"), user("ann")]));
    bind(
        &mut index,
        "a/ones",
        "Role",
        "one",
        json!([user("bob"), {"kind": "ServiceAccount", "name": "robot"}]),
    );
    bind(&mut index, "a/admins", "ClusterRole", "all", json!([user("cid")]));
    bind(
        &mut index,
        "robots",
        "ClusterRole",
        "all",
        json!([
            {"kind": "ServiceAccount", "name": "root", "namespace": "b"},
            {"kind": "ServiceAccount", "name": "without-namespace"},
        ]),
    );
    bind(&mut index, "a/dangling", "Role", "none", json!([user("dan")]));
    index
}

#[test]
fn a_decision_follows_rules_bindings_and_subjects() {
    let index = example();
    let dev = User { groups: vec!["x".into(), "devs".into()], ..User::named("eve") };
    let [ann, bob, cid, dan] = ["ann", "bob", "cid", "dan"].map(User::named);
    let robot = User::service_account("a", "robot");
    let root = User::service_account("b", "root");
    let other = User::service_account("a", "without-namespace");
    for (who, verb, what, allowed) in [
        (&ann, "get", "/pods", true),
        (&ann, "get", "/pods n p", true),
        (&ann, "watch", "/pods", false),
        (&ann, "get", "/pods/log n p", true),
        (&ann, "get", "/pods/exec n p", false),
        (&ann, "get", "/secrets n s", false),
        (&ann, "get", "apps/pods n p", true),
        (&ann, "list", "apps/deployments", false),
        (&ann, "get", "apps/deployments/status n d", true),
        (&ann, "update", "apps/deployments/scale n d", true),
        (&ann, "update", "batch/things/scale", true),
        (&ann, "update", "apps/deployments n d", false),
        (&ann, "get", "=/metrics", true),
        (&ann, "post", "=/metrics", false),
        (&ann, "get", "=/metrics/slis", false),
        (&ann, "get", "=/logs/a/b", true),
        (&ann, "get", "=/logs", false),
        (&dev, "get", "/pods n p", true),
        (&bob, "get", "/pods n p", false),
        (&bob, "get", "/secrets a s", true),
        (&bob, "get", "/secrets a u", false),
        (&bob, "get", "/secrets a", false),
        (&bob, "get", "/secrets b s", false),
        (&bob, "get", "/secrets", false),
        (&bob, "list", "/secrets a s", false),
        (&robot, "delete", "/secrets a t", true),
        (&cid, "impersonate", "anything/at/all a x", true),
        (&cid, "get", "/pods b", false),
        (&cid, "get", "/nodes", false),
        (&cid, "get", "=/metrics", false),
        (&root, "get", "/nodes", true),
        (&other, "get", "/nodes", false),
        (&dan, "get", "/pods a", false),
    ] {
        assert_eq!(allows(&index, who, verb, what).is_some(), allowed, "{} {verb} {what}", who.name);
    }
}

#[test]
fn reasons_are_in_kubernetes_words() {
    let index = example();
    let why = |user: &User, verb: &str, what: &str| allows(&index, user, verb, what).unwrap();
    let [ann, bob] = ["ann", "bob"].map(User::named);
    assert_eq!(
        why(&ann, "get", "/pods"),
        r#"ClusterRoleBinding "readers" of ClusterRole "reader" to User "ann""#
    );
    assert_eq!(why(&bob, "get", "/secrets a s"), r#"RoleBinding "ones/a" of Role "one" to User "bob""#);
    assert_eq!(
        why(&User::service_account("a", "robot"), "get", "/secrets a s"),
        r#"RoleBinding "ones/a" of Role "one" to ServiceAccount "robot/a""#
    );
    assert_eq!(
        why(&User::service_account("b", "root"), "get", "/nodes"),
        r#"ClusterRoleBinding "robots" of ClusterRole "all" to ServiceAccount "root/b""#
    );
}

#[test]
fn what_changes_counts_and_leaves_nothing_behind() {
    let mut index = example();
    let [ann, dan] = ["ann", "dan"].map(User::named);
    index.set_role(&name("a/none"), role(json!([rule(&["get"], &[""], &["pods"], &[])])));
    assert!(allows(&index, &dan, "get", "/pods a p").is_some(), "the role came after its binding");
    index.set_role(&name("a/none"), role(json!([rule(&["list"], &[""], &["pods"], &[])])));
    assert!(
        allows(&index, &dan, "get", "/pods a p").is_none()
            && allows(&index, &dan, "list", "/pods a").is_some()
    );
    index.set_role(&name("a/none"), None);
    assert!(allows(&index, &dan, "list", "/pods a").is_none());
    bind(&mut index, "readers", "ClusterRole", "reader", json!([group("devs")]));
    assert!(allows(&index, &ann, "get", "/pods").is_none(), "the binding has not this subject any more");
    for binding in ["readers", "a/ones", "a/admins", "robots", "a/dangling"] {
        index.set_binding(&name(binding), None);
    }
    assert!(index.is_idle(), "{index:?}");
}

#[test]
fn permissions_are_those_of_each_binding_once() {
    let mut index = example();
    bind(&mut index, "readers", "ClusterRole", "reader", json!([group("devs"), user("eve"), group("devs")]));
    let eve = User { groups: vec!["devs".into()], ..User::named("eve") };
    let held = index.permissions(&eve, "a");
    assert_eq!((held.resources.len(), held.paths.len(), held.incomplete), (3, 1, false));
    assert_eq!(index.permissions(&User::named("cid"), "b").resources, vec![]);
    assert_eq!(index.permissions(&User::named("cid"), "a").resources.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_acknowledged_counts_from_the_next_request_on() {
    use crate::testing::TestServer;
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

    let server = TestServer::start().await;
    let rbac = super::Rbac::new(server.server().caches());
    let pods = target("/pods default");
    let ann = User::named("ann");
    let may = async || rbac.authorize(&ann, &AccessRequest::resource("list", &pods)).await.is_allowed();
    assert!(!may().await);
    let manifest = json!({"metadata": {"name": "r"}, "rules": [rule(&["list"], &[""], &["pods"], &[])]});
    server.create::<Role>(manifest).await;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    server
        .create::<RoleBinding>(json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": [user("ann")]}))
        .await;
    assert!(may().await);
    server.client().api::<RoleBinding>("default").delete("b").await.unwrap();
    assert!(!may().await);
}
