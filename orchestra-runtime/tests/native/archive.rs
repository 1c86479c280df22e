//! An image that tests run: busybox, in an archive.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is called.
pub(crate) const IMAGE: &str = "docker.io/orchestra-test/busybox:1";

/// As `docker save` writes it: busybox over a layer that has what it takes away.
pub(crate) fn make(place: &Path) -> PathBuf {
    let (below, root, archive) = (place.join("below"), place.join("root"), place.join("archive"));
    for folder in [below.join("etc"), root.join("bin"), root.join("etc"), archive.clone()] {
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
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.expect("busybox of busybox-static"), root.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "sleep", "echo", "cat", "true", "id", "hostname", "env", "stty", "httpd", "ls", "mount",
        "mkdir",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    for folder in ["tmp", "proc", "dev", "sys"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    let layer = |name: &str, from: &Path| {
        let layer = archive.join(name);
        run(Command::new("tar").arg("-C").arg(from).arg("-cf").arg(&layer).arg("."));
        run(Command::new("sha256sum").arg(&layer)).split(' ').next().unwrap().to_owned()
    };
    let (one, two) = (layer("one.tar", &below), layer("two.tar", &root));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["sh","-c","echo from the image"],
        "Env":["PATH=/bin","FROM=image"],"User":"ann","WorkingDir":"/tmp"}},
        "rootfs":{{"type":"layers","diff_ids":["sha256:{one}","sha256:{two}"]}}}}"#
    );
    std::fs::write(archive.join("config.json"), config).unwrap();
    let listed =
        format!(r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["one.tar","two.tar"]}}]"#);
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
