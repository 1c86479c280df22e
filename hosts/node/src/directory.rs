//! The data directory of a node: one node's at a time, and of one name, by which what it has on the machine is known.

use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

/// The file that has the name, and that a node locks while it runs; `orchestra reset` reads it.
const NODE: &str = "node";

/// Takes a directory for a node of that name, for as long as what is returned is held.
///
/// # Errors
/// When another node runs on it, or one of another name has things on the machine that would not be found again.
pub(crate) fn take(directory: &Path, name: &str) -> anyhow::Result<File> {
    let path = directory.join(NODE);
    let open = || {
        create_dir_all(directory)?;
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
    };
    let mut file = open().with_context(|| format!("{} cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("another node runs on {}; name another --data-dir", directory.display())
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
        }
    }
    let mut held = String::new();
    file.read_to_string(&mut held).with_context(|| format!("{} cannot be read", path.display()))?;
    let held = held.trim();
    if !held.is_empty() && held != name {
        bail!(
            "{0} is the directory of the node {held:?}, and what that one has on this machine would not be found by \
             {name:?}; start it with --name {held}, name another --data-dir, or remove it: orchestra reset --data-dir {0}",
            directory.display()
        );
    }
    let written = file
        .rewind()
        .and_then(|()| writeln!(file, "{name}"))
        .and_then(|()| file.set_len(name.len() as u64 + 1));
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_nodes_at_a_time_and_of_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let held = take(&path, "n1").unwrap();
        assert!(take(&path, "n1").unwrap_err().to_string().contains("another node runs on"));
        drop(held);
        assert!(take(&path, "n2").unwrap_err().to_string().contains("--name n1"));
        drop(take(&path, "n1").unwrap());
        assert_eq!(std::fs::read_to_string(path.join(NODE)).unwrap(), "n1\n");
    }
}
