//! Asking the kernel's packet filter directly, for what the program `nft` cannot tell or is slow to tell.

use std::io;

use futures::Stream;
use netlink_packet_netfilter::nftables::{
    GenAttribute, GenMessage, NfTablesMessage, RuleAttribute, RuleMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use tokio::task::JoinHandle;

use super::family::Family;
use super::message::Batch;

/// How long the header of a message is.
const NETLINK_HEADER: usize = 16;

/// A connection to what remembers flows.
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
        let request = request(family, flags, message);
        self.handle.request(request, SocketAddr::new(0, 0)).map_err(io::Error::other)
    }
}

/// The packet filter itself, asked and told by one socket that stays open: when one is closed, the kernel first puts away
/// all that was removed before, for which it waits until no processor looks at it any more.
#[derive(Debug)]
pub(super) struct Filter(Socket);

impl Filter {
    pub(super) fn connect() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors would bring what they are about along.
        socket.set_cap_ack(true)?;
        // What the kernel does, it does while it takes a message, so answers are there after that.
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// The number of the packet filter's state: each change of any table makes it one more.
    pub(super) fn generation(&mut self) -> io::Result<u32> {
        let ask = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        self.ask(&request(NetfilterProtoFamily::Unspec, 0, ask))?;
        loop {
            for answer in self.answers()? {
                if let NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(generation)),
                    ..
                }) = answer.payload
                {
                    let id = generation.attributes.iter().find_map(|it| match it {
                        GenAttribute::Id(id) => Some(*id),
                        _ => None,
                    });
                    return id.ok_or_else(|| io::Error::other("the kernel did not number its state"));
                }
            }
        }
    }

    /// How many rules a chain has, and none if there is no such chain.
    pub(super) fn rules(&mut self, family: Family, table: &str, chain: &str) -> io::Result<usize> {
        let attributes = vec![RuleAttribute::Table(table.to_owned()), RuleAttribute::Chain(chain.to_owned())];
        let family = NetfilterProtoFamily::from(family.number());
        let ask = request(family, NLM_F_DUMP, NfTablesMessage::GetRule(RuleMessage { attributes }));
        self.ask(&ask)?;
        let mut rules = 0;
        loop {
            for answer in self.answers()? {
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(rules),
                    NetlinkPayload::InnerMessage(_) => rules += 1,
                    _ => {}
                }
            }
        }
    }

    fn ask(&mut self, request: &NetlinkMessage<NetfilterMessage>) -> io::Result<()> {
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(|_| ())
    }

    /// Has the kernel do all that a batch says, or nothing of it.
    pub(super) fn send(&mut self, batch: &Batch) -> io::Result<()> {
        let sent = self.0.send(&batch.bytes, 0)?;
        if sent != batch.bytes.len() {
            return Err(io::Error::other("the kernel took a part of a batch"));
        }
        // The last step's answer comes last, but for a batch that is refused as a whole.
        loop {
            let answers = self.answers()?;
            if answers.iter().any(|answer| answer.header.sequence_number == batch.last) {
                return Ok(());
            }
        }
    }

    /// What came back, of which nothing is an error.
    fn answers(&mut self) -> io::Result<Vec<NetlinkMessage<NetfilterMessage>>> {
        let (bytes, _) = self.0.recv_from_full()?;
        let mut rest = bytes.as_slice();
        let mut answers = Vec::new();
        while rest.len() >= NETLINK_HEADER {
            let answer = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
            if let NetlinkPayload::Error(error) = &answer.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
            let length = answer.header.length as usize;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            answers.push(answer);
        }
        Ok(answers)
    }
}

fn request(
    family: NetfilterProtoFamily,
    flags: u16,
    message: impl Into<NetfilterMessageInner>,
) -> NetlinkMessage<NetfilterMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    request
}
