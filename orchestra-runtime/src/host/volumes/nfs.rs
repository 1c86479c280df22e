//! Directories of other machines, by the program `mount` of this one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use orchestra_core::node::{HostError, Nfs};
use tokio::process::Command;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Mounts a directory of another machine.
pub(super) async fn mount(nfs: &Nfs, at: &Path) -> Result<(), HostError> {
    let failed = |message: String| HostError::Io { path: format!("{}:{}", nfs.server, nfs.path), message };
    let mut command = Command::new("mount");
    command.args(arguments(nfs)).arg(at).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|error| failed(format!("the program mount cannot be run: {error}")))?,
        Err(_) => return Err(failed(format!("it was not mounted within {PATIENCE:?}"))),
    };
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// What `mount` is told, but for the place.
fn arguments(nfs: &Nfs) -> Vec<String> {
    let read_only = nfs.read_only.then(|| "ro".to_owned());
    let options: Vec<String> = nfs.options.iter().cloned().chain(read_only).collect();
    let mut all = vec!["-t".to_owned(), "nfs".to_owned()];
    if !options.is_empty() {
        all.extend(["-o".to_owned(), options.join(",")]);
    }
    let host = if nfs.server.contains(':') { format!("[{}]", nfs.server) } else { nfs.server.clone() };
    // Whatever a server is called, it is no option.
    all.extend(["--".to_owned(), format!("{host}:{}", nfs.path)]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mount_is_told() {
        let nfs = |server: &str, read_only, options: &[&str]| Nfs {
            server: server.into(),
            path: "/x".into(),
            read_only,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        assert_eq!(arguments(&nfs("s", false, &[])), ["-t", "nfs", "--", "s:/x"]);
        assert_eq!(
            arguments(&nfs("fd00::1", true, &["nfsvers=4"])),
            ["-t", "nfs", "-o", "nfsvers=4,ro", "--", "[fd00::1]:/x"]
        );
    }

    #[tokio::test]
    async fn why_it_failed_is_told() {
        let place = tempfile::tempdir().unwrap();
        let nfs = Nfs { server: "nobody.invalid".into(), path: "/x".into(), ..Nfs::default() };
        let error = mount(&nfs, place.path()).await.unwrap_err().to_string();
        assert!(error.starts_with("nobody.invalid:/x: ") && error.len() > 20, "{error}");
    }
}
