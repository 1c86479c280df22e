//! The process runtime against this machine, with whatever rights the tests have; with root also once more without.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use orchestra_core::runtime::*;
use orchestra_core::testing::contract::runtime::{Subject, check};
use orchestra_runtime::process::{Config, ProcessRuntime, Range};

/// Each test has folders of its own, and they share a bridge.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> ProcessRuntime {
        let config = Config::new(self.folder.path().join("data"))
            .pods(Range::parse("10.86.0.0/16").unwrap(), "orctest0")
            .loopback(Range::parse("127.86.0.0/16").unwrap())
            .helper(env!("CARGO_BIN_EXE_orchestra-shim"))
            .run(
                std::env::temp_dir().join(format!("orchestra-test-{}", rustix::process::geteuid().as_raw())),
            );
        ProcessRuntime::open(config).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandbox(&self, pod: &str) -> SandboxSpec {
        SandboxSpec {
            meta: SandboxMeta {
                pod: PodRef { namespace: "test".into(), name: pod.into(), uid: format!("uid-{pod}") },
                attempt: 0,
                owner: "test/node".into(),
            },
            hostname: pod.into(),
            dns: None,
            host_ports: vec![],
            namespaces: Namespaces::default(),
            sysctls: Default::default(),
            labels: Default::default(),
            annotations: Default::default(),
            log_directory: self.path("logs").join(pod),
            cgroup_parent: None,
        }
    }
}

fn container(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        meta: ContainerMeta { name: name.into(), attempt: 0, hash: "h".into() },
        image: "none".into(),
        image_id: String::new(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        args: vec![],
        env: vec![],
        working_dir: None,
        mounts: vec![],
        devices: vec![],
        security: SecurityContext::default(),
        resources: Resources::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: None,
        labels: Default::default(),
        annotations: Default::default(),
        log_path: format!("{name}/0.log").into(),
    }
}

async fn started(runtime: &ProcessRuntime, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
    let id = runtime.create_container(sandbox, spec).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    id
}

async fn ended(runtime: &ProcessRuntime, id: &ContainerId) -> Exit {
    let wait = async {
        loop {
            if let Some(exit) = runtime.container(id).await.unwrap().state.exit() {
                return exit.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it ends")
}

async fn logs(runtime: &ProcessRuntime, id: &ContainerId) -> String {
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let pieces: Vec<bytes::Bytes> = runtime.logs(id, &options).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// Runs a script to its end and gives what it printed.
async fn output(runtime: &ProcessRuntime, sandbox: &SandboxId, spec: &ContainerSpec) -> String {
    let id = started(runtime, sandbox, spec).await;
    ended(runtime, &id).await;
    logs(runtime, &id).await
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    let place = Place::new();
    let runtime = place.open().await;
    check(&Subject::new(Arc::new(runtime)).log_root(place.path("logs"))).await;
}

#[tokio::test]
async fn without_a_helper_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = ProcessRuntime::open(Config::new(folder.path())).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::InvalidSpec { message } if message.contains("process::init()")),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_command_it_says_what_to_do() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("nocommand")).await.unwrap();
    let spec = ContainerSpec { command: vec![], image: "nginx".into(), ..container("app", "") };
    let error = runtime.create_container(&sandbox.id, &spec).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::InvalidSpec { message } if message.contains("command")),
        "{error}"
    );
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_process_knows_its_pod() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("env")).await.unwrap();
    let mut spec = container("app", "echo $GREETING $HOSTNAME $POD_IP; pwd; echo oops >&2");
    spec.env = vec![("GREETING".into(), "hi there".into())];
    spec.working_dir = Some("/tmp".into());
    let printed = output(&runtime, &sandbox.id, &spec).await;
    let (ip, mut lines) = (sandbox.ips[0], printed.lines().collect::<Vec<_>>());
    lines.sort_unstable();
    assert_eq!(lines, ["/tmp", &format!("hi there env {ip}"), "oops"]);

    let lost = ContainerSpec { working_dir: Some("/no/such/place".into()), ..container("lost", "true") };
    let id = runtime.create_container(&sandbox.id, &lost).await.unwrap();
    let error = runtime.start_container(&id).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::StartFailed { exit_code: 128, message }
        if message.contains("/no/such/place")),
        "{error:?}"
    );
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn containers_outlive_the_agent_and_are_adopted() {
    let place = Place::new();
    let first = place.open().await;
    let sandbox = first.run_sandbox(&place.sandbox("adopt")).await.unwrap();
    let go = place.path("go");
    let script =
        format!("echo before; while [ ! -e {} ]; do sleep 0.05; done; echo after; exit 7", go.display());
    let id = started(&first, &sandbox.id, &container("app", &script)).await;
    let quick = started(&first, &sandbox.id, &container("quick", "exit 3")).await;
    drop(first);

    let second = place.open().await;
    let mut events = second.events().await.unwrap();
    let found = second.list(&Filter::owner("test/node")).await.unwrap();
    assert_eq!((found.len(), found[0].state, &found[0].ips), (1, SandboxState::Ready, &sandbox.ips));
    assert!(second.container(&id).await.unwrap().state.is_running());
    assert_eq!(ended(&second, &quick).await.code, 3);
    std::fs::write(go, "").unwrap();
    let told = async {
        while let Some(event) = events.next().await {
            if event.unwrap().kind == EventKind::Exited(id.clone()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("an event of an adopted container");
    assert_eq!(second.container(&id).await.unwrap().state.exit().map(|exit| exit.code), Some(7));
    assert_eq!(logs(&second, &id).await, "before\nafter\n");
    second.remove_sandbox(&sandbox.id).await.unwrap();
    assert!(second.list(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn stragglers_do_not_outlive_their_container() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("stragglers")).await.unwrap();
    // One in the process group, and one that has left it for a session of its own.
    let script = "sleep 4711 & setsid sleep 4712 & echo $! ; sleep 0.2; exit 5";
    let id = started(&runtime, &sandbox.id, &container("app", script)).await;
    assert_eq!(ended(&runtime, &id).await.code, 5);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!line.starts_with(b"sleep\x004711") && !line.starts_with(b"sleep\x004712"));
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_graceful_end_is_waited_for_and_a_stubborn_process_is_killed() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("stop")).await.unwrap();
    let polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    for (name, script, grace, code) in [("polite", polite, 20, 0), ("stubborn", stubborn, 1, 137)] {
        let id = started(&runtime, &sandbox.id, &container(name, script)).await;
        let up = async {
            while !snapshot(&runtime, &id).await.contains("up") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), up).await.unwrap();
        runtime.stop_container(&id, Duration::from_secs(grace)).await.unwrap();
        assert_eq!(
            runtime.container(&id).await.unwrap().state.exit().map(|exit| exit.code),
            Some(code),
            "{name}"
        );
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

async fn snapshot(runtime: &ProcessRuntime, id: &ContainerId) -> String {
    let stream = runtime.logs(id, &LogOptions::default()).await.unwrap();
    let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn a_shim_that_is_killed_takes_its_process_along() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("shim")).await.unwrap();
    let id = started(&runtime, &sandbox.id, &container("app", "exec sleep 4713")).await;
    let state: serde_json::Value = serde_json::from_slice(
        &std::fs::read(place.path("data/containers").join(id.as_str()).join("state.json")).unwrap(),
    )
    .unwrap();
    let pid = |key: &str| rustix::process::Pid::from_raw(state[key].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid("shim"), rustix::process::Signal::KILL).unwrap();
    let exit = ended(&runtime, &id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    let gone = async {
        while rustix::process::test_kill_process(pid("process")).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the process dies with its shim");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

fn mount(from: &Path, to: &str, read_only: bool) -> Mount {
    Mount {
        host_path: from.to_owned(),
        container_path: to.into(),
        read_only,
        propagation: Propagation::Private,
    }
}

#[tokio::test]
async fn mounts_are_seen_by_the_container_alone() {
    let place = Place::new();
    let runtime = place.open().await;
    if !runtime.capabilities().mounts {
        eprintln!("skipped: this machine gives no mounts to a program without root");
        return;
    }
    let (volume, file) = (place.path("volume"), place.path("file"));
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("a"), "from the volume\n").unwrap();
    std::fs::write(&file, "one file\n").unwrap();
    let message = place.path("message");
    std::fs::write(&message, "").unwrap();
    let sandbox = runtime.run_sandbox(&place.sandbox("mounts")).await.unwrap();
    // At the root, within a folder of the machine, through a symbolic link, within another mount, and over a file.
    let mut spec = container(
        "app",
        "cat /orchestra-data/a /usr/share/orchestra/deep/a /var/run/orchestra-test/a /sys/orchestra-test/a \
         /orchestra-data/inner/f; \
         cat /etc/hostname; echo new > /orchestra-data/b; \
         echo done > /dev/termination-log; echo x > /dev/null; ls -d /dev/pts; \
         (echo no > /usr/share/orchestra/deep/c) 2>/dev/null || echo read only; ls /usr/bin/env",
    );
    spec.mounts = vec![
        mount(&volume, "/orchestra-data", false),
        mount(&volume, "/usr/share/orchestra/deep", true),
        mount(&volume, "/var/run/orchestra-test", false),
        // Other file systems are mounted below this one, on every machine.
        mount(&volume, "/sys/orchestra-test", true),
        mount(&file, "/orchestra-data/inner/f", false),
        mount(&file, "/etc/hostname", true),
        mount(&message, "/dev/termination-log", false),
    ];
    let printed = output(&runtime, &sandbox.id, &spec).await;
    let expected = format!(
        "{}{}/dev/pts\nread only\n/usr/bin/env\n",
        "from the volume\n".repeat(4),
        "one file\n".repeat(2)
    );
    assert_eq!(printed, expected);
    assert_eq!(std::fs::read_to_string(message).unwrap(), "done\n");
    assert_eq!(std::fs::read_to_string(volume.join("b")).unwrap(), "new\n");
    for nowhere in ["/orchestra-data", "/usr/share/orchestra", "/run/orchestra-test"] {
        assert!(!Path::new(nowhere).exists(), "{nowhere} was made on the machine");
    }

    let mut spec = container("long", "exec sleep 600");
    spec.mounts = vec![mount(&volume, "/orchestra-data", false)];
    let id = started(&runtime, &sandbox.id, &spec).await;
    let command = ["cat", "/orchestra-data/a"].map(str::to_owned);
    let seen = runtime.exec_sync(&id, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "from the volume\n", "{seen:?}");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn pods_have_addresses_of_their_own() {
    let place = Place::new();
    let runtime = place.open().await;
    let one = runtime.run_sandbox(&place.sandbox("one")).await.unwrap();
    let two = runtime.run_sandbox(&place.sandbox("two")).await.unwrap();
    assert_ne!(one.ips, two.ips);
    // Both on the same port, at their own address.
    for sandbox in [&one, &two] {
        let name = format!("from-{}", sandbox.ips[0]).replace('.', "-");
        let script = format!("echo {name} > index.html; exec busybox httpd -f -p $POD_IP:8765 -h .");
        let mut spec = container("web", &script);
        let folder = place.path(&name);
        std::fs::create_dir(&folder).unwrap();
        spec.working_dir = Some(folder.to_str().unwrap().into());
        started(&runtime, &sandbox.id, &spec).await;
        let answered = async {
            loop {
                if let Ok(answer) = get(&format!("{}:8765", sandbox.ips[0])).await
                    && answer.contains(&name)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answered).await.expect("the pod answers");
    }
    // And from one pod to the other.
    let ask = format!("busybox wget -q -O - http://{}:8765/", two.ips[0]);
    assert!(output(&runtime, &one.id, &container("ask", &ask)).await.starts_with("from-"));
    if is_root() {
        let shown =
            output(&runtime, &one.id, &container("name", "hostname; ls /sys/class/net | wc -l")).await;
        assert!(shown.starts_with("one\n"), "{shown}");
    }
    runtime.remove_sandbox(&one.id).await.unwrap();
    runtime.remove_sandbox(&two.id).await.unwrap();
}

async fn get(address: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn memory_limits_are_kept() {
    let place = Place::new();
    let runtime = place.open().await;
    if !runtime.capabilities().limits {
        eprintln!("skipped: no control groups can be made here");
        return;
    }
    let sandbox = runtime.run_sandbox(&place.sandbox("oom")).await.unwrap();
    let mut spec = container("app", "exec tail /dev/zero");
    spec.resources.memory_bytes = Some(16 << 20);
    let id = started(&runtime, &sandbox.id, &spec).await;
    let exit = ended(&runtime, &id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn users_are_changed_with_root_only() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("user")).await.unwrap();
    let mut spec = container("app", "id -u; id -g; id -G");
    spec.security = SecurityContext {
        run_as_user: Some(12_345),
        run_as_group: Some(54_321),
        supplemental_groups: vec![777],
        ..SecurityContext::default()
    };
    if is_root() {
        assert_eq!(output(&runtime, &sandbox.id, &spec).await, "12345\n54321\n54321 777\n");
    } else {
        let refused = runtime.create_container(&sandbox.id, &spec).await;
        assert!(matches!(refused, Err(RuntimeError::InvalidSpec { .. })), "{refused:?}");
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

/// Everything above again as nobody, when we are root.
#[test]
fn all_of_it_without_root() {
    if !is_root() {
        return;
    }
    // Nobody may not read the build folder: so the test and its helper are taken along.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    };
    open(folder.path());
    let program = folder.path().join("process-test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--skip", "all_of_it_without_root"])
        .env("TMPDIR", folder.path())
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir("/")
        .output()
        .expect("setpriv of util-linux");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
}
