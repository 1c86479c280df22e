//! `orchestra up` takes further nodes when it is told to, and then only those that show its token.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use orchestra_http::{JoinToken, Masters, join};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a cluster, and returns it with what it printed until it was ready.
fn up(directory: &std::path::Path, options: &[&str]) -> (Running, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .args(["up", "--runtime", "fake", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory)
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut printed = Vec::new();
    for line in lines {
        let last = line.starts_with("Ctrl-C");
        printed.push(line);
        if last {
            break;
        }
    }
    (Running(child), printed)
}

#[tokio::test]
async fn the_line_that_is_printed_lets_a_node_in() {
    let directory = tempfile::tempdir().unwrap();
    let (running, printed) = up(directory.path(), &["--join"]);
    let line = printed.iter().find_map(|line| line.trim().strip_prefix("orchestra-node --join "));
    let (url, token) = line.unwrap_or_else(|| panic!("{printed:?}")).split_once(" --token ").unwrap();
    let token: JoinToken = token.parse().unwrap();
    let identity = join(&Masters::new([url]).unwrap(), &token, "another").await.unwrap();
    assert!(token.knows(&identity.authority));
    drop(running);

    // The token is kept: a node that was told it yesterday may use it today.
    let (_running, again) = up(directory.path(), &["--join"]);
    assert!(again.iter().any(|line| line.contains(&token.to_string())), "{again:?}");
}

#[test]
fn a_cluster_of_this_machine_alone_takes_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (_running, printed) = up(directory.path(), &[]);
    assert!(!printed.iter().any(|line| line.contains("--join")), "{printed:?}");
}
