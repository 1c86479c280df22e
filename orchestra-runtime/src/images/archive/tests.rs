use std::fs;

use super::super::unpack::tests::{Made, file, link, tarball};
use super::super::{ImageError, Limits};
use super::*;

fn configuration(layers: &[&[u8]], architecture: &str) -> String {
    let diffs: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    format!(
        r#"{{"os":"linux","architecture":"{architecture}","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diffs.join(",")
    )
}

fn own() -> String {
    Platform::own().architecture
}

fn bytes(name: &str, bytes: &[u8]) -> Made {
    Made { text: bytes.to_vec(), ..file(name, "") }
}

/// As `docker save` writes it; the second layer is a link, as it is where two are the same.
fn docker_archive(names: &str) -> Vec<u8> {
    let one = tarball(&[file("a", "one")]);
    let two = tarball(&[file("b", "two")]);
    tarball(&[
        bytes("1/layer.tar", &one),
        bytes("2/layer.tar", &two),
        link(tar::EntryType::Symlink, "3/layer.tar", "../1/layer.tar"),
        file("config.json", &configuration(&[&one, &two, &one], &own())),
        file(
            "manifest.json",
            &format!(
                r#"[{{"Config":"config.json","RepoTags":{names},"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}}]"#
            ),
        ),
    ])
}

fn oci_archive(architecture: &str, name: &str) -> Vec<u8> {
    let layer = tarball(&[file("a", "one")]);
    let config = configuration(&[&layer], architecture);
    let described = |bytes: &[u8]| format!(r#""digest":"{}","size":{}"#, Digest::of(bytes), bytes.len());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{{}}},"layers":[{{{}}}]}}"#,
        described(config.as_bytes()),
        described(&layer)
    );
    let inner = format!(
        r#"{{"schemaVersion":2,"manifests":[{{{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
        described(manifest.as_bytes())
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{{},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}]}}"#,
        described(inner.as_bytes())
    );
    let blobs = [&layer[..], config.as_bytes(), manifest.as_bytes(), inner.as_bytes()];
    let mut entries: Vec<Made> =
        blobs.iter().map(|blob| bytes(&super::blob(&Digest::of(blob)), blob)).collect();
    entries.push(file("index.json", &index));
    tarball(&entries)
}

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("images")).unwrap();
        Self { folder, store }
    }

    fn load(&self, archive: &[u8], name: Option<&str>) -> Result<Vec<Stored>> {
        let path = self.folder.path().join("archive");
        fs::write(&path, archive).unwrap();
        self.store.load(&path, name.map(|name| ImageRef::parse(name).unwrap()).as_ref())
    }

    fn count(&self, what: &str) -> usize {
        fs::read_dir(self.folder.path().join("images").join(what)).unwrap().count()
    }
}

#[test]
fn images_are_loaded_found_and_removed() {
    let place = Place::new();
    let loaded = place.load(&docker_archive(r#"["web:1","web:2"]"#), None).unwrap();
    assert_eq!(loaded[0].names, ["docker.io/library/web:1", "docker.io/library/web:2"]);
    assert_eq!((place.count("layers"), place.count("configs"), place.count("tmp")), (3, 1, 0));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut packed, &docker_archive("null")).unwrap();
    assert_eq!(place.load(&packed.finish().unwrap(), None).unwrap(), loaded, "the same again, packed");
    assert!(loaded[0].size > 0);

    // Opened anew it is all there.
    let again = Store::open(place.folder.path().join("images")).unwrap();
    assert_eq!(again.list().unwrap(), loaded);
    let held = again.hold("docker.io/library/web:2").unwrap().unwrap();
    assert_eq!((&held.id, held.layers.len()), (&loaded[0].id, 3));
    assert_eq!(held.defaults.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(fs::read_to_string(held.layers[1].join("b")).unwrap(), "two", "the uppermost first");
    drop(held);

    let oci = place.load(&oci_archive(&own(), "r.example/other:1"), None).unwrap();
    assert_eq!(oci[0].names, ["r.example/other:1"]);
    assert_eq!(place.count("layers"), 3, "the lowest layer is the same");
    let refused = place.store.remove("docker.io/library/web:1", |_| Ok(true)).unwrap_err();
    assert!(matches!(refused, ImageError::InUse(_)), "{refused}");
    assert!(!place.store.untag("docker.io/library/web:1", |_| Ok(true)).unwrap(), "it has another name");
    assert!(place.store.find("docker.io/library/web:1").unwrap().is_none());
    assert!(place.store.untag("docker.io/library/web:2", |_| Ok(false)).unwrap());
    assert_eq!((place.count("layers"), place.count("configs")), (1, 1), "what the other has stays");
    place.store.remove(&oci[0].id, |_| Ok(false)).unwrap();
    place.store.remove(&oci[0].id, |_| Ok(false)).unwrap();
    assert_eq!((place.count("layers"), place.count("configs"), place.count("tmp")), (0, 0, 0));
    assert!(matches!(place.store.untag("r.example/other:1", |_| Ok(false)), Err(ImageError::NotFound(_))));
}

#[test]
fn a_name_is_given_to_what_has_none() {
    let place = Place::new();
    let loaded = place.load(&oci_archive(&own(), "latest"), Some("mine:3")).unwrap();
    assert_eq!(loaded[0].names, ["docker.io/library/mine:3"]);
    let nameless = place.load(&docker_archive("null"), None).unwrap();
    assert_eq!(nameless[0].names, [""; 0]);
    assert!(place.store.find(&nameless[0].id).unwrap().is_some(), "it is found by its id");
    // Somebody else's image takes the name.
    place.load(&docker_archive("null"), Some("mine:3")).unwrap();
    assert_eq!(place.store.find("docker.io/library/mine:3").unwrap().unwrap().id, nameless[0].id);
}

#[test]
fn what_is_no_image_leaves_nothing() {
    let one = tarball(&[file("a", "one")]);
    let manifest = |text: &str| vec![file("manifest.json", text)];
    let with = |config: String| {
        tarball(&[
            bytes("l", &one),
            file("c", &config),
            file("manifest.json", r#"[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]"#),
        ])
    };
    for (what, archive, says) in [
        ("no archive", vec![7; 4000], "no archive"),
        ("nothing", tarball(&[]), "neither manifest.json nor index.json"),
        ("no images", tarball(&manifest("[]")), "no image in it"),
        ("no manifest", tarball(&manifest("{")), "manifest.json cannot be read"),
        (
            "no name",
            tarball(&manifest(r#"[{"Config":"c","RepoTags":["A B"]}]"#)),
            "couldn't parse image name",
        ),
        ("no configuration", tarball(&manifest(r#"[{"Config":"c"}]"#)), "the archive has no c"),
        (
            "one that leads out",
            tarball(&manifest(r#"[{"Config":"../../etc/passwd"}]"#)),
            "the archive has no",
        ),
        ("another platform", with(configuration(&[&one], "s390x")), "the image is for linux/s390x"),
        ("too few layers", with(configuration(&[&one, &one], &own())), "it has 2 layers, and has 1"),
        ("another layer", with(configuration(&[b"other"], &own())), "and should be"),
        ("another platform in a layout", oci_archive("s390x", "a/b:1"), "no matching manifest"),
    ] {
        let place = Place::new();
        let refused = place.load(&archive, None).unwrap_err().to_string();
        assert!(refused.contains(says), "{what}: {refused}");
        assert_eq!(place.store.list().unwrap(), [], "{what}");
        assert_eq!(place.count("tmp"), 0, "{what}");
    }
}

#[test]
fn what_a_crash_left_goes() {
    let place = Place::new();
    place.load(&docker_archive(r#"["web:1"]"#), None).unwrap();
    let root = place.folder.path().join("images");
    fs::create_dir_all(root.join("layers/00ff/fs/deep")).unwrap();
    fs::create_dir_all(root.join("tmp/layer.1.1/fs")).unwrap();
    fs::write(root.join("configs/sha256-00.json"), "{").unwrap();
    {
        let _fetching = place.store.fetching().unwrap();
        Store::open(&root).unwrap();
        assert_eq!(place.count("tmp"), 1, "somebody may need it");
    }
    Store::open(&root).unwrap();
    assert_eq!((place.count("layers"), place.count("tmp"), place.count("configs")), (3, 0, 1));
    // A layer of half an image is used by the next attempt while the program runs.
    let limits = Limits { layers: 2, ..Limits::default() };
    assert!(place.store.clone().limits(limits).load(&place.folder.path().join("archive"), None).is_err());
}
