//! A pod's spec as the runtime understands it. Pure: variables, volumes and images are resolved before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    Capabilities, Container as Wanted, ContainerPort, Pod, PodDNSConfig, PodSecurityContext, PodSpec,
    SeccompProfile as ApiSeccomp, SecurityContext as ApiSecurity,
};

use super::env::{Environment, expand_words};
use super::model::{container_hash, containers};
use super::plugins::Given;
use super::resources;
use crate::runtime::{
    APPARMOR_DEFAULT, ContainerId, ContainerMeta, ContainerSpec, DnsConfig, HostPort, Image, MachineInfo,
    Mount, Namespaces, PodRef, Propagation, Protocol, SandboxMeta, SandboxSpec, SeccompProfile,
    SecurityContext, names,
};

/// How pods of this node look up names.
#[derive(Debug, Clone, Default)]
pub struct ClusterDns {
    /// The cluster's DNS servers; empty when it has none.
    pub servers: Vec<IpAddr>,
    /// Such as `cluster.local`.
    pub domain: String,
}

/// A pod's identity for the runtime.
pub fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// Longest name that the kernel takes for a machine.
const LONGEST_NAME: usize = 64;

/// Whether some container of a pod may do all that the machine's root may.
fn has_privileged(spec: &PodSpec) -> bool {
    let may = |security: &Option<ApiSecurity>| {
        security.as_ref().and_then(|security| security.privileged) == Some(true)
    };
    containers(spec).any(|(_, wanted)| may(&wanted.security_context))
        || spec.ephemeral_containers.iter().flatten().any(|added| may(&added.security_context))
}

/// The sandbox of a pod, run by the handler of its RuntimeClass. What cannot be made of it is in the words of a `FailedCreatePodSandBox` event.
pub fn sandbox(
    pod: &Pod,
    spec: &PodSpec,
    (attempt, handler): (u32, &str),
    owner: &str,
    dns: &ClusterDns,
    log_root: &std::path::Path,
) -> Result<SandboxSpec, String> {
    let reference = pod_ref(pod);
    let host_network = spec.host_network == Some(true);
    let security = spec.security_context.as_ref();
    Ok(SandboxSpec {
        hostname: if host_network { String::new() } else { own_name(&reference, spec, &dns.domain)? },
        dns: dns_config(spec, &reference.namespace, dns),
        host_ports: if host_network { Vec::new() } else { host_ports(spec) },
        namespaces: Namespaces {
            host_network,
            host_pid: spec.host_pid == Some(true),
            host_ipc: spec.host_ipc == Some(true),
            share_process_namespace: spec.share_process_namespace == Some(true),
            own_users: spec.host_users == Some(false),
        },
        sysctls: security
            .and_then(|security| security.sysctls.as_ref())
            .map(|sysctls| sysctls.iter().map(|s| (s.name.clone(), s.value.clone())).collect())
            .unwrap_or_default(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        log_directory: log_root.join(names::log_directory(&reference)),
        cgroup_parent: None,
        resources: resources::of_pod(spec),
        handler: handler.to_owned(),
        privileged: has_privileged(spec),
        meta: SandboxMeta { pod: reference, attempt, owner: owner.to_owned() },
    })
}

/// What the kernel of a pod's containers says is the machine's name: the pod's host name, or all of its domain name.
fn own_name(pod: &PodRef, spec: &PodSpec, domain: &str) -> Result<String, String> {
    let full = full_name(pod, spec, domain).filter(|_| spec.set_hostname_as_fqdn == Some(true));
    match full {
        Some(full) if full.len() > LONGEST_NAME => Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({LONGEST_NAME} is the \
             max, {} characters requested)",
            full.len()
        )),
        full => Ok(full.unwrap_or_else(|| hostname(pod, spec))),
    }
}

/// The name of a pod in the cluster's DNS, if it is in a subdomain.
fn full_name(pod: &PodRef, spec: &PodSpec, domain: &str) -> Option<String> {
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    Some(format!("{}.{subdomain}.{}.svc.{domain}", hostname(pod, spec), pod.namespace))
}

/// The name a pod's containers see: what the spec says, else the pod's own name; at most 63 characters.
pub fn hostname(pod: &PodRef, spec: &PodSpec) -> String {
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(&pod.name);
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's hosts file.
pub fn hosts_file(pod: &PodRef, spec: &PodSpec, ips: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let hostname = hostname(pod, spec);
    let full = full_name(pod, spec, domain).map(|full| full + "\t");
    for ip in ips {
        text.push_str(&format!("{ip}\t{}{hostname}\n", full.as_deref().unwrap_or_default()));
    }
    add_aliases(&mut text, spec);
    text
}

/// The hosts file of a pod on the machine's network: the machine's own, and the pod's aliases.
pub fn machine_hosts_file(machine: &str, spec: &PodSpec) -> String {
    let mut text = format!("# Kubernetes-managed hosts file (host network).\n{machine}");
    add_aliases(&mut text, spec);
    text
}

fn add_aliases(text: &mut String, spec: &PodSpec) {
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.as_deref().unwrap_or_default().join("\t")
        ));
    }
}

fn dns_config(spec: &PodSpec, namespace: &str, cluster: &ClusterDns) -> Option<DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host_network = spec.host_network == Some(true);
    let by_cluster = !cluster.servers.is_empty()
        && (policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network));
    let mut config = match (policy, by_cluster) {
        ("None", _) => DnsConfig::default(),
        (_, true) => DnsConfig {
            servers: cluster.servers.clone(),
            searches: [format!("{namespace}.svc."), "svc.".into(), String::new()]
                .map(|prefix| format!("{prefix}{}", cluster.domain))
                .into(),
            options: vec!["ndots:5".into()],
        },
        _ if spec.dns_config.is_none() => return None,
        _ => DnsConfig::default(),
    };
    add_dns(&mut config, spec.dns_config.as_ref());
    Some(config)
}

fn add_dns(config: &mut DnsConfig, own: Option<&PodDNSConfig>) {
    let Some(own) = own else { return };
    config.servers.extend(own.nameservers.iter().flatten().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    config.searches.extend(own.searches.iter().flatten().cloned());
    for option in own.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        config.options.retain(|known| known.split(':').next() != Some(name));
        config.options.push(match &option.value {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.clone(),
        });
    }
}

/// The ports of the machine that lead to a pod.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all = ports.chain(sidecars.flat_map(|container| container.ports.iter().flatten()));
    all.filter_map(host_port).collect()
}

fn host_port(port: &ContainerPort) -> Option<HostPort> {
    Some(HostPort {
        protocol: Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
        host_port: port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?,
        container_port: u16::try_from(port.container_port).ok()?,
        host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
    })
}

/// What is resolved before a container can be made.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Its environment.
    pub env: Environment,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its image, where the runtime has images.
    pub image: Option<Image>,
    /// The container whose processes it is to see.
    pub target: Option<ContainerId>,
    /// What it is given with its devices.
    pub given: Given,
}

/// A container of a pod.
pub fn container(
    pod: &Pod,
    wanted: &Wanted,
    attempt: u32,
    resolved: Resolved,
    machine: &MachineInfo,
) -> ContainerSpec {
    let meta = ContainerMeta { name: wanted.name.clone(), attempt, hash: container_hash(wanted) };
    let pod_security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    let mut annotations = resolved.given.annotations.clone();
    annotations.insert("io.kubernetes.pod.terminationGracePeriod".into(), grace.to_string());
    ContainerSpec {
        image: wanted.image.clone().unwrap_or_default(),
        image_id: resolved.image.as_ref().map(|image| image.id.clone()).unwrap_or_default(),
        command: expand_words(wanted.command.as_ref(), &resolved.env),
        args: expand_words(wanted.args.as_ref(), &resolved.env),
        env: resolved.given.env_before(resolved.env.variables),
        working_dir: wanted.working_dir.clone().filter(|dir| !dir.is_empty()),
        mounts: resolved.mounts.into_iter().chain(resolved.given.as_mounts()).collect(),
        devices: resolved.given.devices,
        security: security(pod_security, wanted.security_context.as_ref()),
        resources: resources::for_runtime(pod, wanted, machine.memory_bytes),
        stdin: wanted.stdin == Some(true),
        stdin_once: wanted.stdin_once == Some(true),
        tty: wanted.tty == Some(true),
        processes_of: resolved.target,
        stop_signal: wanted.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
        labels: BTreeMap::new(),
        annotations,
        log_path: PathBuf::from(names::log_file(&meta)),
        meta,
    }
}

/// What a container may do: its own word first, its pod's where it says nothing.
fn security(pod: Option<&PodSecurityContext>, own: Option<&ApiSecurity>) -> SecurityContext {
    let privileged = own.and_then(|own| own.privileged) == Some(true);
    let none = Capabilities::default();
    let capabilities = own.and_then(|own| own.capabilities.as_ref()).unwrap_or(&none);
    let bare = |names: &Option<Vec<String>>| -> Vec<String> {
        let upper = names.iter().flatten().map(|name| name.to_uppercase());
        upper.map(|name| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)).collect()
    };
    let supplemental = pod.and_then(|pod| pod.supplemental_groups.clone()).unwrap_or_default();
    let fs_group = pod.and_then(|pod| pod.fs_group);
    SecurityContext {
        run_as_user: own.and_then(|own| own.run_as_user).or(pod.and_then(|pod| pod.run_as_user)),
        run_as_group: own.and_then(|own| own.run_as_group).or(pod.and_then(|pod| pod.run_as_group)),
        supplemental_groups: supplemental.into_iter().chain(fs_group).collect(),
        strict_groups: pod.and_then(|pod| pod.supplemental_groups_policy.as_deref()) == Some("Strict"),
        privileged,
        read_only_root_filesystem: own.and_then(|own| own.read_only_root_filesystem) == Some(true),
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false) && !privileged,
        add_capabilities: bare(&capabilities.add),
        drop_capabilities: bare(&capabilities.drop),
        seccomp: own
            .and_then(|own| own.seccomp_profile.as_ref())
            .or(pod.and_then(|pod| pod.seccomp_profile.as_ref()))
            .and_then(seccomp),
        apparmor: own
            .and_then(|own| own.app_armor_profile.as_ref())
            .or(pod.and_then(|pod| pod.app_armor_profile.as_ref()))
            .and_then(|profile| match profile.type_.as_str() {
                "Unconfined" => Some("unconfined".to_owned()),
                "RuntimeDefault" => Some(APPARMOR_DEFAULT.to_owned()),
                "Localhost" => profile.localhost_profile.clone(),
                _ => None,
            }),
        unmasked_proc: own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked"),
    }
}

fn seccomp(profile: &ApiSeccomp) -> Option<SeccompProfile> {
    match profile.type_.as_str() {
        "RuntimeDefault" => Some(SeccompProfile::RuntimeDefault),
        "Unconfined" => Some(SeccompProfile::Unconfined),
        "Localhost" => profile.localhost_profile.as_ref().map(|path| SeccompProfile::Localhost(path.into())),
        _ => None,
    }
}

/// Whether a container must not run as root and would. The words are for its status.
pub fn would_be_root(pod: &Pod, wanted: &Wanted, image: Option<&Image>) -> Option<String> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = wanted.security_context.as_ref();
    let forbidden = own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|pod| pod.run_as_non_root));
    if forbidden != Some(true) {
        return None;
    }
    let who = format!("(pod: {:?}, container: {})", pod_ref(pod).to_string(), wanted.name);
    let user = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|pod| pod.run_as_user));
    match (user, image.and_then(|image| image.uid), image.and_then(|image| image.username.as_deref())) {
        (Some(0), ..) => Some(format!("container's runAsUser breaks non-root policy {who}")),
        (Some(_), ..) => None,
        (None, Some(0), _) | (None, None, None) => {
            Some(format!("container has runAsNonRoot and image will run as root {who}"))
        }
        (None, Some(_), _) => None,
        (None, None, Some(name)) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {who}"
        )),
    }
}

/// Whether mounts made later are seen on the other side.
pub fn propagation(text: Option<&str>) -> Propagation {
    match text {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        let meta = json!({"name": "web", "namespace": "shop", "uid": "u1"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn made(spec: serde_json::Value, dns: &ClusterDns) -> SandboxSpec {
        let pod = pod(spec);
        sandbox(&pod, pod.spec.as_ref().unwrap(), (2, "h"), "c/n", dns, "/logs".as_ref()).unwrap()
    }

    #[test]
    fn a_sandbox_carries_names_ports_and_dns() {
        let dns = ClusterDns { servers: vec!["10.96.0.10".parse().unwrap()], domain: "cluster.local".into() };
        let spec = made(
            json!({"containers": [{"name": "a", "ports": [
                {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81},
                {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}]}],
                "dnsConfig": {"options": [{"name": "ndots", "value": "2"}], "nameservers": ["1.1.1.1"]}}),
            &dns,
        );
        assert_eq!((spec.hostname.as_str(), spec.meta.attempt, spec.handler.as_str()), ("web", 2, "h"));
        assert!(!spec.privileged);
        let of_root = json!({"containers": [{"name": "a"}],
            "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]});
        assert!(made(of_root, &dns).privileged);
        assert!(!spec.namespaces.own_users);
        assert!(made(json!({"containers": [{"name": "a"}], "hostUsers": false}), &dns).namespaces.own_users);
        assert_eq!(spec.log_directory, PathBuf::from("/logs/shop_web_u1"));
        assert_eq!(spec.host_ports.iter().map(|p| p.host_port).collect::<Vec<_>>(), [8080, 53]);
        let dns = spec.dns.unwrap();
        assert_eq!(dns.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!((dns.options, dns.servers.len()), (vec!["ndots:2".to_owned()], 2));
    }

    #[test]
    fn on_the_hosts_network_it_has_neither_ports_nor_a_name_of_its_own() {
        let spec = made(
            json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
            &ClusterDns::default(),
        );
        assert!(spec.namespaces.host_network && spec.host_ports.is_empty() && spec.hostname.is_empty());
        assert_eq!(spec.dns, None, "the machine's own");
    }

    #[test]
    fn the_name_of_the_machine_is_the_whole_name_where_that_is_asked_for() {
        let dns = ClusterDns { servers: Vec::new(), domain: "cluster.local".into() };
        let name = |spec: serde_json::Value| {
            let pod = pod(spec);
            let made = sandbox(&pod, pod.spec.as_ref().unwrap(), (0, ""), "c/n", &dns, "/logs".as_ref());
            made.map(|made| made.hostname)
        };
        let long = "a".repeat(40);
        for (spec, expected) in [
            (json!({"containers": [], "subdomain": "db"}), "web"),
            (json!({"containers": [], "setHostnameAsFQDN": true}), "web"),
            (
                json!({"containers": [], "setHostnameAsFQDN": true, "subdomain": "db"}),
                "web.db.shop.svc.cluster.local",
            ),
            (
                json!({"containers": [], "setHostnameAsFQDN": true, "subdomain": "db", "hostNetwork": true}),
                "",
            ),
        ] {
            assert_eq!(name(spec.clone()).as_deref(), Ok(expected), "{spec}");
        }
        let refused =
            name(json!({"containers": [], "setHostnameAsFQDN": true, "subdomain": "db", "hostname": long}));
        assert!(refused.unwrap_err().contains("too long (64 is the max, 66 characters requested)"));
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let pod = pod(json!({"subdomain": "db", "containers": [],
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]}));
        let text = hosts_file(
            &pod_ref(&pod),
            pod.spec.as_ref().unwrap(),
            &["10.1.0.5".parse().unwrap()],
            "cluster.local",
        );
        assert!(text.contains("\n10.1.0.5\tweb.db.shop.svc.cluster.local\tweb\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"), "{text}");
    }

    #[test]
    fn on_the_machines_network_the_hosts_are_the_machines() {
        let pod = pod(json!({"hostNetwork": true, "containers": [],
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo"]}]}));
        let text = machine_hosts_file("127.0.0.1\tmachine\n", pod.spec.as_ref().unwrap());
        let expected = "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tmachine\n\n\
                        # Entries added by HostAliases.\n1.2.3.4\tfoo\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_containers_own_word_comes_before_its_pods() {
        let pod = pod(json!({
            "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "runAsNonRoot": true},
            "containers": [{"name": "a", "image": "x", "command": ["$(A)"],
                "securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"], "add": ["CAP_net_admin"]},
                    "seccompProfile": {"type": "RuntimeDefault"}}}],
        }));
        let wanted = &pod.spec.as_ref().unwrap().containers[0];
        let env = Environment { variables: vec![("A".into(), "run".into())], skipped: Vec::new() };
        let resolved = Resolved { env, ..Resolved::default() };
        let made = container(&pod, wanted, 3, resolved, &MachineInfo::default());
        assert_eq!(made.command, ["run"]);
        assert_eq!(made.meta.attempt, 3);
        let security = made.security;
        assert_eq!((security.run_as_user, security.run_as_group), (Some(7), Some(3000)));
        assert_eq!(security.supplemental_groups, [2000]);
        assert_eq!(
            (security.add_capabilities, security.drop_capabilities),
            (vec!["NET_ADMIN".into()], vec!["ALL".into()])
        );
        assert!(security.no_new_privileges && security.seccomp == Some(SeccompProfile::RuntimeDefault));
        assert_eq!(would_be_root(&pod, wanted, None), None);
    }

    #[test]
    fn root_is_refused_where_it_may_not_be() {
        let pod = pod(json!({"containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}}]}));
        let wanted = &pod.spec.as_ref().unwrap().containers[0];
        let image = |uid, username: Option<&str>| Image {
            uid,
            username: username.map(Into::into),
            ..Image::default()
        };
        assert!(would_be_root(&pod, wanted, Some(&image(Some(0), None))).is_some());
        assert!(would_be_root(&pod, wanted, Some(&image(None, None))).is_some());
        assert!(
            would_be_root(&pod, wanted, Some(&image(None, Some("nginx")))).unwrap().contains("non-numeric")
        );
        assert_eq!(would_be_root(&pod, wanted, Some(&image(Some(101), None))), None);
    }
}
