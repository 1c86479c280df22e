//! Linux capabilities of containers.
//!
//! A process starts with what this program has: all of the machine's root, or nothing. A pod can take capabilities away
//! and, having taken all, give some back.

use orchestra_core::runtime::{Result, RuntimeError, SecurityContext};
use rustix::thread::CapabilitySet;

/// The capabilities that a container may never have, as bits.
///
/// Without root there are none to take but those that a program with the set-uid bit would get; the caller forbids that.
pub(super) fn without(security: &SecurityContext, root: bool) -> Result<u64> {
    let added = set("add", &security.add_capabilities)?;
    let dropped = set("drop", &security.drop_capabilities)?;
    if security.privileged {
        return Ok(0);
    }
    let held = if root { bounding() } else { CapabilitySet::empty() };
    let missing = added.difference(held);
    if let Some((name, _)) =
        missing.iter_names().next().filter(|_| !security.add_capabilities.iter().any(|name| name == "ALL"))
    {
        let why =
            if root { "this program does not have it itself" } else { "without root there is none to give" };
        return Err(invalid(format!("capabilities.add: {name}: {why}")));
    }
    Ok(dropped.difference(added).bits())
}

/// Every capability that has a name.
fn all_known() -> CapabilitySet {
    CapabilitySet::all().iter_names().map(|(_, one)| one).collect()
}

fn set(list: &str, names: &[String]) -> Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| match name.as_str() {
        "ALL" => Ok(all_known()),
        name => CapabilitySet::from_name(name)
            .map(|one| set | one)
            .ok_or_else(|| invalid(format!("capabilities.{list}: {name}: there is no such capability"))),
    })
}

/// What a process of root can have at most here.
fn bounding() -> CapabilitySet {
    let held = |one: &CapabilitySet| rustix::thread::capability_is_in_bounding_set(*one).unwrap_or_default();
    all_known().iter().filter(held).collect()
}

fn invalid(message: String) -> RuntimeError {
    RuntimeError::InvalidSpec { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_taken_and_given_back() {
        let security = |drop: &[&str], add: &[&str]| SecurityContext {
            drop_capabilities: names(drop),
            add_capabilities: names(add),
            ..SecurityContext::default()
        };
        let without = |drop: &[&str], add: &[&str]| without(&security(drop, add), true).unwrap();
        assert_eq!(without(&[], &[]), 0);
        assert_eq!(
            without(&["NET_RAW", "CHOWN"], &[]),
            (CapabilitySet::NET_RAW | CapabilitySet::CHOWN).bits()
        );
        assert_eq!(without(&["ALL"], &[]), all_known().bits());
        assert_eq!(without(&["CHOWN"], &["CHOWN"]), 0);
        let refused = super::without(&security(&["SUPERPOWERS"], &[]), true).unwrap_err().to_string();
        assert!(refused.starts_with("capabilities.drop: SUPERPOWERS"), "{refused}");
        let refused = super::without(&security(&[], &["NET_ADMIN"]), false).unwrap_err().to_string();
        assert!(refused.starts_with("capabilities.add: NET_ADMIN: without root"), "{refused}");
        let privileged = SecurityContext { privileged: true, ..security(&["ALL"], &[]) };
        assert_eq!(super::without(&privileged, true).unwrap(), 0);
    }
}
