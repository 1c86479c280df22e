use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::api::access::AccessRequest;
use crate::api::{Reason, Status, User};

fn target(text: &str) -> Target {
    let parts: Vec<&str> = text.split(' ').collect();
    let [group, resource, namespace, name, sub] = parts.try_into().unwrap();
    let some = |text: &str| Some(text).filter(|text| *text != "-").map(Into::into);
    Target {
        group: if group == "-" { "" } else { group }.into(),
        version: "v1".into(),
        resource: resource.into(),
        namespace: some(namespace),
        name: some(name),
        subresource: some(sub),
    }
}

fn policy(rules: &str) -> Policy {
    Policy::parse(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}").as_bytes()).unwrap()
}

#[test]
fn the_first_rule_that_matches_says_how_much_is_recorded() {
    let policy = policy(
        r#"
- {level: None, users: ["system:kube-proxy"], verbs: ["watch"]}
- {level: Request, userGroups: ["devs"], resources: [{group: apps, resources: [deployments, "*/scale"]}]}
- {level: RequestResponse, resources: [{group: "", resources: ["pods/*"]}], namespaces: [a]}
- {level: Metadata, resources: [{group: "", resources: [configmaps], resourceNames: [leader]}]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: Metadata, nonResourceURLs: ["*"]}
- {level: RequestResponse, resources: [{group: batch}]}
"#,
    );
    let [proxy, dev, other] =
        [User::named("system:kube-proxy"), User::named("d").in_group("devs"), User::named("o")];
    for (user, verb, of, level) in [
        (&proxy, "watch", "- pods a - -", Level::None),
        (&proxy, "list", "- pods a - -", Level::RequestResponse),
        (&dev, "create", "apps deployments a - -", Level::Request),
        (&dev, "update", "apps statefulsets a x scale", Level::Request),
        (&dev, "update", "apps deployments a x status", Level::None),
        (&other, "create", "apps deployments a - -", Level::None),
        (&other, "get", "- pods a x log", Level::RequestResponse),
        (&other, "get", "- pods b x log", Level::None),
        (&other, "get", "- configmaps a leader -", Level::Metadata),
        (&other, "get", "- configmaps a follower -", Level::None),
        (&other, "get", "batch jobs/any a x -", Level::RequestResponse),
    ] {
        let target = target(of);
        let recorded = policy.decide(user, &AccessRequest::resource(verb, &target));
        assert_eq!(recorded.level, level, "{} {verb} {of}", user.name);
    }
    for (path, level) in [
        ("/healthz", Level::None),
        ("/healthz/etcd", Level::None),
        ("/version", Level::None),
        ("/version/x", Level::Metadata),
        ("/metrics", Level::Metadata),
    ] {
        assert_eq!(policy.decide(&other, &AccessRequest::path("get", path)).level, level, "{path}");
    }
}

#[test]
fn stages_and_managed_fields_are_left_out_where_policy_or_rule_say_so() {
    let text = r#"{
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"], "omitManagedFields": true,
        "rules": [
            {"level": "Request", "verbs": ["get"], "omitStages": ["ResponseStarted"], "omitManagedFields": false},
            {"level": "Metadata", "verbs": ["list"]}
        ]
    }"#;
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let pods = target("- pods a - -");
    let decide = |verb| policy.decide(&User::admin(), &AccessRequest::resource(verb, &pods));
    let get = decide("get");
    assert_eq!(get.omitted, [Stage::RequestReceived, Stage::ResponseStarted].into());
    assert!(!get.omits_managed_fields);
    let list = decide("list");
    assert_eq!((list.omitted, list.omits_managed_fields), ([Stage::RequestReceived].into(), true));
    assert_eq!(decide("watch").level, Level::None);
}

#[test]
fn a_policy_that_says_what_cannot_be_is_refused_with_its_place() {
    for (text, why) in [
        ("", "must be a Policy"),
        ("apiVersion: audit.k8s.io/v1beta1\nkind: Policy", "must be a Policy"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy", "no rules"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]", "unknown variant `All`"),
        (
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, user: [a]}]",
            "unknown field `user`",
        ),
        (
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]",
            "rules[0].nonResourceURLs: rules cannot apply to both",
        ),
        (
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, nonResourceURLs: [/a*b]}]",
            "rules[0].nonResourceURLs: \"/a*b\"",
        ),
        (
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, resources: [{resourceNames: [a]}]}]",
            "rules[0].resources: using resourceNames",
        ),
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} of {text}");
    }
}

#[test]
fn of_what_is_secret_no_more_is_recorded_than_that_it_was_done() {
    let policy = policy("- level: RequestResponse");
    for (of, level) in [
        ("- secrets a - -", Level::Metadata),
        ("- secrets a x history", Level::Metadata),
        ("- serviceaccounts a x token", Level::Metadata),
        ("authentication.k8s.io tokenreviews - - -", Level::Metadata),
        ("- serviceaccounts a x -", Level::RequestResponse),
        ("example.org secrets a - -", Level::RequestResponse),
    ] {
        let target = target(of);
        let recorded = policy.decide(&User::admin(), &AccessRequest::resource("create", &target));
        assert_eq!(recorded.level, level, "{of}");
    }
    let secrets = target("- secrets a - -");
    let request = AccessRequest::resource("create", &secrets);
    let mut event = Event::received(Level::Metadata, "1", &User::admin(), &request, Timestamp::UNIX_EPOCH);
    for (reason, told) in [
        (Reason::Invalid, false),
        (Reason::BadRequest, false),
        (Reason::InternalError, false),
        (Reason::Forbidden, true),
        (Reason::NotFound, true),
    ] {
        event.answered(Outcome::Failure(&Status::new(reason, "hunter2")), true);
        assert_eq!(serde_json::to_string(&event).unwrap().contains("hunter2"), told, "{reason:?}");
    }
}

#[test]
fn an_event_is_written_as_kubernetes_writes_it() {
    let pods = target("- pods a - -");
    let user = User { uid: "7".into(), ..User::named("ann").in_group("devs") };
    let request = AccessRequest::resource("create", &pods);
    let at = Timestamp::from_microsecond(1_500_000).unwrap();
    let mut event = Event::received(Level::Request, "id", &user, &request, at).sent(
        "/api/v1/namespaces/a/pods?x=1",
        "kubectl/v1",
        vec!["10.0.0.1".to_owned()],
    );
    event.impersonated_user = Some(User::named("bob"));
    event.decided(true, "RBAC: allowed");
    event.sent_object(&json!({ "metadata": { "name": "web" } }));
    event.request_object = Some(json!({ "kind": "Pod" }));
    event.answered(Outcome::Code(201), false);
    event.stage = Stage::ResponseComplete;
    assert_eq!(
        serde_json::to_value(&event).unwrap(),
        json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Request",
            "auditID": "id",
            "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/a/pods?x=1",
            "verb": "create",
            "user": { "username": "ann", "uid": "7", "groups": ["devs", "system:authenticated"] },
            "impersonatedUser": { "username": "bob", "groups": ["system:authenticated"] },
            "sourceIPs": ["10.0.0.1"],
            "userAgent": "kubectl/v1",
            "objectRef": { "resource": "pods", "namespace": "a", "name": "web", "apiVersion": "v1" },
            "responseStatus": { "metadata": {}, "code": 201 },
            "requestObject": { "kind": "Pod" },
            "requestReceivedTimestamp": "1970-01-01T00:00:01.500000Z",
            "stageTimestamp": "1970-01-01T00:00:01.500000Z",
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": "RBAC: allowed",
            },
        })
    );
}

#[test]
fn managed_fields_are_taken_out_of_objects_lists_and_tables() {
    let object = || json!({ "metadata": { "name": "a", "managedFields": [] } });
    let bare = json!({ "metadata": { "name": "a" } });
    for (given, left) in [
        (object(), bare.clone()),
        (json!({ "items": [object()] }), json!({ "items": [bare.clone()] })),
        (json!({ "rows": [{ "object": object() }] }), json!({ "rows": [{ "object": bare }] })),
        (Value::Null, Value::Null),
        (
            json!({ "metadata": 1, "items": 2, "rows": [3] }),
            json!({ "metadata": 1, "items": 2, "rows": [3] }),
        ),
    ] {
        assert_eq!(without_managed_fields(given), left);
    }
}
