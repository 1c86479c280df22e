//! Volumes on this machine's disk, and probes over its loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orchestra_core::node::{
    EmptyDir, FileContent, FileSet, Files, HostError, HttpProbe, PodFile, ProbeError, Prober, SubPath,
    VolumeHost,
};
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

fn on_disk(files: &Files) -> FileSet<'_> {
    FileSet { files, memory: false, group: None }
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
    let put = async |set: &Files| volumes.files(&pod(), "conf", &on_disk(set)).await;
    let first = files(&[("a", "1"), ("dir/b", "2"), ("gone", "3")]);
    let path = put(&first).await.unwrap();
    assert_eq!(shown(&path), map(&[("a", "1"), ("dir", "a folder"), ("gone", "3")]));
    assert_eq!(std::fs::read_to_string(path.join("dir/b")).unwrap(), "2");
    assert_eq!(std::fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777, 0o640);

    let set = std::fs::read_link(path.join("..data")).unwrap();
    put(&first).await.unwrap();
    assert_eq!(std::fs::read_link(path.join("..data")).unwrap(), set, "what is right is not written again");

    // What a crash in the middle of a change leaves.
    std::fs::create_dir(path.join("..2020_01_01")).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join("..data_tmp")).unwrap();
    put(&files(&[("a", "9"), ("new", "4")])).await.unwrap();
    assert_eq!(shown(&path), map(&[("a", "9"), ("new", "4")]));
    let hidden = std::fs::read_dir(&path).unwrap().flatten();
    let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with(".."));
    assert_eq!(hidden.count(), 2, "..data and the set it leads to");
    assert!(matches!(put(&files(&[("../x", "")])).await, Err(HostError::SubPathEscapes { .. })));
}

#[tokio::test]
async fn pods_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("later"));
    assert!(volumes.pods().await.unwrap().is_empty());
    for memory in [false, true] {
        let name = format!("cache-{memory}");
        let options = EmptyDir { memory, size_limit: Some(1 << 20), group: None };
        let path = volumes.empty_dir(&pod(), &name, &options).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        std::fs::write(path.join("kept"), "x").unwrap();
        let again = volumes.empty_dir(&pod(), &name, &options).await.unwrap();
        assert!(again == path && path.join("kept").exists(), "made once");
        // What a container has made of it, such as a database that lets nobody else in, stays.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        volumes.empty_dir(&pod(), &name, &options).await.unwrap();
        assert_eq!(mode(&path), 0o700);
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

#[tokio::test]
async fn a_mounted_file_is_changed_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path());
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let write = async |content: &str, replace| {
        let file = PodFile { name: "etc-hosts", content: content.as_bytes(), mode: 0o644, replace };
        volumes.pod_file(&pod(), &file).await.unwrap()
    };
    let path = write("one", true).await;
    let before = inode(&path);
    write("two", true).await;
    write("three", false).await;
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
    let volumes = volumes.containers_have_own_rights();
    let open = async |path| {
        let wanted = SubPath { volume: &volume, path, container: "app", index: 0 };
        volumes.sub_path(&pod(), &wanted).await
    };
    let real = std::fs::canonicalize(&volume).unwrap();
    assert_eq!(open("new/deep").await.unwrap(), real.join("new/deep"));
    assert_eq!(open("inside/more").await.unwrap(), real.join("real/more"));
    std::os::unix::fs::symlink("../inside", volume.join("real/back")).unwrap();
    assert_eq!(
        open("real/back/more").await.unwrap(),
        real.join("real/more"),
        "links within the volume are followed"
    );
    for bad in ["up", "up/x", "absolute", "absolute/passwd", "../volume", "/etc"] {
        let refused = open(bad).await;
        assert!(matches!(refused, Err(HostError::SubPathEscapes { .. })), "{bad}: {refused:?}");
    }
    assert!(!folder.path().join("outside/x").exists());
}

/// Swaps a folder of a volume with a link to the machine's root, as fast as it can, until dropped.
struct Attack {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Attack {
    fn on(volume: &Path) -> Self {
        use rustix::fs::{CWD, RenameFlags};
        let (folder, link) = (volume.join("sub"), volume.join("evil"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("harmless"), "").unwrap();
        std::os::unix::fs::symlink("/", &link).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// CVE-2021-25741: what is handed out is what was checked, however the volume changes meanwhile.
#[tokio::test]
async fn a_sub_path_stays_what_it_was() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: binding takes root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("pods"));
    let volume = volumes.empty_dir(&pod(), "shared", &EmptyDir::default()).await.unwrap();
    let attack = Attack::on(&volume);
    let (mut inside, mut refused) = (0, 0);
    for round in 0..400 {
        let container = format!("c{}", round % 8);
        let wanted = SubPath { volume: &volume, path: "sub", container: &container, index: 0 };
        match volumes.sub_path(&pod(), &wanted).await {
            Ok(place) => {
                assert!(
                    place.join("harmless").exists() && !place.join("etc").exists(),
                    "{}",
                    place.display()
                );
                assert!(place.starts_with(folder.path().join("pods/uid-1/sub-paths")));
                inside += 1;
            }
            Err(HostError::SubPathEscapes { .. }) => refused += 1,
            // It was swapped more often than anybody wants to try, or for the moment is not a folder.
            Err(HostError::Io { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    drop(attack);
    assert!(inside > 0 && refused > 0, "the attack never won: {inside} and {refused}");

    // A file, as of a ConfigMap; the next life of the container gets what is there then.
    let conf = volumes.files(&pod(), "conf", &on_disk(&files(&[("a", "1")]))).await.unwrap();
    let wanted = SubPath { volume: &conf, path: "a", container: "c0", index: 0 };
    let place = volumes.sub_path(&pod(), &wanted).await.unwrap();
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "1");
    volumes.files(&pod(), "conf", &on_disk(&files(&[("a", "2")]))).await.unwrap();
    let reopened = Volumes::new(folder.path().join("pods"));
    let again = reopened.sub_path(&pod(), &wanted).await.unwrap();
    assert_eq!((std::fs::read_to_string(&again).unwrap(), again), ("2".into(), place));

    // Removing the pod removes the mounts and not what is behind them.
    let host = folder.path().join("host");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    std::fs::write(host.join("sub/precious"), "").unwrap();
    let wanted = SubPath { volume: &host, path: "sub", container: "c1", index: 0 };
    assert!(volumes.sub_path(&pod(), &wanted).await.unwrap().join("precious").exists());
    volumes.remove_pod("uid-1").await.unwrap();
    assert!(host.join("sub/precious").exists());
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounted.contains(folder.path().to_str().unwrap()), "{mounted}");
}

#[tokio::test]
async fn without_the_right_to_bind_a_sub_path_is_refused() {
    if rustix::process::geteuid().is_root() {
        return; // see `all_of_it_without_root`
    }
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("pods"));
    let wanted = SubPath { volume: folder.path(), path: "sub", container: "app", index: 0 };
    let refused = volumes.sub_path(&pod(), &wanted).await.unwrap_err();
    assert!(refused.to_string().contains("right to mount"), "{refused}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A Secret reaches no disk, and nobody else gets near it.
#[tokio::test]
async fn secrets_are_in_memory_and_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(folder.path().join("pods"));
    let put = async |text| {
        let set = files(&[("key", text)]);
        volumes.files(&pod(), "secret", &FileSet { memory: true, ..on_disk(&set) }).await.unwrap()
    };
    let path = put("s3cret").await;
    put("s3cret2").await;
    assert_eq!(std::fs::read_to_string(path.join("key")).unwrap(), "s3cret2");
    assert_eq!(mode(&path), 0o755, "containers of any user get in");
    for above in ["pods", "pods/uid-1", "pods/uid-1/volumes"] {
        assert_eq!(mode(&folder.path().join(above)), 0o750, "{above}");
    }
    if rustix::process::geteuid().is_root() {
        const TMPFS: i64 = 0x0102_1994;
        assert_eq!(rustix::fs::statfs(&path).unwrap().f_type as i64, TMPFS);
    }
    let hosts = PodFile { name: "etc-hosts", content: b"x", mode: 0o644, replace: true };
    assert_eq!(mode(&volumes.pod_file(&pod(), &hosts).await.unwrap()), 0o644);
    assert_eq!(mode(&folder.path().join("pods/uid-1/files")), 0o750);
    volumes.remove_pod("uid-1").await.unwrap();
    assert!(!path.exists());
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
    let path = volumes.files(&pod(), "conf", &FileSet { group: Some(group), ..on_disk(&set) }).await.unwrap();
    assert_eq!(shown(&path), ("2755".into(), group));
    for name in ["a", "dir/b"] {
        assert_eq!(shown(&path.join(name)), ("440".into(), group), "{name}");
    }
    let before = std::fs::read_link(path.join("..data")).unwrap();
    volumes.files(&pod(), "conf", &FileSet { group: Some(group), ..on_disk(&set) }).await.unwrap();
    assert_eq!(
        std::fs::read_link(path.join("..data")).unwrap(),
        before,
        "what is right is not written again"
    );
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

/// The volumes again as nobody, when we are root.
#[test]
fn all_of_it_without_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let program = folder.path().join("host-test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--skip", "all_of_it_without_root"])
        .env("TMPDIR", folder.path())
        .current_dir("/")
        .output()
        .expect("setpriv of util-linux");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
}
