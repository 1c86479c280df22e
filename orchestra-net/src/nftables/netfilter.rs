//! Asking the kernel's packet filter directly, for what the program `nft` cannot tell or is slow to tell.

use std::io;

use futures::{Stream, StreamExt as _};
use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::SocketAddr;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use tokio::task::JoinHandle;

/// A connection to the packet filter.
pub(super) struct Netfilter {
    handle: ConnectionHandle<NetfilterMessage>,
    connection: JoinHandle<()>,
}

impl Drop for Netfilter {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netfilter {
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = proto::new_connection::<NetfilterMessage>(NETLINK_NETFILTER)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Asks something, and gives what comes back.
    pub(super) fn ask(
        &self,
        family: NetfilterProtoFamily,
        flags: u16,
        message: impl Into<NetfilterMessageInner>,
    ) -> io::Result<impl Stream<Item = NetlinkMessage<NetfilterMessage>>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        self.handle.request(request, SocketAddr::new(0, 0)).map_err(io::Error::other)
    }
}

/// The number of the packet filter's state: each change of any table makes it one more.
pub(super) async fn generation() -> io::Result<u32> {
    let netfilter = Netfilter::connect()?;
    let ask = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
    let mut answers = netfilter.ask(NetfilterProtoFamily::Unspec, 0, ask)?;
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(NetfilterMessage {
                inner: NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(generation)),
                ..
            }) => {
                let id = generation.attributes.iter().find_map(|it| match it {
                    GenAttribute::Id(id) => Some(*id),
                    _ => None,
                });
                return id.ok_or_else(|| io::Error::other("the kernel did not number its state"));
            }
            _ => {}
        }
    }
    Err(io::Error::other("the kernel did not answer"))
}
