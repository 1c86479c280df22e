//! Which system calls a container may make: the default filter, and filters from files. Pure but for reading those.
//!
//! The default names what is allowed: what programs use, and, with a capability, what that is for. What else there is (loading
//! modules, the kernel's keys, tracing the machine, new kinds of namespaces) is refused, as container engines agree.

use std::path::Path;

use orchestra_core::runtime::{Result, SeccompProfile, SecurityContext};
use serde_json::{Value, json};

use super::invalid;

const ALLOWED: &str = include_str!("allowed.txt");

/// What a capability allows besides.
const WITH: [(&str, &str); 15] = [
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_CHECKPOINT_RESTORE", "kcmp"),
];

/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Kinds of processes that differ in how they look at addresses and versions.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets to the machine that this one is a guest of.
const VSOCK: u64 = 40;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The filter of a container with these capabilities; none for one that has all rights or wants none.
pub(super) fn filter(security: &SecurityContext, capabilities: &[String]) -> Result<Option<Value>> {
    if security.privileged {
        return Ok(None);
    }
    match &security.seccomp {
        Some(SeccompProfile::Unconfined) => Ok(None),
        Some(SeccompProfile::Localhost(path)) => from_file(path).map(Some),
        Some(SeccompProfile::RuntimeDefault) | None => Ok(Some(default(capabilities))),
    }
}

fn from_file(path: &Path) -> Result<Value> {
    let unreadable =
        |error: &dyn std::fmt::Display| invalid(format!("the seccomp profile {}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(&error))
}

fn default(capabilities: &[String]) -> Value {
    let lines = ALLOWED.lines().filter(|line| !line.starts_with('#'));
    let mut names: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    for (capability, allows) in WITH {
        if capabilities.iter().any(|held| held == capability) {
            names.extend(allows.split_whitespace());
        }
    }
    let rule =
        |names: &[&str], args: Value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args});
    let mut rules = vec![
        rule(&names, json!([])),
        rule(&["socket"], json!([{"index": 0, "value": VSOCK, "op": "SCMP_CMP_NE"}])),
    ];
    for kind in PERSONALITIES {
        rules.push(rule(&["personality"], json!([{"index": 0, "value": kind, "op": "SCMP_CMP_EQ"}])));
    }
    if !names.contains(&"clone") {
        let none = json!([{"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
        rules.push(rule(&["clone"], none));
        // Its flags cannot be looked at; who is told that there is no such call takes the other.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_call_is_listed_once_and_none_that_does_harm() {
        let lines = ALLOWED.lines().filter(|line| !line.starts_with('#'));
        let listed: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        let distinct: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(distinct.len(), listed.len());
        for harmful in [
            "mount",
            "bpf",
            "unshare",
            "setns",
            "init_module",
            "reboot",
            "keyctl",
            "add_key",
            "clone",
            "socket",
        ] {
            assert!(!distinct.contains(harmful), "{harmful}");
        }
    }

    #[test]
    fn capabilities_allow_what_they_are_for() {
        let allows = |capabilities: &[&str], call: &str| {
            let held: Vec<String> = capabilities.iter().map(|one| (*one).to_owned()).collect();
            default(&held)["syscalls"][0]["names"].as_array().unwrap().contains(&json!(call))
        };
        assert!(!allows(&[], "mount") && allows(&["CAP_SYS_ADMIN"], "mount"));
        assert!(allows(&["CAP_SYS_CHROOT"], "chroot") && !allows(&["CAP_NET_ADMIN"], "chroot"));
        let rules = |capabilities: &[String]| default(capabilities)["syscalls"].to_string();
        assert!(rules(&[]).contains("clone3") && !rules(&["CAP_SYS_ADMIN".into()]).contains("MASKED_EQ"));
    }

    #[test]
    fn a_pod_chooses() {
        let with = |seccomp, privileged| {
            filter(&SecurityContext { seccomp, privileged, ..SecurityContext::default() }, &[])
                .map(|one| one.is_some())
        };
        assert_eq!(with(None, false), Ok(true));
        assert_eq!(with(None, true), Ok(false));
        assert_eq!(with(Some(SeccompProfile::Unconfined), false), Ok(false));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(with(Some(SeccompProfile::Localhost(path.clone())), false), Ok(true));
        assert!(with(Some(SeccompProfile::Localhost(folder.path().join("none"))), false).is_err());
    }
}
