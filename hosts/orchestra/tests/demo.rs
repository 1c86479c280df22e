//! `orchestra demo`: it shows what it says, and nothing of it is left.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn the_demo_heals_scales_and_rolls_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .args(["demo", "--fast"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).collect();
    assert_eq!(steps.len(), 7, "{said}");
    // Three at first, one that replaces another, two more, and then five of the new version.
    let ran: BTreeSet<&str> = said
        .lines()
        .filter(|line| line.contains(" Running at "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(ran.len() >= 11, "{said}");
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0, "a folder is left behind");
    let folder = temporary.path().as_os_str().as_bytes();
    let runs_there = |process: PathBuf| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        words.windows(folder.len()).any(|part| part == folder)
    };
    let left = std::fs::read_dir("/proc")
        .unwrap()
        .filter(|entry| runs_there(entry.as_ref().unwrap().path()))
        .count();
    assert_eq!(left, 0, "a process is left behind");
}
