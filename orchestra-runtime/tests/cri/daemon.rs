//! A containerd of our own: its data, sockets and pods' addresses apart from any other on the machine.
//!
//! Its network plugin gives each pod a pair of interfaces and no rules, so that nothing is left on the machine. Tests that
//! need it fail without it when `ORCHESTRA_TEST_DAEMONS=1`, and say that they are skipped otherwise.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use orchestra_core::runtime::{Filter, ImageRef, Runtime as _};
use orchestra_runtime::cri::CriRuntime;

use crate::support::daemons::{answers, make_busybox};
use crate::support::holds;

/// The image that tests run: busybox.
pub(crate) const IMAGE: &str = "docker.io/orchestra-test/busybox:1";
/// The image of sandboxes: the same, asleep.
const PAUSE: &str = "docker.io/orchestra-test/pause:1";

/// A running daemon. It ends with its containers, and its folder goes, when this is dropped.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// A daemon with the test images, or `None` where tests may go without.
    pub(crate) async fn start() -> Option<Self> {
        // A range of this test process: several may run at a time.
        let range = format!("10.{}.{}.0/24", 200 + std::process::id() % 50, std::process::id() / 50 % 250);
        Self::start_with("cni/10-test.conflist", &range).await
    }

    /// The same with a network that waits to be told which addresses pods have.
    pub(crate) async fn start_with_template() -> Option<Self> {
        Self::start_with("template", "{{.PodCIDR}}").await
    }

    async fn start_with(network: &str, range: &str) -> Option<Self> {
        let wanted = std::env::var("ORCHESTRA_TEST_DAEMONS").is_ok_and(|value| value == "1");
        if !wanted {
            eprintln!("skipped: needs containerd; set ORCHESTRA_TEST_DAEMONS=1 to run it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), network, range);
        let child = spawn(folder.path());
        let daemon = Self { folder, child };
        daemon.answers().await;
        daemon.load_images();
        daemon.knows_images().await;
        Some(daemon)
    }

    pub(crate) fn socket(&self) -> String {
        self.path("containerd.sock").display().to_string()
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
        self.child = spawn(self.folder.path());
        self.answers().await;
    }

    /// Waits until it takes pods: its network is read after it answers.
    async fn answers(&self) {
        let socket = self.socket();
        let lists = move || {
            let socket = socket.clone();
            async move { CriRuntime::connect_to(&socket).await?.list(&Filter::default()).await.map(drop) }
        };
        answers("containerd", &self.path("log"), lists).await;
    }

    /// What is imported is known to the CRI a moment later.
    async fn knows_images(&self) {
        let runtime = CriRuntime::connect_to(&self.socket()).await.unwrap();
        for name in [IMAGE, PAUSE] {
            let image = ImageRef::parse(name).unwrap();
            holds(format_args!("{name} is known"), async || runtime.image(&image).await.unwrap().is_some())
                .await;
        }
    }

    /// Both images are of one layer, in an archive as `docker save` writes it.
    fn load_images(&self) {
        let (root, archive) = (self.path("root-of-image"), self.path("archive"));
        std::fs::create_dir_all(&archive).unwrap();
        make_busybox(&root);
        let layer = archive.join("layer.tar");
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&layer).arg("."));
        let sum = run(Command::new("sha256sum").arg(&layer));
        let sum = sum.split(' ').next().unwrap();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut images = Vec::new();
        for (name, file, entry) in
            [(IMAGE, "busybox.json", "[]"), (PAUSE, "pause.json", r#"["/bin/sleep","2147483"]"#)]
        {
            let config = format!(
                r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":{entry}}},
                "rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}}}}"#
            );
            std::fs::write(archive.join(file), config).unwrap();
            images.push(format!(r#"{{"Config":"{file}","RepoTags":["{name}"],"Layers":["layer.tar"]}}"#));
        }
        std::fs::write(archive.join("manifest.json"), format!("[{}]", images.join(","))).unwrap();
        let whole = self.path("images.tar");
        run(Command::new("tar").arg("-C").arg(&archive).arg("-cf").arg(&whole).arg("."));
        let import =
            ["--address", &self.socket(), "--namespace", "k8s.io", "images", "import"].map(str::to_owned);
        run(Command::new("ctr").args(import).arg(&whole));
    }

    /// The processes that look after its containers.
    fn shims(&self) -> Vec<u32> {
        let socket = self.socket();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .filter(|id: &u32| {
                let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                line.contains("containerd-shim") && line.split('\0').any(|word| word == socket)
            })
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for id in self.shims() {
            // What it looks after: the containers of its pod.
            let children =
                std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            for process in children.split_whitespace().map(str::to_owned).chain([id.to_string()]) {
                let _ = Command::new("kill").args(["-KILL", &process]).stderr(Stdio::null()).status();
            }
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

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `network` is the file that describes it, with the range of its addresses.
fn configure(folder: &Path, network: &str, range: &str) {
    let plugins =
        ["/usr/lib/cni", "/opt/cni/bin"].into_iter().find(|path| Path::new(path).join("ptp").exists());
    let plugins = plugins.expect("the plugins of containernetworking-plugins");
    let at = folder.display();
    std::fs::create_dir(folder.join("cni")).unwrap();
    let description = format!(
        r#"{{"cniVersion":"0.4.0","name":"test","plugins":[{{"type":"ptp","ipam":{{"type":"host-local",
        "dataDir":"{at}/addresses","ranges":[[{{"subnet":"{range}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#
    );
    std::fs::write(folder.join(network), description).unwrap();
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/containerd.sock"
[ttrpc]
  address = "{at}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{at}/cni"
    conf_template = "{at}/template"
"#
    );
    std::fs::write(folder.join("config.toml"), config).unwrap();
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new("containerd")
        .arg("--config")
        .arg(folder.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("containerd")
}
