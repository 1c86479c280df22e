use serde_json::{Value, json};

use super::{change, deployment, pod, row, service, stored};

/// Changes a stored object, and answers with what is wrong with that.
pub(super) fn changed(old: &Value, edit: impl FnOnce(&mut Value)) -> (Value, Vec<String>) {
    let mut new = old.clone();
    edit(&mut new);
    change(&new, old)
}

#[test]
fn of_a_pod_only_a_few_fields_may_change() {
    let old = stored(&pod(json!({ "tolerations": [{ "key": "a", "operator": "Exists" }] })));
    let (_, faults) = changed(&old, |pod| {
        pod["metadata"]["labels"] = json!({ "a": "b" });
        pod["spec"]["containers"][0]["image"] = json!("other");
        pod["spec"]["activeDeadlineSeconds"] = json!(5);
        pod["spec"]["tolerations"] =
            json!([{ "key": "b", "operator": "Exists" }, { "key": "a", "operator": "Exists" }]);
    });
    assert_eq!(faults, Vec::<String>::new());
    let (_, faults) = changed(&old, |pod| pod["spec"]["hostname"] = json!("x"));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    ));
    assert!(faults[0].ends_with("\n  spec.hostname: null -> \"x\""), "{}", faults[0]);
    let (_, faults) = changed(&old, |pod| pod["spec"]["tolerations"] = json!([]));
    assert_eq!(
        faults,
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    let (_, faults) = changed(&old, |pod| {
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "d", "image": "i" }));
    });
    assert_eq!(faults, ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
}

#[test]
fn images_and_tolerations_may_change_and_are_looked_into_again() {
    let old = stored(&pod(json!({ "tolerations": [{ "key": "a", "operator": "Exists" }] })));
    let (_, faults) = changed(&old, |pod| pod["spec"]["containers"][0]["image"] = json!(" i"));
    let padded =
        "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace";
    assert_eq!(faults, [padded, padded]);
    let (_, faults) = changed(&old, |pod| {
        pod["spec"]["tolerations"].as_array_mut().unwrap().push(json!({ "key": "b", "operator": "x" }));
    });
    let operator =
        "spec.tolerations[1].operator: Unsupported value: \"x\": supported values: \"Equal\", \"Exists\"";
    assert_eq!(faults, [operator, operator]);
}

#[test]
fn a_pod_that_waits_at_a_gate_may_be_told_to_run_on_fewer_nodes() {
    let asks = |key: &str| json!({ "key": key, "operator": "Exists" });
    let required = |terms: Value| json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
    let terms = required(json!([{ "matchExpressions": [asks("a")] }]));
    let old = stored(&pod(json!({ "schedulingGates": [{ "name": "g" }], "affinity": terms.clone() })));
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let count = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
    let instead = format!(
        "{at}[0]: Invalid value: {{\"MatchExpressions\":[{{\"Key\":\"b\",\"Operator\":\"Exists\",\"Values\":null}}],\
         \"MatchFields\":null}}: only additions are allowed (no mutations or deletions)"
    );
    let fewer = format!("{at}: Invalid value: null: {count}");
    for (affinity, fault) in [
        (required(json!([{ "matchExpressions": [asks("a"), asks("b")] }])), None),
        (required(json!([{ "matchExpressions": [asks("b")] }])), Some(instead)),
        (Value::Null, Some(fewer)),
    ] {
        let (_, faults) = changed(&old, |pod| pod["spec"]["affinity"] = affinity);
        assert_eq!(faults, Vec::from_iter(fault));
    }
    // One that asks for no node may ask for any.
    let old = stored(&pod(json!({ "schedulingGates": [{ "name": "g" }] })));
    let (_, faults) = changed(&old, |pod| pod["spec"]["affinity"] = terms);
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_deadline_only_comes_nearer() {
    let old = stored(&pod(json!({ "activeDeadlineSeconds": 10 })));
    for (seconds, fault) in [
        (json!(9), None),
        (
            json!(11),
            Some(
                "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value",
            ),
        ),
        (
            Value::Null,
            Some(
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ),
        ),
    ] {
        let (_, faults) = changed(&old, |pod| pod["spec"]["activeDeadlineSeconds"] = seconds);
        assert_eq!(faults.first().map(String::as_str), fault);
    }
}

#[test]
fn selectors_and_data_that_is_immutable_stay() {
    let old = stored(&deployment(json!({})));
    let (_, faults) = changed(&old, |new| {
        new["spec"]["selector"] = json!({ "matchLabels": { "app": "x" } });
        new["spec"]["template"]["metadata"]["labels"] = json!({ "app": "x" });
    });
    assert_eq!(
        faults,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"]
    );
    for kind in ["ConfigMap", "Secret"] {
        let old =
            stored(&json!({ "apiVersion": "v1", "kind": kind, "immutable": true, "data": { "a": "eA==" } }));
        let (_, faults) = changed(&old, |new| {
            new["immutable"] = json!(false);
            new["data"]["a"] = json!("eQ==");
        });
        assert_eq!(
            faults,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
    let old = stored(&json!({ "apiVersion": "v1", "kind": "Secret" }));
    let (_, faults) = changed(&old, |new| new["type"] = json!("mine"));
    assert_eq!(faults, ["type: Invalid value: \"mine\": field is immutable"]);
}

#[test]
fn a_service_keeps_what_it_was_given() {
    let mut old = stored(&service(json!({ "type": "NodePort", "ports": [{ "port": 80 }] })));
    old["spec"]["clusterIP"] = json!("10.96.0.9");
    old["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
    old["spec"]["ports"][0]["nodePort"] = json!(30080);
    // A manifest that mentions none of it, as `kubectl replace` sends.
    let (new, faults) = change(&service(json!({ "type": "NodePort", "ports": [{ "port": 81 }] })), &old);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(new["spec"]["clusterIP"], "10.96.0.9");
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
    // The type alone changes, as `kubectl patch` does it.
    let (new, faults) = changed(&old, |new| new["spec"]["type"] = json!("ClusterIP"));
    assert_eq!(faults, Vec::<String>::new());
    assert!(new["spec"]["ports"][0].get("nodePort").is_none());
    assert!(new["spec"].get("externalTrafficPolicy").is_none());
    let (new, faults) = changed(&old, |new| {
        new["spec"]["type"] = json!("ExternalName");
        new["spec"]["externalName"] = json!("a.b");
    });
    assert_eq!(faults, Vec::<String>::new());
    assert!(new["spec"].get("clusterIP").is_none() && new["spec"].get("ipFamilies").is_none());
    let (_, faults) = changed(&old, |new| new["spec"]["clusterIP"] = json!("10.96.0.10"));
    assert_eq!(faults, ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set"]);
}

#[test]
fn binding_a_pod_names_its_node_once() {
    let rules = row(&pod(json!({})));
    let mut object = stored(&pod(json!({})));
    let binding = json!({ "target": { "kind": "Node", "name": "n" }, "metadata": { "name": "p", "annotations": { "a": "b" } } });
    let now = jiff::Timestamp::UNIX_EPOCH;
    let bind = |binding: &Value, object: &mut Value| rules.rules.edit("binding", object, binding, now);
    bind(&binding, &mut object).unwrap();
    assert_eq!(object["spec"]["nodeName"], "n");
    assert_eq!(object["metadata"]["annotations"], json!({ "a": "b" }));
    let condition = &object["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("True")));
    assert_eq!(condition["lastTransitionTime"], "1970-01-01T00:00:00Z");
    let again = bind(&binding, &mut object).unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\"",)
    );
    let nowhere = bind(&json!({ "target": {} }), &mut stored(&pod(json!({})))).unwrap_err();
    assert_eq!(nowhere.code(), 500);
    let mut gated = stored(&pod(json!({ "schedulingGates": [{ "name": "g" }] })));
    assert_eq!(gated["status"]["conditions"][0]["reason"], "SchedulingGated");
    assert_eq!(bind(&binding, &mut gated).unwrap_err().code(), 409);
}

#[test]
fn grace_is_for_pods_that_run() {
    let rules = row(&pod(json!({})));
    let grace = |spec: Value, phase: &str, requested| {
        let mut object = stored(&pod(spec));
        object["status"]["phase"] = phase.into();
        rules.rules.grace_period(&object, requested)
    };
    assert_eq!(grace(json!({}), "Pending", None), Some(0), "it is on no node");
    assert_eq!(grace(json!({ "nodeName": "n" }), "Running", None), Some(30));
    assert_eq!(grace(json!({ "nodeName": "n" }), "Running", Some(5)), Some(5));
    assert_eq!(grace(json!({ "nodeName": "n" }), "Running", Some(-5)), Some(1));
    assert_eq!(grace(json!({ "nodeName": "n" }), "Succeeded", Some(5)), Some(0));
}

#[test]
fn a_namespace_stays_until_nothing_is_left_in_it() {
    let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    let rules = row(&manifest);
    let mut object = stored(&manifest);
    rules.rules.prepare_deletion(&mut object);
    assert_eq!(object["status"]["phase"], "Terminating");
    assert!(rules.rules.holds(&object));
    object["spec"]["finalizers"] = json!([]);
    assert!(!rules.rules.holds(&object));
    let old = stored(&manifest);
    let (new, _) = changed(&old, |new| new["spec"] = json!({}));
    assert_eq!(new["spec"], old["spec"], "only the namespace controller takes finalizers away");
}

#[test]
fn a_binding_stays_one_of_its_role() {
    let binding = |role: &str| {
        stored(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": "b" },
            "roleRef": { "kind": "Role", "name": role },
        }))
    };
    assert_eq!(change(&binding("r"), &binding("r")).1, Vec::<String>::new());
    let shown = r#"{"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"q"}"#;
    assert_eq!(
        change(&binding("q"), &binding("r")).1,
        [format!("roleRef: Invalid value: {shown}: cannot change roleRef")]
    );
}

#[test]
fn of_a_pod_that_is_resized_processors_and_memory_alone_change() {
    let resources = |cpu: &str, memory: &str| json!({ "requests": { "cpu": cpu, "memory": memory }, "limits": { "cpu": "2" } });
    let old = stored(&pod(json!({
        "containers": [{ "name": "c", "image": "i", "resources": resources("1", "1Mi") }],
        "initContainers": [{ "name": "s", "image": "i", "restartPolicy": "Always" }],
    })));
    let resized = |edit: &dyn Fn(&mut Value)| {
        let (row, mut new, mut errors) = (row(&old), old.clone(), crate::api::field::Errors::new());
        edit(&mut new);
        row.rules.prepare_part("resize", &mut new, &old);
        row.rules.validate_part("resize", &new, &old, &mut errors).unwrap();
        (new, errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (new, faults) = resized(&|pod| {
        pod["spec"]["containers"][0]["resources"] = resources("500m", "2Mi");
        pod["spec"]["containers"][0]["image"] = json!("other");
        pod["spec"]["initContainers"][0]["resources"] = json!({ "requests": { "cpu": "1" } });
        pod["spec"]["hostname"] = json!("x");
        pod["metadata"]["labels"] = json!({ "a": "b" });
        pod["status"]["phase"] = json!("Running");
    });
    assert_eq!(faults, Vec::<String>::new());
    let mut wanted = old.clone();
    wanted["spec"]["containers"][0]["resources"] = resources("500m", "2Mi");
    wanted["spec"]["initContainers"][0]["resources"] = json!({ "requests": { "cpu": "1" } });
    assert_eq!(new, wanted);
    type Refused<'r> = (&'r dyn Fn(&mut Value), &'r [&'r str]);
    let refused: [Refused<'_>; 6] = [
        (
            &|pod| pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1" } }),
            &[
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ],
        ),
        (
            &|pod| pod["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = json!("1Mi"),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            &|pod| {
                pod["spec"]["containers"][0]["resizePolicy"] =
                    json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }])
            },
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            &|pod| pod["spec"]["containers"][0]["name"] = json!("d"),
            &["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
        ),
        (
            &|pod| drop(pod["spec"]["initContainers"].take()),
            &["spec.initContainers: Forbidden: initContainers may not be added or removed on resize"],
        ),
        (
            &|pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3"),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"3\": must be less than or equal to cpu limit of 2",
            ],
        ),
    ];
    for (edit, wanted) in refused {
        assert_eq!(resized(edit).1, wanted);
    }
}

#[test]
fn a_resize_keeps_the_class_of_service_and_leaves_static_pods_alone() {
    let same = json!({ "cpu": "1", "memory": "1Mi" });
    let asking = |spec: Value| {
        stored(&pod(json!({ "containers": [{ "name": "c", "image": "i", "resources": spec }] })))
    };
    let old = asking(json!({ "requests": same, "limits": same }));
    let mut new = asking(json!({ "requests": same, "limits": { "cpu": "2", "memory": "1Mi" } }));
    new["status"] = old["status"].clone();
    let faults = |new: &Value, old: &Value| {
        let mut errors = crate::api::field::Errors::new();
        row(old).rules.validate_part("resize", new, old, &mut errors).unwrap();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let class = "Pod QOS Class may not change as a result of resizing";
    assert_eq!(faults(&new, &old), [format!("spec: Invalid value: \"Guaranteed\": {class}")]);
    let annotated = |pod: &Value| {
        let mut pod = pod.clone();
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "m" });
        pod["spec"]["nodeName"] = json!("n");
        pod
    };
    assert_eq!(
        faults(&annotated(&old), &annotated(&old)),
        ["<nil>: Forbidden: static pods cannot be resized"]
    );
    let mut elsewhere = old.clone();
    let status = json!({ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} } });
    elsewhere["status"]["containerStatuses"] = json!([status]);
    assert_eq!(
        faults(&elsewhere, &elsewhere),
        ["spec: Forbidden: Pod running on node without support for resize"]
    );
}
