//! What a container may do, see and leave behind.

use std::path::Path;
use std::time::Duration;

use orchestra_core::runtime::*;

use super::networks::mount;
use super::support::{ended, output, started};
use super::{Place, container, is_root, mine, sleepers};

#[tokio::test]
async fn only_what_is_mounted_can_be_written_below_a_read_only_root() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("readonly")).await.unwrap();
    let elsewhere = place.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = format!(
        "for f in /etc /tmp /usr/share /new {}; do (echo x > $f/orchestra-was-here) 2>/dev/null && echo wrote $f; \
         done; echo y > /usr/share/orchestra-vol/made && echo volume; echo z > /dev/null && echo null",
        elsewhere.display()
    );
    let mut spec = container("app", &script);
    spec.security.read_only_root_filesystem = true;
    let volume = place.path("volume");
    std::fs::create_dir(&volume).unwrap();
    spec.mounts = vec![mount(&volume, "/usr/share/orchestra-vol", false)];
    if !runtime.capabilities().fields.read_only_root_filesystem {
        assert!(runtime.create_container(&sandbox.id, &spec).await.is_err());
        return;
    }
    assert_eq!(output(&runtime, &sandbox.id, &spec).await, "volume\nnull\n");
    assert!(volume.join("made").exists() && std::fs::read_dir(&elsewhere).unwrap().next().is_none());
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn capabilities_that_are_dropped_are_gone() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("caps")).await.unwrap();
    let mut spec = container("app", "grep -E 'Cap(Inh|Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status");
    spec.security.drop_capabilities = vec!["ALL".into()];
    let shown = output(&runtime, &sandbox.id, &spec).await;
    let value = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!((value("CapPrm:"), value("CapEff:"), value("CapInh:")), (0, 0, 0), "{shown}");
    match is_root() {
        true => assert_eq!(value("CapBnd:"), 0, "{shown}"),
        false => assert_eq!(value("NoNewPrivs:"), 1, "{shown}"),
    }
    if is_root() {
        spec.meta.name = "bind".into();
        spec.security.add_capabilities = vec!["NET_BIND_SERVICE".into()];
        let shown = output(&runtime, &sandbox.id, &spec).await;
        assert!(shown.contains("CapEff:\t0000000000000400"), "{shown}");
    }
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

/// What the program that embeds us has open is nothing for containers.
#[tokio::test]
async fn containers_get_the_standard_streams_only() {
    let place = Place::new();
    let secret = std::fs::File::create(place.path("secret")).unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("fd")).await.unwrap();
    let look = "for fd in /proc/$$/fd/*; do [ ${fd##*/} -gt 2 ] && readlink $fd; done; echo done";
    let printed = output(&runtime, &sandbox.id, &container("app", look)).await;
    assert!(!printed.contains("secret"), "{printed}");
    let id = started(&runtime, &sandbox.id, &container("long", "exec sleep 600")).await;
    let command = ["sh", "-c", look].map(str::to_owned);
    let seen = runtime.exec_sync(&id, &command, Duration::from_secs(20)).await.unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains("done") && !seen.contains("secret"), "{seen}");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_container_sees_its_own_processes() {
    let place = Place::new();
    let runtime = place.open().await;
    let look = "sleep 4731 & for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done";
    let (with, without) = (place.sandbox("processes"), place.sandbox("shared"));
    let without =
        SandboxSpec { namespaces: Namespaces { host_pid: true, ..Namespaces::default() }, ..without };
    for (spec, own) in [(with, true), (without, false)] {
        let sandbox = runtime.run_sandbox(&spec).await.unwrap();
        let printed = output(&runtime, &sandbox.id, &container("app", &mine(look))).await;
        let others = printed.lines().any(|line| line.contains("process-") || line.contains("--skip"));
        assert!(printed.contains(&mine("sleep 4731")), "{printed}");
        assert!(own != others || !runtime.capabilities().mounts, "{own}: {printed}");
        assert_eq!(sleepers(&["4731"]), Vec::<String>::new());
        runtime.remove_sandbox(&sandbox.id).await.unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}

#[tokio::test]
async fn nobody_else_reads_logs_and_records_and_nothing_of_them_stays() {
    let place = Place::new();
    let runtime = place.open().await;
    let made = runtime.run_sandbox(&place.sandbox("traces")).await.unwrap();
    let first = started(&runtime, &made.id, &container("app", "echo secret")).await;
    ended(&runtime, &first).await;
    let folder = place.path("logs").join("traces");
    for (path, expected) in [
        (folder.clone(), 0o750),
        (folder.join("app"), 0o750),
        (folder.join("app/0.log"), 0o640),
        (place.path("data"), 0o700),
        (place.path("data/containers"), 0o700),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    if is_root() {
        let record = place.path("data/containers").join(first.as_str()).join("container.json");
        let mut spec = container("nosy", &format!("cat {} 2>/dev/null || echo refused", record.display()));
        spec.security.run_as_user = Some(12_345);
        assert_eq!(output(&runtime, &made.id, &spec).await, "refused\n");
    }
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert!(!folder.exists(), "the pod's folder of logs stays");
    for left in ["data/sandboxes", "data/containers", "data/tmp"] {
        assert_eq!(std::fs::read_dir(place.path(left)).unwrap().count(), 0, "{left}");
    }
    let cgroup = Path::new("/sys/fs/cgroup/memory/orchestra").join(first.as_str());
    assert!(!cgroup.exists(), "the control group stays");
    if let Some(netns) = made.netns {
        assert!(!netns.exists(), "the network namespace stays");
    }
}
