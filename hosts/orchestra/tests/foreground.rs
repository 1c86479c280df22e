//! The program in the foreground: it ends in good order at any time, and leaves nothing open to others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A cluster of no nodes, which waits for some before it is ready, and lets everyone read everything it is not careful
/// with.
fn up(directory: &Path, more: &[&str]) -> Child {
    let program = env!("CARGO_BIN_EXE_orchestra");
    Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" \"$@\"", program, "up", "--runtime", "fake", "--nodes", "0"])
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the output up to a line that holds a word.
fn wait_for(word: &str, child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended before {word}");
    }
    output
}

#[test]
fn a_signal_before_it_is_ready_ends_it_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = up(directory.path(), &[]);
    let output = wait_for("API", &mut child);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest: Vec<String> = output.lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line == "stopping"), "{rest:?}");
}

#[test]
fn what_it_keeps_is_its_owners_alone_whatever_the_umask() {
    let root = tempfile::tempdir().unwrap();
    // Longer than the path of a socket may be.
    let directory = root.path().join("d".repeat(110));
    let mut child = up(&directory, &[]);
    let _output = wait_for("API", &mut child);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in ["control.sock", "kubeconfig"] {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn parts_that_others_are_to_run_are_left_out_and_have_a_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = up(directory.path(), &["--without", "kube-scheduler,kube-controller-manager"]);
    let _output = wait_for("kube-controller-manager is left out", &mut child);
    for part in ["kube-scheduler", "kube-controller-manager"] {
        let path = directory.path().join(format!("{part}.kubeconfig"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{part}");
    }
    let status = Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .args(["status", "--data-dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("kube-apiserver") && !status.contains("kube-scheduler"), "{status}");
    assert!(!status.contains("kube-controller-manager"), "{status}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn reset(directory: &Path, more: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .arg("reset")
        .args(more)
        .arg("--data-dir")
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_directory_is_reset_when_nobody_uses_it_and_somebody_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (directory, other) = (root.path().join("data"), root.path().join("other"));
    let mut child = up(&directory, &[]);
    let _output = wait_for("API", &mut child);
    let (done, said) = reset(&directory, &["--yes"]);
    assert!(!done && said.contains("stop the program that uses it first"), "{said}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();

    let (done, said) = reset(&directory, &["--dry-run"]);
    assert!(done && said.contains("Would be removed:") && said.contains("data with all"), "{said}");
    let (done, said) = reset(&directory, &[]);
    assert!(!done && said.contains("nothing was removed"), "{said}");
    assert!(directory.join("store.redb").exists());
    let (done, said) = reset(&directory, &["--yes"]);
    assert!(done && !directory.exists(), "{said}");

    fs::create_dir(&other).unwrap();
    fs::write(other.join("mine"), "").unwrap();
    let (done, said) = reset(&other, &["--yes"]);
    assert!(!done && said.contains("is no data directory") && other.join("mine").exists(), "{said}");
}

/// What a machine has: its devices and addresses, routes and tables.
fn machine(namespace: &str) -> String {
    let shown = |what: &[&str]| {
        let output = Command::new("ip").args(["netns", "exec", namespace]).args(what).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let devices = shown(&["ip", "-br", "addr"]);
    // What stands behind a name there is the number of the device at the other end.
    let devices: Vec<&str> = devices.lines().map(str::trim_end).collect();
    [devices.join("\n"), shown(&["ip", "route"]), shown(&["nft", "list", "tables"])].join("\n")
}

/// A network namespace that goes with it.
struct Namespace(String);

impl Namespace {
    /// Starts a program there, in the mounts of this one: those of `ip netns exec` are of its own.
    fn spawn(&self, mut command: Command) -> Child {
        let namespace = fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        let there = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            command.spawn().unwrap()
        });
        there.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Whether some process of the machine runs this.
fn runs(command: &[u8]) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok()).any(|line| line == command)
}

#[test]
fn what_a_killed_cluster_has_on_its_machine_is_taken_off_it() {
    let asked = std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_some();
    if !rustix::process::geteuid().is_root() || !asked {
        assert!(!asked, "what is on a machine is tested as root");
        return;
    }
    let namespace = Namespace(format!("orcr{}", std::process::id()));
    let ip = |what: &str| {
        let words: Vec<&str> = what.split(' ').collect();
        assert!(Command::new("ip").args(&words).status().unwrap().success(), "{what}");
    };
    ip(&format!("netns add {}", namespace.0));
    for device in [
        "link set lo up",
        "link add name eth0 type veth peer name eth1",
        "addr add 192.0.2.1/24 dev eth0",
        "link set dev eth0 up",
    ] {
        ip(&format!("-n {} {device}", namespace.0));
    }
    let before = machine(&namespace.0);
    let root = tempfile::tempdir().unwrap();
    let (directory, manifest) = (root.path().join("data"), root.path().join("pod.json"));
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": {
        "kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "10M"}}, "spec": {"containers": [
        {"name": "main", "image": "none", "command": ["sleep", "100215"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    ], "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}}"#;
    fs::write(&manifest, pod).unwrap();
    let program = env!("CARGO_BIN_EXE_orchestra");
    let within = |args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).arg("--data-dir").arg(&directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        namespace.spawn(command)
    };
    let manifest = manifest.to_str().unwrap();
    let mut child = within(&[
        "up",
        "--runtime=process",
        "--network=nftables",
        "--pod-mtu=1400",
        "--balance=random",
        "--listen=127.0.0.1:0",
        "--pod-manifest-path",
        manifest,
    ]);
    let _output = wait_for("ready in", &mut child);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let has_all =
        |now: &str| ["orchestra-", "orchestra0", "orc0a55", "ori0a55"].iter().all(|what| now.contains(what));
    while !has_all(&machine(&namespace.0)) || !runs(b"sleep\x00100215\x00") {
        assert!(std::time::Instant::now() < deadline, "never: {}", machine(&namespace.0));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = within(&["reset", "--yes"]).wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    for line in ["pod default/web-local with 1 containers", "nftables table ip orchestra-", "directory "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(machine(&namespace.0), before, "{said}");
    assert!(!directory.exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()), "{mounts}");
}
