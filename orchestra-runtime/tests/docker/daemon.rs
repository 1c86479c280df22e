//! A Docker daemon of our own: its data, socket, containers' namespaces and network apart from any other on the machine.
//!
//! It runs in a network namespace of its own, so that its bridge and firewall rules touch nothing. Tests that need it
//! fail without it when `ORCHESTRA_TEST_DAEMONS=1`, which is how `.ci/run` calls them, and say that they are skipped
//! otherwise.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orchestra_runtime::docker::DockerRuntime;

use crate::support::daemons::{answers, make_busybox, make_network};

/// The image that tests run: busybox, as `orchestra-test/busybox:1`.
pub(crate) const IMAGE: &str = "orchestra-test/busybox:1";

/// A running daemon. It ends, and its folder goes, when this is dropped.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// A daemon with the test image, or `None` where tests may go without.
    pub(crate) async fn start() -> Option<Self> {
        let wanted = std::env::var("ORCHESTRA_TEST_DAEMONS").is_ok_and(|value| value == "1");
        if !wanted {
            eprintln!("skipped: needs dockerd; set ORCHESTRA_TEST_DAEMONS=1 to run it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path());
        let daemon = Self { folder, child };
        daemon.answers().await;
        daemon.load_image();
        Some(daemon)
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends it without warning; its containers are left to their shims.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        for left in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.path(left));
        }
        self.child = spawn(self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        let host = self.host();
        let connects = move || {
            let host = host.clone();
            async move { DockerRuntime::connect_to(&host).await.map(drop) }
        };
        answers("dockerd", &self.path("log"), connects).await;
    }

    fn load_image(&self) {
        let root = self.path("image");
        make_busybox(&root);
        let tar = Command::new("tar").arg("-C").arg(&root).args(["-c", "."]).output().expect("tar").stdout;
        let mut import = Command::new("docker")
            .args(["-H", &self.host(), "import", "-", IMAGE])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker");
        import.stdin.take().unwrap().write_all(&tar).unwrap();
        assert!(import.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked to end it ends its containers too.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        // What it left mounted keeps its folder from being removed.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let below = self.folder.path().to_string_lossy().into_owned();
        for path in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if path.starts_with(&below) {
                let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

/// `exec` all the way, so that the child is the daemon itself.
fn spawn(folder: &Path) -> Child {
    let script = "exec dockerd --live-restore --data-root \"$0/data\" --exec-root \"$0/exec\" \
                  --pidfile \"$0/pid\" -H \"unix://$0/docker.sock\" >>\"$0/log\" 2>&1";
    // Pinned by a file, so that the next daemon finds it with the containers that are still in it.
    let netns = folder.join("netns");
    if !netns.exists() {
        make_network(&netns);
    }
    Command::new("nsenter")
        .arg(format!("--net={}", netns.display()))
        .args(["sh", "-c", script])
        .arg(folder)
        .stdin(Stdio::null())
        .spawn()
        .expect("nsenter of util-linux")
}
