//! An image that tests run: busybox, in an archive.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is called.
pub(crate) const IMAGE: &str = "docker.io/orchestra-test/busybox:1";

/// As `docker save` writes it: busybox over a layer that has what it takes away.
pub(crate) fn make(place: &Path) -> PathBuf {
    let (below, root) = (place.join("below"), place.join("root"));
    for folder in [below.join("etc"), root.join("etc")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(below.join("etc/gone"), "gone").unwrap();
    std::fs::write(below.join("etc/stays"), "stays\n").unwrap();
    std::fs::write(root.join("etc/.wh.gone"), "").unwrap();
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:50:ann\n").unwrap();
    let bin = root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.expect("busybox of busybox-static"), bin.join("busybox")).unwrap();
    for applet in [
        "sh", "sleep", "echo", "cat", "true", "id", "hostname", "env", "stty", "httpd", "ls", "mount",
        "mkdir",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    for folder in ["tmp", "proc", "dev", "sys"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    let config = r#"{"Cmd":["sh","-c","echo from the image"],"Env":["PATH=/bin","FROM=image"],"User":"ann","WorkingDir":"/tmp"}"#;
    pack(place, IMAGE, &[&below, &root], config)
}

/// Packs folders as the layers of an image; `config` says how its containers begin.
pub(crate) fn pack(place: &Path, name: &str, layers: &[&Path], config: &str) -> PathBuf {
    let archive = place.join("archive");
    std::fs::create_dir_all(&archive).unwrap();
    let (mut files, mut digests) = (Vec::new(), Vec::new());
    for (n, from) in layers.iter().enumerate() {
        let file = format!("{n}.tar");
        let layer = archive.join(&file);
        run(Command::new("tar").arg("-C").arg(from).arg("-cf").arg(&layer).arg("."));
        let digest = run(Command::new("sha256sum").arg(&layer));
        digests.push(format!("\"sha256:{}\"", digest.split(' ').next().unwrap()));
        files.push(format!("\"{file}\""));
    }
    let (files, digests) = (files.join(","), digests.join(","));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{digests}]}}}}"#
    );
    std::fs::write(archive.join("config.json"), config).unwrap();
    let listed = format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":[{files}]}}]"#);
    std::fs::write(archive.join("manifest.json"), listed).unwrap();
    let whole = place.join("image.tar");
    run(Command::new("tar").arg("-C").arg(&archive).arg("-cf").arg(&whole).arg("."));
    whole
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
