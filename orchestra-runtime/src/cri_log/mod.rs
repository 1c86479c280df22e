//! Log files in the format of the Container Runtime Interface: written, put aside, read and removed.

mod file;
mod reader;

#[cfg(feature = "cri")]
use std::{fs, path::Path};

pub(crate) use file::{MAX_SIZE, Stream, Writer, files};
#[cfg(feature = "cri")]
pub(crate) use file::{drop_oldest, put_aside};
pub(crate) use reader::Reader;

/// Removes a log with what was put aside of it, and its folder if nothing else is there.
#[cfg(feature = "cri")]
pub(crate) fn remove(path: &Path) {
    for file in files(path).unwrap_or_default() {
        let _ = fs::remove_file(file);
    }
    if let Some(folder) = path.parent() {
        remove_folder(folder);
    }
}

/// Removes a folder of logs that has none.
#[cfg(feature = "cri")]
pub(crate) fn remove_folder(path: &Path) {
    let _ = fs::remove_dir(path);
}
