//! What the tests of every runtime do: pods and containers as they are asked for, and waiting for what becomes of them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

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
