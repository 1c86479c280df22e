use super::*;

fn pod() -> PodRef {
    PodRef { namespace: "default".into(), name: "web".into(), uid: "0c5a".into() }
}

#[test]
fn names_are_those_of_docker_on_a_kubernetes_node() {
    let sandbox = SandboxMeta { pod: pod(), attempt: 0, owner: "c/n".into() };
    assert_eq!(names::sandbox(&sandbox), "k8s_POD_web_default_0c5a_0");
    let container = ContainerMeta { name: "app".into(), attempt: 3, hash: "ab".into() };
    assert_eq!(names::container(&sandbox.pod, &container), "k8s_app_web_default_0c5a_3");
}

#[test]
fn identity_survives_as_labels() {
    let sandbox = SandboxMeta { pod: pod(), attempt: 7, owner: "c/n".into() };
    let container = ContainerMeta { name: "app".into(), attempt: 3, hash: "ab".into() };
    let on_sandbox = labels::of_sandbox(&sandbox);
    let on_container = labels::of_container(&sandbox, &container);
    let s = |key: &str| on_sandbox.get(key).map(String::as_str);
    let c = |key: &str| on_container.get(key).map(String::as_str);
    assert_eq!(labels::sandbox(s), Some(sandbox));
    assert_eq!(labels::container(s), None);
    assert_eq!(labels::container(c), Some(container));
    assert_eq!(labels::sandbox(c), None);
}

#[test]
fn image_names() {
    for (written, full, latest) in [
        ("nginx", "docker.io/library/nginx:latest", true),
        ("nginx:latest", "docker.io/library/nginx:latest", true),
        ("nginx:1.25", "docker.io/library/nginx:1.25", false),
        ("bitnami/redis", "docker.io/bitnami/redis:latest", true),
        ("localhost/x", "localhost/x:latest", true),
        ("localhost:5000/x:v1", "localhost:5000/x:v1", false),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", false),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", true),
    ] {
        let image = ImageRef::parse(written).unwrap();
        assert_eq!((image.full(), image.is_latest(), image.as_str()), (full, latest, written));
    }
    let digest = format!("nginx@sha256:{}", "a".repeat(64));
    let image = ImageRef::parse(&digest).unwrap();
    assert_eq!(image.full(), format!("docker.io/library/{digest}"));
    assert!(!image.is_latest());
    assert_eq!(ImageRef::parse("quay.io:443/a/b").unwrap().registry(), "quay.io:443");
}

#[test]
fn what_is_no_image_name() {
    for bad in [
        "",
        "Nginx",
        "a b",
        "nginx:",
        "nginx:a/b:",
        "x@sha256:12",
        "a//b",
        "-a",
        "nginx:💥",
        "a/../b",
        ":tag",
        "/",
    ] {
        assert!(matches!(ImageRef::parse(bad), Err(RuntimeError::InvalidImageName { .. })), "{bad:?}");
    }
}

#[test]
fn credentials_do_not_print_their_password() {
    let shown = format!("{:?}", RegistryCredentials { password: "hunter2".into(), ..Default::default() });
    assert!(!shown.contains("hunter2"));
}

fn sandbox() -> SandboxSpec {
    SandboxSpec {
        meta: SandboxMeta { pod: pod(), attempt: 0, owner: "c/n".into() },
        hostname: String::new(),
        dns: None,
        host_ports: Vec::new(),
        namespaces: Namespaces::default(),
        sysctls: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
        log_directory: "/logs".into(),
        cgroup_parent: None,
        resources: None,
        handler: String::new(),
        privileged: false,
    }
}

/// What has a body of its own in the port is passed on too.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_shared_is_that_runtime() {
    let fake = fake::FakeRuntime::new(crate::clock::TokioClock::simulated(1));
    fake.on(fake::On::image("slow:1"), fake::Behaviour::new().pulled_in(Duration::from_secs(1)));
    let shared = std::sync::Arc::new(fake.clone());
    let progress = PullProgress::default();
    let image = ImageRef::parse("slow:1").unwrap();
    Runtime::pull_image_telling(&shared, &image, None, &progress).await.unwrap();
    assert!(progress.read().is_some());
    let made = Runtime::run_sandbox(&shared, &sandbox()).await.unwrap();
    let more = Resources { memory_bytes: Some(1), ..Resources::default() };
    Runtime::update_sandbox(&shared, &made.id, &more).await.unwrap();
    assert_eq!(fake.pod_resources("0c5a"), Some(more));
}

#[tokio::test(start_paused = true)]
async fn a_fake_program_that_takes_no_time_has_ended_when_its_start_is_answered() {
    let fake = fake::FakeRuntime::new(crate::clock::TokioClock::simulated(1));
    let made = fake.run_sandbox(&sandbox()).await.unwrap();
    for (command, has_ended) in [("true", true), ("sleep 1", false)] {
        let spec = ContainerSpec {
            meta: ContainerMeta { name: command.into(), attempt: 0, hash: String::new() },
            image: "busybox".into(),
            image_id: String::new(),
            command: vec![command.into()],
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            security: SecurityContext::default(),
            resources: Resources::default(),
            stdin: false,
            stdin_once: false,
            tty: false,
            processes_of: None,
            stop_signal: None,
            labels: Default::default(),
            annotations: Default::default(),
            log_path: "0.log".into(),
        };
        let id = fake.create_container(&made.id, &spec).await.unwrap();
        fake.start_container(&id).await.unwrap();
        let state = fake.container(&id).await.unwrap().state;
        assert_eq!(matches!(state, ContainerState::Exited(_)), has_ended, "{command}: {state:?}");
    }
}
