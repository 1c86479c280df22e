//! What a node costs on each runtime: a pod until it runs, a hundred at once, an agent that is started again with a hundred
//! pods, and the same pods idle.
//!
//! `cargo bench -p orchestra-benches --bench node [-- fake process native docker containerd]`; without a word all that this
//! machine has. `native`, `docker` and `containerd` take root, and the daemons are the bench's own: they are those of the
//! tests, apart from any other on the machine. Beside a pod stands what its sandbox and container take when the runtime is
//! asked for them directly, one after the other. Not run by criterion: nothing here takes less than milliseconds.
//!
//! The idle figures are of this process, which is the agent with an API in memory: shims and daemons are not in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestra_core::clock::TokioClock;
use orchestra_core::runtime::Runtime;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::native::{self, NativeRuntime};
use orchestra_runtime::process::{self, ProcessRuntime, Range};

#[path = "../../../orchestra-runtime/tests/native/archive.rs"]
mod archive;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../orchestra-runtime/tests/cri/daemon.rs"]
mod containerd;
mod direct;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../orchestra-runtime/tests/docker/daemon.rs"]
mod docker;
mod pods;
#[path = "../../../orchestra-runtime/tests/support/mod.rs"]
mod support;

use pods::Subject;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: [&str; 5] = ["fake", "process", "native", "docker", "containerd"];

fn main() {
    // First of all: when a runtime started this program to hold a container, it does that and nothing else.
    process::init();
    let asked: Vec<String> = std::env::args().filter(|argument| ALL.contains(&argument.as_str())).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("a runtime").block_on(async {
        println!("runtime      pod, direct   pod, Running   100 at once   100 adopted   idle cpu   a pod");
        for name in ALL.into_iter().filter(|name| wanted(name)) {
            measure(name).await;
        }
    });
}

async fn measure(name: &str) {
    let place = tempfile::tempdir().expect("a folder");
    match name {
        "fake" => {
            let runtime = FakeRuntime::new(TokioClock::system());
            Subject { name, runtime: Arc::new(runtime), image: "web:1", place: place.path() }.measure().await;
        }
        "process" => {
            let config = process::Config::new(place.path().join("containers"));
            let config = config.run(place.path().join("run"));
            let config = config.pods(Range::parse("10.86.0.0/16").expect("a range"), "orcbench0");
            let runtime = ProcessRuntime::open(config).await.expect("processes");
            Subject { name, runtime: Arc::new(runtime), image: "none", place: place.path() }.measure().await;
        }
        "native" if NativeRuntime::is_possible() => {
            let runtime: Arc<dyn Runtime> = Arc::new(open_native(place.path()).await);
            Subject { name, runtime, image: archive::IMAGE, place: place.path() }.measure().await;
        }
        "docker" => {
            let Some(daemon) = docker::Daemon::start().await else { return };
            let runtime = Arc::new(DockerRuntime::connect_to(&daemon.host()).await.expect("dockerd"));
            Subject { name, runtime, image: docker::IMAGE, place: place.path() }.measure().await;
        }
        "containerd" => {
            let Some(daemon) = containerd::Daemon::start().await else { return };
            let runtime = Arc::new(CriRuntime::connect_to(&daemon.socket()).await.expect("containerd"));
            Subject { name, runtime, image: containerd::IMAGE, place: place.path() }.measure().await;
        }
        _ => {}
    }
}

async fn open_native(place: &Path) -> NativeRuntime {
    let run: PathBuf = place.join("run");
    let config = native::Config::new(place.join("data"))
        .process(|config| config.pods(Range::parse("10.87.0.0/16").expect("a range"), "orcbench1").run(run));
    let runtime = NativeRuntime::open(config).await.expect("native containers");
    runtime.store().load(&archive::make(place), None).await.expect("an image");
    runtime
}

/// The middle one of some times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How long something takes.
async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}
