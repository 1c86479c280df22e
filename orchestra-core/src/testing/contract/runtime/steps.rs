//! What the parts of the suite do again and again.

use std::time::Duration;

use futures::TryStreamExt;

use super::{Subject, Workload};
use crate::runtime::{
    Container, ContainerId, ContainerMeta, ContainerSpec, Filter, LogOptions, PodRef, Resources, SandboxId,
    SandboxMeta, SandboxSpec, SecurityContext,
};

impl Subject {
    pub(super) fn pod(&self, name: &str) -> PodRef {
        PodRef { namespace: "contract".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    pub(super) fn sandbox_spec(&self, pod: &str, attempt: u32) -> SandboxSpec {
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
            resources: None,
            handler: String::new(),
            privileged: false,
        }
    }

    pub(super) fn container_spec(&self, name: &str, attempt: u32, workload: &Workload) -> ContainerSpec {
        ContainerSpec {
            meta: ContainerMeta { name: name.into(), attempt, hash: "5ea1".into() },
            image: self.image.clone(),
            image_id: String::new(),
            command: (self.commands)(workload),
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
            processes_of: None,
            stop_signal: None,
            labels: Default::default(),
            annotations: Default::default(),
            log_path: format!("{name}/{attempt}.log").into(),
        }
    }

    pub(super) async fn sandbox(&self, pod: &str, attempt: u32) -> SandboxId {
        self.runtime.run_sandbox(&self.sandbox_spec(pod, attempt)).await.expect("run sandbox").id
    }

    pub(super) async fn create(
        &self,
        sandbox: &SandboxId,
        name: &str,
        attempt: u32,
        workload: &Workload,
    ) -> ContainerId {
        let spec = self.container_spec(name, attempt, workload);
        self.runtime.create_container(sandbox, &spec).await.expect("create container")
    }

    pub(super) async fn start(
        &self,
        sandbox: &SandboxId,
        name: &str,
        attempt: u32,
        workload: &Workload,
    ) -> ContainerId {
        let id = self.create(sandbox, name, attempt, workload).await;
        self.runtime.start_container(&id).await.expect("start container");
        id
    }

    pub(super) async fn list(&self, pod: &str) -> Vec<crate::runtime::Sandbox> {
        let filter = Filter::owner(&self.owner).and_pod(self.pod(pod).uid);
        self.runtime.list(&filter).await.expect("list")
    }

    pub(super) async fn container(&self, id: &ContainerId) -> Container {
        self.runtime.container(id).await.expect("container")
    }

    pub(super) async fn until(
        &self,
        id: &ContainerId,
        what: &str,
        is: impl Fn(&Container) -> bool,
    ) -> Container {
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

    pub(super) async fn logs(&self, id: &ContainerId, options: LogOptions) -> String {
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

    pub(super) async fn drop_sandbox(&self, sandbox: &SandboxId) {
        self.runtime.remove_sandbox(sandbox).await.expect("remove sandbox");
    }

    /// Starts a workload that says when it is ready, and waits until it does.
    pub(super) async fn ready(&self, sandbox: &SandboxId, name: &str, workload: &Workload) -> ContainerId {
        let id = self.start(sandbox, name, 0, workload).await;
        self.says(&id, "ready").await;
        id
    }

    /// Waits until a container has printed something.
    pub(super) async fn says(&self, id: &ContainerId, text: &str) {
        let wait = async {
            while !self.logs(id, LogOptions::default()).await.contains(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let said = tokio::time::timeout(self.deadline, wait).await;
        assert!(said.is_ok(), "{id} does not print {text:?}");
    }

    /// Does something that must not take longer than the suite has patience.
    pub(super) async fn in_time<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(done) => done,
            Err(_) => panic!("{what} takes too long"),
        }
    }
}
