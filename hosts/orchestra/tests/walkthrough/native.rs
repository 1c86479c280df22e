//! A newcomer on a machine without any daemon: an image from a file, and pods of it.

use std::path::Path;
use std::process::Command;

use crate::archive::{self, IMAGE};
use crate::support::{Kubectl, Up};

/// Runs `orchestra image …` on a cluster's directory, and answers whether it did as it was told, and what it said.
pub(crate) fn image(up: &Up, words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .arg("image")
        .args(words)
        .arg("--data-dir")
        .arg(up.directory.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What is mounted below a folder.
fn mounts(folder: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/mounts").unwrap();
    table
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(folder)))
        .count()
}

#[test]
fn an_image_from_a_file_runs_as_a_pod() {
    if !std::env::var("ORCHESTRA_TEST_DAEMONS").is_ok_and(|value| value == "1") {
        return eprintln!("left out: needs root and runc; set ORCHESTRA_TEST_DAEMONS=1 to run it");
    }
    let mut up = Up::start(&["--runtime", "native"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = archive::make(folder.path());
    assert_eq!(image(&up, &["load", made.to_str().unwrap()]), (true, format!("Loaded image: {IMAGE}\n")));
    assert!(image(&up, &["ls"]).1.contains(IMAGE));

    kubectl.ok(&format!("run web --image={IMAGE} -- sh -c 'echo up; exec sleep 600'"));
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s");
    assert_eq!(kubectl.ok("logs web"), "up\n");
    let said = kubectl.run("exec web -- sh -c 'id -un; hostname; test -s /var/run/secrets/kubernetes.io/serviceaccount/token; exit 7'");
    assert_eq!((said.code, said.out.as_str()), (Some(7), "ann\nweb\n"), "{}", said.err);
    let (removed, said) = image(&up, &["rm", IMAGE]);
    assert!(!removed && said.contains("is used by a container"), "{said}");

    let container = "get pod web -o jsonpath={.status.containerStatuses[0].containerID}";
    let before = kubectl.ok(container);
    assert!(before.starts_with("native://"), "{before}");
    up.kill_and_restart();
    kubectl.until("get nodes", |nodes| !nodes.contains("NotReady"));
    assert_eq!(kubectl.ok(container), before, "it ran on, and is known");
    assert_eq!(kubectl.ok("get pod web -o jsonpath={.status.containerStatuses[0].restartCount}"), "0");
    assert_eq!(kubectl.ok("exec web -- hostname"), "web\n");

    kubectl.ok("run absent --image=127.0.0.1:1/none:1");
    kubectl.until("get pod absent", |pod| pod.contains("ImagePullBackOff"));
    kubectl.until("describe pod absent", |said| said.contains("connection refused"));
    kubectl.ok("delete pods --all --grace-period=1");
    kubectl.until("get pods -o name", str::is_empty);
    assert_eq!(image(&up, &["rm", IMAGE]), (true, format!("Removed: {IMAGE}\n")));
    assert_eq!(mounts(&up.directory.path().join("native")), 0, "nothing is left mounted");
}
