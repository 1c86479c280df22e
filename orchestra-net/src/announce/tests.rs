//! Addresses on the devices of a kernel, seen from the other end of a cable. They need root and `ip`.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::kernel::{Done, segments, set};
use super::*;

/// Two machines on one segment, `a` (192.0.2.1) and `b` (192.0.2.2), and somebody who asks, `c` (192.0.2.3).
struct Segment3 {
    name: String,
}

impl Segment3 {
    /// `None` without the rights. Where daemons are asked for it fails then.
    fn new(test: &str) -> Option<Self> {
        let asked = std::env::var_os("ORCHESTRA_TEST_DAEMONS").is_some();
        if !rustix::process::geteuid().is_root() || !asked {
            assert!(!asked, "the addresses of a kernel are tested as root");
            return None;
        }
        let lab = Self { name: format!("orca{}{test}", std::process::id()) };
        for place in ["s", "a", "b", "c"] {
            run(&format!("ip netns add {}-{place}", lab.name));
        }
        lab.ip("s", "link add sw type bridge");
        lab.ip("s", "link set sw up");
        for (place, last) in [("a", 1), ("b", 2), ("c", 3)] {
            lab.ip(
                "s",
                &format!("link add name to-{place} type veth peer name eth0 netns {}-{place}", lab.name),
            );
            lab.ip("s", &format!("link set dev to-{place} master sw up"));
            lab.ip(place, &format!("addr add 192.0.2.{last}/24 dev eth0"));
            lab.ip(place, &format!("addr add 2001:db8::{last}/64 dev eth0 nodad"));
            lab.ip(place, "link set eth0 up");
            lab.ip(place, "link set lo up");
        }
        Some(lab)
    }

    fn ip(&self, place: &str, what: &str) -> String {
        run(&format!("ip -n {}-{place} {what}", self.name))
    }

    fn within<T: Send>(&self, place: &str, work: impl AsyncFnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}-{place}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build().unwrap().block_on(work())
            });
            there.join().unwrap()
        })
    }

    /// The card of a machine.
    fn mac(&self, place: &str) -> String {
        let shown = self.ip(place, "-o link show eth0");
        shown.split_once("link/ether ").unwrap().1[..17].to_owned()
    }

    /// Whether the machine that asks holds the card of another to have an address, or any, by now.
    fn knows(&self, address: &str) -> Option<String> {
        let shown = self.ip("c", &format!("neigh show {address} dev eth0"));
        shown.split_once("lladdr ").map(|(_, rest)| rest[..17].to_owned())
    }

    /// Whether the machine that asks is answered there: nobody listens, and it is told so.
    fn answers(&self, address: &str) -> bool {
        let at = SocketAddr::new(address.parse().unwrap(), 9);
        let asked = self.within("c", async || TcpStream::connect_timeout(&at, Duration::from_secs(5)));
        asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }
}

impl Drop for Segment3 {
    fn drop(&mut self) {
        for place in ["a", "b", "c", "s"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{place}", self.name)]).status();
        }
    }
}

fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect("iproute2");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const BALANCED: [&str; 2] = ["192.0.2.240", "2001:db8::f0"];

fn wanted() -> BTreeSet<IpAddr> {
    BALANCED.map(|text| text.parse().unwrap()).into()
}

async fn take(owner: &str) -> Done {
    let done = set(address::metric(owner), &wanted(), LIFE).await.unwrap();
    Told::default().tell(&done);
    done
}

#[test]
fn an_address_is_where_it_was_taken_last() {
    let Some(lab) = Segment3::new("a") else { return };
    let on = lab.within("a", async || segments().await.unwrap());
    assert_eq!(on, [("192.0.2.1".parse().unwrap(), 24), ("2001:db8::1".parse().unwrap(), 64)]);
    let done = lab.within("a", async || take("a").await);
    assert!(done.failed.is_empty() && done.there.len() == 2, "{done:?}");
    for address in BALANCED {
        assert!(lab.answers(address), "{address}");
        assert_eq!(lab.knows(address).as_deref(), Some(&*lab.mac("a")), "{address}");
    }
    // It ends by itself, and is none that the machine sends from.
    let shown = lab.ip("a", "addr show dev eth0");
    for address in BALANCED {
        let life = shown.split(&format!("{address}/")).nth(1).unwrap().lines().nth(1).unwrap().trim();
        assert!(life.starts_with("valid_lft 30sec") || life.starts_with("valid_lft 29sec"), "{life}");
        assert!(life.ends_with("preferred_lft 0sec"), "{life}");
    }
    // Another node takes it over, though the first is still there: whoever knew the first one's card is told.
    lab.within("b", async || take("b").await);
    for address in BALANCED {
        assert_eq!(lab.knows(address).as_deref(), Some(&*lab.mac("b")), "{address}");
    }
    // What is given up is gone, and nothing else is.
    let none = lab.within("a", async || {
        set(address::metric("other"), &BTreeSet::new(), LIFE).await.unwrap();
        assert_eq!(set(address::metric("a"), &wanted(), LIFE).await.unwrap().there.len(), 2, "it is renewed");
        set(address::metric("a"), &BTreeSet::new(), LIFE).await.unwrap()
    });
    assert!(none.there.is_empty() && none.failed.is_empty(), "{none:?}");
    let shown = lab.ip("a", "addr show dev eth0");
    let has = |address: &str| shown.contains(&format!(" {address}/"));
    assert!(has("192.0.2.1") && !BALANCED.into_iter().any(has), "{shown}");
}

#[test]
fn what_cannot_be_put_anywhere_is_said() {
    let Some(lab) = Segment3::new("b") else { return };
    let wanted: BTreeSet<IpAddr> = ["192.0.2.1", "203.0.113.9"].map(|text| text.parse().unwrap()).into();
    let take = async || set(address::metric("a"), &wanted, LIFE).await.unwrap();
    let done = lab.within("a", take);
    let shown: Vec<String> = done.failed.iter().map(|(ip, why)| format!("{ip} {why}")).collect();
    assert_eq!(
        shown,
        ["192.0.2.1 this machine has it already", "203.0.113.9 no device of this machine leads to it"]
    );
    // By the way out, where there is one.
    lab.ip("a", "route add default via 192.0.2.3");
    let done = lab.within("a", take);
    assert_eq!(done.there.keys().copied().collect::<Vec<_>>(), [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))]);
    assert!(lab.ip("a", "addr show dev eth0").contains("203.0.113.9/32"));
}
