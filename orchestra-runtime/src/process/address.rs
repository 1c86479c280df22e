//! Addresses of pods, unique on the machine for all the runtimes that share a range.
//!
//! An address is taken by a symbolic link of its name to the sandbox's folder, in a folder all of them know. A link
//! whose folder is gone belongs to nobody: so what a crash left is found again without anybody having to look for it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use orchestra_core::runtime::{Result, RuntimeError};
use rustix::fs::FlockOperation;

use super::record::failed;

/// A range of addresses, such as `10.85.0.0/16`; with one of version 6 beside it, pods have an address of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    network: Ipv4Addr,
    prefix: u8,
    second: Option<(Ipv6Addr, u8)>,
}

impl Range {
    /// Reads `10.85.0.0/16`. Between a /8 and a /30, so that there is room for a gateway and a pod.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        (8..=30).contains(&prefix).then(|| Self::new(address, prefix))
    }

    /// The same with a range of version 6 beside it, such as `fd00:85::/64`; `None` if that is no larger than this one.
    pub fn and(self, text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv6Addr>().ok()?, prefix.parse::<u8>().ok()?);
        let network = |prefix: u8| Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - prefix)));
        (8..=96 + self.prefix)
            .contains(&prefix)
            .then(|| Self { second: Some((network(prefix), prefix)), ..self })
    }

    /// The range of this prefix that an address is in; a prefix from 8 to 30.
    pub(super) const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX << (32 - prefix);
        Self { network: Ipv4Addr::from_bits(address.to_bits() & mask), prefix, second: None }
    }

    /// How many leading bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Its first address that a machine can have: the bridge's, where there is one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// The range of version 6 beside it, by its gateway and how many leading bits its addresses share.
    pub fn second(&self) -> Option<(Ipv6Addr, u8)> {
        self.second.map(|(network, prefix)| (Ipv6Addr::from_bits(network.to_bits() + 1), prefix))
    }

    /// The address of version 6 that goes with one of this range: it is as far into the second range, so whoever has the
    /// one has the other.
    pub(super) fn beside(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let (network, _) = self.second?;
        let offset = address.to_bits().wrapping_sub(self.network.to_bits());
        Some(Ipv6Addr::from_bits(network.to_bits() + u128::from(offset)))
    }

    /// How many pods fit: all but the network, the gateway and broadcast.
    fn room(&self) -> u32 {
        (1u32 << (32 - self.prefix)) - 3
    }

    fn nth(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 2 + n % self.room())
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)?;
        match self.second {
            Some((network, prefix)) => write!(f, ",{network}/{prefix}"),
            None => Ok(()),
        }
    }
}

/// The folder of sandboxes whose addresses others give.
const OTHERS: &str = "others";

/// Gives out addresses, of one range or another.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// A folder for each range that was ever given of.
    folder: PathBuf,
}

impl Addresses {
    pub(super) fn open(run: &Path) -> io::Result<Self> {
        let folder = run.join("addresses");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Takes a free address for a sandbox, a different one each time as far as there are enough: whoever still has the
    /// address of a pod that is gone shall not reach another.
    pub(super) fn take(&self, range: Range, sandbox: &Path) -> Result<Ipv4Addr> {
        let folder = self.folder.join(format!("{}-{}", range.network, range.prefix));
        fs::create_dir_all(&folder).map_err(failed)?;
        let _lock = lock(&folder).map_err(failed)?;
        let last = folder.join("last");
        let begin: u32 = fs::read_to_string(&last).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        for offset in 0..range.room() {
            let n = begin.wrapping_add(offset) % range.room();
            let address = range.nth(n);
            let link = folder.join(address.to_string());
            if link.exists() {
                continue; // it exists if what it leads to does
            }
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(sandbox, &link).map_err(failed)?;
            fs::write(&last, (n + 1).to_string()).map_err(failed)?;
            return Ok(address);
        }
        Err(RuntimeError::Exhausted { message: format!("no addresses left in {range}") })
    }

    /// Gives an address back, if it is this sandbox's.
    pub(super) fn give_back(&self, address: Ipv4Addr, sandbox: &Path) -> Result<()> {
        for folder in self.folders().map_err(failed)? {
            let _lock = lock(&folder).map_err(failed)?;
            let link = folder.join(address.to_string());
            if fs::read_link(&link).is_ok_and(|owner| owner == sandbox) {
                fs::remove_file(link).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Addresses whose sandbox is gone, with what its folder was called.
    pub(super) fn abandoned(&self) -> io::Result<Vec<(Ipv4Addr, String)>> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            let _lock = lock(&folder)?;
            for entry in fs::read_dir(&folder)? {
                let link = entry?.path();
                let address =
                    link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
                let (Some(address), Ok(owner)) = (address, fs::read_link(&link)) else { continue };
                if !owner.exists()
                    && let Some(name) = owner.file_name().and_then(|name| name.to_str())
                {
                    found.push((address, name.to_owned()));
                }
            }
        }
        Ok(found)
    }

    /// Frees an address whose sandbox is gone; one that was given to another one meanwhile is left.
    pub(super) fn free(&self, address: Ipv4Addr) -> io::Result<()> {
        for folder in self.folders()? {
            let _lock = lock(&folder)?;
            let link = folder.join(address.to_string());
            if link.is_symlink() && !link.exists() {
                fs::remove_file(link)?;
            }
        }
        Ok(())
    }

    /// Notes a sandbox whose addresses others give, so that its network is known to be somebody's.
    pub(super) fn note(&self, sandbox: &Path) -> io::Result<()> {
        let (folder, name) = (self.folder.join(OTHERS), sandbox.file_name().unwrap_or_default());
        fs::create_dir_all(&folder)?;
        match std::os::unix::fs::symlink(sandbox, folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets such a sandbox. That it was not noted is no error.
    pub(super) fn forget(&self, sandbox: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(OTHERS).join(sandbox)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folders(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    /// What the folders of all sandboxes are called that have an address of any range.
    pub(super) fn owners(run: &Path) -> io::Result<BTreeSet<OsString>> {
        let mut owners = BTreeSet::new();
        for range in fs::read_dir(run.join("addresses"))? {
            for link in fs::read_dir(range?.path())? {
                let link = link?.path();
                let owner = fs::read_link(&link).ok();
                let is_others = link.parent().is_some_and(|folder| folder.ends_with(OTHERS));
                if is_others && !link.exists() {
                    // Nobody gives back what is no address.
                    let _ = fs::remove_file(link);
                    continue;
                }
                owners.extend(owner.and_then(|owner| owner.file_name().map(OsStr::to_owned)));
            }
        }
        Ok(owners)
    }
}

pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = Range::parse("10.85.3.9/16").unwrap();
        assert_eq!(
            (range.to_string().as_str(), range.gateway()),
            ("10.85.0.0/16", Ipv4Addr::new(10, 85, 0, 1))
        );
        assert_eq!(range.nth(0), Ipv4Addr::new(10, 85, 0, 2));
        assert_eq!(range.nth(range.room() - 1), Ipv4Addr::new(10, 85, 255, 254));
        let both = range.and("fd00:85::9/64").unwrap();
        assert_eq!(both.to_string(), "10.85.0.0/16,fd00:85::/64");
        assert_eq!(both.second().unwrap().0, "fd00:85::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(both.beside(both.nth(300)), Some("fd00:85::12e".parse().unwrap()));
        assert!(range.and("fd00:85::/113").is_none() && range.and("10.0.0.0/8").is_none());
        for bad in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/7", "x/24", "::/64"] {
            assert_eq!(Range::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_unique_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let range = Range::parse("127.85.0.0/29").unwrap();
        let addresses = Addresses::open(folder.path()).unwrap();
        let sandbox = |n: u32| {
            let path = folder.path().join(format!("s{n}"));
            fs::create_dir_all(&path).unwrap();
            path
        };
        let taken: Vec<Ipv4Addr> = (0..5).map(|n| addresses.take(range, &sandbox(n)).unwrap()).collect();
        let again = Addresses::open(folder.path()).unwrap();
        assert!(matches!(again.take(range, &sandbox(9)), Err(RuntimeError::Exhausted { .. })));
        let distinct: std::collections::BTreeSet<_> = taken.iter().collect();
        assert_eq!(distinct.len(), 5);

        again.give_back(taken[3], &sandbox(0)).unwrap();
        assert!(again.take(range, &sandbox(9)).is_err(), "only its owner gives an address back");
        again.give_back(taken[3], &sandbox(3)).unwrap();
        assert_eq!(again.take(range, &sandbox(9)).unwrap(), taken[3]);
        fs::remove_dir(sandbox(1)).unwrap();
        assert_eq!(again.abandoned().unwrap(), [(taken[1], "s1".to_owned())]);
        assert_eq!(again.take(range, &sandbox(10)).unwrap(), taken[1], "of a sandbox that is gone");
        again.free(taken[1]).unwrap();
        assert!(
            again.abandoned().unwrap().is_empty() && again.take(range, &sandbox(11)).is_err(),
            "not its owner's"
        );
        let other = Range::parse("127.87.0.0/29").unwrap();
        let beside = addresses.take(other, &sandbox(12)).unwrap();
        assert_eq!(beside, other.nth(0), "another range has addresses of its own");
        addresses.give_back(beside, &sandbox(12)).unwrap();
        assert_eq!(
            fs::read_dir(folder.path().join("addresses/127.87.0.0-29")).unwrap().count(),
            2,
            "lock and last"
        );
        fs::remove_dir(sandbox(10)).unwrap();
        again.free(taken[1]).unwrap();
        again.note(&sandbox(20)).unwrap();
        again.note(&sandbox(21)).unwrap();
        fs::remove_dir(sandbox(21)).unwrap();
        let owners = Addresses::owners(folder.path()).unwrap();
        assert!(owners.contains(OsStr::new("s20")) && !owners.contains(OsStr::new("s21")), "{owners:?}");
        again.forget("s20").unwrap();
        again.forget("s20").unwrap();
        let owners = Addresses::owners(folder.path()).unwrap();
        assert!(!owners.contains(OsStr::new("s20")));
        assert!(owners.contains(OsStr::new("s9")) && !owners.contains(OsStr::new("s10")), "{owners:?}");
    }
}
