//! What runs on while something happens, and what is typed to see it: on the newest `kubectl`, with real processes.

use crate::support::{Kubectl, Up};

const COUNTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: counter, labels: {app: counter}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: none
    command: [/bin/sh, -c, "trap 'exit 0' TERM; for i in 1 2 3; do echo line $i; done; while :; do sleep 0.1; done"]
  - name: two
    image: none
    command: [/bin/sh, -c, "echo second; test -e /proc/self && sleep 0.3; exit 7"]
"#;

#[test]
fn logs_in_all_their_forms() {
    let up = Up::start(&["--runtime", "process"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.apply(COUNTER);
    kubectl.until("logs counter -c one", |log| log == "line 1\nline 2\nline 3\n");
    assert_eq!(kubectl.ok("logs counter -c one --tail=1"), "line 3\n");
    assert_eq!(kubectl.ok("logs counter -c one --since=1h").lines().count(), 3);
    assert_eq!(kubectl.ok("logs counter -c one --since-time=2099-01-01T00:00:00Z"), "");
    assert_eq!(kubectl.ok("logs counter -c one --limit-bytes=6"), "line 1");
    let stamped = kubectl.ok("logs counter -c one --timestamps --tail=1");
    assert!(stamped.starts_with("20") && stamped.ends_with("Z line 3\n"), "{stamped}");
    kubectl.until("logs -l app=counter --all-containers --prefix", |log| {
        log.contains("[pod/counter/one] line 2") && log.contains("[pod/counter/two] second")
    });
    kubectl.follow("logs -f counter -c one", || {}, |line| line == "line 3");
    kubectl.until("logs counter -c two --previous", |log| log == "second\n");
    assert!(kubectl.fails("logs counter -c three").contains("container three is not valid for pod counter"));
    assert!(kubectl.fails("logs counter -c one --previous").contains("previous terminated container"));
    kubectl.ok("delete pod counter --now");
}

#[test]
fn a_watch_shows_what_happens() {
    let up = Up::start(&["--runtime", "fake"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.apply(COUNTER);
    kubectl.ok("wait --for=condition=Ready pod/counter --timeout=60s");
    kubectl.follow(
        "get pods -w --output-watch-events",
        || {
            kubectl.ok("label pod counter watched=yes");
            kubectl.ok("delete pod counter --grace-period=0 --force");
        },
        |line| line.starts_with("DELETED") && line.contains("counter"),
    );
}

#[test]
fn an_editor_changes_an_object_and_what_it_broke_is_refused() {
    let up = Up::start(&["--runtime", "fake"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.ok("create deployment web --image=nginx --replicas=2");
    let edited = kubectl.edit("edit deployment web", "sed -i 's/replicas: 2/replicas: 3/' \"$1\"");
    assert!(edited.success && edited.out.contains("deployment.apps/web edited"), "{edited:?}");
    assert_eq!(kubectl.ok("get deployment web -o jsonpath={.spec.replicas}"), "3");
    // The first time it is broken; kubectl shows the fault in the file and opens it again, where it is left alone.
    let broken = "grep -q 'replicas: -1' \"$1\" || sed -i 's/replicas: 3/replicas: -1/' \"$1\"";
    let refused = kubectl.edit("edit deployment web", broken);
    assert!(!refused.success && refused.err.contains("deployments.apps \"web\" is invalid"), "{refused:?}");
    let kept =
        refused.err.split('"').find(|word| word.ends_with(".yaml")).expect("where the edited file is kept");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(
        kept.contains("# * spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        "{kept}"
    );
    assert_eq!(kubectl.ok("get deployment web -o jsonpath={.spec.replicas}"), "3");
}

#[test]
fn many_objects_in_one_file_come_and_go_together() {
    let up = Up::start(&["--runtime", "fake"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "2"}}]}"#;
    let created = kubectl.with_input("create -f -", list);
    assert!(
        created.out.contains("configmap/a created") && created.out.contains("configmap/b created"),
        "{created:?}"
    );
    assert!(kubectl.with_input("create -f -", list).err.contains("configmaps \"a\" already exists"));
    let changed = kubectl.apply(&list.replace("\"2\"", "\"3\""));
    assert!(changed.contains("configmap/b configured"), "{changed}");
    let deleted = kubectl.with_input("delete -f -", list);
    assert!(deleted.out.contains("configmap \"b\" deleted"), "{deleted:?}");
    assert_eq!(kubectl.ok("get configmaps a b --ignore-not-found -o name"), "");
}

#[test]
fn a_node_is_drained_and_its_pods_go_elsewhere() {
    let up = Up::start(&["--runtime", "fake", "--nodes", "2"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    kubectl.ok("create deployment web --image=nginx --replicas=4");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    let drained = kubectl.ok("drain fake-0 --timeout=60s");
    assert!(drained.contains("evicted") && drained.contains("node/fake-0 drained"), "{drained}");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    kubectl.until("get pods -o jsonpath={.items[*].spec.nodeName}", |nodes| nodes == ["fake-1"; 4].join(" "));
}
