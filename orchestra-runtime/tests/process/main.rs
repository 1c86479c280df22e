//! The process runtime against this machine, with whatever rights the tests have; with root also once more without.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::runtime::*;
use orchestra_core::testing::contract::runtime::{Subject, check};
use orchestra_runtime::process::{Config, ProcessRuntime, Range};

mod confined;
mod networks;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use support::{ended, holds, logs, output, says, started};

/// Each test has folders of its own, and they share a bridge.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> Config {
        Config::new(self.folder.path().join("data"))
            .pods(Range::parse("10.86.0.0/16").unwrap(), "orctest0")
            .loopback(Range::parse("127.86.0.0/16").unwrap())
            .helper(env!("CARGO_BIN_EXE_orchestra-shim"))
            .run(std::env::temp_dir().join(format!("orchestra-test-{}", rustix::process::geteuid().as_raw())))
    }

    async fn open(&self) -> ProcessRuntime {
        ProcessRuntime::open(self.config()).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandbox(&self, pod: &str) -> SandboxSpec {
        support::sandbox(pod, self.path("logs").join(pod))
    }
}

fn container(name: &str, script: &str) -> ContainerSpec {
    support::container("none", name, script)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    let place = Place::new();
    let runtime = place.open().await;
    let logs = place.path("logs");
    let reopen = move || {
        let config = place.config();
        async move { Arc::new(ProcessRuntime::open(config).await.unwrap()) as Arc<dyn Runtime> }
    };
    check(&Subject::new(Arc::new(runtime)).log_root(logs).reopen(reopen)).await;
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

/// The container runs on; what waited for its end ends with the runtime.
#[tokio::test]
async fn a_runtime_that_is_dropped_leaves_no_task() {
    let place = Place::new();
    let (id, sandbox) = {
        let runtime = place.open().await;
        let sandbox = runtime.run_sandbox(&place.sandbox("tasks")).await.unwrap();
        let id = started(&runtime, &sandbox.id, &container("app", "exec sleep 600")).await;
        drop(runtime.events().await.unwrap());
        (id, sandbox)
    };
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    holds("no task is left", async || tasks() == 0).await;
    let runtime = place.open().await;
    assert!(runtime.container(&id).await.unwrap().state.is_running());
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn stragglers_do_not_outlive_their_container() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("stragglers")).await.unwrap();
    // One in the process group, and one that has left it for a session of its own.
    let script = "sleep 4711 & setsid sleep 4712 & echo $! ; sleep 0.2; exit 5";
    let id = started(&runtime, &sandbox.id, &container("app", &mine(script))).await;
    assert_eq!(ended(&runtime, &id).await.code, 5);
    assert_eq!(sleepers(&["4711", "4712"]), Vec::<String>::new());
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

/// A script as it is ours alone: the same tests run as another user at the same time.
fn mine(script: &str) -> String {
    if is_root() { script.to_owned() } else { script.replace("sleep 47", "sleep 97") }
}

/// Which of these times somebody on this machine sleeps for. The kernel forgets the dead a moment later.
fn sleepers(times: &[&str]) -> Vec<String> {
    let times: Vec<String> =
        times.iter().map(|time| mine(&format!("sleep {time}")).replace("sleep ", "")).collect();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let slept = lines.filter_map(|line| {
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let sleeps = words.first().is_some_and(|program| program.ends_with("sleep"));
        words.into_iter().nth(1).filter(|time| sleeps && times.contains(time))
    });
    slept.collect()
}

#[tokio::test]
async fn nothing_of_a_command_outlives_its_time() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("slow")).await.unwrap();
    let id = started(&runtime, &sandbox.id, &container("app", "exec sleep 600")).await;
    let script = "sleep 4721 & setsid sh -c 'setsid sleep 4722 & sleep 4723' & sleep 4724; true";
    let command = ["sh", "-c", &mine(script)].map(str::to_owned);
    let all = ["4721", "4722", "4723", "4724"];
    let timeout = Duration::from_millis(500);
    let slow = runtime.exec_sync(&id, &command, timeout).await;
    assert_eq!(slow, Err(RuntimeError::Timeout { after: timeout }));
    assert_eq!(sleepers(&all), Vec::<String>::new());

    // One that nobody waits for any more, as a preStop hook when the grace period is over.
    let dropped = tokio::time::timeout(timeout, runtime.exec_sync(&id, &command, Duration::from_secs(600)));
    assert!(dropped.await.is_err());
    holds("all of it ends", async || sleepers(&all).is_empty()).await;
    let options = ExecOptions {
        command: command.to_vec(),
        streams: AttachOptions { stdout: true, ..AttachOptions::default() },
    };
    let session = runtime.exec(&id, &options).await.unwrap();
    holds("it runs", async || sleepers(&all).len() == 4).await;
    drop(session);
    holds("all of it ends", async || sleepers(&all).is_empty()).await;

    // One that is done in time leaves its code, whatever it was.
    let quick = ["sh", "-c", "echo out; echo err >&2; exit 7"].map(str::to_owned);
    let answer = runtime.exec_sync(&id, &quick, Duration::from_secs(20)).await.unwrap();
    assert_eq!((answer.exit_code, &*answer.stdout, &*answer.stderr), (7, &b"out\n"[..], &b"err\n"[..]));
    let absent = runtime.exec_sync(&id, &["/no/such".to_owned()], Duration::from_secs(20)).await.unwrap();
    assert_eq!(absent.exit_code, 127, "{absent:?}");
    assert!(runtime.container(&id).await.unwrap().state.is_running());
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn only_the_main_process_is_asked_to_end() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("worker")).await.unwrap();
    let worker = "echo worker up; sleep 1 && echo worker done || echo worker broken";
    let script = format!(
        "trap 'echo asked' TERM; sh -c '{worker}' & while kill -0 $! 2>/dev/null; do wait $!; done; echo leaving"
    );
    let id = started(&runtime, &sandbox.id, &container("app", &script)).await;
    says(&runtime, &id, "up").await;
    runtime.stop_container(&id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(logs(&runtime, &id).await, "worker up\nasked\nworker done\nleaving\n");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn following_a_log_ends_when_its_container_is_removed() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("follow")).await.unwrap();
    for round in 0..5 {
        let spec = container(&format!("app-{round}"), "while :; do echo tock; sleep 0.01; done");
        let id = started(&runtime, &sandbox.id, &spec).await;
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut stream = runtime.logs(&id, &follow).await.unwrap();
        stream.next().await.unwrap().unwrap();
        runtime.remove_container(&id).await.unwrap();
        let rest = async { while stream.next().await.is_some_and(|piece| piece.is_ok()) {} };
        tokio::time::timeout(Duration::from_secs(20), rest).await.expect("it ends");
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_sandbox_without_its_network_is_not_ready() {
    let place = Place::new();
    let runtime = place.open().await;
    let made = runtime.run_sandbox(&place.sandbox("lost")).await.unwrap();
    let Some(netns) = made.netns else {
        eprintln!("skipped: without root there are no network namespaces");
        return;
    };
    rustix::mount::unmount(&netns, rustix::mount::UnmountFlags::DETACH).unwrap();
    let found = &runtime.list(&Filter::default()).await.unwrap()[0];
    assert_eq!((found.state, &found.netns), (SandboxState::NotReady, &None));
    let refused = runtime.create_container(&made.id, &container("app", "true")).await;
    assert!(matches!(refused, Err(RuntimeError::NotRunning { .. })), "{refused:?}");
    let next = SandboxSpec {
        meta: SandboxMeta { attempt: 1, ..place.sandbox("lost").meta },
        ..place.sandbox("lost")
    };
    let next = runtime.run_sandbox(&next).await.unwrap();
    assert_eq!(output(&runtime, &next.id, &container("app", "echo again")).await, "again\n");
    for id in [made.id, next.id] {
        runtime.remove_sandbox(&id).await.unwrap();
    }
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
        says(&runtime, &id, "up").await;
        runtime.stop_container(&id, Duration::from_secs(grace)).await.unwrap();
        assert_eq!(
            runtime.container(&id).await.unwrap().state.exit().map(|exit| exit.code),
            Some(code),
            "{name}"
        );
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_shim_that_is_killed_takes_its_process_along() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("shim")).await.unwrap();
    let script =
        "setsid sh -c 'sleep 4741' & (setsid sh -c 'setsid sleep 4742 & sleep 4743' &); exec sleep 4713";
    let id = started(&runtime, &sandbox.id, &container("app", &mine(script))).await;
    let all = ["4741", "4742", "4743", "4713"];
    holds("all of it runs", async || sleepers(&all).len() == 4).await;
    let state: serde_json::Value = serde_json::from_slice(
        &std::fs::read(place.path("data/containers").join(id.as_str()).join("state.json")).unwrap(),
    )
    .unwrap();
    let pid = |key: &str| rustix::process::Pid::from_raw(state[key].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid("shim"), rustix::process::Signal::KILL).unwrap();
    let exit = ended(&runtime, &id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    let gone = async || rustix::process::test_kill_process(pid("process")).is_err();
    holds("the process dies with its shim", gone).await;
    if runtime.capabilities().mounts {
        holds("all of it ends", async || sleepers(&all).is_empty()).await;
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
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
async fn a_pod_is_held_as_a_whole() {
    let place = Place::new();
    let runtime = place.open().await;
    match runtime.capabilities().fields.pod_resources {
        true => support::holds_pods(&runtime, &place.sandbox("held-process"), "").await,
        false => eprintln!("skipped: no control groups can be made here"),
    }
}

#[tokio::test]
async fn devices_are_where_the_machine_has_them() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("devices")).await.unwrap();
    let device = |inside: &str| Device {
        host_path: "/dev/null".into(),
        container_path: inside.into(),
        permissions: "rw".into(),
    };
    let spec = ContainerSpec {
        devices: vec![device("/dev/null")],
        ..container("same", "test -c /dev/null && echo there")
    };
    assert_eq!(output(&runtime, &sandbox.id, &spec).await, "there\n");
    let spec = ContainerSpec { devices: vec![device("/dev/mine")], ..container("other", "true") };
    let refused = runtime.create_container(&sandbox.id, &spec).await.unwrap_err();
    let why =
        "device /dev/mine: a process sees the devices of the machine where they are, this one at /dev/null";
    assert_eq!(refused, RuntimeError::InvalidSpec { message: why.into() });
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
    // Its own of both are no change.
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = SecurityContext {
        run_as_user: Some(uid.into()),
        run_as_group: Some(gid.into()),
        ..SecurityContext::default()
    };
    let spec = ContainerSpec { security: own, ..container("own", "id -u; id -g") };
    assert_eq!(output(&runtime, &sandbox.id, &spec).await, format!("{uid}\n{gid}\n"));
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
