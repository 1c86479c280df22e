//! What the tests of every runtime do: pods and containers as they are asked for, and waiting for what becomes of them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod daemons;
pub mod pods;

use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt;
use orchestra_core::runtime::*;
use orchestra_core::testing::until;

/// How long anything may take, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A pod of that name, with its logs in a folder.
pub fn sandbox(pod: &str, log_directory: PathBuf) -> SandboxSpec {
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
        log_directory,
        cgroup_parent: None,
        resources: None,
        handler: String::new(),
        privileged: false,
    }
}

/// A container that runs a script of the shell.
pub fn container(image: &str, name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        meta: ContainerMeta { name: name.into(), attempt: 0, hash: "h".into() },
        image: image.into(),
        image_id: String::new(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
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
        processes_of: None,
        stop_signal: None,
        labels: Default::default(),
        annotations: Default::default(),
        log_path: format!("{name}/0.log").into(),
    }
}

/// A container that was made and begun.
pub async fn started(runtime: &dyn Runtime, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
    let id = runtime.create_container(sandbox, spec).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    id
}

/// Waits for a container's end.
pub async fn ended(runtime: &dyn Runtime, id: &ContainerId) -> Exit {
    let exit = async || runtime.container(id).await.unwrap().state.exit().cloned();
    until(format_args!("the end of {id:?}"), PATIENCE, exit).await
}

/// What a container has printed, read as the options say.
pub async fn read(runtime: &dyn Runtime, id: &ContainerId, options: LogOptions) -> String {
    let pieces: Vec<bytes::Bytes> = runtime.logs(id, &options).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// What a container prints until it ends.
pub async fn logs(runtime: &dyn Runtime, id: &ContainerId) -> String {
    read(runtime, id, LogOptions { follow: true, ..LogOptions::default() }).await
}

/// Runs a container to its end and gives what it printed.
pub async fn output(runtime: &dyn Runtime, sandbox: &SandboxId, spec: &ContainerSpec) -> String {
    let id = started(runtime, sandbox, spec).await;
    ended(runtime, &id).await;
    logs(runtime, &id).await
}

/// Waits until a container has printed a text.
pub async fn says(runtime: &dyn Runtime, id: &ContainerId, text: &str) {
    holds(format_args!("{text:?} of {id:?}"), async || {
        read(runtime, id, LogOptions::default()).await.contains(text)
    })
    .await;
}

/// Waits until something is so.
pub async fn holds(what: impl std::fmt::Display, mut is: impl AsyncFnMut() -> bool) {
    until(what, PATIENCE, async || is().await.then_some(())).await;
}

/// A folder of the machine as a container sees it at `/v`, which cannot write it.
pub fn shown(host_path: PathBuf) -> Mount {
    Mount {
        host_path,
        container_path: "/v".into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }
}

/// An image is shown to a pod as a folder, and stays while it is.
pub async fn shows_images(runtime: &dyn Runtime, sandbox: &SandboxSpec, image: &str, at: PathBuf) {
    assert!(runtime.capabilities().fields.image_volumes);
    std::fs::create_dir_all(&at).unwrap();
    let name = ImageRef::parse(image).unwrap();
    let found = runtime.image(&name).await.unwrap().unwrap();
    let (made, pod) = (runtime.run_sandbox(sandbox).await.unwrap(), &sandbox.meta.pod);
    for _ in 0..2 {
        runtime.mount_image(&found.id, pod, &at).await.unwrap();
    }
    let mut spec = container(image, "reads", "echo /v/bin/busybo*; (: > /v/x) 2>/dev/null || echo ro");
    spec.security.run_as_user = Some(0);
    spec.mounts = vec![shown(at.clone())];
    assert_eq!(output(runtime, &made.id, &spec).await, "/v/bin/busybox\nro\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
    let refused = runtime.remove_image(&name).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::InUse { .. }), "{refused:?}");
    let absent = format!("sha256:{}", "0".repeat(64));
    assert!(runtime.mount_image(&absent, pod, &at.with_extension("absent")).await.is_err());
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
    for _ in 0..2 {
        runtime.release_images(&pod.uid).await.unwrap();
    }
    assert_eq!(runtime.list(&Filter::owner("test/node")).await.unwrap(), []);
}

/// A container is given other resources while it runs: more and less.
pub async fn resizes(runtime: &dyn Runtime, sandbox: &SandboxSpec, image: &str) {
    let made = runtime.run_sandbox(sandbox).await.unwrap();
    let mut spec = container(image, "app", "sleep 600");
    spec.resources = Resources { cpu_shares: 512, memory_bytes: Some(64 << 20), ..Resources::default() };
    let id = started(runtime, &made.id, &spec).await;
    for (mebibytes, quota) in [(128_i64, 50_000), (32, 20_000)] {
        let more = Resources {
            cpu_shares: 256,
            cpu_quota: Some(quota),
            cpu_period: 100_000,
            memory_bytes: Some(mebibytes << 20),
            ..Resources::default()
        };
        runtime.update_container(&id, &more).await.unwrap();
        let script = "cd /sys/fs/cgroup; if [ -e memory.max ]; then cat memory.max; read a b < cpu.max; echo $a; \
                      else cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us; fi";
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let seen = runtime.exec_sync(&id, &command, PATIENCE).await.unwrap();
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert_eq!(text, format!("{}\n{quota}\n", mebibytes << 20), "{seen:?}");
    }
    let absent = ContainerId::from("0".repeat(64));
    assert!(runtime.update_container(&absent, &Resources::default()).await.is_err());
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// The folders of the control groups of a pod that is held as a whole, in whichever trees they are.
fn groups_of(pod_uid: &str) -> Vec<PathBuf> {
    let trees = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|tree| tree.path());
    let trees = trees.chain(["/sys/fs/cgroup".into()]);
    let all = trees.filter_map(|tree| std::fs::read_dir(tree.join("orchestra")).ok()).flatten().flatten();
    let own = all.filter(|group| group.file_name().to_string_lossy().starts_with(&format!("pod{pod_uid}-")));
    own.map(|group| group.path()).collect()
}

/// What the kernel holds a pod to: bytes of memory, and microseconds in each period.
fn held(pod_uid: &str) -> (String, String) {
    let read = |names: [&str; 2]| {
        let groups = groups_of(pod_uid);
        let mut found = groups.iter().flat_map(|group| names.map(|name| group.join(name)));
        let text = found.find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().to_owned()
    };
    (read(["memory.max", "memory.limit_in_bytes"]), read(["cpu.max", "cpu.cfs_quota_us"]))
}

/// What the containers of a pod use together is held, more or less while they run; and nothing is left of that.
pub async fn holds_pods(runtime: &dyn Runtime, sandbox: &SandboxSpec, image: &str) {
    assert!(runtime.capabilities().fields.pod_resources);
    let of = |mebibytes: i64, quota| Resources {
        cpu_shares: 512,
        cpu_quota: Some(quota),
        cpu_period: 100_000,
        memory_bytes: Some(mebibytes << 20),
        oom_score_adj: 0,
    };
    let uid = &sandbox.meta.pod.uid;
    let sandbox = SandboxSpec { resources: Some(of(32, 50_000)), ..sandbox.clone() };
    let made = runtime.run_sandbox(&sandbox).await.unwrap();
    assert_eq!(held(uid), ((32 << 20).to_string(), "50000".into()));
    let calm = started(runtime, &made.id, &container(image, "calm", "exec sleep 600")).await;
    // It has no limit of its own.
    let mut hungry = container(image, "hungry", "exec /bin/busybox tail /dev/zero");
    hungry.resources.oom_score_adj = 500;
    let id = started(runtime, &made.id, &hungry).await;
    let exit = ended(runtime, &id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true), "{exit:?}");
    assert!(runtime.container(&calm).await.unwrap().state.is_running());
    for (mebibytes, quota) in [(64, 80_000), (24, 30_000)] {
        runtime.update_sandbox(&made.id, &of(mebibytes, quota)).await.unwrap();
        assert_eq!(held(uid), ((mebibytes << 20).to_string(), quota.to_string()));
    }
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert_eq!(groups_of(uid), Vec::<PathBuf>::new(), "nothing is left of it");
    // One that is not held as a whole has nothing to be given.
    let plain = SandboxSpec { resources: None, ..sandbox };
    let made = runtime.run_sandbox(&plain).await.unwrap();
    let refused = runtime.update_sandbox(&made.id, &of(1, 1)).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Unsupported { .. }), "{refused:?}");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// A pod that asks for a handler that is not there is not made.
pub async fn refuses_handlers(runtime: &dyn Runtime, sandbox: &SandboxSpec) {
    let odd = SandboxSpec { handler: "nosuch".into(), ..sandbox.clone() };
    let refused = runtime.run_sandbox(&odd).await.unwrap_err().to_string();
    assert!(refused.contains("nosuch"), "{refused}");
    assert_eq!(runtime.list(&Filter::owner("test/node")).await.unwrap(), []);
}
