//! A native runtime of our own: its data, addresses and bridge apart from any other on the machine. Tests that need it fail
//! without runc and root when `ORCHESTRA_TEST_DAEMONS=1`, and say that they are skipped otherwise.

use std::path::PathBuf;

use orchestra_core::runtime::*;
use orchestra_runtime::native::{Config, NativeRuntime};
use orchestra_runtime::process::Range;

use crate::archive::{self, IMAGE};
use crate::support;

/// Folders of a test, and an image in them.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A place with the image, or `None` where tests may go without.
    pub(crate) async fn new() -> Option<Self> {
        if !std::env::var("ORCHESTRA_TEST_DAEMONS").is_ok_and(|value| value == "1") {
            eprintln!("skipped: needs root and runc; set ORCHESTRA_TEST_DAEMONS=1 to run it");
            return None;
        }
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let archive = archive::make(place.folder.path());
        place.open().await.store().load(&archive, None).await.unwrap();
        Some(place)
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(self.path("data")).process(|config| {
            config
                .pods(Range::parse("10.89.0.0/16").unwrap(), "orctest1")
                .helper(env!("CARGO_BIN_EXE_orchestra-shim"))
                .run(std::env::temp_dir().join("orchestra-test-native"))
        })
    }

    pub(crate) async fn open(&self) -> NativeRuntime {
        NativeRuntime::open(self.config()).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn sandbox(&self, pod: &str) -> SandboxSpec {
        support::sandbox(pod, self.path("logs").join(pod))
    }

    /// What is mounted below the place.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/mounts").unwrap();
        let below = self.folder.path().display().to_string();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1));
        points.filter(|point| point.starts_with(&below)).map(str::to_owned).collect()
    }
}

pub(crate) fn container(name: &str, script: &str) -> ContainerSpec {
    let security = SecurityContext { run_as_user: Some(0), ..SecurityContext::default() };
    ContainerSpec { security, ..support::container(IMAGE, name, script) }
}
