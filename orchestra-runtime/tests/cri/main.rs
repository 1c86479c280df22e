//! The CRI runtime against a real containerd.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use orchestra_core::runtime::*;
use orchestra_core::testing::contract::runtime::{Subject, check};
use orchestra_runtime::cri::CriRuntime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod daemon;
#[path = "../support/devices.rs"]
mod devices;
#[path = "../support/mod.rs"]
mod support;

use daemon::{Daemon, IMAGE};
use support::pods::{Mortal, bears_a_daemon_that_is_killed, bears_bad_pods};
use support::{ended, holds, output, started};

fn sandbox(daemon: &Daemon, pod: &str) -> SandboxSpec {
    support::sandbox(pod, daemon.path("logs").join(pod))
}

fn container(name: &str, script: &str) -> ContainerSpec {
    support::container(IMAGE, name, script)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    let Some(daemon) = Daemon::start().await else { return };
    let runtime = CriRuntime::connect_to(&daemon.socket()).await.unwrap();
    let socket = daemon.socket();
    let reopen = move || {
        let socket = socket.clone();
        async move { Arc::new(CriRuntime::connect_to(&socket).await.unwrap()) as Arc<dyn Runtime> }
    };
    let logs = daemon.path("logs");
    check(&Subject::new(Arc::new(runtime)).image(IMAGE).log_root(&logs).reopen(reopen)).await;
    assert_eq!(std::fs::read_dir(logs).unwrap().count(), 0, "the logs of what was removed are removed too");
}

#[tokio::test]
async fn no_runtime_is_unavailable() {
    let error = CriRuntime::connect_to("/nowhere/containerd.sock").await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let error = CriRuntime::connect_to("tcp://192.0.2.1:2375").await.unwrap_err();
    assert!(matches!(error, RuntimeError::InvalidSpec { .. }), "{error:?}");
}

/// Of a range that nobody else has: other tests of this machine have 10.200 to 10.249.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_have_addresses_of_the_range_that_is_told() {
    let Some(daemon) = Daemon::start_with_template().await else { return };
    let runtime = CriRuntime::connect_to(&daemon.socket()).await.unwrap();
    let error = runtime.info().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    runtime.give_pods("10.253.77.0/24".to_owned()).await.unwrap();
    holds("there is a network", async || runtime.info().await.is_ok()).await;
    let made = runtime.run_sandbox(&sandbox(&daemon, "told")).await.unwrap();
    assert!(made.ips[0].to_string().starts_with("10.253.77."), "{made:?}");
    runtime.remove_sandbox(&made.id).await.unwrap();
    // Told again, as after each start, it is no other.
    runtime.give_pods("10.253.77.0/24".to_owned()).await.unwrap();
    runtime.info().await.unwrap();
}

/// One daemon for what follows: each start costs a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_a_real_containerd() {
    let Some(mut daemon) = Daemon::start().await else { return };
    let runtime = CriRuntime::connect_to(&daemon.socket()).await.unwrap();
    what_a_container_gets(&daemon, &runtime).await;
    failures_have_kinds(&daemon, &runtime).await;
    ports_lead_into_pods(&daemon, &runtime).await;
    the_whole_machine(&daemon, &runtime).await;
    support::resizes(&runtime, &sandbox(&daemon, "resized"), IMAGE).await;
    support::holds_pods(&runtime, &sandbox(&daemon, "held-cri"), IMAGE).await;
    support::refuses_handlers(&runtime, &sandbox(&daemon, "odd")).await;
    support::shows_images(&runtime, &sandbox(&daemon, "images"), IMAGE, daemon.path("volumes/image")).await;
    long_logs_are_put_aside(&daemon, &runtime).await;
    the_daemon_goes_and_comes_back(&mut daemon, &runtime).await;
}

async fn what_a_container_gets(daemon: &Daemon, runtime: &CriRuntime) {
    let made = runtime.run_sandbox(&sandbox(daemon, "gets")).await.unwrap();
    assert_eq!(made.ips.len(), 1, "{made:?}");
    let volume = daemon.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "file\n").unwrap();
    let script =
        "hostname; echo $HOSTNAME; echo $A; id -u; id -G; cat /v/f; echo x 2>/dev/null > /v/g || echo ro";
    let mut spec = container("app", script);
    spec.env = vec![("A".into(), "a b".into()), ("PATH".into(), "/bin".into())];
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
        printed.starts_with("gets\ngets\na b\n1000\n2000 3000\nfile\n") && printed.ends_with("ro\n"),
        "{printed}"
    );
    let mut hungry = container("hungry", "exec /bin/busybox tail /dev/zero");
    hungry.resources.memory_bytes = Some(16 << 20);
    let id = started(runtime, &made.id, &hungry).await;
    assert_eq!(ended(runtime, &id).await.code, 137);
    // Why is told by the kernel in its own time.
    let told = async || ended(runtime, &id).await.oom_killed;
    holds("it is said that memory was short", told).await;
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn failures_have_kinds(daemon: &Daemon, runtime: &CriRuntime) {
    let absent = ImageRef::parse("orchestra.invalid/no/such:1").unwrap();
    let error = runtime.pull_image(&absent, None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Pull { .. }), "{error:?}");
    let made = runtime.run_sandbox(&sandbox(daemon, "kinds")).await.unwrap();
    let id = started(runtime, &made.id, &container("app", "sleep 600")).await;
    let present = ImageRef::parse(IMAGE).unwrap();
    let error = runtime.remove_image(&present).await.unwrap_err();
    assert!(matches!(error, RuntimeError::InUse { .. }), "{error:?}");
    runtime.remove_image(&absent).await.unwrap();
    let mut taken = sandbox(daemon, "taken");
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    taken.host_ports =
        vec![HostPort { protocol: Protocol::Tcp, host_port: port, container_port: 80, host_ip: None }];
    let error = runtime.run_sandbox(&taken).await.unwrap_err();
    assert_eq!(error, RuntimeError::PortInUse { port });
    runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn ports_lead_into_pods(daemon: &Daemon, runtime: &CriRuntime) {
    let made = runtime.run_sandbox(&sandbox(daemon, "ports")).await.unwrap();
    let script = "echo hello >/tmp/index.html; echo ready; exec /bin/busybox httpd -f -p 8080 -h /tmp";
    let id = started(runtime, &made.id, &container("app", script)).await;
    let get = async || {
        let mut stream = runtime.port_forward(&made.id, 8080).await?;
        let asked = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await;
        let mut said = String::new();
        let read = stream.read_to_string(&mut said).await;
        asked
            .and(read.map(drop))
            .map(|()| said)
            .map_err(|error| RuntimeError::Failed { message: error.to_string() })
    };
    holds("it serves", async || get().await.is_ok_and(|said| said.ends_with("hello\n"))).await;
    assert!(runtime.port_forward(&made.id, 8081).await.is_err(), "nobody listens there");
    runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn the_whole_machine(daemon: &Daemon, runtime: &CriRuntime) {
    let mut pod = sandbox(daemon, "privileged");
    pod.privileged = true;
    let made = runtime.run_sandbox(&pod).await.unwrap();
    let mut spec = container("all", "/bin/busybox mount -t tmpfs none /tmp && echo mounted");
    spec.security.privileged = true;
    assert_eq!(output(runtime, &made.id, &spec).await, "mounted\n");
    let script = "test -n \"$(/bin/busybox head -c 5 /proc/timer_list)\" && echo timers; \
                  (: > /proc/sys/kernel/domainname) 2>/dev/null && echo sys";
    assert_eq!(output(runtime, &made.id, &container("usual", script)).await, "");
    let mut spec = container("open", script);
    spec.security.unmasked_proc = true;
    assert_eq!(output(runtime, &made.id, &spec).await, "timers\nsys\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn the_daemon_goes_and_comes_back(daemon: &mut Daemon, runtime: &CriRuntime) {
    let made = runtime.run_sandbox(&sandbox(daemon, "stays")).await.unwrap();
    let id = started(runtime, &made.id, &container("app", "sleep 600")).await;
    let before = runtime.list(&Filter::owner("test/node")).await.unwrap();
    daemon.kill();
    let error = runtime.list(&Filter::default()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    let error = runtime.container(&id).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    daemon.restart().await;
    assert_eq!(runtime.list(&Filter::owner("test/node")).await.unwrap(), before, "it ran on");
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert_eq!(runtime.list(&Filter::owner("test/node")).await.unwrap(), []);
}

/// The CRI leaves it to whoever follows its containers.
async fn long_logs_are_put_aside(daemon: &Daemon, runtime: &CriRuntime) {
    let made = runtime.run_sandbox(&sandbox(daemon, "long")).await.unwrap();
    let script = "/bin/busybox yes 0123456789abcdef | /bin/busybox head -c 5000006; echo last; sleep 600";
    let id = started(runtime, &made.id, &container("app", script)).await;
    let folder = daemon.path("logs").join("long/app");
    let events = runtime.events().await.unwrap();
    let following = events.try_for_each(|_| std::future::ready(Ok(())));
    let put_aside = holds("it is put aside", async || std::fs::read_dir(&folder).unwrap().count() >= 2);
    tokio::select! {
        ended = following => panic!("{ended:?}"),
        () = put_aside => {}
    }
    let tail = LogOptions { tail_lines: Some(1), ..LogOptions::default() };
    let pieces: Vec<bytes::Bytes> = runtime.logs(&id, &tail).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"last\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert!(!folder.exists(), "what was put aside is removed too");
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
    let runtime: Arc<dyn Runtime> = Arc::new(CriRuntime::connect_to(&daemon.socket()).await.unwrap());
    let (one, two) = (daemon.path("one"), daemon.path("two"));
    bears_bad_pods(Arc::clone(&runtime), IMAGE, &one).await;
    bears_a_daemon_that_is_killed(&mut daemon, runtime, IMAGE, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_have_the_devices_of_plugins() {
    let Some(daemon) = Daemon::start().await else { return };
    let runtime = CriRuntime::connect_to(&daemon.socket()).await.unwrap();
    devices::gives_devices(Arc::new(runtime), IMAGE, &daemon.path("node")).await;
}
