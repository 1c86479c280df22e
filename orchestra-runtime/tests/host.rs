//! Volumes on this machine's disk, and probes over its loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use orchestra_core::node::volumes::{FileContent, Files};
use orchestra_core::node::{EmptyDir, HostError, HttpProbe, ProbeError, Prober, VolumeHost};
use orchestra_core::runtime::PodRef;
use orchestra_runtime::host::{NetProber, Volumes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn pod() -> PodRef {
    PodRef { namespace: "default".into(), name: "web".into(), uid: "uid-1".into() }
}

fn files(list: &[(&str, &str)]) -> Files {
    let file = |text: &str| FileContent { data: text.as_bytes().to_vec(), mode: 0o640 };
    list.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()
}

fn shown(folder: &Path) -> BTreeMap<String, String> {
    let visible = |name: &str| !name.starts_with("..");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| visible(name))
        .map(|name| {
            let path = folder.join(&name);
            let text = if path.is_dir() { "a folder".into() } else { std::fs::read_to_string(path).unwrap() };
            (name, text)
        })
        .collect()
}

fn map(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn sets_of_files_change_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path());
    let first = files(&[("a", "1"), ("dir/b", "2"), ("gone", "3")]);
    let path = volumes.files(&pod(), "conf", &first, None).await.unwrap();
    assert_eq!(shown(&path), map(&[("a", "1"), ("dir", "a folder"), ("gone", "3")]));
    assert_eq!(std::fs::read_to_string(path.join("dir/b")).unwrap(), "2");
    assert_eq!(std::fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777, 0o640);

    let set = std::fs::read_link(path.join("..data")).unwrap();
    volumes.files(&pod(), "conf", &first, None).await.unwrap();
    assert_eq!(std::fs::read_link(path.join("..data")).unwrap(), set, "what is right is not written again");

    // What a crash in the middle of a change leaves.
    std::fs::create_dir(path.join("..2020_01_01")).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("..data_tmp")).unwrap();
    volumes.files(&pod(), "conf", &files(&[("a", "9"), ("new", "4")]), None).await.unwrap();
    assert_eq!(shown(&path), map(&[("a", "9"), ("new", "4")]));
    let hidden = std::fs::read_dir(&path).unwrap().flatten();
    let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with(".."));
    assert_eq!(hidden.count(), 2, "..data and the set it leads to");
    assert!(matches!(
        volumes.files(&pod(), "conf", &files(&[("../x", "")]), None).await,
        Err(HostError::SubPathEscapes { .. })
    ));
}

#[tokio::test]
async fn pods_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("later"));
    assert!(volumes.pods().await.unwrap().is_empty());
    for memory in [false, true] {
        let name = format!("cache-{memory}");
        let directory = EmptyDir { memory, size_limit: Some(1 << 20), group: None };
        let path = volumes.empty_dir(&pod(), &name, &directory).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        std::fs::write(path.join("kept"), "x").unwrap();
        let again = volumes.empty_dir(&pod(), &name, &directory).await.unwrap();
        assert!(again == path && path.join("kept").exists(), "made once");
        let full = std::fs::write(path.join("big"), vec![0; 2 << 20]);
        assert_eq!(full.is_err(), memory && rustix::process::geteuid().is_root(), "{full:?}");
    }
    assert_eq!(volumes.pods().await.unwrap(), ["uid-1"]);
    for _ in 0..2 {
        volumes.remove_pod("uid-1").await.unwrap();
    }
    assert!(volumes.pods().await.unwrap().is_empty());
    for uid in ["..", ".", "", "a/b"] {
        assert!(volumes.remove_pod(uid).await.is_err(), "{uid:?}");
    }
}

/// `fsGroup`: what containers write to and read belongs to the group, and is passed on to it.
#[tokio::test]
async fn volumes_belong_to_the_pods_group() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path());
    // Only root may give files to any group; without it the group of this program has to do.
    let group = if rustix::process::geteuid().is_root() { 3000 } else { rustix::process::getegid().as_raw() };
    let shown = |path: &Path| {
        let found = std::fs::metadata(path).unwrap();
        (format!("{:o}", found.mode() & 0o7777), found.gid())
    };
    for memory in [false, true] {
        let directory = EmptyDir { memory, size_limit: None, group: Some(group) };
        let path = volumes.empty_dir(&pod(), &format!("cache-{memory}"), &directory).await.unwrap();
        assert_eq!(shown(&path), ("2777".into(), group));
        std::fs::write(path.join("made"), "x").unwrap();
        assert_eq!(shown(&path.join("made")).1, group, "handed on");
    }
    let mut set = files(&[("a", "1"), ("dir/b", "2")]);
    set.values_mut().for_each(|file| file.mode = 0o440);
    let path = volumes.files(&pod(), "conf", &set, Some(group)).await.unwrap();
    assert_eq!(shown(&path), ("2755".into(), group));
    for name in ["a", "dir/b"] {
        assert_eq!(shown(&path.join(name)), ("440".into(), group), "{name}");
    }
    let before = std::fs::read_link(path.join("..data")).unwrap();
    volumes.files(&pod(), "conf", &set, Some(group)).await.unwrap();
    assert_eq!(
        std::fs::read_link(path.join("..data")).unwrap(),
        before,
        "what is right is not written again"
    );
}

#[tokio::test]
async fn a_mounted_file_is_changed_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path());
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let path = volumes.pod_file(&pod(), "etc-hosts", b"one", true).await.unwrap();
    let before = inode(&path);
    volumes.pod_file(&pod(), "etc-hosts", b"two", true).await.unwrap();
    volumes.pod_file(&pod(), "etc-hosts", b"three", false).await.unwrap();
    assert_eq!(
        (inode(&path), volumes.read_pod_file(&pod(), "etc-hosts", 2).await.unwrap()),
        (before, b"tw".to_vec())
    );
    assert!(volumes.read_pod_file(&pod(), "absent", 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn host_paths_are_what_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    for (name, kind, error) in [
        ("file", "File", None),
        ("file", "Directory", Some("a directory")),
        ("absent", "File", Some("a file")),
        ("absent", "Socket", Some("a socket file")),
        ("made/file", "DirectoryOrCreate", None),
        ("made/file", "Directory", None),
        ("made/it", "FileOrCreate", None),
        ("made/it", "BlockDevice", Some("a block device")),
        ("made/any", "", None),
    ] {
        match (volumes.host_path(&at(name), kind).await, error) {
            (Ok(path), None) => assert!(path == at(name) && path.exists(), "{name} {kind}"),
            (Err(HostError::HostPathType { expected, .. }), Some(error)) => assert_eq!(expected, error),
            (other, _) => panic!("{name} {kind}: {other:?}"),
        }
    }
    assert!(volumes.host_path(Path::new("/dev/null"), "CharDevice").await.is_ok());
}

#[tokio::test]
async fn sub_paths_stay_in_their_volume() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("pods"));
    let volume = folder.path().join("volume");
    std::fs::create_dir_all(volume.join("real")).unwrap();
    std::fs::create_dir(folder.path().join("outside")).unwrap();
    for (link, target) in [("inside", "real"), ("up", "../outside"), ("absolute", "/etc")] {
        std::os::unix::fs::symlink(target, volume.join(link)).unwrap();
    }
    let real = std::fs::canonicalize(&volume).unwrap();
    assert_eq!(volumes.sub_path(&volume, "new/deep").await.unwrap(), real.join("new/deep"));
    assert_eq!(volumes.sub_path(&volume, "inside/more").await.unwrap(), real.join("real/more"));
    for bad in ["up", "up/x", "absolute", "absolute/passwd", "../volume", "/etc"] {
        let refused = volumes.sub_path(&volume, bad).await;
        assert!(matches!(refused, Err(HostError::SubPathEscapes { .. })), "{bad}: {refused:?}");
    }
    assert!(!folder.path().join("outside/x").exists());
}

/// Answers every request with what a script makes of it.
async fn server(answer: fn(&str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                let answer = answer(&String::from_utf8_lossy(&request));
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

fn probe(address: SocketAddr, path: &str) -> HttpProbe {
    HttpProbe {
        tls: false,
        host: address.ip().to_string(),
        port: address.port(),
        path: path.into(),
        headers: vec![("X-Probe".into(), "yes".into()), ("Host".into(), "web.example".into())],
        timeout: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn asks_over_http() {
    let address = server(|request| {
        let (status, more) = match request.split(' ').nth(1).unwrap_or_default() {
            "/moved" => ("302 Found", "Location: /ok?x=1\r\n"),
            "/away" => ("302 Found", "Location: http://192.0.2.1/\r\n"),
            "/loop" => ("302 Found", "Location: /loop\r\n"),
            "/sick" => ("503 Service Unavailable", ""),
            _ => ("200 OK", ""),
        };
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{request}", request.len())
    })
    .await;
    let ask = async |path| NetProber.http(&probe(address, path)).await;
    let answer = ask("/moved").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("GET /ok?x=1 HTTP/1.1\r\n"), "{}", answer.body);
    let lower = answer.body.to_lowercase();
    assert!(lower.contains("x-probe: yes\r\n") && lower.contains("host: web.example\r\n"), "{lower}");
    assert_eq!(ask("/sick").await.unwrap().status, 503);
    assert_eq!(ask("/away").await.unwrap().status, 302);
    assert!(matches!(ask("/loop").await, Err(ProbeError::Protocol { .. })));
}

#[tokio::test]
async fn says_why_nobody_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    NetProber.tcp(address, Duration::from_secs(20)).await.unwrap();
    let silent = HttpProbe { timeout: Duration::from_millis(50), ..probe(address, "/") };
    assert_eq!(NetProber.http(&silent).await, Err(ProbeError::Timeout));
    drop(listener);
    let refused = format!("dial tcp {address}: connect: connection refused");
    assert_eq!(
        NetProber.tcp(address, Duration::from_secs(20)).await,
        Err(ProbeError::Connect { message: refused.clone() })
    );
    assert_eq!(NetProber.http(&probe(address, "/")).await, Err(ProbeError::Connect { message: refused }));
    let nonsense = server(|_| "what?\r\n\r\n".into()).await;
    assert!(matches!(NetProber.http(&probe(nonsense, "/")).await, Err(ProbeError::Protocol { .. })));
}
