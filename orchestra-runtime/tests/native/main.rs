//! The native runtime against the kernel of this machine and the real runc.

use std::sync::Arc;
use std::time::Duration;

use orchestra_core::runtime::*;
use orchestra_core::testing::contract::runtime::{Subject, check};
use orchestra_runtime::native::NativeRuntime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod archive;
#[path = "../support/devices.rs"]
mod devices;
mod place;
#[path = "../support/mod.rs"]
mod support;

use archive::IMAGE;
use place::{Place, container};
use support::{ended, holds, output, says, started};

/// The folders of control groups of containers, in whichever tree they are.
fn groups() -> Vec<std::path::PathBuf> {
    let parents =
        ["/sys/fs/cgroup/orchestra", "/sys/fs/cgroup/memory/orchestra", "/sys/fs/cgroup/pids/orchestra"];
    let entries = parents.iter().filter_map(|parent| std::fs::read_dir(parent).ok()).flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Waits until a container that has ended has no control groups: its shim says how it ended first, and takes them away then.
async fn without_group(id: &ContainerId) {
    let gone = async || !groups().iter().any(|path| path.ends_with(id.as_str()));
    holds("its control groups have ended", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    let Some(place) = Place::new().await else { return };
    let runtime = place.open().await;
    let config = place.config();
    let reopen = move || {
        let config = config.clone();
        async move { Arc::new(NativeRuntime::open(config).await.unwrap()) as Arc<dyn Runtime> }
    };
    let logs = place.path("logs");
    check(&Subject::new(Arc::new(runtime)).image(IMAGE).log_root(&logs).reopen(reopen)).await;
    assert_eq!(std::fs::read_dir(logs).unwrap().count(), 0, "the logs of what was removed are removed too");
    assert_eq!(place.mounts(), [""; 0], "nothing is left mounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_a_daemon() {
    let Some(place) = Place::new().await else { return };
    let runtime = place.open().await;
    what_a_container_gets(&place, &runtime).await;
    what_a_container_may_not(&place, &runtime).await;
    what_is_strict(&place, &runtime).await;
    mounts_are_passed_on(&place, &runtime).await;
    what_a_pod_asks_for(&place, &runtime).await;
    support::resizes(&runtime, &place.sandbox("resized"), IMAGE).await;
    support::holds_pods(&runtime, &place.sandbox("held-native"), IMAGE).await;
    support::refuses_handlers(&runtime, &place.sandbox("odd")).await;
    support::shows_images(&runtime, &place.sandbox("images"), IMAGE, place.path("volumes/image")).await;
    users_are_its_own(&place, &runtime).await;
    memory_has_a_limit(&place, &runtime).await;
    processes_are_shared(&place, &runtime).await;
    images_in_use_stay(&place, &runtime).await;
    ports_lead_into_pods(&place, &runtime).await;
    assert_eq!(runtime.list(&Filter::default()).await.unwrap(), []);
    assert_eq!(place.mounts(), [""; 0], "nothing is left mounted");
}

async fn what_a_container_gets(place: &Place, runtime: &NativeRuntime) {
    let mut pod = place.sandbox("gets");
    pod.dns = Some(DnsConfig { servers: vec!["10.96.0.10".parse().unwrap()], ..DnsConfig::default() });
    pod.sysctls = [("net.ipv4.ip_unprivileged_port_start", "0"), ("kernel.shm_rmid_forced", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let made = runtime.run_sandbox(&pod).await.unwrap();
    assert_eq!(made.ips.len(), 1, "{made:?}");
    let by_image =
        ContainerSpec { command: vec![], security: SecurityContext::default(), ..container("image", "") };
    assert_eq!(output(runtime, &made.id, &by_image).await, "from the image\n");

    let script = "hostname; cat /etc/hostname; id -u; id -G; echo $HOME $FROM $A $HOSTNAME; pwd; test -e /etc/gone || echo no; \
                  cat /etc/stays /etc/resolv.conf; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
                  cat /proc/sys/kernel/shm_rmid_forced; echo $$";
    let mut spec = container("app", script);
    spec.env = vec![("A".into(), "a b".into())];
    spec.security = SecurityContext::default();
    let expected = "gets\ngets\n1000\n1000 50\n/home/ann image a b gets\n/tmp\nno\nstays\nnameserver 10.96.0.10\n0\n1\n1\n";
    assert_eq!(output(runtime, &made.id, &spec).await, expected);

    let volume = place.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "file\n").unwrap();
    let script = "cat /v/f; echo x 2>/dev/null > /v/g || echo ro; id -u; id -G; echo $HOME";
    let mut spec = container("volume", script);
    let mount = |to: &str| Mount {
        host_path: volume.clone(),
        container_path: to.into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    };
    spec.mounts = vec![mount("/v")];
    spec.security.run_as_user = Some(7);
    spec.security.run_as_group = Some(8);
    spec.security.supplemental_groups = vec![9];
    assert_eq!(output(runtime, &made.id, &spec).await, "file\nro\n7\n8 9\n/\n");
    for bad in ["v", "/v/../../etc"] {
        let refused = ContainerSpec { mounts: vec![mount(bad)], ..container("bad", "true") };
        let refused = runtime.create_container(&made.id, &refused).await.unwrap_err();
        assert!(matches!(refused, RuntimeError::InvalidSpec { .. }), "{refused:?}");
    }
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// What is said in `/proc/self/status`.
const STATUS: &str = "while read name value; do case $name in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $name $value;; esac; \
                      done < /proc/self/status; ";

async fn what_a_container_may_not(place: &Place, runtime: &NativeRuntime) {
    let made = runtime.run_sandbox(&place.sandbox("rights")).await.unwrap();
    let attempts = "mount -t tmpfs none /tmp 2>/dev/null || echo no mount; \
                    test -s /proc/kcore || echo no kcore; (echo 1 > /proc/sys/vm/swappiness) 2>/dev/null || echo no sysctl; \
                    (echo b > /proc/sysrq-trigger) 2>/dev/null || echo no sysrq; ls /dev/vda /dev/sda 2>/dev/null; ls /sys/firmware";
    let usual = output(runtime, &made.id, &container("usual", &(STATUS.to_owned() + attempts))).await;
    let expected =
        "CapBnd: 00000000a80425fb\nNoNewPrivs: 0\nSeccomp: 2\nno mount\nno kcore\nno sysctl\nno sysrq\n";
    assert_eq!(usual.replacen("CapEff: 00000000a80425fb\n", "", 1), expected, "{usual}");

    let mut spec = container("less", &(STATUS.to_owned() + "(: > /x) 2>/dev/null || echo no file"));
    spec.security.drop_capabilities = vec!["ALL".into()];
    spec.security.add_capabilities = vec!["CHOWN".into()];
    spec.security.no_new_privileges = true;
    spec.security.read_only_root_filesystem = true;
    spec.security.seccomp = Some(SeccompProfile::Unconfined);
    let less = output(runtime, &made.id, &spec).await;
    let expected = "CapEff: 0000000000000001\nCapBnd: 0000000000000001\nNoNewPrivs: 1\nSeccomp: 0\nno file\n";
    assert_eq!(less, expected);

    let mut spec = container(
        "all",
        "mount -t tmpfs none /tmp && echo mounted; test -e /dev/null && echo devices; echo $$",
    );
    spec.security.privileged = true;
    assert_eq!(output(runtime, &made.id, &spec).await, "mounted\ndevices\n1\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// What is mounted below a volume is as little written as the volume, and a pod's groups are no more than it says.
async fn what_is_strict(place: &Place, runtime: &NativeRuntime) {
    let made = runtime.run_sandbox(&place.sandbox("strict")).await.unwrap();
    let volume = place.path("above");
    std::fs::create_dir_all(volume.join("below")).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(volume.join("below")).status();
    assert!(mounted.unwrap().success());
    for (recursive, says) in [(false, "written\n"), (true, "")] {
        let mut spec =
            container(if recursive { "all" } else { "top" }, "(: > /v/below/x) 2>/dev/null && echo written");
        spec.mounts = vec![Mount { recursive_read_only: recursive, ..support::shown(volume.clone()) }];
        assert_eq!(output(runtime, &made.id, &spec).await, says);
    }
    rustix::mount::unmount(volume.join("below"), rustix::mount::UnmountFlags::DETACH).unwrap();
    let mut spec = container("groups", "id -G");
    spec.security =
        SecurityContext { strict_groups: true, supplemental_groups: vec![9], ..SecurityContext::default() };
    assert_eq!(output(runtime, &made.id, &spec).await, "1000 9\n");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// What a container mounts in a folder that it shares is seen on the machine, and what the machine mounts there in it.
async fn mounts_are_passed_on(place: &Place, runtime: &NativeRuntime) {
    let volume = place.path("both");
    for folder in ["ours", "theirs"] {
        std::fs::create_dir_all(volume.join(folder)).unwrap();
    }
    let run = |args: &[&str], to: &std::path::Path| {
        assert!(std::process::Command::new("mount").args(args).arg(to).status().unwrap().success());
    };
    run(&["--bind", volume.to_str().unwrap()], &volume);
    run(&["--make-shared"], &volume);
    let made = runtime.run_sandbox(&place.sandbox("both")).await.unwrap();
    let script = "mount -t tmpfs none /v/theirs && echo theirs > /v/theirs/f; echo up; \
                  while ! cat /v/ours/f 2>/dev/null; do sleep 0.1; done; exec sleep 600";
    let mut spec = container("app", script);
    spec.security.privileged = true;
    let propagation = Propagation::Bidirectional;
    spec.mounts = vec![Mount { read_only: false, propagation, ..support::shown(volume.clone()) }];
    let id = started(runtime, &made.id, &spec).await;
    says(runtime, &id, "up").await;
    assert_eq!(std::fs::read_to_string(volume.join("theirs/f")).unwrap(), "theirs\n");
    run(&["-t", "tmpfs", "none"], &volume.join("ours"));
    std::fs::write(volume.join("ours/f"), "ours\n").unwrap();
    says(runtime, &id, "ours").await;
    let root = place.path("data/containers").join(id.as_str()).join("rootfs/bin");
    assert!(!root.exists(), "the root of the container is not seen");
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert!(volume.join("theirs/f").exists(), "it is the machine's from then on");
    for mounted in ["ours", "theirs", ""] {
        rustix::mount::unmount(volume.join(mounted), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

async fn what_a_pod_asks_for(place: &Place, runtime: &NativeRuntime) {
    let mut pod = place.sandbox("host");
    pod.hostname = String::new();
    pod.namespaces =
        Namespaces { host_network: true, host_pid: true, host_ipc: true, ..Namespaces::default() };
    let made = runtime.run_sandbox(&pod).await.unwrap();
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let script = "ls -l /proc/self/ns";
    let seen = output(runtime, &made.id, &container("app", script)).await;
    for kind in ["net", "ipc", "uts", "pid"] {
        assert!(seen.contains(&own(kind)), "{kind}: {seen}");
    }
    assert!(!seen.contains(&own("mnt")), "{seen}");
    runtime.remove_sandbox(&made.id).await.unwrap();
    let mut odd = place.sandbox("odd");
    odd.sysctls = [("no.such.parameter".to_owned(), "1".to_owned())].into();
    let refused = runtime.run_sandbox(&odd).await.unwrap_err();
    assert!(
        matches!(&refused, RuntimeError::InvalidSpec { message } if message.contains("no.such")),
        "{refused:?}"
    );
}

/// The numbers that a pod with users of its own has, as its containers see them.
async fn numbers(runtime: &NativeRuntime, sandbox: &SandboxId, name: &str) -> u32 {
    let map = output(runtime, sandbox, &container(name, "cat /proc/self/uid_map /proc/self/gid_map")).await;
    let words: Vec<&str> = map.split_whitespace().collect();
    let [own, first, count] = words[..3] else { panic!("{map}") };
    assert_eq!((own, count, &words[3..]), ("0", "65536", &words[..3]), "{map}");
    first.parse().unwrap()
}

/// Root of such a pod is nobody on the machine, and files of the machine belong to the same users in it as outside.
async fn users_are_its_own(place: &Place, runtime: &NativeRuntime) {
    use std::os::unix::fs::MetadataExt;
    if !runtime.capabilities().fields.user_namespaces {
        return eprintln!("skipped: the kernel shows no files of this place to users of a pod's own");
    }
    let own = |name: &str| {
        let mut pod = place.sandbox(name);
        pod.namespaces.own_users = true;
        pod.sysctls = [("net.ipv4.ip_unprivileged_port_start", "7"), ("kernel.shm_rmid_forced", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        pod
    };
    let (one, two) =
        (runtime.run_sandbox(&own("one")).await.unwrap(), runtime.run_sandbox(&own("two")).await.unwrap());
    let (first, other) = (numbers(runtime, &one.id, "map").await, numbers(runtime, &two.id, "map").await);
    assert!(first >= 1 << 30 && other >= 1 << 30 && first.abs_diff(other) >= 65_536, "{first} {other}");
    let again = place.open().await;
    assert_eq!(numbers(&again, &one.id, "again").await, first, "whoever opens the runtime next has the same");

    let volume = place.path("own");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "file\n").unwrap();
    std::os::unix::fs::chown(volume.join("f"), Some(1000), Some(50)).unwrap();
    let script = "hostname; id -u; /bin/busybox stat -c '%u %g' /bin/busybox /v /v/f /one; cat /v/f; : > /v/root; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; \
                  (echo 1 > /proc/sys/vm/swappiness) 2>/dev/null || echo no; : > /made && /bin/busybox stat -c %u /made; \
                  echo x > /dev/shm/x && echo shm; ls /sys/class/net";
    let mut spec = container("app", script);
    spec.mounts = vec![
        Mount { read_only: false, ..support::shown(volume.clone()) },
        Mount { container_path: "/one".into(), ..support::shown(volume.join("f")) },
    ];
    let expected = "one\n0\n0 0\n0 0\n1000 50\n1000 50\nfile\n7\n1\nno\n0\nshm\neth0\nlo\n";
    assert_eq!(output(runtime, &one.id, &spec).await, expected);
    assert_eq!(std::fs::metadata(volume.join("root")).unwrap().uid(), 0, "as the machine's root would");
    // Where the machine's root lets nothing be run, nobody gets that back by a mount of their own, and it is no hindrance.
    let memory = place.path("memory");
    std::fs::create_dir(&memory).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "nosuid,nodev,noexec", "none"]).arg(&memory);
    assert!(mount.status().unwrap().success());
    std::fs::copy("/bin/busybox", memory.join("sh")).unwrap();
    let mut read = container(
        "read",
        "/v/sh -c true 2>/dev/null || echo not run; (: > /v/f) 2>/dev/null || echo not written",
    );
    read.mounts = vec![support::shown(memory.clone())];
    assert_eq!(output(runtime, &one.id, &read).await, "not run\nnot written\n");

    let as_user = "id -u; (: > /v/f) 2>/dev/null && echo own; (: > /v/x) 2>/dev/null || echo not";
    let mut spec = ContainerSpec { mounts: spec.mounts, ..container("user", as_user) };
    spec.security.run_as_user = Some(1000);
    assert_eq!(output(runtime, &one.id, &spec).await, "1000\nown\nnot\n");

    let mut spec = container("all", "mount -t tmpfs none /tmp && echo mounted; exec sleep 4813");
    spec.security.privileged = true;
    let all = started(runtime, &one.id, &spec).await;
    says(runtime, &all, "mounted").await;
    let words = |path: &std::path::Path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let sleeps: Vec<_> = processes.filter(|path| words(path) == "sleep\x004813\0").collect();
    assert_eq!(sleeps.iter().map(|path| std::fs::metadata(path).unwrap().uid()).collect::<Vec<_>>(), [first]);
    let inside = runtime.exec_sync(&all, &["id".into(), "-u".into()], Duration::from_secs(10)).await.unwrap();
    assert_eq!(inside.stdout, b"0\n");

    let mut far = container("far", "true");
    far.security.run_as_user = Some(70_000);
    let id = runtime.create_container(&one.id, &far).await.unwrap();
    let why = match runtime.start_container(&id).await {
        Err(error) => error.to_string(),
        Ok(()) => ended(runtime, &id).await.message,
    };
    assert!(why.contains("hostUsers: false has no user or group 70000"), "{why}");
    let mut both = container("both", "true");
    both.mounts = vec![Mount { propagation: Propagation::Bidirectional, ..support::shown(volume) }];
    let refused = runtime.create_container(&one.id, &both).await.unwrap_err();
    assert!(
        refused.to_string().contains("Bidirectional is not to be had with hostUsers: false"),
        "{refused}"
    );
    let mut shares = own("shares");
    shares.namespaces.share_process_namespace = true;
    let refused = runtime.run_sandbox(&shares).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Unsupported { .. }), "{refused:?}");
    for pod in [&one, &two] {
        runtime.remove_sandbox(&pod.id).await.unwrap();
    }
    assert!(std::process::Command::new("umount").arg(&memory).status().unwrap().success());
    let held = std::env::temp_dir().join("orchestra-test-native/users");
    assert!(!held.join(first.to_string()).is_symlink() && !held.join(other.to_string()).is_symlink());
}

async fn memory_has_a_limit(place: &Place, runtime: &NativeRuntime) {
    let made = runtime.run_sandbox(&place.sandbox("memory")).await.unwrap();
    let mut hungry = container("hungry", "exec /bin/busybox tail /dev/zero");
    hungry.resources.memory_bytes = Some(16 << 20);
    hungry.resources.cpu_quota = Some(50_000);
    hungry.resources.cpu_shares = 256;
    let id = started(runtime, &made.id, &hungry).await;
    let exit = ended(runtime, &id).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true), "{exit:?}");
    without_group(&id).await;
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn processes_are_shared(place: &Place, runtime: &NativeRuntime) {
    let mut pod = place.sandbox("shared");
    pod.namespaces.share_process_namespace = true;
    let made = runtime.run_sandbox(&pod).await.unwrap();
    let one = started(runtime, &made.id, &container("one", "echo up; exec sleep 4811")).await;
    says(runtime, &one, "up").await;
    let looks = "cat /proc/[0-9]*/cmdline; echo $$ > /dev/shm/seen";
    let seen = output(runtime, &made.id, &container("two", looks)).await;
    assert!(seen.contains("4811"), "{seen:?}");
    let shared = output(runtime, &made.id, &container("three", "cat /dev/shm/seen")).await;
    assert!(shared.trim().parse::<u32>().is_ok_and(|number| number > 1), "{shared:?}");
    runtime.remove_sandbox(&made.id).await.unwrap();

    // One that looks into another's processes.
    let made = runtime.run_sandbox(&place.sandbox("target")).await.unwrap();
    let one = started(runtime, &made.id, &container("one", "echo up; exec sleep 4812")).await;
    says(runtime, &one, "up").await;
    let mut spec = container("debugger", "cat /proc/1/cmdline");
    spec.processes_of = Some(one);
    assert!(output(runtime, &made.id, &spec).await.contains("4812"));
    let alone = output(runtime, &made.id, &container("alone", "cat /proc/[0-9]*/cmdline")).await;
    assert!(!alone.contains("4812"), "{alone:?}");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

async fn images_in_use_stay(place: &Place, runtime: &NativeRuntime) {
    let made = runtime.run_sandbox(&place.sandbox("image")).await.unwrap();
    let id = runtime.create_container(&made.id, &container("app", "sleep 600")).await.unwrap();
    let image = ImageRef::parse(IMAGE).unwrap();
    let refused = runtime.remove_image(&image).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::InUse { .. }), "{refused:?}");
    let shown = runtime.image(&image).await.unwrap().unwrap();
    assert_eq!((shown.tags.as_slice(), shown.username.as_deref()), (&[IMAGE.to_owned()][..], Some("ann")));
    assert_eq!(runtime.container(&id).await.unwrap().image_id, shown.id);
    runtime.remove_sandbox(&made.id).await.unwrap();
    let gone = ImageRef::parse("localhost:1/no/such:1").unwrap();
    runtime.remove_image(&gone).await.unwrap();
    let refused = runtime.pull_image(&gone, None).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Pull { why: PullFailure::Unreachable, .. }), "{refused:?}");
}

async fn ports_lead_into_pods(place: &Place, runtime: &NativeRuntime) {
    let made = runtime.run_sandbox(&place.sandbox("ports")).await.unwrap();
    let script = "mkdir /tmp/w; echo hello >/tmp/w/index.html; exec /bin/busybox httpd -f -p 8080 -h /tmp/w";
    started(runtime, &made.id, &container("app", script)).await;
    let get = async || {
        let mut stream = runtime.port_forward(&made.id, 8080).await.ok()?;
        stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await.ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await.ok().map(|_| said)
    };
    holds("it serves", async || get().await.is_some_and(|said| said.ends_with("hello\n"))).await;
    assert!(runtime.port_forward(&made.id, 8081).await.is_err(), "nobody listens there");
    runtime.remove_sandbox(&made.id).await.unwrap();
}

/// The processes that have a word in their command line.
fn processes_with(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
        })
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_what_does_not_want_to_end() {
    let Some(place) = Place::new().await else { return };
    let runtime = place.open().await;
    let made = runtime.run_sandbox(&place.sandbox("many")).await.unwrap();
    let script = "trap '' TERM; i=0; while [ $i -lt 300 ]; do sleep 48130 & i=$((i+1)); done; echo up; \
                  while :; do sleep 48130 & sleep 0.01; done";
    let id = started(&runtime, &made.id, &container("app", script)).await;
    says(&runtime, &id, "up").await;
    let stop = runtime.stop_container(&id, Duration::from_secs(1));
    tokio::time::timeout(Duration::from_secs(60), stop).await.expect("it ends").unwrap();
    assert_eq!(ended(&runtime, &id).await.code, 137);
    assert_eq!(processes_with("48130"), 0);
    without_group(&id).await;

    // The shim is killed, and the container with it: that is said, and nothing of it runs on.
    let id =
        started(&runtime, &made.id, &container("held", "trap '' TERM; echo up; sleep 48131 & wait")).await;
    says(&runtime, &id, "up").await;
    let folder = place.path("data/containers").join(id.as_str());
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("state.json")).unwrap()).unwrap();
    let shim = rustix::process::Pid::from_raw(state["shim"].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let exit = ended(&runtime, &id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    assert_eq!(processes_with("48131"), 0);
    without_group(&id).await;
    runtime.remove_sandbox(&made.id).await.unwrap();
    assert_eq!(place.mounts(), [""; 0], "nothing is left mounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_bears_bad_pods() {
    let Some(place) = Place::new().await else { return };
    support::pods::bears_bad_pods(Arc::new(place.open().await), IMAGE, &place.path("node")).await;
    assert_eq!(processes_with("48150") + processes_with("48151"), 0);
    assert_eq!(place.mounts(), [""; 0], "nothing is left mounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_have_the_devices_of_plugins() {
    let Some(place) = Place::new().await else { return };
    devices::gives_devices(Arc::new(place.open().await), IMAGE, &place.path("node")).await;
    assert_eq!(place.mounts(), [""; 0], "nothing is left mounted");
}

/// Whoever is killed between any two steps leaves what the next one finds, and can remove.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_loses_nothing_and_leaves_nothing() {
    let Some(place) = Place::new().await else { return };
    for wait in [0, 2, 10, 30, 60, 120, 300] {
        let (runtime, wait) = (place.open().await, Duration::from_millis(wait));
        let pod = place.sandbox("killed");
        let life = async {
            let made = runtime.run_sandbox(&pod).await.unwrap();
            let id = runtime
                .create_container(&made.id, &container("app", "echo up; exec sleep 48140"))
                .await
                .unwrap();
            runtime.start_container(&id).await.unwrap();
            says(&runtime, &id, "up").await;
            runtime
                .exec_sync(&id, &["sleep".into(), "48141".into()], Duration::from_secs(600))
                .await
                .unwrap();
        };
        let _ = tokio::time::timeout(wait, life).await;
        drop(runtime);
        let next = place.open().await;
        for sandbox in next.list(&Filter::default()).await.unwrap() {
            assert_eq!(sandbox.meta, pod.meta);
            next.remove_sandbox(&sandbox.id).await.unwrap();
        }
        assert_eq!(next.list(&Filter::default()).await.unwrap(), []);
        let left = || processes_with("48140") + processes_with("48141") > 0 || !place.mounts().is_empty();
        holds(format_args!("nothing is left after {wait:?}"), async || !left()).await;
    }
}
