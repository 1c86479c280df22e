//! Plugins that write down what they are told, and the reference plugins in namespaces of a kernel.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::network::{
    AttachRequest, Attachment, HostPort, Network, NetworkError, PodRef, Protocol, SandboxId,
};
use serde_json::{Value, json};

use super::config::{Asked, List, addresses};
use super::{CniNetwork, Places};
use crate::UserspaceNetwork;
use crate::lab::Lab;

/// Where the reference plugins are.
const PROGRAMS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

fn request(pod: &str, netns: &Path) -> AttachRequest {
    AttachRequest {
        sandbox: SandboxId::from(format!("{pod}-1")),
        pod: PodRef { namespace: "shop".into(), name: pod.into(), uid: format!("uid-{pod}") },
        netns: Some(netns.to_owned()),
        runtime_ips: Vec::new(),
        known_ips: Vec::new(),
        host_ports: Vec::new(),
        annotations: [("kubernetes.io/ingress-bandwidth".to_owned(), "10M".to_owned())].into(),
    }
}

#[test]
fn a_configuration_is_read_and_told() {
    let list = List::parse(
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [
            {"type": "bridge", "mtu": 1400, "capabilities": {"bandwidth": true, "ips": false}}, {"type": "portmap"}]}"#,
    )
    .unwrap();
    assert!(list.can_check() && !list.can_collect() && !list.has_capability("ips"));
    let mut request = request("web", Path::new("/run/netns/web"));
    request.host_ports.push(HostPort {
        host_ip: Some("192.0.2.1".parse().unwrap()),
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Udp,
    });
    let asked = Asked::of(&request, Path::new("/run/netns/web")).unwrap();
    let fast = [("kubernetes.io/egress-bandwidth".to_owned(), "fast".to_owned())].into();
    let refused =
        Asked::of(&AttachRequest { annotations: fast, ..request.clone() }, Path::new("/")).unwrap_err();
    assert!(refused.starts_with("kubernetes.io/egress-bandwidth"), "{refused}");
    assert_eq!(
        asked.args,
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=web-1;K8S_POD_UID=uid-web"
    );
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"}]);
    assert_eq!(asked.options["portMappings"], ports);
    let rate = json!({"ingressRate": 10_000_000, "ingressBurst": i32::MAX});
    let answer = json!({"ips": []});
    assert_eq!(
        list.input(&list.plugins[0], &asked, Some(&answer)),
        json!({
            "type": "bridge", "mtu": 1400, "name": "net", "cniVersion": "1.0.0",
            "runtimeConfig": {"bandwidth": rate}, "prevResult": answer,
        })
    );
    assert_eq!(
        list.input(&list.plugins[1], &asked, None),
        json!({"type": "portmap", "name": "net", "cniVersion": "1.0.0"}),
        "it is told nothing that it did not ask for"
    );

    let alone = List::parse(r#"{"name": "x", "type": "macvlan", "disableCheck": true}"#).unwrap();
    assert!(!alone.can_check() && alone.plugins.len() == 1);
    for bad in ["", "[]", "{}", r#"{"name": "x", "plugins": []}"#, r#"{"name": "x", "type": "../sh"}"#] {
        assert!(List::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_of_old_and_new_answers() {
    let shown = |answer: Value| addresses(Some(&answer)).iter().map(IpAddr::to_string).collect::<Vec<_>>();
    let new =
        json!({"ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}, {}]});
    assert_eq!(shown(new), ["10.1.0.2", "fd00::2"]);
    assert_eq!(shown(json!({"ip4": {"ip": "10.1.0.2/24"}})), ["10.1.0.2"]);
    assert!(addresses(None).is_empty());
}

/// Two plugins that write down what they are told; the second one fails where there is a file `broken`.
fn scripted(folder: &Path, version: &str) -> Places {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs).unwrap();
    for (name, answer, last) in [
        ("one", r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]}"#, ""),
        ("two", r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}], "seen": true}"#, "broken"),
    ] {
        let folder = folder.display();
        let script = format!(
            "#!/bin/sh\nread -r told\necho \"{name} $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $told\" >> {folder}/log\n\
             if [ -n '{last}' ] && [ -e {folder}/$CNI_COMMAND-{last} ]; then echo '{{\"code\": 7, \"msg\": \"it is broken\"}}'; exit 1; fi\n\
             if [ $CNI_COMMAND = ADD ]; then echo '{answer}'; fi\n"
        );
        let path = programs.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let configurations = folder.join("net.d");
    fs::create_dir_all(&configurations).unwrap();
    let plugins = json!([{"type": "one"}, {"type": "two", "capabilities": {"portMappings": true}}]);
    let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
    fs::write(configurations.join("10-net.conflist"), list.to_string()).unwrap();
    fs::write(configurations.join("20-later.conflist"), "{}").unwrap();
    Places { configurations, programs: vec![folder.join("none"), programs], answers: folder.join("answers") }
}

/// What the plugins were told since it was last asked: which, what, of whom, and the names of what they read.
fn told(folder: &Path) -> Vec<String> {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let _ = fs::remove_file(folder.join("log"));
    let line = |line: &str| {
        let (words, read) = line.split_at(line.find('{').unwrap());
        let read: Value = serde_json::from_str(read).unwrap();
        let more = ["prevResult", "runtimeConfig", "cni.dev/valid-attachments"];
        let more = more.iter().filter(|name| read.get(**name).is_some()).copied().collect::<Vec<_>>();
        format!("{words}{}", more.join(" ")).trim().to_owned()
    };
    log.lines().map(line).collect()
}

fn services() -> Arc<dyn Network> {
    Arc::new(UserspaceNetwork::new())
}

#[tokio::test]
async fn plugins_are_told_in_turn_and_back_in_reverse() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, places) = (folder.path(), scripted(folder.path(), "1.1.0"));
    let network = CniNetwork::open(places.clone(), services()).unwrap();
    let mut web = request("web", folder);
    web.host_ports.push(HostPort {
        host_ip: None,
        host_port: 80,
        container_port: 80,
        protocol: Protocol::Tcp,
    });
    let given = Attachment { ips: vec![Ipv4Addr::new(10, 9, 0, 2).into()] };
    assert_eq!(network.attach(&web).await.unwrap(), given);
    assert_eq!(told(folder), ["one ADD web-1 eth0", "two ADD web-1 eth0 prevResult runtimeConfig"]);
    assert_eq!(network.attach(&web).await.unwrap(), given);
    assert!(told(folder).is_empty(), "it is connected");

    // After a restart they are asked once whether all is as they left it.
    let network = CniNetwork::open(places.clone(), services()).unwrap();
    for _ in 0..2 {
        assert_eq!(network.attach(&web).await.unwrap(), given);
    }
    assert_eq!(
        told(folder),
        ["one CHECK web-1 eth0 prevResult", "two CHECK web-1 eth0 prevResult runtimeConfig"]
    );
    // It is not.
    fs::write(folder.join("CHECK-broken"), "").unwrap();
    let network = CniNetwork::open(places.clone(), services()).unwrap();
    assert_eq!(network.attach(&web).await.unwrap(), given);
    let words: Vec<String> =
        told(folder).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(words, ["one CHECK", "two CHECK", "two DEL", "one DEL", "one ADD", "two ADD"]);

    // One that cannot be connected leaves nothing.
    fs::write(folder.join("ADD-broken"), "").unwrap();
    let refused = network.attach(&request("db", folder)).await.unwrap_err();
    assert_eq!(refused, NetworkError::Failed { message: "ADD by the plugin two: it is broken".into() });
    assert_eq!(told(folder)[2..], ["two DEL db-1 eth0", "one DEL db-1 eth0"]);
    assert!(!places.answers.join("db-1.json").exists());

    // What was missed is made up for.
    network.retain(std::slice::from_ref(&web.sandbox)).await.unwrap();
    assert_eq!(
        told(folder),
        ["one GC  eth0 cni.dev/valid-attachments", "two GC  eth0 cni.dev/valid-attachments"]
    );
    let network = CniNetwork::open(places.clone(), services()).unwrap();
    network.retain(&[]).await.unwrap();
    assert_eq!(
        told(folder)[..2],
        ["two DEL web-1 eth0 prevResult runtimeConfig", "one DEL web-1 eth0 prevResult"]
    );
    network.detach(&web.sandbox, &web.pod).await.unwrap();
    assert!(told(folder).is_empty(), "it is gone");
}

#[tokio::test]
async fn old_plugins_are_not_asked_what_they_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, places) = (folder.path(), scripted(folder.path(), "0.3.1"));
    let web = request("web", folder);
    for _ in 0..2 {
        let network = CniNetwork::open(places.clone(), services()).unwrap();
        network.attach(&web).await.unwrap();
        network.retain(std::slice::from_ref(&web.sandbox)).await.unwrap();
    }
    assert_eq!(told(folder).len(), 2, "each was told to add");
    CniNetwork::remove_all(&places.answers).await.unwrap();
    assert_eq!(told(folder).len(), 2, "and to remove");
    CniNetwork::remove_all(&folder.join("none")).await.unwrap();
    let missing = Places { programs: vec![folder.join("none")], ..places.clone() };
    let error = CniNetwork::open(missing, services()).unwrap_err().to_string();
    assert!(error.contains("the plugin \"one\" of CNI is in none of"), "{error}");
    let empty = Places { configurations: folder.join("bin"), ..places };
    let error = CniNetwork::open(empty, services()).unwrap_err().to_string();
    assert!(error.contains("no configuration of CNI"), "{error}");
}

/// A network of the reference plugins, with addresses of one range.
fn reference(folder: &Path, first: Value) -> Places {
    let configurations = folder.join("net.d");
    fs::create_dir_all(&configurations).unwrap();
    let mut first = first;
    first["ipam"] = json!({
        "type": "host-local", "ranges": [[{"subnet": "10.22.0.0/29"}]], "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": folder.join("ipam"),
    });
    let list = json!({"cniVersion": "1.0.0", "name": "lab", "plugins": [first, {"type": "tuning"}]});
    fs::write(configurations.join("10-lab.conflist"), list.to_string()).unwrap();
    let programs = PROGRAMS.iter().map(PathBuf::from).collect();
    Places { configurations, programs, answers: folder.join("answers") }
}

/// The addresses that are given out.
fn given_out(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("ipam/lab")).unwrap();
    files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("10.22.")).count()
}

#[test]
fn reference_plugins_connect_pods() {
    let kinds = [
        json!({"type": "ptp"}),
        json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true}),
    ];
    for (n, first) in kinds.into_iter().enumerate() {
        let Some(mut lab) = Lab::empty(&format!("c{n}")) else { return };
        for place in ["node", "p1", "p2", "p3"] {
            lab.namespace(place);
        }
        let folder = tempfile::tempdir().unwrap();
        let (folder, places) = (folder.path(), reference(folder.path(), first));
        lab.within("node", || fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        let pod =
            |name: &str| AttachRequest { annotations: Default::default(), ..request(name, &lab.path(name)) };
        let open = || CniNetwork::open(places.clone(), services()).unwrap();
        let attached = |name: &str| {
            let request = pod(name);
            lab.run(async || open().attach(&request).await.unwrap().ips[0])
        };
        let ips = ["p1", "p2"].map(attached);
        assert_ne!(ips[0], ips[1]);
        let listener = lab.within("p2", || std::net::TcpListener::bind((ips[1], 80)).unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, client)) = listener.accept() {
                let _ = std::io::Write::write_all(&mut stream, format!("p2 {}", client.ip()).as_bytes());
            }
        });
        assert_eq!(lab.ask("p1", (ips[1], 80)).unwrap(), ("p2".to_owned(), ips[0]));
        assert!(lab.ask("node", (ips[1], 80)).is_ok());

        // Another program has the same pods; one whose device lost its address is connected anew.
        assert_eq!(attached("p1"), ips[0]);
        lab.ip("p1", "addr flush dev eth0");
        let anew = attached("p1");
        assert_eq!(lab.ask("p1", (ips[1], 80)).unwrap(), ("p2".to_owned(), anew));
        assert_eq!(given_out(folder), 2);

        // All go: one as it should, one whose namespace is gone, one that was missed.
        attached("p3");
        let gone = pod("p2");
        lab.run(async || {
            let network = open();
            network.detach(&pod("p1").sandbox, &pod("p1").pod).await.unwrap();
            network.detach(&gone.sandbox, &gone.pod).await.unwrap();
            network.retain(&[]).await.unwrap();
        });
        assert_eq!(given_out(folder), 0);
        assert!(!lab.ip("p1", "link").contains("eth0"));
        assert_eq!(fs::read_dir(folder.join("answers")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn services_and_policies_are_the_other_networks() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeNetwork::new();
    let network = CniNetwork::open(scripted(folder.path(), "1.0.0"), Arc::new(fake.clone())).unwrap();
    network.apply(&Default::default()).await.unwrap();
    assert_eq!(fake.applied(), 1);
    assert!(!network.holds_to_policies() && network.name() == "net");
    let without = AttachRequest { netns: None, ..request("web", folder.path()) };
    assert!(matches!(network.attach(&without).await, Err(NetworkError::NotPermitted { .. })));
}
