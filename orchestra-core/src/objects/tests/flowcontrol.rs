//! Flow schemas, priority levels and runtime classes.

use serde_json::{Value, json};

use super::cells::cells;
use super::refused;
use super::stored;
use super::updates::changed;
use crate::objects::flowcontrol::{flow_schemas, priority_levels};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

fn schema(rule: Value) -> Value {
    object("FlowSchema", "s", json!({ "priorityLevelConfiguration": { "name": "low" }, "rules": [rule] }))
}

fn level(limited: Value) -> Value {
    object("PriorityLevelConfiguration", "l", json!({ "type": "Limited", "limited": limited }))
}

fn class(fields: Value) -> Value {
    let mut class = json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": { "name": "c" },
        "handler": "runc",
    });
    super::merge(&mut class, fields);
    class
}

#[test]
fn what_every_cluster_has_is_valid_and_complete() {
    for (kind, all) in [("FlowSchema", flow_schemas()), ("PriorityLevelConfiguration", priority_levels())] {
        for wanted in all {
            let object = object(kind, wanted.name, wanted.spec.clone());
            assert_eq!(super::faults(&object), Vec::<String>::new(), "{object}");
            assert_eq!(stored(&object)["spec"], wanted.spec, "nothing is filled in of {}", wanted.name);
        }
    }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let named = object("FlowSchema", "s", json!({ "priorityLevelConfiguration": { "name": "low" } }));
    assert_eq!(stored(&named)["spec"]["matchingPrecedence"], 1000);
    let limited = stored(&level(json!({ "limitResponse": { "type": "Queue", "queuing": {} } })));
    assert_eq!(
        limited["spec"]["limited"],
        json!({
            "nominalConcurrencyShares": 30,
            "lendablePercent": 0,
            "limitResponse": {
                "type": "Queue",
                "queuing": { "queues": 64, "handSize": 8, "queueLengthLimit": 50 },
            },
        })
    );
    let overhead = stored(&class(json!({ "overhead": { "podFixed": { "cpu": "1u" } } })));
    assert_eq!(overhead["overhead"]["podFixed"]["cpu"], "1m");
}

#[test]
fn flow_schemas_are_refused_by_field() {
    let subject = json!({ "kind": "User", "user": { "name": "u" } });
    let rule = |subject: Value, resources: Value, urls: Value| {
        let mut rule = json!({ "subjects": [subject] });
        if !resources.is_null() {
            rule["resourceRules"] = json!([resources]);
        }
        if !urls.is_null() {
            rule["nonResourceRules"] = json!([{ "verbs": ["get"], "nonResourceURLs": urls }]);
        }
        schema(rule)
    };
    let urls = |urls: Value| rule(subject.clone(), Value::Null, urls);
    let account =
        json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "*", "namespace": "" }, "user": {} });
    let at = "spec.rules[0]";
    let mut fixed = object("FlowSchema", "catch-all", json!({}));
    fixed["spec"] =
        json!({ "priorityLevelConfiguration": { "name": "catch-all" }, "matchingPrecedence": 9999 });
    assert!(super::faults(&fixed)[0].ends_with("spec of 'catch-all' must equal the fixed value"));
    let bad_urls = [
        "\"a\": must start with slash",
        "\"/a b\": must not contain white-space",
        "\"/a//b\": must not contain double slash",
        "\"/a*\": wildcard can only do suffix matching",
        "\"\": must not be empty",
    ];
    let bad_urls = bad_urls.iter().enumerate().map(|(index, what)| {
        format!("{at}.nonResourceRules[0].nonResourceURLs[{index}]: Invalid value: {what}")
    });
    let bad_urls: Vec<String> = bad_urls.collect();
    refused([
        (urls(json!(["/a", "/b/*"])), vec![]),
        (
            object("FlowSchema", "s", json!({ "matchingPrecedence": 1 })),
            vec![
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have \
                 matchingPrecedence 1",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ],
        ),
        (
            rule(account, Value::Null, json!(["*"])),
            vec![
                &*format!(
                    "{at}.subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'"
                ),
                &*format!(
                    "{at}.subjects[0].serviceAccount.namespace: Required value: must specify namespace for service \
                     account"
                ),
            ],
        ),
        (urls(json!(["a", "/a b", "/a//b", "/a*", ""])), bad_urls.iter().map(String::as_str).collect()),
    ]);
}

#[test]
fn priority_levels_and_runtime_classes_are_refused_by_field() {
    let queuing = |queues: i64, hand: i64| {
        level(
            json!({ "limitResponse": { "type": "Queue", "queuing": { "queues": queues, "handSize": hand } } }),
        )
    };
    let at = "spec.limited.limitResponse.queuing";
    refused([
        (queuing(128, 6), vec![]),
        (
            queuing(2, 3),
            vec![&*format!("{at}.handSize: Invalid value: 3: should not be greater than queues (2)")],
        ),
        (
            queuing(1024, 7),
            vec![&*format!(
                "{at}.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be \
                 greater than 60"
            )],
        ),
        (
            level(json!({ "limitResponse": { "type": "Reject", "queuing": {} } })),
            vec![&*format!("{at}: Forbidden: must be nil if limited.limitResponse.type is not Limited")],
        ),
        (
            object("PriorityLevelConfiguration", "l", json!({ "type": "Exempt", "exempt": {} })),
            vec!["spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"],
        ),
        (class(json!({ "handler": "" })), vec!["handler: Required value"]),
        (
            class(json!({ "scheduling": { "tolerations": [
                { "key": "k", "operator": "Exists" }, { "key": "k", "operator": "Exists" },
            ] } })),
            vec![
                "scheduling.tolerations[1]: Duplicate value: {\"Key\":\"k\",\"Operator\":\"Exists\",\"Value\":\"\",\
                 \"Effect\":\"\",\"TolerationSeconds\":null}",
            ],
        ),
    ]);
    let (_, faults) = changed(&stored(&class(json!({}))), |class| class["handler"] = json!("kata"));
    assert_eq!(faults, ["handler: Invalid value: \"kata\": field is immutable"]);
}

#[test]
fn a_row_of_each() {
    let mut schema = schema(json!({}));
    schema["spec"]["matchingPrecedence"] = json!(7);
    let row =
        |missing: &str| [json!("s"), json!("low"), json!(7), json!("<none>"), json!("60s"), json!(missing)];
    assert_eq!(cells(&schema), row("?"));
    schema["status"] = json!({ "conditions": [{ "type": "Dangling", "status": "True" }] });
    assert_eq!(cells(&schema), row("True"));
    let none = json!("<none>");
    let rejecting = stored(&level(json!({ "limitResponse": { "type": "Reject" } })));
    assert_eq!(cells(&rejecting)[1..6], [json!("Limited"), json!(30), none.clone(), none.clone(), none]);
    let queuing = stored(&level(json!({ "limitResponse": { "type": "Queue", "queuing": { "queues": 9 } } })));
    assert_eq!(cells(&queuing)[3..6], [json!(9), json!(8), json!(50)]);
    assert_eq!(cells(&class(json!({}))), [json!("c"), json!("runc"), json!("60s")]);
}
