//! The data directory of a cluster: readable by its owner alone.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use anyhow::Context as _;

/// Makes the directory, if it is not there, and takes it from everyone but its owner, whatever the umask: it holds
/// every Secret.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
        .with_context(|| format!("the data directory {} cannot be made", directory.display()))
}

/// A range of Service addresses that this process alone uses on this machine, for as long as this is held.
pub(crate) struct Range(#[expect(dead_code, reason = "held, not read")] UnixListener);

/// What the names of ranges that are held begin with.
const NAMES: &str = "orchestra/services/";

/// Whether two ranges have addresses in common.
fn overlap(one: &str, other: &str) -> bool {
    let parse = |text: &str| {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        let (bits, length) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        (prefix <= length).then_some((length, bits, length - prefix))
    };
    match (parse(one), parse(other)) {
        (Some((family, one, free)), Some((other_family, other, other_free))) => {
            let free = free.max(other_free);
            family == other_family && (one ^ other).checked_shr(free).unwrap_or(0) == 0
        }
        _ => one == other,
    }
}

impl Range {
    /// Takes a range; `None` if another cluster on this machine has it or a part of it. Two of them would each serve a part
    /// of what connects there.
    pub(crate) fn take(range: &str) -> std::io::Result<Option<Self>> {
        // Such a name is known in one network only, as the addresses are, and goes with its process.
        let all = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let held = all.lines().filter_map(|line| line.split_once(&format!("@{NAMES}")).map(|(_, name)| name));
        if held.into_iter().any(|held| overlap(held, range)) {
            return Ok(None);
        }
        let name = SocketAddr::from_abstract_name(format!("{NAMES}{range}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Some(Self(listener))),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let mode = || fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        prepare(&directory).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_range_is_one_clusters_at_a_time() {
        let range = format!("test {}", std::process::id());
        let first = Range::take(&range).unwrap();
        assert!(first.is_some());
        assert!(Range::take(&range).unwrap().is_none());
        drop(first);
        assert!(Range::take(&range).unwrap().is_some());
        for (one, other, both) in [
            ("10.96.0.0/12", "10.100.0.0/16", true),
            ("10.96.0.0/16", "10.97.0.0/16", false),
            ("fd00::/64", "fd00::1:0/112", true),
            ("::/0", "0.0.0.0/0", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (both, both), "{one} {other}");
        }
    }
}
