//! Sets of files that change all at once.
//!
//! As a kubelet does it: a new set is written beside the old one, and `..data` is renamed over itself. A container that
//! mounts the folder sees either all of the old or all of the new.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use orchestra_core::node::Files;

use super::{DATA, give_to, relative};
use crate::private;

/// The permissions of a folder of files; what is made in it belongs to its group.
pub(super) fn folder_mode(group: Option<u32>) -> u32 {
    if group.is_some() { 0o2755 } else { 0o755 }
}

/// Whether the files of a set are what they should be, and no others.
pub(super) fn is_current(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let data = volume.join(DATA);
    if !data.exists() {
        return Ok(false);
    }
    let mut present = BTreeSet::new();
    collect(&data, Path::new(""), &mut present)?;
    if present.len() != files.len() {
        return Ok(false);
    }
    let root = rustix::process::geteuid().is_root();
    for (name, file) in files {
        let Some(path) = relative(name).filter(|path| present.contains(path)) else { return Ok(false) };
        let path = data.join(path);
        let found = fs::metadata(&path)?;
        let mode = found.permissions().mode() & 0o7777;
        let other_group = root && group.is_some_and(|group| group != found.gid());
        if mode != file.mode || other_group || fs::read(&path)? != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), &path, found)?,
            false => drop(found.insert(path)),
        }
    }
    Ok(())
}

/// Puts a set of files in the place of the present one.
pub(super) fn replace(volume: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let new = PathBuf::from(format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f")));
    let tops = write(&volume.join(&new), files, group)?;
    let draft = volume.join("..data_tmp");
    let _ = fs::remove_file(&draft);
    std::os::unix::fs::symlink(&new, &draft)?;
    fs::rename(&draft, volume.join(DATA))?;
    for top in &tops {
        let link = volume.join(top);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new(DATA).join(top), link)?;
        }
    }
    // What is not of the new set goes: links to what is no more, the set before, and what a crash left.
    for entry in fs::read_dir(volume)? {
        let name = PathBuf::from(entry?.file_name());
        if name == Path::new(DATA) || name == new || tops.contains(&name) {
            continue;
        }
        let path = volume.join(&name);
        match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// Writes a set into a new folder. The names at its top.
fn write(folder: &Path, files: &Files, group: Option<u32>) -> io::Result<BTreeSet<PathBuf>> {
    have_folder(folder, group)?;
    let mut tops = BTreeSet::new();
    for (name, file) in files {
        let Some(path) = relative(name) else { continue };
        tops.extend(path.components().next().map(|top| PathBuf::from(top.as_os_str())));
        let mut parent = folder.to_owned();
        for part in path.parent().iter().flat_map(|parent| parent.components()) {
            parent.push(part);
            have_folder(&parent, group)?;
        }
        let at = folder.join(&path);
        fs::write(&at, &file.data)?;
        give_to(&at, group)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(tops)
}

fn have_folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    private::folder(path, 0o755)?;
    give_to(path, group)?;
    private::permit(path, folder_mode(group))
}
