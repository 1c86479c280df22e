//! That the machine passes on packets.

use std::io;
use std::net::IpAddr;

use orchestra_core::network::{NetworkError, ServicePlan};

/// Has the machine pass on packets between its devices. Pods and services need it, and Kubernetes asks for it.
pub(super) fn forward_packets(plan: &ServicePlan) -> io::Result<()> {
    switch_on("/proc/sys/net/ipv4/ip_forward")?;
    match plan.services.iter().any(|service| service.cluster_ips.iter().any(IpAddr::is_ipv6)) {
        true => forward_v6(),
        false => Ok(()),
    }
}

/// The same of version 6. A machine that passes on such packets learns its own ways from routers no more unless it is told
/// to go on.
pub(super) fn forward_v6() -> io::Result<()> {
    for device in std::fs::read_dir("/proc/sys/net/ipv6/conf")? {
        let learns = device?.path().join("accept_ra");
        if std::fs::read_to_string(&learns).is_ok_and(|text| text.trim() == "1") {
            std::fs::write(learns, "2")?;
        }
    }
    switch_on("/proc/sys/net/ipv6/conf/all/forwarding")
}

fn switch_on(path: &str) -> io::Result<()> {
    match std::fs::read_to_string(path)?.trim() {
        "0" => std::fs::write(path, "1"),
        _ => Ok(()),
    }
}

pub(super) fn not_permitted(error: io::Error) -> NetworkError {
    NetworkError::NotPermitted { message: format!("forwarding packets: {error}") }
}
