//! What the tests of runtimes with a daemon do: they wait for it, and have an image.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestra_core::runtime::RuntimeError;
use orchestra_core::testing::until;

/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the image has of busybox.
const APPLETS: [&str; 17] = [
    "sh", "sleep", "echo", "cat", "true", "id", "hostname", "env", "wget", "httpd", "head", "tail", "ls",
    "nc", "printf", "stty", "tr",
];

/// Waits until a daemon answers; says what it last wrote if it never does.
pub async fn answers<F>(daemon: &str, log: &Path, ask: impl Fn() -> F)
where
    F: Future<Output = Result<(), RuntimeError>>,
{
    let why = Arc::new(Mutex::new(None));
    let what = fmt::from_fn(|f| {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        write!(f, "{daemon} answers: {:?}, {last:#?}", why.lock().unwrap())
    });
    // Nothing is borrowed: of what is, it cannot be shown to the compiler that it may go to another thread.
    let noted = Arc::clone(&why);
    until(&what, PATIENCE, move || {
        let (asked, why) = (ask(), Arc::clone(&noted));
        async move {
            let error = asked.await.err();
            let is_there = error.is_none();
            *why.lock().unwrap() = error;
            is_there.then_some(())
        }
    })
    .await;
}

/// Makes the files of an image that is busybox.
pub fn make_busybox(root: &Path) {
    std::fs::create_dir_all(root.join("bin")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.expect("busybox of busybox-static"), root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    for folder in ["tmp", "etc", "proc", "dev", "sys"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
}

/// Makes a network of its own, in which there is only loopback, and pins it by a file; it is there until that is unmounted.
pub fn make_network(pin: &Path) {
    std::fs::write(pin, "").unwrap();
    let made = Command::new("unshare")
        .arg(format!("--net={}", pin.display()))
        .args(["ip", "link", "set", "lo", "up"])
        .status();
    assert!(made.expect("unshare of util-linux").success());
}
