use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;

/// An entry of an archive, with any name.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) link: String,
    pub(crate) text: Vec<u8>,
    pub(crate) mode: u32,
}

pub(crate) fn file(name: &str, text: &str) -> Made {
    Made { name: name.into(), kind: EntryType::Regular, link: String::new(), text: text.into(), mode: 0o644 }
}

pub(crate) fn folder(name: &str) -> Made {
    Made { kind: EntryType::Directory, mode: 0o755, ..file(name, "") }
}

pub(crate) fn link(kind: EntryType, name: &str, to: &str) -> Made {
    Made { kind, link: to.into(), ..file(name, "") }
}

pub(crate) fn tarball(entries: &[Made]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for made in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..made.name.len()].copy_from_slice(&made.name);
        header.as_old_mut().linkname[..made.link.len()].copy_from_slice(made.link.as_bytes());
        header.set_entry_type(made.kind);
        header.set_mode(made.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(made.text.len() as u64);
        header.set_cksum();
        builder.append(&header, made.text.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A place with a root to unpack into, and something beside it that must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.root()).unwrap();
        fs::create_dir_all(place.outside()).unwrap();
        fs::write(place.outside().join("secret"), "kept").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("store/root")
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    fn unpack(&self, entries: &[Made], below: &[PathBuf]) -> Result<Unpacked> {
        archive(tarball(entries).as_slice(), &self.root(), below, &Limits::default())
    }

    /// Whether nothing but the root was changed.
    fn is_intact(&self) -> bool {
        let names = |path: &Path| fs::read_dir(path).unwrap().count();
        let secret = fs::metadata(self.outside().join("secret")).unwrap();
        names(self.0.path()) == 2
            && names(&self.outside()) == 1
            && names(self.root().parent().unwrap()) == 1
            && secret.nlink() == 1
            && fs::read(self.outside().join("secret")).unwrap() == b"kept"
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

#[test]
fn hostile_archives_stay_in_their_root() {
    use EntryType::{Char, Link, Symlink};
    let place = Place::new();
    let outside = place.outside().display().to_string();
    let up = "../../../../../../../..".to_owned() + &outside;
    let secret = format!("{outside}/secret");
    for (what, entries, expected) in [
        ("a step up", vec![file("../x", "")], Err("leads out")),
        ("a step up within", vec![file("a/../../x", "")], Err("leads out")),
        ("an absolute name", vec![file(&format!("{outside}/x"), "")], Ok(())),
        ("a link out", vec![link(Symlink, "l", &outside), file("l/x", ""), file("l/secret", "gone")], Ok(())),
        ("a link up", vec![link(Symlink, "l", &up), file("l/x", "")], Ok(())),
        ("a folder through a link", vec![link(Symlink, "l", &up), folder("l"), file("l/x", "")], Ok(())),
        ("a link in place of a file", vec![link(Symlink, "f", &secret), file("f", "gone")], Ok(())),
        (
            "links in a circle",
            vec![link(Symlink, "l", "m"), link(Symlink, "m", "l"), file("l/x", "")],
            Err(""),
        ),
        ("a hard link up", vec![link(Link, "h", "../outside/secret")], Err("leads out")),
        ("a hard link out", vec![link(Link, "h", &secret)], Err("which is not there")),
        (
            "a hard link through a link",
            vec![link(Symlink, "l", &outside), link(Link, "h", "l/secret")],
            Err("not there"),
        ),
        ("a link to nothing", vec![link(Link, "h", "")], Err("a link to nothing")),
        (
            "a hard link to a link",
            vec![link(Symlink, "l", &secret), link(Link, "h", "l"), file("h", "gone")],
            Ok(()),
        ),
        ("a device", vec![link(Char, "null", "")], Ok(())),
        ("a whiteout of what is above", vec![file(".wh...", "")], Err("takes away nothing")),
        ("a whiteout of nothing", vec![file(".wh.", "")], Err("takes away nothing")),
        ("a whiteout through a link", vec![link(Symlink, "l", &outside), file("l/.wh.secret", "")], Ok(())),
        (
            "a new beginning through a link",
            vec![link(Symlink, "l", &outside), file("l/.wh..wh..opq", "")],
            Ok(()),
        ),
        ("a link in place of the root", vec![link(Symlink, "./", &outside), file("x", "")], Ok(())),
        ("a file for a folder", vec![file("f", ""), file("f/x", "")], Err("")),
    ] {
        let place = Place::new();
        let entries: Vec<Made> = entries
            .into_iter()
            .map(|mut made| {
                let swap = |text: &str| text.replace(&outside, &place.outside().display().to_string());
                made.name = swap(&String::from_utf8(made.name).unwrap()).into_bytes();
                made.link = swap(&made.link);
                made
            })
            .collect();
        let done = place.unpack(&entries, &[]);
        match (expected, done) {
            (Ok(()), Ok(_)) => {}
            (Err(says), Err(error)) if error.to_string().contains(says) => {}
            (expected, done) => panic!("{what}: {done:?}, and not {expected:?}"),
        }
        assert!(place.is_intact(), "{what}");
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh..wh..opq",
        "outside",
        "secret",
    ]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn hostile_entry() -> impl Strategy<Value = Made> {
    let kind = prop::sample::select(vec![
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
    ]);
    (hostile_name(), kind, hostile_name(), prop::collection::vec(any::<u8>(), 0..4), any::<bool>()).prop_map(
        |(name, kind, link, text, far)| {
            let text = if kind == EntryType::Regular { text } else { Vec::new() };
            let link = if far { format!("../../../{link}") } else { link };
            Made { name: name.into_bytes(), kind, link, text, mode: 0o755 }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Each entry is an archive of its own after the first that is refused, so that what comes later is tried too.
    #[test]
    fn nothing_is_written_outside_the_root(
        lower in prop::collection::vec(hostile_entry(), 0..6),
        upper in prop::collection::vec(hostile_entry(), 1..14),
    ) {
        let (place, below) = (Place::new(), Place::new());
        for entry in lower {
            let _ = below.unpack(&[entry], &[]);
        }
        for entry in upper {
            let _ = place.unpack(&[entry], &[below.root()]);
            prop_assert!(place.is_intact());
        }
        prop_assert!(below.is_intact());
    }

    #[test]
    fn bytes_that_are_no_archive_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..3000) {
        let place = Place::new();
        let _ = archive(bytes.as_slice(), &place.root(), &[], &Limits::default());
        let mut whole = tarball(&[folder("a"), file("a/b", &"x".repeat(700))]);
        whole.truncate(cut);
        let _ = archive(whole.as_slice(), &place.root(), &[], &Limits::default());
        prop_assert!(place.is_intact());
    }
}

#[test]
fn a_layer_takes_away_what_is_below() {
    let (lower, upper) = (Place::new(), Place::new());
    let entries = [folder("etc"), file("etc/a", "a"), file("etc/b", "b"), folder("old"), file("old/x", "")];
    lower.unpack(&entries, &[]).unwrap();
    let entries = [
        file("etc/.wh.a", ""),
        file("etc/.wh.never", ""),
        file("old/.wh..wh..opq", ""),
        file(".wh.etc2", ""),
        file(".wh..wh.plnk", ""),
        file("old/y", ""),
    ];
    upper.unpack(&entries, &[lower.root()]).unwrap();
    let taken = fs::symlink_metadata(upper.root().join("etc/a")).unwrap();
    assert!(taken.file_type().is_char_device() && taken.rdev() == 0);
    assert!(!upper.root().join("etc/never").exists(), "what was never there needs no mark");
    assert!(is_anew(&upper.root().join("old")) && !is_anew(&upper.root().join("etc")));
    // A folder that was taken away and is made again shows nothing of the old one.
    let again = Place::new();
    again.unpack(&[file(".wh.old", ""), file("old/z", "")], &[lower.root()]).unwrap();
    assert!(is_anew(&again.root().join("old")));
    let again = Place::new();
    again.unpack(&[folder("old"), file(".wh.old", "")], &[lower.root()]).unwrap();
    assert!(is_anew(&again.root().join("old")));
}

fn is_anew(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| rustix::fs::lgetxattr(path, *name, &mut [0_u8; 4][..]) == Ok(1))
}

#[test]
fn what_a_layer_does_not_say_is_as_it_is_below() {
    let (lower, upper) = (Place::new(), Place::new());
    let temporary = Made { mode: 0o1777, ..folder("tmp") };
    let links = [link(EntryType::Symlink, "lib", "usr/lib"), folder("usr/lib"), file("usr/lib/one", "one")];
    lower.unpack(&[&[temporary][..], &links].concat(), &[]).unwrap();
    let hard = link(EntryType::Link, "again", "lib/one");
    upper.unpack(&[file("tmp/x", "x"), file("lib/two", "two"), hard], &[lower.root()]).unwrap();
    let mode = |path: &str| fs::metadata(upper.root().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(upper.read("usr/lib/two"), "two", "a link of the layer below is followed");
    assert_eq!((upper.read("again"), upper.read("usr/lib/one")), ("one".to_owned(), "one".to_owned()));
    assert!(!upper.root().join("lib").exists());
    // A folder that begins anew has nothing of what was there.
    let third = Place::new();
    let entries = [file("usr/.wh..wh..opq", ""), link(EntryType::Link, "gone", "usr/lib/one")];
    let refused = third.unpack(&entries, &[upper.root(), lower.root()]).unwrap_err();
    assert!(refused.to_string().contains("is not there"), "{refused}");
}

#[test]
fn files_are_whose_they_should_be() {
    let place = Place::new();
    let program = Made { mode: 0o4755, ..file("bin/su", "x") };
    let entries =
        [Made { mode: 0o700, ..folder("./") }, program, link(EntryType::Link, "bin/again", "bin/su")];
    let done = place.unpack(&entries, &[]).unwrap();
    assert_eq!(done, Unpacked { bytes: 1, entries: 3 });
    let found = fs::metadata(place.root().join("bin/su")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.nlink(), found.mtime()), (0o4755, 2, 1_000_000_000));
    let root = fs::metadata(place.root()).unwrap();
    assert_eq!((root.mode() & 0o7777, root.mtime()), (0o700, 1_000_000_000));
}

#[test]
fn what_means_something_to_overlays_is_not_taken_from_strangers() {
    let place = Place::new();
    let mut builder = Builder::new(Vec::new());
    let kept: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.note", b"kept"),
    ];
    builder.append_pax_extensions(kept).unwrap();
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, "f", io::empty()).unwrap();
    archive(builder.into_inner().unwrap().as_slice(), &place.root(), &[], &Limits::default()).unwrap();
    let path = place.root().join("f");
    assert!(!is_anew(&path));
    let mut value = [0_u8; 8];
    match rustix::fs::lgetxattr(&path, "user.note", &mut value[..]) {
        Ok(read) => assert_eq!(&value[..read], b"kept"),
        Err(error) => assert_eq!(error, rustix::io::Errno::OPNOTSUPP, "of a file system without them"),
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let limits = Limits { unpacked: 1000, entries: 3, ..Limits::default() };
    let unpack = |tar: &[u8]| {
        let place = Place::new();
        let refused = archive(tar, &place.root(), &[], &limits);
        assert!(place.is_intact());
        refused.map_err(|error| error.to_string())
    };
    assert!(unpack(&tarball(&[file("a", &"x".repeat(999))])).is_ok());
    let refused = unpack(&tarball(&[file("a", &"x".repeat(600)), file("b", &"x".repeat(600))]));
    assert!(refused.unwrap_err().contains("more than 1000 bytes"));
    assert!(unpack(&tarball(&vec![folder("a"); 4])).unwrap_err().contains("more than 3 files"));
    // A name of two megabytes, which would be read into memory.
    let long = Made { kind: EntryType::GNULongName, ..file("././@LongLink", &"n".repeat(2 << 20)) };
    assert!(unpack(&tarball(&[long])).unwrap_err().contains("a header is too long"));
}

#[test]
fn a_layer_is_what_it_is_called() {
    let tar = tarball(&[file("a", "a")]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut packed, &tar).unwrap();
    let (packed, digest) = (packed.finish().unwrap(), Digest::of(&tar));
    let limits = Limits::default();
    let zstd = ruzstd::encoding::compress_to_vec(tar.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    for blob in [tar.as_slice(), packed.as_slice(), zstd.as_slice()] {
        let place = Place::new();
        layer(blob, &digest, &place.root(), &[], &limits).unwrap();
        assert_eq!(place.read("a"), "a");
    }
    let place = Place::new();
    let refused = layer(tar.as_slice(), &Digest::of(b"other"), &place.root(), &[], &limits).unwrap_err();
    assert!(refused.to_string().contains("and should be"), "{refused}");
    let refused = layer(&zstd[..9], &digest, &place.root(), &[], &limits).unwrap_err();
    assert!(refused.to_string().contains("zstd"), "{refused}");
    // Zeros without end after the archive, well compressed.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::Write::write_all(&mut bomb, &tar).unwrap();
    io::Write::write_all(&mut bomb, &vec![0; 1 << 20]).unwrap();
    let small = Limits { unpacked: 1 << 16, ..limits };
    let refused = layer(bomb.finish().unwrap().as_slice(), &digest, &place.root(), &[], &small).unwrap_err();
    assert!(refused.to_string().contains("does not end"), "{refused}");
}
