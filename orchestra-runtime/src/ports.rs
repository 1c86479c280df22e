//! Ports of the machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use orchestra_core::runtime::{HostPort, Protocol};

/// Whether a port could be had just now; only somebody else's having it counts as no.
pub(crate) fn is_free(port: &HostPort) -> bool {
    let address = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.host_port);
    let in_use = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    match port.protocol {
        Protocol::Tcp => !TcpListener::bind(address).is_err_and(in_use),
        Protocol::Udp => !UdpSocket::bind(address).is_err_and(in_use),
        Protocol::Sctp => true,
    }
}
