use super::*;

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
fn a_lock_tells_whether_a_shim_lives() {
    let folder = tempfile::tempdir().unwrap();
    let dir = ContainerDir(folder.path().to_owned());
    assert!(!dir.has_shim().unwrap());
    let held = dir.try_lock().unwrap().unwrap();
    assert!(dir.has_shim().unwrap() && dir.try_lock().unwrap().is_none());
    drop(held);
    assert!(!dir.has_shim().unwrap());
}
