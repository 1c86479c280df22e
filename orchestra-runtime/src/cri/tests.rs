//! What is asked of a runtime, and remembered of a sandbox.

use std::collections::HashMap;

use super::proto::{
    LinuxPodSandboxStatus, MountPropagation, Namespace, NamespaceMode, PodSandboxConfig, PodSandboxStatus,
};
use orchestra_core::runtime::{
    ContainerMeta, ContainerSpec, DnsConfig, HostPort, Mount, Namespaces, PodRef, Propagation, Protocol,
    Resources, SandboxMeta, SandboxSpec, SeccompProfile, SecurityContext, labels,
};

use super::{status, translate};

fn sandbox() -> SandboxSpec {
    SandboxSpec {
        meta: SandboxMeta {
            pod: PodRef { namespace: "shop".into(), name: "web".into(), uid: "u-1".into() },
            attempt: 2,
            owner: "c/n".into(),
        },
        hostname: "web".into(),
        dns: Some(DnsConfig {
            servers: vec!["10.96.0.10".parse().unwrap()],
            searches: vec!["shop.svc".into()],
            options: vec!["ndots:5".into()],
        }),
        host_ports: vec![HostPort {
            protocol: Protocol::Udp,
            host_port: 53,
            container_port: 5353,
            host_ip: Some("127.0.0.1".parse().unwrap()),
        }],
        namespaces: Namespaces::default(),
        sysctls: [("net.core.somaxconn".to_owned(), "1".to_owned())].into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: [("note".to_owned(), "x".to_owned())].into(),
        log_directory: "/logs/web".into(),
        cgroup_parent: Some("/pods".into()),
        resources: None,
        handler: "kata".into(),
        privileged: true,
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        meta: ContainerMeta { name: "app".into(), attempt: 3, hash: "h".into() },
        image: "nginx".into(),
        image_id: "sha256:1".into(),
        command: vec!["run".into()],
        args: vec!["fast".into()],
        env: vec![("A".into(), "b=c".into())],
        working_dir: Some("/srv".into()),
        mounts: vec![Mount {
            host_path: "/host".into(),
            container_path: "/in".into(),
            read_only: true,
            recursive_read_only: false,
            propagation: Propagation::HostToContainer,
        }],
        devices: vec![],
        security: SecurityContext::default(),
        resources: Resources { cpu_shares: 512, memory_bytes: Some(1 << 20), ..Resources::default() },
        stdin: true,
        stdin_once: false,
        tty: true,
        processes_of: None,
        stop_signal: None,
        labels: Default::default(),
        annotations: Default::default(),
        log_path: "app/3.log".into(),
    }
}

/// How a runtime shows what it was asked for.
fn shown(config: &PodSandboxConfig) -> PodSandboxStatus {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|security| security.namespace_options.clone());
    PodSandboxStatus {
        id: "s".into(),
        metadata: config.metadata.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
        ..Default::default()
    }
}

#[test]
fn a_sandbox_is_asked_for_with_its_identity() {
    let config = translate::sandbox(&sandbox());
    assert_eq!(status::sandbox_meta(&config.labels), Some(sandbox().meta));
    assert_eq!((config.hostname.as_str(), config.log_directory.as_str()), ("web", "/logs/web"));
    assert_eq!((config.labels["app"].as_str(), config.annotations["note"].as_str()), ("web", "x"));
    let port = &config.port_mappings[0];
    assert_eq!((port.protocol, port.host_port, port.container_port), (1, 53, 5353));
    let dns = config.dns_config.as_ref().unwrap();
    assert_eq!(
        (dns.servers.as_slice(), dns.options.as_slice()),
        (&["10.96.0.10".to_owned()][..], &["ndots:5".to_owned()][..])
    );

    let mut on_host = sandbox();
    on_host.namespaces =
        Namespaces { host_network: true, share_process_namespace: true, ..Namespaces::default() };
    let config = translate::sandbox(&on_host);
    assert!(config.hostname.is_empty() && config.port_mappings.is_empty());
    let security = config.linux.unwrap().security_context.unwrap();
    let options = security.namespace_options.unwrap();
    let modes = [options.network, options.pid, options.ipc];
    assert_eq!(modes, [NamespaceMode::Node as i32, NamespaceMode::Pod as i32, NamespaceMode::Pod as i32]);
}

#[test]
fn what_a_container_needs_of_its_sandbox_is_remembered_by_the_runtime() {
    let config = translate::sandbox(&sandbox());
    let remembered = translate::remembered(&shown(&config));
    assert_eq!(remembered.metadata, config.metadata);
    assert_eq!((remembered.hostname.as_str(), remembered.log_directory.as_str()), ("web", "/logs/web"));
    let linux = remembered.linux.unwrap();
    assert_eq!((linux.cgroup_parent.as_str(), linux.security_context.unwrap().privileged), ("/pods", true));
}

#[test]
fn ports_are_known_to_be_taken() {
    let (held, none) = (translate::sandbox(&sandbox()).annotations, HashMap::new());
    let port = |host_port, protocol| {
        let host_ip = Some("127.0.0.1".parse().unwrap());
        [HostPort { protocol, host_port, container_port: 1, host_ip }]
    };
    assert_eq!(translate::taken(&port(53, Protocol::Udp), &held), Some(53));
    assert_eq!(translate::taken(&port(53, Protocol::Tcp), &held), None);
    assert_eq!(translate::taken(&port(5, Protocol::Udp), &held), None);
    assert_eq!(translate::taken(&port(53, Protocol::Udp), &none), None);
}

#[test]
fn a_container_is_asked_for_with_all_that_it_may() {
    let config = translate::sandbox(&sandbox());
    let made = translate::container(&container(), &sandbox().meta, &shown(&config));
    let get = |key: &str| made.labels.get(key).map(String::as_str);
    assert_eq!(labels::container(get), Some(container().meta));
    assert_eq!(get(labels::SANDBOX_ATTEMPT), Some("2"));
    let image = made.image.as_ref().unwrap();
    assert_eq!((image.image.as_str(), made.annotations[translate::IMAGE].as_str()), ("sha256:1", "nginx"));
    assert_eq!((made.envs[0].key.as_str(), made.envs[0].value.as_str()), ("A", "b=c"));
    assert_eq!(made.mounts[0].propagation, MountPropagation::HostToContainer as i32);
    assert!(made.mounts[0].readonly && made.stdin && made.tty && !made.stdin_once);
    let linux = made.linux.unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!(
        (resources.cpu_shares, resources.memory_limit_in_bytes, resources.cpu_quota),
        (512, 1 << 20, 0)
    );
    let security = linux.security_context.unwrap();
    assert!(security.masked_paths.contains(&"/proc/kcore".to_owned()) && security.seccomp.is_none());
    assert_eq!(security.namespace_options.unwrap().pid, NamespaceMode::Container as i32);
}

#[test]
fn a_container_sees_the_processes_of_another() {
    let shown = shown(&translate::sandbox(&sandbox()));
    let mut spec = container();
    spec.processes_of = Some("other".into());
    spec.security.seccomp = Some(SeccompProfile::Localhost("/profiles/a.json".into()));
    spec.security.apparmor = Some("localhost/mine".into());
    let security =
        translate::container(&spec, &sandbox().meta, &shown).linux.unwrap().security_context.unwrap();
    let options = security.namespace_options.unwrap();
    assert_eq!((options.pid, options.target_id.as_str()), (NamespaceMode::Target as i32, "other"));
    assert_eq!(security.seccomp.unwrap().localhost_ref, "/profiles/a.json");
    assert_eq!(security.apparmor.unwrap().localhost_ref, "mine");
}
