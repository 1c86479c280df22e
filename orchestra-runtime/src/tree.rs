//! A process and everything that descends from it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// How often the tree is looked through for what was born meanwhile.
const PASSES: usize = 100;
/// How often it is looked whether all are dead.
const WAITS: usize = 500;

/// Kills a process and all its descendants, and waits a moment until they are dead.
///
/// Each is stopped first: what has stopped starts no more processes, so once a pass finds nothing new all are known.
pub(crate) fn kill(root: Pid) {
    let mut stopped = BTreeSet::new();
    for _ in 0..PASSES {
        let fresh: Vec<i32> = members(root).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            signal(pid, Signal::STOP);
            stopped.insert(pid);
        }
    }
    stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
    for _ in 0..WAITS {
        if !stopped.iter().any(|pid| lives(*pid)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process is there that is not dead and waiting to be taken in by its parent.
fn lives(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A process and its descendants, by their numbers in the namespace of our `/proc`.
fn members(root: Pid) -> Vec<i32> {
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let children = children(&pid.to_string());
        found.extend(children);
        next += 1;
    }
    found
}

/// The children of a process; `self` is this one.
pub(crate) fn children(process: &str) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn nothing_of_a_tree_is_left() {
        // Children in sessions of their own, and one that starts others without end.
        let script = "setsid sleep 4801 & sh -c 'sh -c \"sleep 4802\" & wait' & \
                      sh -c 'while :; do sleep 4803 & sleep 0.001; done' & echo up; wait";
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = shell.stdout.take().unwrap();
        output.read_exact(&mut [0; 3]).unwrap();
        kill(Pid::from_child(&shell));
        shell.wait().unwrap();
        // All of them have it open, so its end is theirs.
        output.read_to_end(&mut Vec::new()).unwrap();
    }
}
