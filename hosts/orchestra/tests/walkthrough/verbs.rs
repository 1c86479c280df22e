use crate::support::{Kubectl, Up};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginx:1.7.9", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 80}]}
"#;

/// Runs a story on a cluster of three fake nodes, for each `kubectl`.
fn on_each(story: fn(&Kubectl, &Up)) {
    let versions = Kubectl::versions();
    if versions.is_empty() {
        assert!(std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_none(), "there is no kubectl");
        return eprintln!("left out: there is no kubectl");
    }
    for program in versions {
        let up = Up::start(&["--runtime", "fake", "--nodes", "3"]);
        story(&Kubectl::new(&program, &up), &up);
    }
}

#[test]
fn looking_around() {
    on_each(|kubectl, _| {
        assert!(kubectl.ok("version").contains("v1.36"));
        assert!(kubectl.ok("cluster-info").contains("is running at"));
        for path in ["/healthz", "/readyz", "/livez"] {
            assert_eq!(kubectl.ok(&format!("get --raw {path}")), "ok");
        }
        let resources = kubectl.ok("api-resources");
        for kind in ["pods", "deployments", "services", "endpointslices", "leases", "events"] {
            assert!(resources.contains(kind), "{kind}:\n{resources}");
        }
        let nodes = kubectl.ok("get nodes -o wide");
        assert_eq!(nodes.matches(" Ready ").count(), 3, "{nodes}");
        assert!(kubectl.ok("describe node fake-0").contains("kubernetes.io/hostname=fake-0"));
        let namespaces = kubectl.ok("get namespaces");
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            assert!(namespaces.contains(name), "{namespaces}");
        }
        assert!(kubectl.ok("explain pod.spec.containers.image").contains("image"));
        assert!(kubectl.ok("explain deployment.spec --recursive").contains("minReadySeconds"));
    });
}

#[test]
fn apply_and_the_forms_of_get() {
    on_each(|kubectl, _| {
        let first = kubectl.apply(DEPLOYMENT);
        assert!(
            first.contains("deployment.apps/web created") && first.contains("service/web created"),
            "{first}"
        );
        assert!(kubectl.apply(DEPLOYMENT).contains("deployment.apps/web unchanged"));
        let changed = kubectl.apply(&DEPLOYMENT.replace("replicas: 2", "replicas: 3"));
        assert!(changed.contains("deployment.apps/web configured"), "{changed}");
        kubectl.ok("rollout status deployment/web --timeout=60s");
        let pods = kubectl.ok("get pods -l app=web --show-labels");
        assert_eq!(pods.matches("1/1").count(), 3, "{pods}");
        assert!(kubectl.ok("get deployment web -o yaml").contains("progressDeadlineSeconds: 600"));
        assert!(kubectl.ok("get deployment web -o json").contains("\"replicas\": 3"));
        assert_eq!(kubectl.ok("get deployment web -o name"), "deployment.apps/web\n");
        assert_eq!(kubectl.ok("get deployment web -o jsonpath={.spec.replicas}"), "3");
        let columns = kubectl.ok("get pods -o custom-columns=NODE:.spec.nodeName");
        for node in ["fake-0", "fake-1", "fake-2"] {
            assert!(columns.contains(node), "pods are spread:\n{columns}");
        }
        let running = kubectl.ok("get pods -A --field-selector status.phase=Running -o name");
        assert_eq!(running.lines().count(), 3);
        let described = kubectl.ok("describe deployment web");
        assert!(described.contains("ScalingReplicaSet") && described.contains("3 available"), "{described}");
        kubectl.ok("wait --for=condition=Available deployment/web --timeout=30s");
        assert!(kubectl.ok("get all").contains("replicaset.apps/web-"));
    });
}

#[test]
fn changing_and_deleting() {
    on_each(|kubectl, _| {
        kubectl.apply(DEPLOYMENT);
        kubectl.ok("label deployment web tier=front");
        assert!(kubectl.fails("label deployment web tier=back").contains("--overwrite"));
        kubectl.ok("label deployment web tier=back --overwrite");
        kubectl.ok("annotate deployment web note=x");
        kubectl.ok("patch deployment web -p '{\"spec\":{\"replicas\":1}}'");
        kubectl.ok("patch deployment web --type=merge -p '{\"spec\":{\"replicas\":2}}'");
        kubectl.ok("patch deployment web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]'");
        assert_eq!(
            kubectl.ok("get deployment web -o jsonpath={.metadata.labels.tier}/{.spec.replicas}"),
            "back/3"
        );
        // Its controller writes too: who replaces what has changed since is told, and reads it again.
        let replaced = (0..50).any(|_| {
            let object = kubectl.ok("get deployment web -o json");
            let said =
                kubectl.with_input("replace -f -", &object.replace("\"replicas\": 3", "\"replicas\": 2"));
            assert!(said.success || said.err.contains("the object has been modified"), "{}", said.err);
            said.success
        });
        assert!(replaced);
        kubectl.ok("delete deployment web --cascade=orphan");
        kubectl.until("get deployments -o name", str::is_empty);
        assert!(kubectl.ok("get replicasets -o name").contains("replicaset.apps/web-"), "orphans stay");
        kubectl.ok("delete replicasets -l app=web");
        kubectl.until("get pods -o name", str::is_empty);
        kubectl.apply(DEPLOYMENT);
        kubectl.ok("delete deployment web --cascade=foreground");
        kubectl.until("get replicasets,pods -o name", str::is_empty);
        kubectl.ok("delete service --all");
        assert!(kubectl.fails("get deployment web").contains("deployments.apps \"web\" not found"));
    });
}

#[test]
fn the_commands_that_make_things() {
    on_each(|kubectl, _| {
        kubectl.ok("create namespace shop");
        kubectl.ok("create deployment web --image=nginx --replicas=2 -n shop");
        kubectl.ok("create configmap settings --from-literal=a=b -n shop");
        kubectl.ok("create secret generic key --from-literal=k=v -n shop");
        kubectl.ok("run one --image=nginx --port=80 -n shop");
        kubectl.ok("expose deployment web --port=80 -n shop");
        kubectl.ok("rollout status deployment/web -n shop --timeout=60s");
        kubectl.ok("wait --for=condition=Ready pod/one -n shop --timeout=60s");
        assert_eq!(kubectl.ok("get secret key -n shop -o jsonpath={.data.k}"), "dg==");
        kubectl.until("get endpoints web -n shop -o jsonpath={.subsets[*].addresses[*].ip}", |ips| {
            ips.split_whitespace().count() == 2
        });
        kubectl.ok("delete namespace shop");
        assert!(kubectl.fails("get namespace shop").contains("not found"));
        assert_eq!(kubectl.ok("get all,configmaps,secrets -n shop -o name"), "");
    });
}

#[test]
fn scaling_and_rolling() {
    on_each(|kubectl, _| {
        kubectl.apply(DEPLOYMENT);
        kubectl.ok("rollout status deployment/web --timeout=60s");
        kubectl.ok("scale deployment/web --current-replicas=2 --replicas=4");
        assert!(
            kubectl
                .fails("scale deployment/web --current-replicas=2 --replicas=5")
                .contains("xpected replicas")
        );
        kubectl.ok("set image deployment/web web=nginx:1.8");
        kubectl.ok("rollout status deployment/web --timeout=60s");
        assert!(kubectl.ok("rollout history deployment/web").contains('2'));
        kubectl.ok("rollout undo deployment/web");
        kubectl.ok("rollout status deployment/web --timeout=60s");
        let image = "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}";
        assert_eq!(kubectl.ok(image), "nginx:1.7.9");
        kubectl.ok("rollout pause deployment/web");
        kubectl.ok("set image deployment/web web=nginx:1.9");
        assert!(kubectl.ok("get replicasets -l app=web -o name").lines().count() == 2, "paused: no new one");
        kubectl.ok("rollout resume deployment/web");
        kubectl.ok("rollout status deployment/web --timeout=60s");
        kubectl.ok("rollout restart deployment/web");
        kubectl.ok("rollout status deployment/web --timeout=60s");
    });
}

#[test]
fn nodes_are_cordoned_and_tainted() {
    on_each(|kubectl, _| {
        kubectl.ok("cordon fake-0");
        assert!(kubectl.ok("get node fake-0").contains("Ready,SchedulingDisabled"));
        kubectl.ok("taint nodes fake-1 fake-2 team=other:NoSchedule");
        kubectl.apply(DEPLOYMENT);
        let events = kubectl.until("get events", |events| events.contains("FailedScheduling"));
        assert!(events.contains("0/3 nodes are available"), "{events}");
        kubectl.ok("uncordon fake-0");
        kubectl.ok("rollout status deployment/web --timeout=60s");
        let nodes = kubectl.ok("get pods -o jsonpath={.items[*].spec.nodeName}");
        assert_eq!(nodes, "fake-0 fake-0");
    });
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    on_each(|kubectl, _| {
        let refused = |manifest: &str, complaint: &str| {
            let said = kubectl.with_input("apply -f -", manifest);
            assert!(!said.success && said.err.contains(complaint), "{complaint}:\n{}{}", said.out, said.err);
        };
        refused(
            &DEPLOYMENT.replace("image:", "imagee:"),
            "unknown field \"spec.template.spec.containers[0].imagee\"",
        );
        refused(&DEPLOYMENT.replace("replicas: 2", "replicas: two"), "spec.replicas");
        refused(
            &DEPLOYMENT.replace("labels: {app: web}}\n    spec", "labels: {app: other}}\n    spec"),
            "`selector` does not match template `labels`",
        );
        refused(
            &DEPLOYMENT.replace("containerPort: 80", "containerPort: 80000"),
            "must be between 1 and 65535",
        );
        refused(&DEPLOYMENT.replace("name: web, labels", "name: Web_, labels"), "RFC 1123");
        assert!(kubectl.fails("get pods -l 'a in'").contains("unable to parse requirement"));
        kubectl.until("get deployments -o name", str::is_empty);
    });
}
