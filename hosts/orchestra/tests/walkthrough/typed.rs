//! Each `kubectl` line of the first two seeds, typed on a cluster, and for each what is typed today where that differs.
//!
//! What is left out: `docker`, `systemctl`, `minikube`, `etcdctl` and `curl` are others' programs; what the seeds read out
//! of `awk` is read of the same lines here.

use crate::support::{Kubectl, Up, manifest_of_the_seeds};

/// What stands for a line.
enum Typed {
    /// The line itself.
    AsItStands,
    /// Another: `kubectl` has changed since.
    Today(&'static str),
    /// The line itself, of a pod that is called otherwise each time: `{}` is the first of those with a label.
    OfPod(&'static str, &'static str),
    /// Nothing here: it takes a container that does something, or is a question of a terminal, and another test types it.
    Elsewhere,
}
use Typed::{AsItStands, Elsewhere, OfPod, Today};

/// What must be so before the next line.
enum Then {
    Nothing,
    /// A line prints, in the end, a text.
    Until(&'static str, &'static str),
}
use Then::{Nothing, Until};

type Row = (&'static str, Typed, Then);

#[rustfmt::skip]
const FIRST_SEED: &[Row] = &[
    ("cluster-info", AsItStands, Nothing),
    ("get nodes", AsItStands, Nothing),
    ("get nodes -o jsonpath='{.items[*].status.addresses[?(@.type==\"ExternalIP\")].address}'", AsItStands, Nothing),
    ("get nodes -o jsonpath='{range .items[*]}{@.metadata.name}:{range @.status.conditions[*]}{@.type}={@.status};{end}{end}'",
        AsItStands, Nothing),
    ("get pods", AsItStands, Nothing),
    // Its manifest is on the standard input there.
    ("create -f nginx.yml", AsItStands, Until("get pods", "1/1")),
    ("describe pod nginx", AsItStands, Nothing),
    ("run busybox --image=busybox --restart=Never --tty -i --generator=run-pod/v1",
        Today("run busybox --image=busybox --restart=Never"), Until("get pod busybox", "Running")),
    ("delete pod busybox", AsItStands, Nothing),
    ("delete pod nginx", AsItStands, Nothing),
    ("port-forward nginx :80", Elsewhere, Nothing),
    ("create -f nginx-pod-label.yml", AsItStands, Until("get pods -l app=nginx", "1/1")),
    ("get pods -l app=nginx", AsItStands, Nothing),
    ("describe pods -l app=nginx2", AsItStands, Nothing),
    ("label pods nginx new-label=mynginx", AsItStands, Until("describe pods/nginx", "new-label=mynginx")),
    ("label pods nginx new-label=foo", Today("label --overwrite pods nginx new-label=foo"),
        Until("describe pods/nginx", "new-label=foo")),
    ("create --validate -f nginx-deployment-dev.yml", AsItStands, Nothing),
    ("create --validate -f nginx-deployment-prod.yml", AsItStands, Until("get deployments nginx-deployment-prod", "1/1")),
    ("describe deployments -l app=nginx-deployment-dev", AsItStands,
        Until("describe deployments -l app=nginx-deployment-dev", "1 max unavailable, 1 max surge")),
    ("get deployments", AsItStands, Nothing),
    ("apply -f nginx-deployment-dev-update.yml", AsItStands,
        Until("get pods -l app=nginx-deployment-dev -o jsonpath={.items[*].spec.containers[0].image}", "nginx:1.8")),
    ("get pods -l app=nginx-deployment-dev", AsItStands, Nothing),
    ("delete deployment nginx-deployment-dev", AsItStands, Nothing),
    ("delete deployment nginx-deployment-prod", AsItStands, Nothing),
    ("delete pod nginx", AsItStands, Nothing),
    ("create -f nginx-multi-node.yml", AsItStands, Until("get rc nginx-www", "3         3         3")),
    ("describe pods", AsItStands, Nothing),
    ("describe replicationcontroller", AsItStands, Until("describe replicationcontroller", "3 current / 3 desired")),
    ("delete pod nginx-www-2evxu", OfPod("delete pod {}", "app=nginx"), Until("get rc nginx-www", "3         3         3")),
    ("get services", AsItStands, Nothing),
    ("create -f nginx-service.yml", AsItStands, Until("get services", "8000/TCP")),
    ("delete service nginx-service", AsItStands, Nothing),
    ("delete replicationcontroller nginx-www", AsItStands, Until("get pods -o name", "")),
    ("run mysample --image=foobar/apache", Today("create deployment mysample --image=foobar/apache"), Nothing),
    ("get deployment", AsItStands, Nothing),
    ("run myexample --image=christophchamp/ubuntu_sysadmin",
        Today("create deployment myexample --image=christophchamp/ubuntu_sysadmin"), Until("get deploy myexample", "1/1")),
    ("-o wide get pods", AsItStands, Nothing),
    ("describe pods/myexample-3534121234-mpr35", OfPod("describe pods/{}", "app=myexample"), Nothing),
    ("describe deployments/mysample", AsItStands, Nothing),
    ("delete deployment mysample", AsItStands, Nothing),
    ("run myreplicas --image=latest123/apache --replicas=2 --labels=app=myapache,version=1.0.0",
        Today("create deployment myreplicas --image=latest123/apache --replicas=2"), Until("get deploy myreplicas", "2/2")),
    ("describe deployment myreplicas", AsItStands, Nothing),
    ("get pods -o wide", AsItStands, Nothing),
    ("describe pods -l version=1.0.0", AsItStands, Nothing),
    ("delete deployment myreplicas", AsItStands, Nothing),
    ("create -f apache.yml", AsItStands, Until("get pods -o wide", "1/1")),
    ("exec apache date", Elsewhere, Nothing),
    ("exec mypod -i -t -- cat /var/www/html/index.html", Elsewhere, Nothing),
    ("exec apache -i -t -- /bin/bash", Elsewhere, Nothing),
    ("logs apache", AsItStands, Nothing),
    ("logs --tail=10 apache", AsItStands, Nothing),
    ("logs --since=24h apache", AsItStands, Nothing),
    ("logs -f apache", Elsewhere, Nothing),
    ("logs -f -c apache apache", Elsewhere, Nothing),
    ("delete pod apache", AsItStands, Nothing),
    ("run myautoscale --image=latest123/apache --port=80 --labels=app=myautoscale",
        Today("create deployment myautoscale --image=latest123/apache --port=80"), Until("get deploy myautoscale", "1/1")),
    ("autoscale deployment myautoscale --min=2 --max=6 --cpu-percent=80", AsItStands, Until("get deploy myautoscale", "2/2")),
    ("scale --current-replicas=2 --replicas=4 deployment/myautoscale", AsItStands, Until("get deploy myautoscale", "4/4")),
    ("scale --current-replicas=4 --replicas=2 deployment/myautoscale", AsItStands, Until("get deploy myautoscale", "2/2")),
    ("delete deployment myautoscale", AsItStands, Nothing),
    ("run myrecovery --image=latest123/apache --port=80 --replicas=2 --labels=app=myrecovery",
        Today("create deployment myrecovery --image=latest123/apache --port=80 --replicas=2"),
        Until("get deploy myrecovery", "2/2")),
    ("delete pod myrecovery-563119102-b5tim", OfPod("delete pod {}", "app=myrecovery"), Until("get deploy myrecovery", "2/2")),
    ("delete deployments/myrecovery", AsItStands, Nothing),
    ("config view", AsItStands, Nothing),
    ("proxy", Elsewhere, Nothing),
    // Secrets of service accounts are made no more.
    ("describe secret $(kubectl get secrets | awk '/^default/{print $1}')", Today("create token default"), Nothing),
];

#[rustfmt::skip]
const SECOND_SEED: &[Row] = &[
    ("version --short", Today("version"), Nothing),
    ("get node", AsItStands, Nothing),
    ("apply -f k8s-for-beginners-pod.yaml", AsItStands, Until("get pod", "1/1")),
    ("get pod -o wide", AsItStands, Nothing),
    ("apply -f k8s-for-beginners-pod1.yaml", AsItStands, Nothing),
    ("get pod --show-labels", AsItStands, Until("get pod --show-labels", "tier=frontend")),
    ("apply -f k8s-for-beginners-svc.yaml", AsItStands, Nothing),
    ("get service", AsItStands, Until("get service", "NodePort")),
    ("apply -f k8s-for-beginners-deploy.yaml", AsItStands, Until("get deploy", "3/3")),
    ("delete pod k8s-for-beginners", AsItStands, Nothing),
    ("logs <pod name>", OfPod("logs {}", "tier=frontend"), Nothing),
    ("scale deploy k8s-for-beginners --replicas=5", AsItStands, Until("get deploy", "5/5")),
    ("scale deploy k8s-for-beginners --replicas=2", AsItStands, Until("get deploy", "2/2")),
    ("delete pod <pod name>", OfPod("delete pod {}", "tier=frontend"), Until("get deploy", "2/2")),
    ("get deploy,service", AsItStands, Nothing),
    ("describe pod k8s-for-beginners-66644bb776-kvwfr", OfPod("describe pod {}", "tier=frontend"), Nothing),
];

/// The seeds' files under the names that they have there, in a folder.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for name in [
        "nginx.yml",
        "nginx-pod-label.yml",
        "nginx-deployment-dev.yml",
        "nginx-deployment-prod.yml",
        "nginx-deployment-dev-update.yml",
        "nginx-multi-node.yml",
        "nginx-service.yml",
        "apache.yml",
    ] {
        write(name, &manifest_of_the_seeds(&format!("seed-1-{name}")));
    }
    let beginners = manifest_of_the_seeds("seed-2-k8s-for-beginners.yaml");
    let [pod, service, deployment] = beginners.split("---\n").collect::<Vec<_>>()[..] else {
        panic!("there are three: {beginners}")
    };
    write("k8s-for-beginners-pod.yaml", &pod.replace("  labels:\n    tier: frontend\n", ""));
    write("k8s-for-beginners-pod1.yaml", pod);
    write("k8s-for-beginners-svc.yaml", service);
    write("k8s-for-beginners-deploy.yaml", deployment);
    folder
}

fn type_each(rows: &[Row]) {
    let up = Up::start(&["--runtime", "fake", "--nodes", "3"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let folder = files();
    for (line, typed, then) in rows {
        let of_pod = |line: &str, label: &str| {
            let named = format!("get pods -l {label} -o jsonpath={{.items[0].metadata.name}}");
            line.replace("{}", &kubectl.ok(&named))
        };
        let line = match typed {
            AsItStands => (*line).to_owned(),
            Today(line) => (*line).to_owned(),
            OfPod(line, label) => of_pod(line, label),
            Elsewhere => continue,
        };
        kubectl.ok(&line.replace("-f ", &format!("-f {}/", folder.path().display())));
        if let Until(line, text) = then {
            kubectl.until(line, |said| if text.is_empty() { said.is_empty() } else { said.contains(text) });
        }
    }
}

#[test]
fn each_line_of_the_first_seed_can_be_typed() {
    type_each(FIRST_SEED);
}

#[test]
fn each_line_of_the_second_seed_can_be_typed() {
    type_each(SECOND_SEED);
}
