//! The program in the foreground: it ends in good order at any time, and leaves nothing open to others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

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
