//! A cluster of three machines that are network namespaces on one switch: addresses of pods are unique, a Service leads
//! to pods of every machine in turn, from everywhere, and pods find it by its name. It needs root, `ip` and `nft`.

mod dual;
mod failures;
mod first;
mod plugins;
mod walled;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use orchestra_core::api::{Client, LogQuery};
use orchestra_core::testing;
use orchestra_master::{Master, Options};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::{DEADLINE, condition, host, name, ready, until};

const MASTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// Its name and its address on the segment.
type Machine = (&'static str, Ipv4Addr);

const MACHINES: [Machine; 3] = [
    ("m1", Ipv4Addr::new(192, 0, 2, 1)),
    ("m2", Ipv4Addr::new(192, 0, 2, 2)),
    ("m3", Ipv4Addr::new(192, 0, 2, 3)),
];
const NODE_PORT: u16 = 30_080;

/// The namespaces, which end with it, and what runs in them.
struct Segment {
    name: String,
    places: Vec<String>,
    children: Mutex<Vec<(&'static str, Child)>>,
    /// Where the nodes keep what they have.
    folders: Mutex<BTreeSet<PathBuf>>,
    /// Whether its machines have addresses of both families.
    dual: bool,
    /// What leads to pods and services, as their nodes are told.
    network: Vec<String>,
    /// Tests of several machines wait for each other: each has the whole machine busy, and they have the same names.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Segment {
    /// `None` without the rights. Where daemons are asked for it fails then.
    fn new() -> Option<Self> {
        let asked = std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_some();
        if !rustix::process::geteuid().is_root() || !asked {
            assert!(!asked, "several machines are tested as root");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut segment = Self {
            name: format!("orcm{}", std::process::id()),
            places: Vec::new(),
            children: Mutex::default(),
            folders: Mutex::default(),
            dual: false,
            network: vec!["--network=nftables".into()],
            _turn: turn,
        };
        segment.place("switch");
        segment.ip("switch", "link add sw type bridge");
        segment.ip("switch", "link set sw up");
        for (place, address) in MACHINES.into_iter().chain([("master", MASTER)]) {
            segment.plug(place, address);
        }
        Some(segment)
    }

    /// Adds a place on the switch.
    fn plug(&mut self, place: &str, address: Ipv4Addr) {
        self.place(place);
        let other = format!("{}-{place}", self.name);
        self.ip("switch", &format!("link add name {place} type veth peer name eth0 netns {other}"));
        self.ip("switch", &format!("link set dev {place} master sw up"));
        self.ip(place, &format!("addr add {address}/24 dev eth0"));
        self.ip(place, "link set eth0 up");
        self.ip(place, &format!("route add default via {}", Ipv4Addr::new(192, 0, 2, 254)));
    }

    fn place(&mut self, place: &str) {
        run(&format!("ip netns add {}-{place}", self.name));
        self.places.push(place.to_owned());
        self.ip(place, "link set lo up");
    }

    fn ip(&self, place: &str, what: &str) {
        run(&format!("ip -n {}-{place} {what}", self.name));
    }

    /// Does something in a place. Threads and processes that are begun there stay there.
    fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}-{place}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn node(&self, (machine, address): (&'static str, Ipv4Addr), directory: &Path, master: &Master) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-node"));
        command
            .args(["--join", master.url(), "--token", &master.token().to_string(), "--name", machine])
            .args(["--runtime=process", "-v", "--heartbeat=1s"])
            .args(&self.network)
            // The disk of the machine that runs tests may be as full as it likes.
            .arg("--eviction-hard=")
            .args([format!("--listen={address}:10250"), format!("--address={}", self.addresses(address))])
            .arg("--data-dir")
            .arg(directory.join(machine))
            .stdout(Stdio::null())
            .stderr(File::create(directory.join(format!("{machine}.log"))).unwrap());
        let child = self.within(machine, || command.spawn().unwrap());
        self.children.lock().unwrap().push((machine, child));
        self.folders.lock().unwrap().insert(directory.to_owned());
    }

    /// Gives every machine an address of version 6 too.
    fn both_families(mut self) -> Self {
        self.dual = true;
        for (place, address) in MACHINES.into_iter().chain([("master", MASTER)]) {
            self.ip(place, &format!("addr add {}/64 dev eth0 nodad", second(address)));
            self.ip(place, &format!("-6 route add default via {}", second(Ipv4Addr::new(192, 0, 2, 254))));
        }
        self
    }

    /// The addresses of a machine, for its node.
    fn addresses(&self, address: Ipv4Addr) -> String {
        if self.dual { format!("{address},{}", second(address)) } else { address.to_string() }
    }

    /// Has the program of a node end at once, as if it were killed; what its machine has stays.
    fn kill(&self, machine: &str) {
        let mut children = self.children.lock().unwrap();
        for (_, child) in children.iter_mut().filter(|(name, _)| *name == machine) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The machines that have an address.
    fn holders(&self, address: &str) -> Vec<&'static str> {
        let holds = |machine: &&str| {
            let shown = Command::new("ip").args(["-n", &format!("{}-{machine}", self.name), "addr"]).output();
            String::from_utf8_lossy(&shown.unwrap().stdout).contains(&format!("{address}/32"))
        };
        MACHINES.iter().map(|(machine, _)| *machine).filter(holds).collect()
    }

    /// Who answers at an address, asked from a place.
    fn ask(&self, place: &str, at: SocketAddr) -> std::io::Result<String> {
        self.within(place, move || request(at))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for (_, child) in self.children.get_mut().unwrap() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for folder in self.folders.get_mut().unwrap().iter() {
            end_pods_of(folder);
        }
        for place in &self.places {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{place}", self.name)]).status();
        }
    }
}

/// Ends the pods that live on without their node, and unmounts what they had.
fn end_pods_of(folder: &Path) {
    let within = |path: &str| Path::new(path).starts_with(folder);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| line.split('\0').any(within)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places.filter(|place| within(place)).collect::<Vec<_>>().into_iter().rev() {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

/// Who answers at an address.
fn request(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.rsplit("\r\n").next().unwrap_or_default().trim().to_owned())
}

/// The address of version 6 of a machine.
fn second(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x192, 0, 0, 0, 0, 0, address.octets()[3].into())
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect("iproute2");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn create<K: orchestra_core::meta::Object + serde::de::DeserializeOwned>(
    client: &Client,
    object: Value,
) {
    client.api::<K>("default").create(&serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Three pods that say their names, one a machine, and the Service before them.
async fn deploy(client: &Client) {
    deploy_with(client, 3, json!({})).await;
}

/// The same with so many pods, and with more in the Service.
async fn deploy_with(client: &Client, replicas: usize, more: Value) {
    let serve = "hostname > /www/index.html; exec busybox httpd -f -p 8080 -h /www";
    let labels = json!({"app": "web"});
    create::<Deployment>(
        client,
        json!({"metadata": {"name": "web"}, "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": labels},
                }],
                "containers": [{
                    "name": "main", "image": "none", "command": ["sh", "-c", serve],
                    "volumeMounts": [{"name": "www", "mountPath": "/www"}],
                }],
                "volumes": [{"name": "www", "emptyDir": {}}],
            }},
        }}),
    )
    .await;
    let mut service = json!({"metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "selector": labels,
        "ports": [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}],
    }});
    service["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    create::<Service>(client, service).await;
}

fn ip(pod: &Pod) -> Ipv4Addr {
    pod.status.as_ref().unwrap().pod_ip.as_deref().unwrap().parse().unwrap()
}

/// Runs a script in a pod on a machine, to its end, and gives what it printed.
async fn script(master: &Master, client: &Client, (pod, machine): (&str, &str), text: &str) -> String {
    create::<Pod>(
        client,
        json!({"metadata": {"name": pod, "labels": {"app": pod}}, "spec": {
            "nodeName": machine, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "none", "command": ["sh", "-c", text]}],
        }}),
    )
    .await;
    let phase = |held: &Pod| held.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    until::<Pod>(client, "the script ends", |pods| {
        pods.iter().any(|held| name(held) == pod && ["Succeeded", "Failed"].contains(&&*phase(held)))
    })
    .await;
    let query = LogQuery { container: Some("main".into()), ..LogQuery::default() };
    let logs = master.cluster().directory().logs(client, "default", pod, query).await.unwrap();
    let text: Vec<_> = logs.try_collect().await.unwrap();
    String::from_utf8_lossy(&text.concat()).into_owned()
}

#[test]
fn pods_of_three_machines_reach_each_other_by_address_service_and_name() {
    let Some(segment) = Segment::new() else { return };
    lived(&segment, &MACHINES, &[], story);
}

/// Has machines be nodes of a master with these options, and a story happen to them. Where it does not end well, what the
/// nodes said of it is shown.
fn lived(
    segment: &Segment,
    machines: &[Machine],
    options: &[&str],
    story: impl AsyncFn(&Segment, &Master, &Path) + Sync,
) {
    let directory = tempfile::tempdir().unwrap();
    // The master's threads are begun in its namespace, so that its sockets are there.
    let runtime = segment.within("master", || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    let master =
        segment.within("master", || runtime.block_on(start(directory.path().join("master"), options)));
    for machine in machines {
        segment.node(*machine, directory.path(), &master);
    }
    let told = std::panic::AssertUnwindSafe(|| {
        segment.within("master", || runtime.block_on(story(segment, &master, directory.path())));
    });
    if let Err(panic) = std::panic::catch_unwind(told) {
        for (machine, _) in machines {
            let log = std::fs::read_to_string(directory.path().join(format!("{machine}.log")));
            eprintln!("the log of {machine}: {}", log.unwrap_or_default());
        }
        std::panic::resume_unwind(panic);
    }
    runtime.block_on(master.stop());
}

async fn start(directory: std::path::PathBuf, more: &[&str]) -> Master {
    let usual = [
        "orchestra-master",
        "--listen=192.0.2.100:6443",
        "--node-monitor-grace-period=15s",
        "--load-balancer-pool=192.0.2.240-192.0.2.241",
    ];
    let mut options = Options::parse_from(usual.iter().chain(more));
    options.data_dir = directory;
    Master::start(&options).await.unwrap()
}

async fn story(segment: &Segment, master: &Master, directory: &Path) {
    let client = master.client();
    let ranges = |nodes: &[Node]| -> BTreeSet<String> {
        nodes.iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect()
    };
    until::<Node>(&client, "three nodes have addresses for their pods", |nodes| {
        ranges(nodes).len() == 3 && nodes.iter().all(|node| condition(node) == "True")
    })
    .await;
    deploy(&client).await;
    let pods = until::<Pod>(&client, "a pod on each machine", |pods| ready(pods).len() == 3).await;
    let machines: BTreeSet<&str> = pods.iter().map(host).collect();
    let addresses: BTreeSet<[u8; 3]> =
        pods.iter().map(|pod| ip(pod).octets()[..3].try_into().unwrap()).collect();
    assert_eq!((machines.len(), addresses.len()), (3, 3), "each machine's pods have a range of their own");

    let service = client.api::<Service>("default").get("web").await.unwrap();
    let service: Ipv4Addr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    let even: BTreeMap<String, usize> = pods.iter().map(|pod| (name(pod).to_owned(), 10)).collect();
    for (machine, address) in MACHINES {
        // From elsewhere by the machine's own address, and on it by the cluster's.
        for (place, at) in
            [("master", SocketAddr::from((address, NODE_PORT))), (machine, SocketAddr::from((service, 80)))]
        {
            // Every machine learns of the Service and its pods by itself.
            let mut known = BTreeSet::new();
            eventually("all pods answer", || {
                known.extend(segment.ask(place, at));
                known.len() == 3
            })
            .await;
            let mut heard = BTreeMap::new();
            for _ in 0..30 {
                let pod = segment.ask(place, at).unwrap_or_else(|error| panic!("{place} {at}: {error}"));
                *heard.entry(pod).or_insert(0) += 1;
            }
            assert_eq!(heard, even, "from {place} at {at}");
        }
    }
    let text = "cat /etc/resolv.conf; busybox nslookup web.default.svc.cluster.local; \
                for n in $(seq 30); do curl -m 5 -sS http://web; done";
    let said = script(master, &client, ("asks", "m2"), text).await;
    for wanted in
        ["nameserver 10.96.0.10", "search default.svc.cluster.local svc.cluster.local", &service.to_string()]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    for pod in &pods {
        let answers = said.lines().filter(|line| *line == name(pod)).count();
        assert_eq!(answers, 10, "by name, each of them in turn: {said}");
    }

    closed(segment, master, &client, &pods).await;
    first::packets(master, &client, &pods).await;
    balanced(segment, master, &client, directory).await;
    for pod in client.api::<Pod>("default").list().await.unwrap().iter() {
        if name(pod) == "asks" || name(pod) == "refused" {
            client.api::<Pod>("default").delete(name(pod)).await.unwrap();
        }
    }
    client.api::<Deployment>("default").delete("web").await.unwrap();
    until::<Pod>(&client, "nothing is left", <[Pod]>::is_empty).await;
}

/// Looks until it is so. Nothing tells when the kernel of a machine has what it is to have.
async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    testing::until(what, DEADLINE, async || so().then_some(())).await;
}

/// A Service has an address of the segment, which one machine answers for, and another when the first one's program is
/// killed.
async fn balanced(segment: &Segment, master: &Master, client: &Client, directory: &Path) {
    create::<Service>(
        client,
        json!({"metadata": {"name": "shop"}, "spec": {
            "type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}],
        }}),
    )
    .await;
    let shown =
        |service: &Service| service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?[0].ip.clone();
    let services =
        until::<Service>(client, "it has an address", |all| all.iter().any(|one| shown(one).is_some()));
    let address = services.await.iter().find_map(shown).unwrap();
    assert_eq!(address, "192.0.2.240");
    let at = SocketAddr::new(address.parse().unwrap(), 80);
    let mut known = BTreeSet::new();
    eventually("all pods answer", || {
        known.extend(segment.ask("master", at));
        known.len() == 3
    })
    .await;
    let [first] = segment.holders(&address)[..] else { panic!("{:?}", segment.holders(&address)) };
    for (machine, _) in MACHINES {
        assert!(segment.ask(machine, at).is_ok(), "from {machine}");
    }
    let other = SocketAddr::new(at.ip(), NODE_PORT);
    let refused = segment.ask("master", other).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "the address is the Service's alone");

    segment.kill(first);
    eventually("another takes it over", || segment.holders(&address).iter().any(|holder| *holder != first))
        .await;
    assert!(segment.ask("master", at).is_ok(), "whoever knew the first one was told");
    eventually("the killed one's ends by itself", || segment.holders(&address).len() == 1).await;
    assert_eq!(segment.ask("master", at).err().map(|error| error.kind()), None);
    let machine = MACHINES.into_iter().find(|(name, _)| *name == first).unwrap();
    segment.node(machine, directory, master);
    eventually("it is where it was", || segment.holders(&address) == [first]).await;
    eventually("it is answered", || segment.ask("master", at).is_ok()).await;
    client.api::<Service>("default").delete("shop").await.unwrap();
    eventually("nobody has it", || segment.holders(&address).is_empty()).await;
}

/// A policy holds on the machine of the pod that it selects, wherever the other one is.
async fn closed(segment: &Segment, master: &Master, client: &Client, pods: &[Pod]) {
    create::<NetworkPolicy>(
        client,
        json!({"metadata": {"name": "closed"}, "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
        }}),
    )
    .await;
    let at = SocketAddr::from((ip(&pods[0]), 8080));
    let (inside, outside): (Vec<Machine>, Vec<Machine>) =
        MACHINES.iter().copied().partition(|(machine, _)| *machine == host(&pods[0]));
    eventually("it is closed to another machine", || segment.ask(outside[0].0, at).is_err()).await;
    assert!(segment.ask(inside[0].0, at).is_ok(), "a node reaches its own pods");
    let ask = format!("curl -m 2 -sS http://{at} || echo refused");
    for machine in [inside[0].0, outside[0].0] {
        let said = script(master, client, ("refused", machine), &ask).await;
        assert!(said.contains("refused"), "from {machine}: {said}");
        client.api::<Pod>("default").delete("refused").await.unwrap();
        until::<Pod>(client, "it is gone", |pods| !pods.iter().any(|pod| name(pod) == "refused")).await;
    }
    client.api::<NetworkPolicy>("default").delete("closed").await.unwrap();
}
