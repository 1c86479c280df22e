use super::*;

fn amounts(given: &[(&str, &str)]) -> Amounts {
    given.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::parse(amount).unwrap())).collect()
}

fn id(group: &str, plural: &str) -> GroupResource {
    GroupResource { group: group.into(), resource: plural.into() }
}

fn shown(amounts: &Amounts) -> Vec<String> {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
}

#[test]
fn each_kind_uses_what_is_counted_of_it() {
    let pod = json!({"spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "100m", "example.com/gpu": "1"}, "limits": {"memory": "1Gi", "example.com/gpu": "1"}}}]}});
    let mut ended = pod.clone();
    ended["status"]["phase"] = "Succeeded".into();
    let ports = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 80}, {"port": 81}]}});
    let mut unallocated = ports("LoadBalancer");
    unallocated["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
    let cases = [
        (id("apps", "deployments"), json!({}), vec!["count/deployments.apps=1"]),
        (id("", "secrets"), json!({}), vec!["count/secrets=1", "secrets=1"]),
        (
            id("", "pods"),
            pod,
            vec![
                "count/pods=1",
                "cpu=100m",
                "limits.memory=1Gi",
                "pods=1",
                "requests.cpu=100m",
                "requests.example.com/gpu=1",
            ],
        ),
        (id("", "pods"), ended, vec!["count/pods=1"]),
        (id("", "services"), ports("ClusterIP"), vec!["count/services=1", "services=1"]),
        (
            id("", "services"),
            ports("NodePort"),
            vec!["count/services=1", "services=1", "services.nodeports=2"],
        ),
        (
            id("", "services"),
            ports("LoadBalancer"),
            vec!["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=2"],
        ),
        (id("", "services"), unallocated, vec!["count/services=1", "services=1", "services.loadbalancers=1"]),
        (
            id("", "persistentvolumeclaims"),
            claim,
            vec![
                "count/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/requests.storage=1Gi",
                "persistentvolumeclaims=1",
                "requests.storage=1Gi",
            ],
        ),
    ];
    for (id, object, expected) in cases {
        let used = usage::of(&id, &object);
        assert_eq!(shown(&used), expected, "{object}");
        for name in used.keys() {
            assert_eq!(usage::kind_of(name), Some(id.clone()), "{name}");
        }
    }
}

#[test]
fn a_quota_counts_what_is_in_all_its_scopes() {
    let quota = |scopes: Value, terms: Value| -> QuotaView {
        let spec =
            json!({"hard": {"pods": "1"}, "scopes": scopes, "scopeSelector": {"matchExpressions": terms}});
        serde_json::from_value(json!({ "spec": spec })).unwrap()
    };
    let pods = id("", "pods");
    let pod = |spec: Value| json!({ "spec": spec });
    let cpu = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
    let class = |operator: &str, values: &[&str]| json!([{"scopeName": "PriorityClass", "operator": operator, "values": values}]);
    let high = json!({"priorityClassName": "high"});
    let apart = json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"namespaces": ["other"]}}]}}});
    for (scopes, terms, spec, covered) in [
        (json!([]), json!([]), json!({}), true),
        (json!(["BestEffort"]), json!([]), json!({}), true),
        (json!(["BestEffort"]), json!([]), cpu.clone(), false),
        (json!(["NotBestEffort", "Terminating"]), json!([]), cpu.clone(), false),
        (json!(["NotBestEffort", "NotTerminating"]), json!([]), cpu, true),
        (json!(["Terminating"]), json!([]), json!({"activeDeadlineSeconds": 5}), true),
        (json!([]), class("In", &["high"]), high.clone(), true),
        (json!([]), class("In", &["low"]), high.clone(), false),
        (json!([]), class("NotIn", &["low"]), json!({}), true),
        (json!([]), class("Exists", &[]), json!({}), false),
        (json!([]), class("DoesNotExist", &[]), high, false),
        (json!(["CrossNamespacePodAffinity"]), json!([]), apart, true),
        (json!(["CrossNamespacePodAffinity"]), json!([]), json!({}), false),
    ] {
        let quota = quota(scopes.clone(), terms.clone());
        assert_eq!(quota.covers(&pods, &pod(spec.clone())), covered, "{scopes} {terms} {spec}");
    }
    assert!(!quota(json!(["BestEffort"]), json!([])).covers(&id("", "secrets"), &json!({})));
}

#[test]
fn only_what_grows_can_exceed() {
    let (hard, used) = (amounts(&[("pods", "2"), ("cpu", "1")]), amounts(&[("pods", "2"), ("cpu", "1500m")]));
    for (more, over) in [
        (amounts(&[("pods", "1")]), vec!["pods"]),
        (amounts(&[("pods", "-1")]), vec![]),
        (amounts(&[("cpu", "-100m")]), vec![]),
        (amounts(&[("memory", "1Gi")]), vec![]),
    ] {
        assert_eq!(exceeded(&used, &hard, &more), over);
    }
}

#[test]
fn a_pod_must_name_what_is_counted() {
    let hard = amounts(&[("requests.cpu", "1"), ("limits.memory", "1Gi"), ("pods", "1")]);
    let pod = |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}, {"name": "d"}]}});
    assert_eq!(told(&view::missing(&hard, &pod(json!({})))), "limits.memory for: c,d; requests.cpu for: c,d");
    assert_eq!(
        told(&view::missing(&hard, &pod(json!({"requests": {"cpu": "1"}})))),
        "limits.memory for: c,d; requests.cpu for: d"
    );
    let mut whole = pod(json!({}));
    whole["spec"]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
    assert_eq!(told(&view::missing(&hard, &whole)), "");
}
