use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address that this machine sends from: the one by which others know it. Loopback, if it is on no network. Nothing
/// is sent to find out.
pub fn own_address() -> IpAddr {
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // An address set aside for documentation: routed like any other, reached by nobody.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    probe().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// The address by which others reach a server that listens on an address: that one, or if it listens on all of them,
/// [`own_address`].
pub fn reachable_address(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { own_address() } else { listen }
}
