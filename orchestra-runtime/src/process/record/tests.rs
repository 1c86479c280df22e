use super::*;

#[test]
fn drafts_of_the_dead_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let tmp = folder.path().join("tmp");
    Disk::open(folder.path()).unwrap();
    let ours = format!("web-1.{}", std::process::id());
    for name in ["web-2.4194304", "probe.4194304", "odd", &ours] {
        fs::create_dir_all(tmp.join(name).join("rootfs")).unwrap();
    }
    let disk = Disk::open(folder.path()).unwrap();
    disk.scratch(|path| {
        assert!(path.is_dir());
        Ok(())
    })
    .unwrap();
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [OsStr::new(&ours)]);
    use std::os::unix::fs::PermissionsExt;
    for path in [folder.path(), &tmp, &folder.path().join("containers")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
    }
}

#[test]
fn name_service_of_a_pod() {
    let dns = DnsConfig {
        servers: vec!["10.96.0.10".parse().unwrap(), "fd00::1".parse().unwrap()],
        searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
        options: vec!["ndots:5".into()],
    };
    insta::assert_snapshot!(resolv_conf(&dns), @r"
    nameserver 10.96.0.10
    nameserver fd00::1
    search default.svc.cluster.local svc.cluster.local
    options ndots:5
    ");
    assert_eq!(resolv_conf(&DnsConfig::default()), "");
}

#[test]
fn ids_tell_apart_and_are_no_paths() {
    let one = id("web", &["default", "web", "u1", "0"]);
    assert_eq!(one, id("web", &["default", "web", "u1", "0"]));
    assert_ne!(one, id("web", &["default", "webu", "1", "0"]));
    assert_eq!(checked(&one), Some(one.as_str()));
    assert_eq!(checked(&id("../a.b", &["x"])).map(|id| id.starts_with("---a-b-")), Some(true));
    for bad in ["", "..", "a/b", "a.b", "a\0b"] {
        assert_eq!(checked(bad), None, "{bad:?}");
    }
}

#[test]
fn a_lock_tells_whether_a_shim_lives() {
    let folder = tempfile::tempdir().unwrap();
    let dir = ContainerDir(folder.path().to_owned());
    assert!(!dir.has_shim().unwrap());
    let held = dir.try_lock().unwrap().unwrap();
    assert!(dir.has_shim().unwrap() && dir.try_lock().unwrap().is_none());
    drop(held);
    assert!(!dir.has_shim().unwrap());
}
