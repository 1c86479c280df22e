//! A machine of network namespaces: a node, pods that it routes to, and somebody outside. It needs root, `ip` and `nft`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the node is seen from outside.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Somebody outside.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const WAIT: Duration = Duration::from_secs(5);

/// The namespaces of one test, which end with it.
pub(crate) struct Lab {
    name: String,
    namespaces: Vec<String>,
}

impl Lab {
    /// A node with so many pods, `10.244.1.1` and on; `None` without the rights. Where daemons are asked for it fails then.
    pub(crate) fn new(test: &str, pods: u8) -> Option<Self> {
        let mut lab = Self::empty(test)?;
        lab.namespace("node");
        lab.namespace("out");
        lab.cable("out", NODE, CLIENT);
        lab.ip("node", "route add default via 192.0.2.2");
        lab.ip("out", "route add default via 192.0.2.1");
        for pod in 1..=pods {
            let (name, gateway) = (format!("p{pod}"), Ipv4Addr::new(169, 254, pod, 1));
            lab.namespace(&name);
            lab.cable(&name, gateway, Ipv4Addr::new(169, 254, pod, 2));
            lab.ip(&name, &format!("addr add {}/32 dev eth0", Self::pod(pod)));
            lab.ip(&name, &format!("route add default via {gateway} src {}", Self::pod(pod)));
            lab.ip("node", &format!("route add {}/32 via 169.254.{pod}.2", Self::pod(pod)));
        }
        Some(lab)
    }

    /// No namespace yet; `None` as with [`Lab::new`].
    pub(crate) fn empty(test: &str) -> Option<Self> {
        let asked = std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_some();
        if !rustix::process::geteuid().is_root() || !asked {
            assert!(!asked, "the rules of a kernel are tested as root");
            return None;
        }
        Some(Self { name: format!("orc{}{test}", std::process::id()), namespaces: Vec::new() })
    }

    /// The address of a pod.
    pub(crate) fn pod(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, 1, n)
    }

    /// A namespace of that name.
    pub(crate) fn namespace(&mut self, place: &str) {
        let name = format!("{}-{place}", self.name);
        run(&format!("ip netns add {name}"));
        self.namespaces.push(name);
        self.ip(place, "link set lo up");
    }

    /// The file by which a place is entered.
    pub(crate) fn path(&self, place: &str) -> std::path::PathBuf {
        format!("/run/netns/{}-{place}", self.name).into()
    }

    fn cable(&self, place: &str, at_node: Ipv4Addr, there: Ipv4Addr) {
        self.wire(("node", place, at_node), (place, "eth0", there));
    }

    /// A cable between two places: where, the name of the device there, and its address of 24 bits.
    pub(crate) fn wire(&self, one: (&str, &str, Ipv4Addr), other: (&str, &str, Ipv4Addr)) {
        let there = format!("{}-{}", self.name, other.0);
        self.ip(one.0, &format!("link add {} type veth peer name {} netns {there}", one.1, other.1));
        for (place, device, address) in [one, other] {
            self.ip(place, &format!("addr add {address}/24 dev {device}"));
            self.ip(place, &format!("link set {device} up"));
        }
    }

    /// Runs `ip` in a place, and gives what it says.
    pub(crate) fn ip(&self, place: &str, what: &str) -> String {
        run(&format!("ip -n {}-{place} {what}", self.name))
    }

    /// Runs a command on the node.
    pub(crate) fn on_node(&self, what: &str) -> String {
        run(&format!("ip netns exec {}-node {what}", self.name))
    }

    /// Does something in a place: `node`, `out`, `p1` …
    pub(crate) fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}-{place}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }

    /// A server in each pod at that port, which says which pod it is and who asked.
    pub(crate) fn serve(&self, pods: u8, port: u16) {
        for pod in 1..=pods {
            let (listener, datagrams) = self.within(&format!("p{pod}"), || {
                // At this address, so that answers have it too: a pod of this lab has another on its cable.
                let own = (Self::pod(pod), port);
                (TcpListener::bind(own).unwrap(), UdpSocket::bind(own).unwrap())
            });
            std::thread::spawn(move || {
                while let Ok((mut stream, client)) = listener.accept() {
                    let _ = write!(stream, "p{pod} {}", client.ip());
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, client)) = datagrams.recv_from(&mut buffer) {
                    let _ = datagrams.send_to(format!("p{pod} {}", client.ip()).as_bytes(), client);
                }
            });
        }
    }

    /// What is answered at an address, asked from a place: which pod it was, and whom it saw.
    pub(crate) fn ask(&self, place: &str, address: impl Into<SocketAddr>) -> io::Result<(String, IpAddr)> {
        let address = address.into();
        self.within(place, move || {
            let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
            stream.set_read_timeout(Some(WAIT))?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(understood(&said))
        })
    }

    /// The same by a datagram, from a socket that is kept.
    pub(crate) fn ask_by_datagram(
        &self,
        socket: &UdpSocket,
        address: impl Into<SocketAddr>,
    ) -> (String, IpAddr) {
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket.send_to(b"?", address.into()).unwrap();
        let mut buffer = [0; 64];
        let (size, _) = socket.recv_from(&mut buffer).expect("an answer");
        understood(std::str::from_utf8(&buffer[..size]).unwrap())
    }

    /// Runs something asynchronous on the node. It may wait for what it asks: tasks have threads of their own.
    pub(crate) fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run_at("node", work)
    }

    /// The same in another place.
    pub(crate) fn run_at<T: Send>(&self, place: &str, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.within(place, || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(work())
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn understood(said: &str) -> (String, IpAddr) {
    let (pod, client) = said.split_once(' ').unwrap();
    (pod.to_owned(), client.parse().unwrap())
}

fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect("iproute2 and nftables");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
