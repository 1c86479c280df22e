//! Linux capabilities of containers: a set that most programs do with, and what the pod adds and takes away. Pure.

use orchestra_core::runtime::{Result, SecurityContext};
use rustix::thread::CapabilitySet;

use super::invalid;
use super::machine::Machine;

/// What a container has by default, as container engines agree.
const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// What a container has, by names that runc knows. Nobody can be given what this program has not.
pub(super) fn of(security: &SecurityContext, machine: &Machine) -> Result<Vec<String>> {
    let held = CapabilitySet::from_bits_retain(machine.capabilities);
    let added = set("add", &security.add_capabilities)?;
    let dropped = set("drop", &security.drop_capabilities)?;
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let missing = added.difference(held).iter_names().next();
    if let Some((name, _)) = missing.filter(|_| !all(&security.add_capabilities)) {
        return Err(invalid(format!("capabilities.add: {name}: this program does not have it itself")));
    }
    let given = match security.privileged {
        true => held,
        // What is named counts more than all.
        false if all(&security.add_capabilities) => added.difference(dropped),
        false => DEFAULT.difference(dropped).union(added),
    };
    Ok(given.intersection(held).iter_names().map(|(name, _)| format!("CAP_{name}")).collect())
}

fn set(list: &str, names: &[String]) -> Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| match name.as_str() {
        "ALL" => Ok(CapabilitySet::all()),
        name => CapabilitySet::from_name(name.strip_prefix("CAP_").unwrap_or(name))
            .map(|one| set | one)
            .ok_or_else(|| invalid(format!("capabilities.{list}: {name}: there is no such capability"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(add: &[&str], drop: &[&str], privileged: bool) -> Result<Vec<String>> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = SecurityContext {
            add_capabilities: names(add),
            drop_capabilities: names(drop),
            privileged,
            ..SecurityContext::default()
        };
        // All but one.
        let machine = Machine {
            capabilities: CapabilitySet::all().difference(CapabilitySet::SYS_RESOURCE).bits(),
            ..Machine::default()
        };
        of(&security, &machine)
    }

    #[test]
    fn a_pod_adds_and_takes_away() {
        assert_eq!(given(&[], &[], false).unwrap().len(), 14);
        let less = given(&[], &["NET_RAW"], false).unwrap();
        assert!(less.len() == 13 && !less.contains(&"CAP_NET_RAW".to_owned()));
        assert_eq!(given(&["NET_ADMIN"], &["ALL"], false).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(given(&["CAP_NET_ADMIN"], &[], false).unwrap().contains(&"CAP_NET_ADMIN".to_owned()));
        let all = given(&["ALL"], &["SYS_ADMIN"], false).unwrap();
        assert!(all.contains(&"CAP_SYS_PTRACE".to_owned()) && !all.contains(&"CAP_SYS_ADMIN".to_owned()));
        let privileged = given(&[], &["ALL"], true).unwrap();
        assert!(privileged.len() > 30 && !privileged.contains(&"CAP_SYS_RESOURCE".to_owned()));
        for (add, drop, says) in [
            (&["SYS_RESOURCE"][..], &[][..], "does not have it"),
            (&[], &["MAGIC"], "drop: MAGIC: there is no such"),
        ] {
            let refused = given(add, drop, false).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
