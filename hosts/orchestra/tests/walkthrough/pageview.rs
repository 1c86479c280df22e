//! The Pageview app of the seed's Activity 2.01: a page that counts its visits in Redis, first as one pod, then as three of which
//! all but one are killed again and again.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use tempfile::TempDir;

use crate::archive;
use crate::native::image;
use crate::support::daemons::{make_busybox, make_network};
use crate::support::{self, Kubectl, Place, Up};

const PAGEVIEW: &str = "docker.io/orchestra-test/pageview:1";
const REDIS: &str = "docker.io/orchestra-test/redis:1";

/// The app: it knows Redis by a name of the cluster, and says which visit this is.
const APP: &str = r#"#!/bin/sh
visit=$(printf 'INCR visits\r\nQUIT\r\n' | nc k8s-redis 6379 | head -n 1 | tr -dc 0-9)
[ -n "$visit" ] || { printf 'Status: 502\r\n\r\n'; exit; }
printf "Content-Type: text/plain\r\n\r\nHello, you're the visitor #$visit.\n"
"#;

/// The app and Redis, each of a Deployment, a Service by which they find each other, and one for visitors.
fn manifests(replicas: u32) -> String {
    let deployment = |name: &str, replicas: u32, container: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  \
             selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
             spec:\n      terminationGracePeriodSeconds: 3\n      containers: [{container}]\n---\n"
        )
    };
    let service = |name: &str, kind: &str, port: u16, target: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: {kind}, selector: {{app: {name}}}, \
             ports: [{{port: {port}, targetPort: {target}}}]}}\n---\n"
        )
    };
    // The app does not handle SIGTERM, as that of the seed does not, and is killed when its time is over.
    let app = format!(
        "{{name: app, image: {PAGEVIEW}, readinessProbe: {{periodSeconds: 1, tcpSocket: {{port: 8000}}}}}}"
    );
    let redis = format!(
        "{{name: redis, image: {REDIS}, readinessProbe: {{periodSeconds: 1, tcpSocket: {{port: 6379}}}}}}"
    );
    [
        deployment("k8s-redis", 1, &redis),
        service("k8s-redis", "ClusterIP", 6379, 6379),
        deployment("k8s-pageview", replicas, &app),
        service("k8s-pageview", "NodePort", 80, 8000),
    ]
    .concat()
}

/// Both images, as files.
fn images(place: &Path) -> [std::path::PathBuf; 2] {
    let (app, redis) = (place.join("pageview"), place.join("redis"));
    make_busybox(&app.join("root"));
    let view = app.join("root/www/cgi-bin/view");
    std::fs::create_dir_all(view.parent().unwrap()).unwrap();
    std::fs::write(&view, APP).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&view, executable).unwrap();
    let app = archive::pack(
        &app,
        PAGEVIEW,
        &[&app.join("root")],
        r#"{"Entrypoint":["/bin/httpd","-f","-p","8000","-h","/www"],"Env":["PATH=/bin"]}"#,
    );

    let server = Path::new("/usr/bin/redis-server");
    let root = redis.join("root");
    for folder in ["tmp", "proc", "dev", "sys"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let linked = Command::new("ldd").arg(server).output().unwrap();
    assert!(
        linked.status.success(),
        "redis-server is not there: {}",
        String::from_utf8_lossy(&linked.stderr)
    );
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([server]) {
        let to = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    let redis = archive::pack(
        &redis,
        REDIS,
        &[&root],
        r#"{"Entrypoint":["/usr/bin/redis-server"],"Cmd":["--bind","0.0.0.0","--protected-mode","no","--save",""],"WorkingDir":"/tmp"}"#,
    );
    [app, redis]
}

/// A network of the test's own, in which no other cluster of this machine has the addresses of Services.
struct Network(TempDir);

impl Network {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_network(&folder.path().join("netns"));
        Self(folder)
    }

    fn place(&self) -> Place {
        Place { netns: Some(self.0.path().join("netns")), docker: None }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path().join("netns"), rustix::mount::UnmountFlags::DETACH);
    }
}

/// Visits the page, and answers which visit it was.
fn visit(place: &Place, url: &str) -> u64 {
    let begun = Instant::now();
    let output =
        place.command("curl").args(["-sS", "--fail", "--max-time", "10", url]).output().expect("curl");
    let (took, said) = (begun.elapsed(), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "after {took:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
    let number = said.strip_prefix("Hello, you're the visitor #").and_then(|rest| rest.strip_suffix(".\n"));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said:?}"))
}

/// The names of the pods of the app, when there are so many, all ready, and none that is on its way out.
fn pods(kubectl: &Kubectl, count: usize) -> Vec<String> {
    let said = kubectl.until("get pods -l app=k8s-pageview --no-headers", |pods| {
        pods.lines().count() == count && pods.matches("1/1").count() == count && !pods.contains("Terminating")
    });
    said.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn activity_2_01_no_visit_fails_while_pods_are_killed() {
    if !std::env::var("ORCHESTRA_TEST_DAEMONS").is_ok_and(|value| value == "1") {
        return eprintln!(
            "left out: needs root, runc and redis-server; set ORCHESTRA_TEST_DAEMONS=1 to run it"
        );
    }
    let network = Network::make();
    let place = network.place();
    let up = Up::start_at(place.clone(), &["--runtime", "native"]);
    let Some(kubectl) = Kubectl::newest(&up) else { return };
    let folder = tempfile::tempdir().unwrap();
    for file in images(folder.path()) {
        let (loaded, said) = image(&up, &["load", file.to_str().unwrap()]);
        assert!(loaded, "{said}");
    }
    kubectl.apply(&manifests(1));
    kubectl.ok("wait --for=condition=Available deployment/k8s-redis deployment/k8s-pageview --timeout=50s");
    let port = kubectl.ok("get service k8s-pageview -o jsonpath={.spec.ports[0].nodePort}");
    let url = format!("http://127.0.0.1:{port}/cgi-bin/view");
    // The proxy hears of a pod a moment after its Deployment does.
    support::until("the port is open", || {
        let tried = place.command("curl").args(["-sS", "--fail", "--max-time", "10", &url]).output().unwrap();
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        if tried.status.success() { Ok(()) } else { Err(why) }
    });
    let visit = || visit(&place, &url);
    let first = visit();
    assert_eq!([visit(), visit()], [first + 1, first + 2]);

    assert!(kubectl.apply(&manifests(3)).contains("deployment.apps/k8s-pageview configured"));
    let mut running = pods(&kubectl, 3);
    let (stop, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let visitor: ScopedJoinHandle<'_, ()> = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let before = visits.load(Ordering::Relaxed);
                assert_eq!(visit(), first + 3 + before, "each visit is counted once");
                visits.store(before + 1, Ordering::Relaxed);
            }
        });
        for round in 1..=3 {
            let (kept, killed) = running.split_first().unwrap();
            kubectl.ok(&format!("delete pod --wait=false {}", killed.join(" ")));
            let now = pods(&kubectl, 3);
            assert!(now.contains(kept) && killed.iter().all(|pod| !now.contains(pod)), "{now:?}");
            running = now;
            support::until("there are visits all the time", || match visits.load(Ordering::Relaxed) {
                few if few < 10 * round && !visitor.is_finished() => Err(few.to_string()),
                _ => Ok(()),
            });
        }
        stop.store(true, Ordering::Relaxed);
        visitor.join().expect("no visit fails");
    });
    println!("{} visits while six pods were killed", visits.into_inner());
    kubectl.ok("delete deployment,service k8s-pageview k8s-redis");
    kubectl.until("get pods -o name", str::is_empty);
}
