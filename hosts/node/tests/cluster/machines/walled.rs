//! A machine behind a firewall that drops whatever is begun from outside, and two masters over one etcd: its node is asked
//! over the connections that it holds, by either master, and goes on with the other when one is killed. It needs `etcd` and
//! `kubectl` too.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Parser as _;
use orchestra_master::{Master, Options};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{MACHINES, MASTER, Segment, create, eventually};
use k8s_openapi::api::core::v1::Pod;

const SECOND: (&str, Ipv4Addr) = ("master2", Ipv4Addr::new(192, 0, 2, 101));
const ETCD: &str = "http://192.0.2.200:2379";
const WALL: &str = "table inet wall { chain input { type filter hook input priority 0; policy drop; \
                    iif lo accept; ct state established,related accept; }; }";

/// A master in its own place.
struct Seat {
    place: &'static str,
    runtime: Runtime,
    master: Master,
    cache: PathBuf,
}

impl Seat {
    fn new(segment: &Segment, (place, address): (&'static str, Ipv4Addr), directory: &Path) -> Self {
        let mut options = Options::parse_from([
            "orchestra-master",
            &format!("--listen={address}:6443"),
            "--etcd",
            ETCD,
            "--leader-term=3s",
            "--node-monitor-grace-period=15s",
            "--leader-identity",
            place,
        ]);
        options.data_dir = directory.join(place);
        options.pki_dir = Some(directory.join("pki"));
        let runtime = segment.within(place, || {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
        });
        let master = segment.within(place, || runtime.block_on(Master::start(&options)).unwrap());
        Self { place, runtime, master, cache: directory.join(format!("{place}-cache")) }
    }

    /// What `kubectl` says of this master, and whether it is content.
    fn kubectl(&self, segment: &Segment, words: &[&str]) -> (bool, String) {
        let output = self.command(segment).args(words).output().expect("kubectl");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn command(&self, segment: &Segment) -> Command {
        let mut command = Command::new("ip");
        let place = format!("{}-{}", segment.name, self.place);
        command.args(["netns", "exec", &place, "kubectl", "--request-timeout=20s", "--kubeconfig"]);
        command.arg(self.master.kubeconfig()).arg("--cache-dir").arg(&self.cache);
        command
    }

    /// Waits until something that is said has a word in it.
    fn until_said(&self, segment: &Segment, words: &[&str], wanted: &str) {
        let mut last = String::new();
        let said = std::fmt::from_fn(|f| write!(f, "{wanted:?} of {words:?} at {}", self.place));
        let said = said.to_string();
        self.runtime.block_on(eventually(&said, || {
            let (content, said) = self.kubectl(segment, words);
            if last != said {
                println!("{} {words:?}: {}", self.place, said.chars().take(200).collect::<String>());
                last.clone_from(&said);
            }
            content && said.contains(wanted)
        }));
    }

    /// A pod on the walled machine, which says its name and serves it.
    fn pod(&self, name: &str) {
        let serve =
            format!("echo i am {name}; echo {name} >/www/index.html; exec busybox httpd -f -p 8080 -h /www");
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": "m1", "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "none", "command": ["sh", "-c", serve],
                "volumeMounts": [{"name": "www", "mountPath": "/www"}],
            }],
            "volumes": [{"name": "www", "emptyDir": {}}],
        }});
        self.runtime.block_on(create::<Pod>(&self.master.client(), pod));
    }

    /// Everything that is asked of a node, asked of this master.
    fn asked(&self, segment: &Segment, pod: &str) {
        self.until_said(segment, &["logs", pod], &format!("i am {pod}"));
        self.until_said(segment, &["exec", pod, "--", "cat", "/www/index.html"], pod);
        let proxied = format!("/api/v1/namespaces/default/pods/{pod}:8080/proxy/index.html");
        self.until_said(segment, &["get", "--raw", &proxied], pod);
        self.until_said(
            segment,
            &["get", "--raw", "/api/v1/nodes/m1/proxy/stats/summary"],
            "\"nodeName\":\"m1\"",
        );
        // What else listens on the machine is reached by the same connection.
        let of_machine = |port: u16| format!("/api/v1/nodes/m1:{port}/proxy/index.html");
        self.until_said(segment, &["get", "--raw", &of_machine(9100)], "of the machine");
        let (content, said) = self.kubectl(segment, &["get", "--raw", &of_machine(9101)]);
        assert!(!content && said.contains("192.0.2.1:9101: Connection refused"), "{said}");
        let mut forward = self.command(segment);
        forward.args(["port-forward", &format!("pod/{pod}"), "18080:8080"]).stdout(Stdio::null());
        let forward = Killed(forward.spawn().unwrap());
        let at = (Ipv4Addr::LOCALHOST, 18080).into();
        let answered = || segment.ask(self.place, at).is_ok_and(|said| !said.is_empty());
        self.runtime.block_on(eventually("the forwarded port answers", answered));
        drop(forward);
    }

    /// Ends as a process does that is killed: it says good-bye to nobody.
    fn kill(self) {
        std::mem::forget(self.master);
        self.runtime.shutdown_background();
    }
}

/// A program that is killed when nobody needs it any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_behind_a_firewall_is_asked_and_goes_on_with_another_master() {
    let Some(mut segment) = Segment::new() else { return };
    segment.plug(SECOND.0, SECOND.1);
    segment.ip("switch", "addr add 192.0.2.200/24 dev sw");
    let directory = tempfile::tempdir().unwrap();
    let _etcd = segment.within("switch", || {
        let own = ["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD, "--log-level", "fatal"];
        let etcd = Command::new("etcd")
            .args(own)
            .args(["--listen-peer-urls", "http://127.0.0.1:2380", "--data-dir"])
            .arg(directory.path().join("etcd"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Killed(etcd.expect("etcd"))
    });
    let first = Seat::new(&segment, ("master", MASTER), directory.path());
    let (machine, address) = MACHINES[0];
    let wall = Command::new("ip")
        .args(["netns", "exec", &format!("{}-{machine}", segment.name), "nft", WALL])
        .output()
        .unwrap();
    assert!(wall.status.success(), "{}", String::from_utf8_lossy(&wall.stderr));
    let www = directory.path().join("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "of the machine").unwrap();
    let _serving = Killed(segment.within(machine, || {
        let mut command = Command::new("busybox");
        command.args(["httpd", "-f", "-p", "9100", "-h"]).arg(&www).spawn().unwrap()
    }));
    // It is told of one master alone, and learns of the other, which comes later.
    segment.node(MACHINES[0], directory.path(), &first.master);
    first.until_said(&segment, &["get", "nodes"], " Ready ");
    first.pod("one");
    first.asked(&segment, "one");
    let second = Seat::new(&segment, SECOND, directory.path());
    second.asked(&segment, "one");
    for place in ["master", SECOND.0] {
        let refused = segment.ask(place, (address, 10250).into());
        assert!(refused.is_err(), "nobody reaches its port");
    }
    first.until_said(&segment, &["get", "endpoints", "kubernetes"], "192.0.2.100:6443,192.0.2.101:6443");

    first.kill();
    let killed = std::time::Instant::now();
    second.pod("two");
    second.asked(&segment, "two");
    println!("{:?} after a master was killed, a new pod answers by the other", killed.elapsed());
    second.asked(&segment, "one");
    // What is said of the dead one: not behind the Service any more, and no node is lost.
    second.until_said(&segment, &["get", "endpoints", "kubernetes", "-o", "name"], "kubernetes");
    second.runtime.block_on(eventually("the dead one is found out", || {
        let (content, said) = second.kubectl(&segment, &["get", "endpoints", "kubernetes"]);
        content && said.contains("192.0.2.101:6443") && !said.contains("192.0.2.100")
    }));
    second.until_said(&segment, &["get", "nodes"], " Ready ");
    println!("{:?} after it was killed, it is not behind the Service", killed.elapsed());
    segment.kill(machine);
    second.runtime.block_on(second.master.stop());
}
