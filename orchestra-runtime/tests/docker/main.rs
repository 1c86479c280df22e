//! The Docker runtime against a real daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::node::{EmptyDir, SubPath, VolumeHost};
use orchestra_core::runtime::*;
use orchestra_core::testing::contract::runtime::{Subject, check};
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::host::Volumes;

mod daemon;
#[path = "../support/devices.rs"]
mod devices;
#[path = "../support/mod.rs"]
mod support;

use daemon::{Daemon, IMAGE};
use support::pods::{Mortal, bears_a_daemon_that_is_killed, bears_bad_pods};
use support::{ended, holds, output, read, started};

fn sandbox(pod: &str) -> SandboxSpec {
    support::sandbox(pod, "/unused".into())
}

fn container(name: &str, script: &str) -> ContainerSpec {
    support::container(IMAGE, name, script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    let Some(daemon) = Daemon::start().await else { return };
    let runtime = DockerRuntime::connect_to(&daemon.host()).await.unwrap();
    let host = daemon.host();
    let reopen = move || {
        let host = host.clone();
        async move { Arc::new(DockerRuntime::connect_to(&host).await.unwrap()) as Arc<dyn Runtime> }
    };
    check(&Subject::new(Arc::new(runtime)).image(IMAGE).reopen(reopen)).await;
}

#[tokio::test]
async fn no_daemon_is_unavailable() {
    let error = DockerRuntime::connect_to("unix:///nowhere/docker.sock").await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let error = DockerRuntime::connect_to("tcp://192.0.2.1:2375").await.unwrap_err();
    assert!(matches!(error, RuntimeError::InvalidSpec { .. }), "{error:?}");
}

/// One daemon for what follows: each start costs a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_real_daemon() {
    let Some(mut daemon) = Daemon::start().await else { return };
    let runtime = DockerRuntime::connect_to(&daemon.host()).await.unwrap();
    what_a_container_gets(&daemon, &runtime).await;
    the_end_of_a_log(&runtime).await;
    failures_have_kinds(&runtime).await;
    sessions(&runtime).await;
    the_whole_machine(&runtime).await;
    support::resizes(&runtime, &sandbox("resized"), IMAGE).await;
    support::holds_pods(&runtime, &sandbox("held-docker"), IMAGE).await;
    support::refuses_handlers(&runtime, &sandbox("odd")).await;
    support::shows_images(&runtime, &sandbox("images"), IMAGE, daemon.path("volumes/image")).await;
    sub_paths(&daemon, &runtime).await;
    lost_sandbox(&daemon, &runtime).await;
    the_daemon_goes_and_comes_back(&mut daemon, &runtime).await;
}

async fn the_end_of_a_log(runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("tail")).await.unwrap();
    let id =
        started(runtime, &made.id, &container("app", "for i in 1 2 3; do echo line $i; done; exit 0")).await;
    // Following ends with the container.
    let all = read(runtime, &id, LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(all, "line 1\nline 2\nline 3\n");
    let tail = |lines| LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
    for (lines, text) in [(0, ""), (1, "line 3\n"), (2, "line 2\nline 3\n"), (9, &*all)] {
        assert_eq!(read(runtime, &id, tail(lines)).await, text, "the last {lines}");
    }
    let stamped = read(runtime, &id, LogOptions { timestamps: true, ..tail(1) }).await;
    assert!(stamped.ends_with("Z line 3\n") && stamped.lines().count() == 1, "{stamped}");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn what_a_container_gets(daemon: &Daemon, runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("gets")).await.unwrap();
    assert_eq!(made.ips.len(), 1);
    let volume = daemon.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let mut spec =
        container("app", "hostname; echo $A; id -u; id -G; cat /v/f; echo x 2>/dev/null > /v/g || echo ro");
    spec.env = vec![("A".into(), "a b".into())];
    std::fs::write(volume.join("f"), "file\n").unwrap();
    spec.mounts = vec![Mount {
        host_path: volume,
        container_path: "/v".into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }];
    spec.security.run_as_user = Some(1000);
    spec.security.run_as_group = Some(2000);
    spec.security.supplemental_groups = vec![3000];
    spec.resources.oom_score_adj = -997;
    let printed = output(runtime, &made.id, &spec).await;
    assert!(
        printed.starts_with("gets\na b\n1000\n2000 3000\nfile\n") && printed.ends_with("ro\n"),
        "{printed}"
    );

    let mut hungry = container("hungry", "exec tail /dev/zero");
    hungry.resources.memory_bytes = Some(16 << 20);
    let id = started(runtime, &made.id, &hungry).await;
    let exit = ended(runtime, &id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let long = started(runtime, &made.id, &container("long", "exec sleep 600")).await;
    let stats = runtime.stats(&Filter::owner("test/node")).await.unwrap();
    assert!(stats.iter().any(|one| one.container == "long" && one.memory_working_set_bytes > 0), "{stats:?}");
    runtime.stop_container(&long, Duration::from_secs(1)).await.unwrap();
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// A log agent mounts `/`, in which Docker's own folder is.
async fn the_whole_machine(runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("machine")).await.unwrap();
    let mut spec = container("app", "ls /machine/proc/self >/dev/null && echo seen");
    spec.mounts = vec![Mount {
        host_path: "/".into(),
        container_path: "/machine".into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }];
    assert_eq!(output(runtime, &made.id, &spec).await, "seen\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// A container swaps a folder of its volume with a link to `/` while others are started on a path in it.
async fn sub_paths(daemon: &Daemon, runtime: &DockerRuntime) {
    use rustix::fs::{CWD, RenameFlags};
    let made = runtime.run_sandbox(&sandbox("sub")).await.unwrap();
    let volumes = Volumes::new(daemon.path("pods"));
    let pod = sandbox("sub").meta.pod;
    let volume = volumes.empty_dir(&pod, "shared", &EmptyDir::default()).await.unwrap();
    let (folder, link) = (volume.join("sub"), volume.join("evil"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("harmless"), "").unwrap();
    std::os::unix::fs::symlink("/", &link).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let attack = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            rustix::fs::renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        }
    });
    let mut inside = 0;
    for round in 0..2_000 {
        if inside == 12 {
            break;
        }
        let name = format!("c{round}");
        let wanted = SubPath { volume: &volume, path: "sub", container: &name, index: 0 };
        let Ok(place) = volumes.sub_path(&pod, &wanted).await else { continue };
        let mut spec = container(&name, "ls /v");
        spec.mounts = vec![Mount {
            host_path: place,
            container_path: "/v".into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        }];
        assert_eq!(output(runtime, &made.id, &spec).await, "harmless\n", "round {round}");
        inside += 1;
    }
    stop.store(true, Ordering::Relaxed);
    attack.join().unwrap();
    assert!(inside > 0);
    runtime.remove_sandbox(&made.id).await.unwrap();
    volumes.remove_pod(&pod.uid).await.unwrap();
    assert!(!volume.exists());
}

async fn failures_have_kinds(runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("fails")).await.unwrap();
    for (program, code) in [("/no/such", 127), ("/etc", 126)] {
        let spec = ContainerSpec { command: vec![program.into()], ..container(&format!("c{code}"), "") };
        let id = runtime.create_container(&made.id, &spec).await.unwrap();
        match runtime.start_container(&id).await {
            Err(RuntimeError::StartFailed { exit_code, .. }) => assert_eq!(exit_code, code, "{program}"),
            other => panic!("{program}: {other:?}"),
        }
    }
    let port = HostPort { protocol: Protocol::Tcp, host_port: 18_099, container_port: 80, host_ip: None };
    let with_port = |pod: &str| SandboxSpec { host_ports: vec![port.clone()], ..sandbox(pod) };
    let first = runtime.run_sandbox(&with_port("port-one")).await.unwrap();
    let second = runtime.run_sandbox(&with_port("port-two")).await;
    assert_eq!(second, Err(RuntimeError::PortInUse { port: 18_099 }));
    let left = runtime.list(&Filter::default().and_pod("uid-port-two")).await.unwrap();
    assert!(left.is_empty(), "nothing is left of what failed: {left:?}");
    for id in [first.id, made.id] {
        runtime.remove_sandbox(&id).await.unwrap();
    }
    let image = ImageRef::parse("127.0.0.1:1/none:v1").unwrap();
    let error = runtime.pull_image(&image, None).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::Pull { message, .. } if message.contains("127.0.0.1:1")),
        "{error:?}"
    );
}

async fn sessions(runtime: &DockerRuntime) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let made = runtime.run_sandbox(&sandbox("exec")).await.unwrap();
    let id = started(runtime, &made.id, &container("app", "exec sleep 600")).await;
    let script = ["sh", "-c", "echo oops >&2; cat; exit 4"].map(str::to_owned);
    let streams = AttachOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let options = ExecOptions { command: script.to_vec(), streams };
    let mut session = runtime.exec(&id, &options).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    session.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
    session.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    assert_eq!((stdout.as_str(), stderr.as_str(), session.exit.await), ("hello", "oops\n", Ok(4)));
    let slow = ["sh", "-c", "sleep 4751 & sleep 4752; true"].map(str::to_owned);
    let timeout = Duration::from_millis(1000);
    assert_eq!(runtime.exec_sync(&id, &slow, timeout).await, Err(RuntimeError::Timeout { after: timeout }));
    let left = || {
        let lines = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = lines.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| line.starts_with(b"sleep\x00475")).count()
    };
    holds("nothing of the command is left", async || left() == 0).await;
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// Somebody removes the pause container by hand: its containers are still found, and removed.
async fn lost_sandbox(daemon: &Daemon, runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("lost")).await.unwrap();
    let id = started(runtime, &made.id, &container("app", "exec sleep 600")).await;
    let docker = std::process::Command::new("docker")
        .args(["-H", &daemon.host(), "rm", "-f", made.id.as_str()])
        .output()
        .unwrap();
    assert!(docker.status.success());
    let found = runtime.list(&Filter::default().and_pod("uid-lost")).await.unwrap();
    assert_eq!((found.len(), found[0].state, &found[0].id), (1, SandboxState::NotReady, &made.id));
    assert_eq!(found[0].containers[0].id, id);
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert!(runtime.list(&Filter::default().and_pod("uid-lost")).await.unwrap().is_empty());
}

async fn the_daemon_goes_and_comes_back(daemon: &mut Daemon, runtime: &DockerRuntime) {
    let made = runtime.run_sandbox(&sandbox("adopt")).await.unwrap();
    let id = started(runtime, &made.id, &container("app", "echo up; exec sleep 600")).await;
    let before = runtime.container(&id).await.unwrap();
    let mut events = runtime.events().await.unwrap();
    daemon.kill();
    assert!(runtime.list(&Filter::default()).await.unwrap_err().is_unavailable(), "not: no containers");
    assert!(runtime.container(&id).await.unwrap_err().is_unavailable());
    assert!(runtime.info().await.unwrap_err().is_unavailable());
    let cut_off = async { while events.next().await.is_some_and(|event| event.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(20), cut_off).await.expect("the stream of events ends");

    daemon.restart().await;
    let after = runtime.container(&id).await.unwrap();
    assert_eq!(after, before, "the same container, not started again");
    let found = runtime.list(&Filter::owner("test/node")).await.unwrap();
    assert_eq!((found.len(), found[0].state, &found[0].ips), (1, SandboxState::Ready, &made.ips));
    runtime.remove_sandbox(&made.id).await.unwrap();
}

#[async_trait::async_trait]
impl Mortal for Daemon {
    fn kill(&mut self) {
        self.kill();
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_bears_bad_pods_and_a_daemon_that_is_killed() {
    let Some(mut daemon) = Daemon::start().await else { return };
    let runtime: Arc<dyn Runtime> = Arc::new(DockerRuntime::connect_to(&daemon.host()).await.unwrap());
    let (one, two) = (daemon.path("one"), daemon.path("two"));
    bears_bad_pods(Arc::clone(&runtime), IMAGE, &one).await;
    bears_a_daemon_that_is_killed(&mut daemon, runtime, IMAGE, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_have_the_devices_of_plugins() {
    let Some(daemon) = Daemon::start().await else { return };
    let runtime = DockerRuntime::connect_to(&daemon.host()).await.unwrap();
    devices::gives_devices(Arc::new(runtime), IMAGE, &daemon.path("node")).await;
}
