//! What every [`Runtime`] must do.
//!
//! ```no_run
//! # async fn test(runtime: std::sync::Arc<dyn orchestra_core::runtime::Runtime>) {
//! use orchestra_core::testing::contract::runtime::{Subject, check};
//! check(&Subject::new(runtime).image("busybox")).await;
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::runtime::{
    Container, ContainerId, ContainerMeta, ContainerSpec, ContainerState, EventKind, Filter, ImageRef,
    LogOptions, PodRef, Resources, Runtime, RuntimeError, SandboxId, SandboxMeta, SandboxSpec, SandboxState,
    SecurityContext,
};

/// A runtime to check, and what it needs to be checked.
pub struct Subject {
    runtime: Arc<dyn Runtime>,
    image: String,
    owner: String,
    deadline: Duration,
    log_root: std::path::PathBuf,
}

impl Subject {
    /// A runtime whose containers find `sh`, `sleep` and `echo`.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            runtime,
            image: "busybox".into(),
            owner: "contract/suite".into(),
            deadline: Duration::from_secs(30),
            log_root: "/var/log/pods".into(),
        }
    }

    /// An image that is present and holds those commands; `busybox` unless said otherwise.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// The owner of what the suite makes. It is all removed.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Where logs go, for runtimes that write files.
    pub fn log_root(mut self, root: impl Into<std::path::PathBuf>) -> Self {
        self.log_root = root.into();
        self
    }
}

/// Runs the whole suite. Panics with what went wrong.
pub async fn check(subject: &Subject) {
    clean(subject).await;
    says_who_it_is(subject).await;
    lifecycle(subject).await;
    repeats_are_harmless(subject).await;
    what_is_not_there(subject).await;
    exit_codes_and_logs(subject).await;
    log_options(subject).await;
    kills_what_does_not_end(subject).await;
    a_command_that_cannot_start(subject).await;
    adoption(subject).await;
    executes(subject).await;
    events_tell_of_ends(subject).await;
    images(subject).await;
    clean(subject).await;
}

async fn says_who_it_is(s: &Subject) {
    let info = s.runtime.info().await.expect("info");
    assert!(
        !info.name.is_empty() && !info.version.is_empty(),
        "a runtime has a name and a version: {info:?}"
    );
    let machine = s.runtime.machine().await.expect("machine");
    assert!(machine.cpu_millis > 0 && machine.memory_bytes > 0 && machine.pods > 0, "{machine:?}");
}

async fn lifecycle(s: &Subject) {
    let sandbox = s.sandbox("lifecycle", 0).await;
    let listed = s.list("lifecycle").await;
    assert_eq!(listed.len(), 1, "one sandbox is listed");
    assert_eq!(listed[0].state, SandboxState::Ready);
    assert!(listed[0].containers.is_empty());

    let id = s.create(&sandbox, "app", 0, &["sleep", "3600"]).await;
    assert_eq!(s.container(&id).await.state, ContainerState::Created, "created is not started");
    s.runtime.start_container(&id).await.expect("start");
    let running = s.until(&id, "running", |c| c.state.is_running()).await;
    assert_eq!(running.meta.name, "app");

    s.runtime.stop_container(&id, Duration::from_secs(10)).await.expect("stop");
    let ended = s.container(&id).await;
    assert!(ended.state.exit().is_some(), "stop returns when it no longer runs: {:?}", ended.state);
    s.runtime.remove_container(&id).await.expect("remove container");
    assert!(matches!(s.runtime.container(&id).await, Err(RuntimeError::NotFound { .. })));

    let left = s.start(&sandbox, "left", 0, &["sleep", "3600"]).await;
    s.runtime.stop_sandbox(&sandbox).await.expect("stop sandbox");
    assert_eq!(s.list("lifecycle").await[0].state, SandboxState::NotReady);
    s.until(&left, "ended with its sandbox", |c| !c.state.is_running()).await;
    s.runtime.remove_sandbox(&sandbox).await.expect("remove sandbox");
    assert!(s.list("lifecycle").await.is_empty(), "removed with its containers");
}

async fn repeats_are_harmless(s: &Subject) {
    let sandbox = s.sandbox("repeats", 0).await;
    let again = s.runtime.run_sandbox(&s.sandbox_spec("repeats", 0)).await;
    assert!(matches!(again, Err(RuntimeError::AlreadyExists { .. })), "the same sandbox twice: {again:?}");
    let id = s.start(&sandbox, "app", 0, &["sleep", "3600"]).await;
    let again = s.runtime.create_container(&sandbox, &s.container_spec("app", 0, &["sleep", "3600"])).await;
    assert!(matches!(again, Err(RuntimeError::AlreadyExists { .. })), "the same container twice: {again:?}");
    s.runtime.start_container(&id).await.expect("starting what runs");
    for _ in 0..2 {
        s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop twice");
    }
    for _ in 0..2 {
        s.runtime.remove_container(&id).await.expect("remove twice");
    }
    for _ in 0..2 {
        s.runtime.stop_sandbox(&sandbox).await.expect("stop sandbox twice");
    }
    for _ in 0..2 {
        s.runtime.remove_sandbox(&sandbox).await.expect("remove sandbox twice");
    }
    s.runtime.stop_sandbox(&sandbox).await.expect("stopping what is gone");
}

async fn what_is_not_there(s: &Subject) {
    let id = ContainerId::from("f00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeed");
    let gone = |error: Option<RuntimeError>| matches!(error, Some(RuntimeError::NotFound { .. }));
    assert!(gone(s.runtime.container(&id).await.err()));
    assert!(gone(s.runtime.start_container(&id).await.err()));
    assert!(gone(s.runtime.logs(&id, &LogOptions::default()).await.err()));
    assert!(gone(s.runtime.exec_sync(&id, &["true".into()], Duration::from_secs(5)).await.err()));
    let sandbox = SandboxId::from(id.as_str());
    assert!(s.runtime.create_container(&sandbox, &s.container_spec("app", 0, &["true"])).await.is_err());
}

async fn exit_codes_and_logs(s: &Subject) {
    let sandbox = s.sandbox("exits", 0).await;
    for code in [0, 3] {
        let name = format!("exit-{code}");
        let id = s.start(&sandbox, &name, 0, &["sh", "-c", &format!("exit {code}")]).await;
        let ended = s.until(&id, "ended", |c| c.state.exit().is_some()).await;
        let exit = ended.state.exit().expect("it ended");
        assert_eq!((exit.code, exit.oom_killed), (code, false));
        assert!(exit.started_at.is_some_and(|at| at <= exit.finished_at));
    }
    let id = s.start(&sandbox, "echo", 0, &["sh", "-c", "echo hello there"]).await;
    s.until(&id, "ended", |c| c.state.exit().is_some()).await;
    assert_eq!(s.logs(&id, LogOptions::default()).await, "hello there\n");
    s.drop_sandbox(&sandbox).await;
}

async fn log_options(s: &Subject) {
    let sandbox = s.sandbox("logs", 0).await;
    let id = s.start(&sandbox, "echo", 0, &["sh", "-c", "echo one two three"]).await;
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    assert_eq!(s.logs(&id, follow).await, "one two three\n", "following ends with the container");
    s.until(&id, "ended", |c| c.state.exit().is_some()).await;
    assert_eq!(s.logs(&id, LogOptions { tail_lines: Some(0), ..LogOptions::default() }).await, "");
    assert_eq!(s.logs(&id, LogOptions { limit_bytes: Some(3), ..LogOptions::default() }).await, "one");
    let stamped = s.logs(&id, LogOptions { timestamps: true, ..LogOptions::default() }).await;
    let (time, rest) = stamped.split_once(' ').expect("a time and a blank");
    let at: jiff::Timestamp = time.parse().expect("a time");
    assert_eq!(rest, "one two three\n");
    let later = at.checked_add(Duration::from_secs(1)).expect("a second later");
    assert_eq!(s.logs(&id, LogOptions { since: Some(later), ..LogOptions::default() }).await, "");
    assert_ne!(s.logs(&id, LogOptions { since: Some(at), ..LogOptions::default() }).await, "");
    s.drop_sandbox(&sandbox).await;
}

async fn kills_what_does_not_end(s: &Subject) {
    let sandbox = s.sandbox("kill", 0).await;
    let id = s.start(&sandbox, "app", 0, &["sleep", "3600"]).await;
    s.runtime.stop_container(&id, Duration::ZERO).await.expect("kill");
    assert_eq!(s.container(&id).await.state.exit().map(|e| e.code), Some(137), "no grace is a kill");
    s.drop_sandbox(&sandbox).await;
}

async fn a_command_that_cannot_start(s: &Subject) {
    if s.runtime.info().await.expect("info").name == "fake" {
        return;
    }
    let sandbox = s.sandbox("nostart", 0).await;
    let id = s.create(&sandbox, "app", 0, &["/there/is/no/such/command"]).await;
    let error = s.runtime.start_container(&id).await.expect_err("it cannot start");
    assert!(matches!(error, RuntimeError::StartFailed { .. }), "{error:?}");
    let state = s.container(&id).await.state;
    assert!(state.exit().is_some_and(|e| e.code != 0), "it counts as ended: {state:?}");
    s.drop_sandbox(&sandbox).await;
}

async fn adoption(s: &Subject) {
    let sandbox = s.sandbox("adopt", 2).await;
    let id = s.start(&sandbox, "app", 5, &["sleep", "3600"]).await;
    let found = &s.list("adopt").await[0];
    assert_eq!(found.meta, s.sandbox_spec("adopt", 2).meta, "a sandbox's identity comes back");
    assert_eq!(found.containers.len(), 1);
    assert_eq!(found.containers[0].id, id, "list and create agree on the id");
    assert_eq!(found.containers[0].meta, s.container_spec("app", 5, &[]).meta);
    let others = s.runtime.list(&Filter::owner("somebody/else")).await.expect("list");
    assert!(others.is_empty(), "each agent sees only its own");
    s.drop_sandbox(&sandbox).await;
}

async fn executes(s: &Subject) {
    let sandbox = s.sandbox("exec", 0).await;
    let id = s.start(&sandbox, "app", 0, &["sleep", "3600"]).await;
    let command = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let answer = s.runtime.exec_sync(&id, &command(&["true"]), Duration::from_secs(10)).await.expect("exec");
    assert_eq!(answer.exit_code, 0);
    s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop");
    let error = s.runtime.exec_sync(&id, &command(&["true"]), Duration::from_secs(10)).await.err();
    assert!(matches!(error, Some(RuntimeError::NotRunning { .. })), "nothing runs there any more: {error:?}");
    s.drop_sandbox(&sandbox).await;
}

async fn events_tell_of_ends(s: &Subject) {
    let mut events = s.runtime.events().await.expect("events");
    let sandbox = s.sandbox("events", 0).await;
    let id = s.start(&sandbox, "app", 0, &["sleep", "3600"]).await;
    s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop");
    let told = async {
        while let Some(event) = events.next().await {
            let event = event.expect("the stream goes on");
            if event.kind == EventKind::Exited(id.clone()) {
                assert_eq!(event.pod, s.pod("events"));
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(s.deadline, told).await.expect("an event tells of the end");
    s.drop_sandbox(&sandbox).await;
}

async fn images(s: &Subject) {
    if !s.runtime.capabilities().images {
        return;
    }
    let present = ImageRef::parse(&s.image).expect("a name");
    let image = s.runtime.image(&present).await.expect("image").expect("the suite's image is present");
    assert!(!image.id.is_empty() && !image.reported_id().is_empty());
    if s.runtime.info().await.expect("info").name == "fake" {
        return;
    }
    let absent = ImageRef::parse("orchestra.invalid/contract/no-such-image:v0").expect("a name");
    assert_eq!(s.runtime.image(&absent).await.expect("image"), None);
    let sandbox = s.sandbox("images", 0).await;
    let mut spec = s.container_spec("app", 0, &["true"]);
    spec.image = absent.to_string();
    spec.image_id = String::new();
    let error = s.runtime.create_container(&sandbox, &spec).await.err();
    assert!(matches!(error, Some(RuntimeError::ImageNotFound { .. })), "{error:?}");
    s.drop_sandbox(&sandbox).await;
}

async fn clean(s: &Subject) {
    for sandbox in s.runtime.list(&Filter::owner(&s.owner)).await.expect("list") {
        s.runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    }
}

impl Subject {
    fn pod(&self, name: &str) -> PodRef {
        PodRef { namespace: "contract".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    fn sandbox_spec(&self, pod: &str, attempt: u32) -> SandboxSpec {
        SandboxSpec {
            meta: SandboxMeta { pod: self.pod(pod), attempt, owner: self.owner.clone() },
            hostname: pod.into(),
            dns: None,
            host_ports: Vec::new(),
            namespaces: Default::default(),
            sysctls: Default::default(),
            labels: Default::default(),
            annotations: Default::default(),
            log_directory: self.log_root.join(pod),
            cgroup_parent: None,
        }
    }

    fn container_spec(&self, name: &str, attempt: u32, command: &[&str]) -> ContainerSpec {
        ContainerSpec {
            meta: ContainerMeta { name: name.into(), attempt, hash: "5ea1".into() },
            image: self.image.clone(),
            image_id: String::new(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            args: Vec::new(),
            env: vec![("PATH".into(), "/bin:/usr/bin:/sbin:/usr/sbin".into())],
            working_dir: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            security: SecurityContext::default(),
            resources: Resources { cpu_shares: 2, ..Resources::default() },
            stdin: false,
            stdin_once: false,
            tty: false,
            stop_signal: None,
            labels: Default::default(),
            annotations: Default::default(),
            log_path: format!("{name}/{attempt}.log").into(),
        }
    }

    async fn sandbox(&self, pod: &str, attempt: u32) -> SandboxId {
        self.runtime.run_sandbox(&self.sandbox_spec(pod, attempt)).await.expect("run sandbox").id
    }

    async fn create(&self, sandbox: &SandboxId, name: &str, attempt: u32, command: &[&str]) -> ContainerId {
        let spec = self.container_spec(name, attempt, command);
        self.runtime.create_container(sandbox, &spec).await.expect("create container")
    }

    async fn start(&self, sandbox: &SandboxId, name: &str, attempt: u32, command: &[&str]) -> ContainerId {
        let id = self.create(sandbox, name, attempt, command).await;
        self.runtime.start_container(&id).await.expect("start container");
        id
    }

    async fn list(&self, pod: &str) -> Vec<crate::runtime::Sandbox> {
        let filter = Filter::owner(&self.owner).and_pod(self.pod(pod).uid);
        self.runtime.list(&filter).await.expect("list")
    }

    async fn container(&self, id: &ContainerId) -> Container {
        self.runtime.container(id).await.expect("container")
    }

    async fn until(&self, id: &ContainerId, what: &str, is: impl Fn(&Container) -> bool) -> Container {
        let wait = async {
            loop {
                let container = self.container(id).await;
                if is(&container) {
                    return container;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(self.deadline, wait).await {
            Ok(container) => container,
            Err(_) => panic!("{id} was not {what} in time: {:?}", self.container(id).await.state),
        }
    }

    async fn logs(&self, id: &ContainerId, options: LogOptions) -> String {
        let read = async {
            let stream = self.runtime.logs(id, &options).await.expect("logs");
            let all = stream.try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            });
            all.await
        };
        let bytes = tokio::time::timeout(self.deadline, read);
        String::from_utf8(bytes.await.expect("logs end").expect("logs")).expect("utf-8")
    }

    async fn drop_sandbox(&self, sandbox: &SandboxId) {
        self.runtime.remove_sandbox(sandbox).await.expect("remove sandbox");
    }
}
