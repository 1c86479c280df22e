//! How pods reach each other and names, and what is mounted into their containers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orchestra_core::runtime::*;
use orchestra_runtime::process::{ProcessRuntime, Range};

use super::support::{holds, output, started};
use super::{Place, container, is_root};

/// Somebody removes the data of a runtime that is not running: the next one on the machine cleans up.
#[tokio::test]
async fn networks_of_nobody_are_swept() {
    let place = Place::new();
    let runtime = place.open().await;
    let made = runtime.run_sandbox(&place.sandbox("swept")).await.unwrap();
    let Some(netns) = made.netns.clone() else { return };
    let IpAddr::V4(address) = made.ips[0] else { panic!("{made:?}") };
    let device = PathBuf::from(format!("/sys/class/net/orc{:08x}", address.to_bits()));
    assert!(netns.exists() && device.exists());
    drop(runtime);
    std::fs::remove_dir_all(place.path("data")).unwrap();
    let kept = place.open().await;
    assert!(!netns.exists() && !device.exists(), "{} {}", netns.display(), device.display());
    let made = kept.run_sandbox(&place.sandbox("kept")).await.unwrap();
    let again = place.open().await;
    assert!(made.netns.as_ref().is_some_and(|netns| netns.exists()), "what is in use stays");
    again.remove_sandbox(&made.id).await.unwrap();
}

/// A bridge of one test's own.
struct Bridge(&'static str);

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0]).status();
    }
}

#[tokio::test]
async fn packets_are_as_large_as_is_said() {
    let (place, bridge) = (Place::new(), Bridge("orctest2"));
    let config = place.config().pods(Range::parse("10.87.0.0/16").unwrap(), bridge.0).mtu(Some(1342));
    let runtime = ProcessRuntime::open(config).await.unwrap();
    let made = runtime.run_sandbox(&place.sandbox("small")).await.unwrap();
    if made.netns.is_none() {
        return;
    }
    let IpAddr::V4(address) = made.ips[0] else { panic!("{made:?}") };
    for device in [bridge.0, &format!("orc{:08x}", address.to_bits())] {
        let held = std::fs::read_to_string(format!("/sys/class/net/{device}/mtu")).unwrap();
        assert_eq!(held.trim(), "1342", "{device}");
    }
    let shown = output(&runtime, &made.id, &container("app", "/usr/sbin/ip -o link show eth0")).await;
    assert!(shown.contains("mtu 1342 "), "{shown}");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// Pods know the gateway by its hardware address: were it another one, what they send would be lost for a while.
#[tokio::test]
async fn the_gateway_stays_who_it_is_while_pods_come_and_go() {
    let (place, bridge) = (Place::new(), Bridge("orctest3"));
    let config = place.config().pods(Range::parse("10.88.0.0/16").unwrap(), bridge.0);
    let runtime = ProcessRuntime::open(config).await.unwrap();
    let mut pods = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for pod in ["first", "second", "third", "fourth"] {
        let made = runtime.run_sandbox(&place.sandbox(pod)).await.unwrap();
        if made.netns.is_none() {
            return;
        }
        pods.push(made.id);
        seen.insert(std::fs::read_to_string(format!("/sys/class/net/{}/address", bridge.0)).unwrap());
    }
    for pod in &pods {
        runtime.remove_sandbox(pod).await.unwrap();
        seen.insert(std::fs::read_to_string(format!("/sys/class/net/{}/address", bridge.0)).unwrap());
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn names_are_looked_up_as_the_pod_says() {
    let place = Place::new();
    let runtime = place.open().await;
    if !runtime.capabilities().mounts {
        return;
    }
    let dns = DnsConfig {
        servers: vec!["192.0.2.7".parse().unwrap()],
        searches: vec!["shop.svc".into()],
        options: vec!["ndots:5".into()],
    };
    let made = runtime.run_sandbox(&SandboxSpec { dns: Some(dns), ..place.sandbox("names") }).await.unwrap();
    let printed = output(&runtime, &made.id, &container("app", "cat /etc/resolv.conf")).await;
    assert_eq!(printed, "nameserver 192.0.2.7\nsearch shop.svc\noptions ndots:5\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// A volume is written by containers: a link in it, to a link, to the machine, is followed within the container.
#[tokio::test]
async fn mount_points_do_not_leave_the_container() {
    let place = Place::new();
    let runtime = place.open().await;
    if !runtime.capabilities().mounts {
        return;
    }
    let (volume, outside, file) = (place.path("volume"), place.path("outside"), place.path("file"));
    for folder in [&volume, &outside] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(&file, "mounted\n").unwrap();
    std::os::unix::fs::symlink("second", volume.join("first")).unwrap();
    std::os::unix::fs::symlink(&outside, volume.join("second")).unwrap();
    let made = runtime.run_sandbox(&place.sandbox("links")).await.unwrap();
    let mut spec = container("app", "cat /vol/first/made");
    spec.mounts = vec![mount(&volume, "/vol", false), mount(&file, "/vol/first/made", true)];
    assert_eq!(output(&runtime, &made.id, &spec).await, "mounted\n");
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none(), "a file was made on the machine");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

pub fn mount(from: &Path, to: &str, read_only: bool) -> Mount {
    Mount {
        host_path: from.to_owned(),
        container_path: to.into(),
        read_only,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }
}

#[tokio::test]
async fn mounts_are_seen_by_the_container_alone() {
    let place = Place::new();
    let runtime = place.open().await;
    if !runtime.capabilities().mounts {
        eprintln!("skipped: this machine gives no mounts to a program without root");
        return;
    }
    let (volume, file) = (place.path("volume"), place.path("file"));
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("a"), "from the volume\n").unwrap();
    std::fs::write(&file, "one file\n").unwrap();
    let message = place.path("message");
    std::fs::write(&message, "").unwrap();
    let sandbox = runtime.run_sandbox(&place.sandbox("mounts")).await.unwrap();
    // At the root, within a folder of the machine, through a symbolic link, within another mount, and over a file.
    let mut spec = container(
        "app",
        "cat /orchestra-data/a /usr/share/orchestra/deep/a /var/run/orchestra-test/a /sys/orchestra-test/a \
         /orchestra-data/inner/f; \
         cat /etc/hostname; echo new > /orchestra-data/b; \
         echo done > /dev/termination-log; echo x > /dev/null; ls -d /dev/pts; \
         (echo no > /usr/share/orchestra/deep/c) 2>/dev/null || echo read only; ls /usr/bin/env",
    );
    spec.mounts = vec![
        mount(&volume, "/orchestra-data", false),
        mount(&volume, "/usr/share/orchestra/deep", true),
        mount(&volume, "/var/run/orchestra-test", false),
        // Other file systems are mounted below this one, on every machine.
        mount(&volume, "/sys/orchestra-test", true),
        mount(&file, "/orchestra-data/inner/f", false),
        mount(&file, "/etc/hostname", true),
        mount(&message, "/dev/termination-log", false),
    ];
    let printed = output(&runtime, &sandbox.id, &spec).await;
    let expected = format!(
        "{}{}/dev/pts\nread only\n/usr/bin/env\n",
        "from the volume\n".repeat(4),
        "one file\n".repeat(2)
    );
    assert_eq!(printed, expected);
    assert_eq!(std::fs::read_to_string(message).unwrap(), "done\n");
    assert_eq!(std::fs::read_to_string(volume.join("b")).unwrap(), "new\n");
    for nowhere in ["/orchestra-data", "/usr/share/orchestra", "/run/orchestra-test"] {
        assert!(!Path::new(nowhere).exists(), "{nowhere} was made on the machine");
    }

    let mut spec = container("long", "exec sleep 600");
    spec.mounts = vec![mount(&volume, "/orchestra-data", false)];
    let id = started(&runtime, &sandbox.id, &spec).await;
    let command = ["cat", "/orchestra-data/a"].map(str::to_owned);
    let seen = runtime.exec_sync(&id, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "from the volume\n", "{seen:?}");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn pods_have_addresses_of_their_own() {
    let place = Place::new();
    let runtime = place.open().await;
    let one = runtime.run_sandbox(&place.sandbox("one")).await.unwrap();
    let two = runtime.run_sandbox(&place.sandbox("two")).await.unwrap();
    assert_ne!(one.ips, two.ips);
    // Both on the same port, at their own address.
    for sandbox in [&one, &two] {
        let name = format!("from-{}", sandbox.ips[0]).replace('.', "-");
        let script = format!("echo {name} > index.html; exec busybox httpd -f -p $POD_IP:8765 -h .");
        let mut spec = container("web", &script);
        let folder = place.path(&name);
        std::fs::create_dir(&folder).unwrap();
        spec.working_dir = Some(folder.to_str().unwrap().into());
        started(&runtime, &sandbox.id, &spec).await;
        let address = format!("{}:8765", sandbox.ips[0]);
        holds("the pod answers", async || get(&address).await.is_ok_and(|answer| answer.contains(&name)))
            .await;
    }
    // And from one pod to the other.
    let ask = format!("busybox wget -q -O - http://{}:8765/", two.ips[0]);
    assert!(output(&runtime, &one.id, &container("ask", &ask)).await.starts_with("from-"));
    if is_root() {
        let shown =
            output(&runtime, &one.id, &container("name", "hostname; ls /sys/class/net | wc -l")).await;
        assert!(shown.starts_with("one\n"), "{shown}");
    }
    runtime.remove_sandbox(&one.id).await.unwrap();
    runtime.remove_sandbox(&two.id).await.unwrap();
}

async fn get(address: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
