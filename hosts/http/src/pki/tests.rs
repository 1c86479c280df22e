use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn authority_in(directory: &Path) -> Authority {
    Authority::open(directory).expect("an authority")
}

#[test]
fn an_authority_that_is_not_whole_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("ca.crt"), directory.path().join("ca.key"));
    authority_in(directory.path());
    let (right, secret) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let refused = || Authority::open(directory.path()).unwrap_err();

    for (gone, there) in [(&certificate, &key), (&key, &certificate)] {
        let held = fs::read(gone).unwrap();
        fs::remove_file(gone).unwrap();
        let says = refused().to_string();
        assert!(says.starts_with(&format!("{} is there without", there.display())), "{says}");
        assert!(!gone.exists(), "nothing is made in its place");
        write_private(gone, std::str::from_utf8(&held).unwrap()).unwrap();
    }
    // A first start that was broken off just before its end.
    fs::rename(&certificate, directory.path().join("ca.crt.new")).unwrap();
    assert_eq!(authority_in(directory.path()).certificate().as_bytes(), right);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused().to_string().contains("has mode 0777"), "{}", refused());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let other = tempfile::tempdir().unwrap();
    authority_in(other.path());
    fs::copy(other.path().join("ca.key"), &key).unwrap();
    assert!(matches!(refused(), PkiError::OtherKey { .. }), "{}", refused());
    fs::write(&key, &secret).unwrap();
    assert_eq!(authority_in(directory.path()).certificate().as_bytes(), right);
}

#[test]
fn nobody_else_reads_what_is_secret() {
    let parent = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = parent.path().join("pki");
    authority_in(&directory);
    assert_eq!((mode(&directory), mode(&directory.join("ca.key"))), (0o700, 0o600));
    let secret = parent.path().join("secret");
    fs::write(&secret, "old").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)).unwrap();
    write_private(&secret, "new").unwrap();
    assert_eq!(mode(&secret), 0o600);
}

#[test]
fn a_kubeconfig_that_says_the_same_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, path) =
        (authority_in(&directory.path().join("pki")), directory.path().join("kubeconfig"));
    let written = |server: &str, authority: &Authority| {
        crate::Kubeconfig::ensure(&path, server, authority).unwrap();
        fs::read(&path).unwrap()
    };
    let first = written("https://10.0.0.1:6443", &authority);
    assert_eq!(written("https://10.0.0.1:6443", &authority), first);
    let moved = written("https://10.0.0.2:6443", &authority);
    assert_ne!(moved, first);
    assert_ne!(written("https://10.0.0.2:6443", &Authority::new().unwrap()), moved, "another authority");
    fs::write(&path, "{").unwrap();
    assert_ne!(written("https://10.0.0.2:6443", &authority), b"{");
}
