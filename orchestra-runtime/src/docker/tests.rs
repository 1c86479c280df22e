//! Translations as golden text: what is sent to Docker for a pod, and what becomes of what it shows.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;
use orchestra_core::runtime::*;

use super::translate::{self, Facts, Joined};
use super::{pause, status};

fn sandbox_spec() -> SandboxSpec {
    SandboxSpec {
        meta: SandboxMeta {
            pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u1".into() },
            attempt: 2,
            owner: "test".into(),
        },
        hostname: "web".into(),
        dns: None,
        host_ports: vec![],
        namespaces: Namespaces::default(),
        sysctls: BTreeMap::new(),
        labels: BTreeMap::from([("app".into(), "web".into())]),
        annotations: BTreeMap::from([("note".into(), "hi".into())]),
        log_directory: "/var/log/pods/default_web_u1".into(),
        cgroup_parent: None,
        resources: None,
        handler: String::new(),
        privileged: false,
    }
}

fn container_spec() -> ContainerSpec {
    ContainerSpec {
        meta: ContainerMeta { name: "app".into(), attempt: 1, hash: "abc".into() },
        image: "busybox:1".into(),
        image_id: String::new(),
        command: vec![],
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
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: "app/1.log".into(),
    }
}

fn joined() -> Joined {
    Joined { id: "s1".into(), meta: sandbox_spec().meta, pid_mode: None, handler: String::new(), group: None }
}

/// As JSON with sorted keys and without what is absent.
fn shown(body: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(&serde_json::to_value(body).unwrap()).unwrap()
}

#[test]
fn a_plain_sandbox() {
    insta::assert_snapshot!(shown(&translate::sandbox(&sandbox_spec(), pause::IMAGE)));
}

#[test]
fn a_sandbox_with_everything() {
    let port = |protocol, host_port, host_ip: Option<&str>| HostPort {
        protocol,
        host_port,
        container_port: 80,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    };
    let spec = SandboxSpec {
        dns: Some(DnsConfig {
            servers: vec!["10.96.0.10".parse().unwrap()],
            searches: vec!["default.svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        }),
        host_ports: vec![
            port(Protocol::Tcp, 8080, None),
            port(Protocol::Tcp, 8081, Some("127.0.0.1")),
            port(Protocol::Udp, 53, Some("::1")),
        ],
        namespaces: Namespaces { host_pid: true, host_ipc: true, ..Namespaces::default() },
        sysctls: BTreeMap::from([("net.core.somaxconn".into(), "1024".into())]),
        cgroup_parent: Some("/kubepods".into()),
        ..sandbox_spec()
    };
    insta::assert_snapshot!(shown(&translate::sandbox(&spec, pause::IMAGE)));
}

#[test]
fn the_hosts_network_has_no_name_or_ports_of_its_own() {
    let namespaces = Namespaces { host_network: true, ..Namespaces::default() };
    let body = translate::sandbox(&SandboxSpec { namespaces, ..sandbox_spec() }, pause::IMAGE);
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("host"));
    assert_eq!((body.hostname, body.exposed_ports, host.port_bindings), (None, None, None));
}

#[test]
fn a_plain_container() {
    let body = translate::container(&container_spec(), &joined(), &Facts::default()).unwrap();
    insta::assert_snapshot!(shown(&body));
}

#[test]
fn a_container_with_everything() {
    let spec = ContainerSpec {
        image_id: "sha256:1234".into(),
        command: vec!["/bin/sh".into(), "-c".into()],
        args: vec!["echo $A".into()],
        env: vec![("A".into(), "1=2".into()), ("B".into(), String::new())],
        working_dir: Some("/srv".into()),
        mounts: vec![Mount {
            host_path: "/data:odd".into(),
            container_path: "/data".into(),
            read_only: true,
            recursive_read_only: false,
            propagation: Propagation::HostToContainer,
        }],
        devices: vec![Device {
            host_path: "/dev/sda".into(),
            container_path: "/dev/xvda".into(),
            permissions: "mrw".into(),
        }],
        security: SecurityContext {
            run_as_user: Some(1000),
            run_as_group: Some(3000),
            supplemental_groups: vec![2000],
            read_only_root_filesystem: true,
            no_new_privileges: true,
            add_capabilities: vec!["NET_ADMIN".into()],
            drop_capabilities: vec!["ALL".into()],
            seccomp: Some(SeccompProfile::Localhost("/p.json".into())),
            apparmor: Some("unconfined".into()),
            ..SecurityContext::default()
        },
        resources: Resources {
            cpu_shares: 512,
            cpu_quota: Some(50_000),
            cpu_period: 100_000,
            memory_bytes: Some(64 << 20),
            oom_score_adj: -997,
        },
        stdin: true,
        stdin_once: true,
        tty: true,
        processes_of: None,
        stop_signal: Some("SIGQUIT".into()),
        annotations: BTreeMap::from([("note".into(), "hi".into())]),
        ..container_spec()
    };
    let facts = Facts { lowest_oom_score: 0, seccomp_json: Some("{}".into()) };
    let sandbox = Joined { pid_mode: Some("container:s1".into()), ..joined() };
    insta::assert_snapshot!(shown(&translate::container(&spec, &sandbox, &facts).unwrap()));
}

#[test]
fn of_a_container_that_runs_limits_and_weight_change() {
    let cpu =
        Resources { cpu_shares: 102, cpu_quota: Some(20_000), cpu_period: 100_000, ..Resources::default() };
    let body = serde_json::to_value(translate::update(&cpu)).unwrap();
    let wanted = serde_json::json!({ "CpuShares": 102, "CpuQuota": 20_000, "CpuPeriod": 100_000 });
    assert_eq!(body, wanted, "memory stays as it is");
    let memory = Resources { cpu_shares: 2, memory_bytes: Some(1 << 20), ..Resources::default() };
    let body = serde_json::to_value(translate::update(&memory)).unwrap();
    assert_eq!(body, serde_json::json!({ "CpuShares": 2, "Memory": 1 << 20, "MemorySwap": 1 << 20 }));
}

#[test]
fn what_docker_could_not_honour_is_refused() {
    let group_alone = SecurityContext { run_as_group: Some(1), ..SecurityContext::default() };
    let profile = SeccompProfile::Localhost("/gone.json".into());
    let no_profile = SecurityContext { seccomp: Some(profile), ..SecurityContext::default() };
    for security in [group_alone, no_profile] {
        let spec = ContainerSpec { security, ..container_spec() };
        let refused = translate::container(&spec, &joined(), &Facts::default());
        assert!(matches!(refused, Err(RuntimeError::InvalidSpec { .. })), "{refused:?}");
    }
}

fn inspected(state: serde_json::Value) -> Container {
    let body = translate::container(&container_spec(), &joined(), &Facts::default()).unwrap();
    let answer = serde_json::json!({
        "Id": "c1", "Created": "2026-01-01T00:00:00.5Z", "Image": "sha256:99",
        "Config": {"Labels": body.labels}, "State": state,
    });
    let answer: ContainerInspectResponse = serde_json::from_value(answer).unwrap();
    let (sandbox, container) = status::container(&answer).unwrap();
    assert_eq!(sandbox, SandboxId::from("s1"));
    container
}

#[test]
fn states() {
    let never = "0001-01-01T00:00:00Z";
    let at = |text: &str| text.parse().unwrap();
    let created = inspected(serde_json::json!({"Status": "created", "StartedAt": never, "ExitCode": 0}));
    assert_eq!(created.state, ContainerState::Created);
    assert_eq!((created.image.as_str(), created.image_id.as_str()), ("busybox:1", "sha256:99"));
    assert_eq!(created.meta, container_spec().meta);

    let running = inspected(serde_json::json!({"Status": "running", "StartedAt": "2026-01-01T00:00:01Z"}));
    assert_eq!(running.state, ContainerState::Running { started_at: at("2026-01-01T00:00:01Z") });

    let killed = inspected(serde_json::json!({
        "Status": "exited", "ExitCode": 137, "OOMKilled": true, "Error": "",
        "StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "2026-01-01T00:00:02Z",
    }));
    let exit = killed.state.exit().unwrap();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    assert_eq!(
        (exit.started_at, exit.finished_at),
        (Some(at("2026-01-01T00:00:01Z")), at("2026-01-01T00:00:02Z"))
    );

    let failed = inspected(serde_json::json!({
        "Status": "created", "ExitCode": 127, "Error": "exec: nope: not found",
        "StartedAt": never, "FinishedAt": never,
    }));
    let exit = failed.state.exit().unwrap();
    assert_eq!((exit.code, exit.started_at, exit.finished_at), (127, None, at("2026-01-01T00:00:00.5Z")));
    assert_eq!(
        (exit.reason.as_str(), exit.message.as_str()),
        ("ContainerCannotRun", "exec: nope: not found")
    );
}

#[test]
fn strangers_are_not_ours() {
    let answer: ContainerInspectResponse =
        serde_json::from_str(r#"{"Id": "x", "Config": {"Labels": {"app": "web"}}, "State": {}}"#).unwrap();
    assert!(status::container(&answer).is_none() && status::sandbox(&answer).is_none());
    assert!(status::lost_sandbox(&answer).is_none());
}
