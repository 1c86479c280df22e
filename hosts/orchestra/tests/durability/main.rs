//! What `orchestra up` keeps: through `kill -9`, in its history, in backups.

mod keeping;
mod killed;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestra_http::{Kubeconfig, Remote};
use tokio::process::{Child, Command};

/// How long anything may take. Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// `orchestra up` with one node whose containers run in name only, killed when dropped.
pub(crate) struct Up {
    process: Child,
    pub(crate) remote: Arc<Remote>,
}

impl Up {
    /// Starts it on a data directory and waits until its API answers.
    pub(crate) async fn start(directory: &Path) -> Self {
        // An answer must not be taken for one of this start that is one of the last.
        let kubeconfig = directory.join("kubeconfig");
        let _ = std::fs::remove_file(&kubeconfig);
        let mut process = Command::new(env!("CARGO_BIN_EXE_orchestra"))
            .args(["up", "--runtime=fake", "--listen=127.0.0.1:0", "--data-dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(config) = Kubeconfig::read(&kubeconfig) {
                let remote = Remote::connect(config).unwrap();
                return Self { process, remote };
            }
            assert_eq!(process.try_wait().unwrap(), None, "it ended");
            assert!(Instant::now() < deadline, "it does not serve");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Runs `orchestra` with these arguments, and gives what it printed and whether it was content.
pub(crate) async fn orchestra(arguments: &[&str], paths: &[(&str, PathBuf)]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra"));
    command.args(arguments);
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.success())
}
