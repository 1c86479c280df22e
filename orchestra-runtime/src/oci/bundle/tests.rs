use orchestra_core::runtime::{ContainerMeta, Device, SeccompProfile};

use super::*;

fn spec() -> ContainerSpec {
    ContainerSpec {
        meta: ContainerMeta { name: "app".into(), attempt: 0, hash: "h".into() },
        image: "web:1".into(),
        image_id: String::new(),
        command: vec![],
        args: vec![],
        env: vec![],
        working_dir: None,
        mounts: vec![],
        devices: vec![],
        security: SecurityContext::default(),
        resources: Resources::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        processes_of: None,
        stop_signal: None,
        labels: Default::default(),
        annotations: Default::default(),
        log_path: "app/0.log".into(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn image() -> Defaults {
    Defaults {
        env: Some(words(&["PATH=/opt", "A=image", "odd"])),
        entrypoint: Some(words(&["/entry", "-v"])),
        cmd: Some(words(&["serve"])),
        working_dir: "/srv".into(),
        ..Defaults::default()
    }
}

fn machine() -> Machine {
    Machine {
        cgroups: true,
        memory: true,
        swap: true,
        cpu_shares: true,
        cpu_quota: true,
        capabilities: u64::MAX,
        ..Machine::default()
    }
}

fn made(spec: &ContainerSpec, shared: &Shared, machine: &Machine) -> Value {
    config("app-1", spec, &image(), shared, machine).unwrap()
}

#[test]
fn what_runs_is_the_pods_or_the_images() {
    for (command, args, runs) in [
        (&[][..], &[][..], &["/entry", "-v", "serve"][..]),
        (&[], &["x"], &["/entry", "-v", "x"]),
        (&["/bin/sh"], &[], &["/bin/sh"]),
        (&["/bin/sh"], &["-c", "x"], &["/bin/sh", "-c", "x"]),
    ] {
        let spec = ContainerSpec { command: words(command), args: words(args), ..spec() };
        assert_eq!(arguments(&spec, &image()).unwrap(), words(runs));
    }
    let refused = arguments(&spec(), &Defaults::default()).unwrap_err().to_string();
    assert!(refused.contains("has no command, and neither has its image \"web:1\""), "{refused}");
}

#[test]
fn the_pods_environment_is_over_the_images() {
    let spec = ContainerSpec {
        env: vec![("A".into(), "pod".into()), ("B".into(), "b=c".into())],
        tty: true,
        ..spec()
    };
    let shared = Shared { hostname: "web-0".into(), ..Shared::default() };
    let expected = ["PATH=/opt", "TERM=xterm", "HOSTNAME=web-0", "A=pod", "B=b=c"];
    assert_eq!(environment(&spec, &image(), &shared), expected);
    assert_eq!(working_dir(&spec, &image()), "/srv");
    assert_eq!(working_dir(&spec, &Defaults::default()), "/");
    let elsewhere = ContainerSpec { working_dir: Some("/w".into()), ..spec };
    assert_eq!(working_dir(&elsewhere, &image()), "/w");
}

#[test]
fn namespaces_are_the_pods() {
    let shared = Shared {
        network: Some("/n".into()),
        ipc: Some("/i".into()),
        uts: Some("/u".into()),
        ..Shared::default()
    };
    let kinds = |shared: &Shared, machine: &Machine| {
        let all = namespaces(shared, machine);
        let kind = |one: &Value| {
            format!("{}{}", one["type"].as_str().unwrap(), one["path"].as_str().unwrap_or_default())
        };
        all.as_array().unwrap().iter().map(kind).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds(&shared, &machine()), "mount network/n ipc/i uts/u pid");
    let unified = Machine { unified: true, ..machine() };
    let host = Shared { processes: Processes::Machine, ..Shared::default() };
    assert_eq!(kinds(&host, &unified), "mount cgroup");
    let other = Shared { processes: Processes::Of("/proc/7/ns/pid".into()), ..shared };
    assert_eq!(kinds(&other, &machine()), "mount network/n ipc/i uts/u pid/proc/7/ns/pid");
}

#[test]
fn limits_are_those_that_the_machine_has() {
    let resources = Resources {
        cpu_shares: 512,
        cpu_quota: Some(50_000),
        cpu_period: 0,
        memory_bytes: Some(1 << 20),
        oom_score_adj: -5,
    };
    let spec = ContainerSpec { resources, ..spec() };
    let made = made(&spec, &Shared::default(), &machine());
    let limits = &made["linux"]["resources"];
    assert_eq!(limits["cpu"], json!({"shares": 512, "quota": 50_000, "period": 100_000}));
    assert_eq!(limits["memory"], json!({"limit": 1 << 20, "swap": 1 << 20}));
    assert_eq!(limits["devices"], json!([{"allow": false, "access": "rwm"}]));
    assert_eq!(made["linux"]["cgroupsPath"], "/orchestra/app-1");
    assert_eq!(made["process"]["oomScoreAdj"], -5);
    let bare = config("app-1", &spec, &image(), &Shared::default(), &Machine::default()).unwrap();
    assert_eq!(bare["linux"]["resources"]["cpu"], json!({}));
    assert_eq!(bare["linux"]["resources"]["memory"], json!({}));
}

#[test]
fn a_container_is_confined_unless_its_pod_says_otherwise() {
    let usual = made(&spec(), &Shared::default(), &machine());
    assert_eq!(usual["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert!(usual["process"]["capabilities"].get("inheritable").is_none());
    assert!(usual["linux"]["seccomp"].is_object());
    assert_eq!(usual["linux"]["maskedPaths"].as_array().unwrap().len(), MASKED.len());
    let mut privileged = spec();
    privileged.security.privileged = true;
    let privileged = made(&privileged, &Shared::default(), &machine());
    assert!(privileged["linux"].get("seccomp").is_none());
    assert_eq!(privileged["linux"]["maskedPaths"], json!([]));
    assert_eq!(privileged["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    let mut unmasked = spec();
    unmasked.security.unmasked_proc = true;
    unmasked.security.seccomp = Some(SeccompProfile::Unconfined);
    let unmasked = made(&unmasked, &Shared::default(), &machine());
    assert_eq!(unmasked["linux"]["readonlyPaths"], json!([]));
    assert!(unmasked["linux"].get("seccomp").is_none());
}

#[test]
fn mounts_go_where_they_should() {
    let mount = |to: &str, propagation| Mount {
        host_path: "/data".into(),
        container_path: to.into(),
        read_only: true,
        recursive_read_only: to == "/r",
        propagation,
    };
    let shared = Shared { resolv_conf: Some("/r".into()), shm: Some("/s".into()), ..Shared::default() };
    let mut with = spec();
    with.mounts =
        vec![mount("/etc/resolv.conf", Propagation::Private), mount("/v", Propagation::HostToContainer)];
    let made = made(&with, &shared, &machine());
    let last: Vec<&Value> = made["mounts"].as_array().unwrap().iter().rev().take(2).collect();
    assert_eq!(last[0]["options"], json!(["rbind", "rslave", "ro"]));
    assert_eq!(made["linux"]["rootfsPropagation"], "rslave");
    let to = |path: &str| {
        made["mounts"].as_array().unwrap().iter().filter(|one| one["destination"] == path).collect::<Vec<_>>()
    };
    assert_eq!(to("/etc/resolv.conf").len(), 1, "what the pod mounts takes the place of the sandbox's");
    assert_eq!(to("/dev/shm")[0]["source"], "/s");
    assert_eq!(bind(&mount("/r", Propagation::Private)).unwrap()["options"][2], "rro");
    let both = ContainerSpec { mounts: vec![mount("/v", Propagation::Bidirectional)], ..spec() };
    let passed_on = super::config("app-1", &both, &image(), &Shared::default(), &machine()).unwrap();
    let last = passed_on["mounts"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["source"], &last["options"][1]), (&json!("shared/0"), &json!("rshared")));
    assert_eq!(passed_on["linux"]["rootfsPropagation"], "rshared");
    assert_eq!(super::shared(&both), [PathBuf::from("/data")]);
    for bad in [mount("v", Propagation::Private), mount("/v/../x", Propagation::Private)] {
        let spec = ContainerSpec { mounts: vec![bad], ..spec() };
        assert!(config("app-1", &spec, &image(), &shared, &machine()).is_err());
    }
    let devices = ContainerSpec {
        devices: vec![Device {
            host_path: "/dev/null".into(),
            container_path: "/dev/mine".into(),
            permissions: "r".into(),
        }],
        ..spec()
    };
    let made = super::config("app-1", &devices, &image(), &shared, &machine()).unwrap();
    assert_eq!(made["linux"]["devices"][0]["path"], "/dev/mine");
    let allowed = &made["linux"]["resources"]["devices"][1];
    assert_eq!((&allowed["minor"], &allowed["access"]), (&json!(3), &json!("r")));
}

#[test]
fn profiles_of_apparmor_are_those_that_are_loaded() {
    let with = |loaded: &[&str]| Machine { apparmor: Some(words(loaded)), ..machine() };
    let of = |name: Option<&str>, machine: &Machine| {
        let security = SecurityContext { apparmor: name.map(str::to_owned), ..SecurityContext::default() };
        apparmor(&security, machine)
    };
    let loaded = with(&["mine", "docker-default"]);
    for (asked, profile) in [
        (None, Some("docker-default")),
        (Some(APPARMOR_DEFAULT), Some("docker-default")),
        (Some("mine"), Some("mine")),
        (Some("unconfined"), None),
    ] {
        assert_eq!(of(asked, &loaded).unwrap().as_deref(), profile, "{asked:?}");
    }
    assert!(of(Some("other"), &loaded).unwrap_err().to_string().contains("other is not loaded"));
    assert!(of(Some(APPARMOR_DEFAULT), &with(&[])).is_err());
    assert_eq!(of(None, &with(&[])).unwrap(), None);
    assert_eq!(of(Some("mine"), &machine()).unwrap(), None, "this kernel has none");
    let mut privileged = spec();
    privileged.security.privileged = true;
    assert!(made(&privileged, &Shared::default(), &loaded)["process"].get("apparmorProfile").is_none());
    assert_eq!(made(&spec(), &Shared::default(), &loaded)["process"]["apparmorProfile"], "docker-default");
}

#[test]
fn users_are_filled_in_when_it_starts() {
    let mut security = SecurityContext { run_as_user: Some(1), ..SecurityContext::default() };
    let wanted = user(&security, &Defaults { user: "ann".into(), ..Defaults::default() }).unwrap();
    let bundle = Bundle {
        image: String::new(),
        layers: vec![],
        shared: vec![],
        runc: "/runc".into(),
        state: "/state".into(),
        log: "/log".into(),
        stdin: false,
        stdin_once: false,
        tty: false,
        own: None,
        pod_group: None,
        user: wanted,
        config: made(&spec(), &Shared::default(), &machine()),
    };
    let found = Found { uid: 1, gid: 2, groups: vec![3], home: "/home".into() };
    let finished = bundle.finish(&found);
    assert_eq!(finished["process"]["user"], json!({"uid": 1, "gid": 2, "additionalGids": [3]}));
    assert_eq!(finished["process"]["env"].as_array().unwrap().last().unwrap(), "HOME=/home");
    // A record of it is read as it was written.
    let text = serde_json::to_string(&bundle).unwrap();
    let read: Bundle = serde_json::from_str(&text).unwrap();
    assert_eq!((read.user, read.config), (bundle.user, bundle.config));
    security.run_as_user = Some(-1);
    assert!(user(&security, &Defaults::default()).is_err());
}
