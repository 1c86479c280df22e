//! Queues and mirrors in the kernel, by netlink. The numbers are those of `linux/pkt_sched.h`.

use std::io;
use std::net::Ipv4Addr;

use futures::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::{Error, Handle, LinkIfb, LinkUnspec};
use rustix::io::Errno;

use super::limits::{Bucket, EGRESS, INGRESS, Limits};

/// What is said of a token bucket.
const PARAMETERS: u16 = 1;
const RATE: u16 = 4;
const BURST: u16 = 6;
/// Packets are counted as they are, without a table of rates.
const ETHERNET: u8 = 1;
/// The number of the queue for what comes in.
const INGRESS_QUEUE: u32 = 0xffff_0000;
/// All protocols.
const ANY: u16 = 3;
/// What most devices begin with.
const USUAL_MTU: u32 = 1500;
/// A part that a kernel may be without.
const QUEUES: &str = "queues that hold to a rate (sch_tbf)";

/// A pod's cable, where it ends at the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cable {
    pub(super) device: String,
    pub(super) mirror: String,
    pub(super) owner: u32,
    pub(super) sandbox: String,
}

/// The name of a pod's mirror, from its address: unique where that is, as the name of its cable.
pub(super) fn mirror(address: Ipv4Addr) -> String {
    format!("ori{:08x}", address.to_bits())
}

/// Has the pod at a cable receive and send what it may.
pub(super) async fn hold(cable: &Cable, limits: Limits) -> io::Result<()> {
    let handle = connect()?;
    let Some(found) = link(&handle, &cable.device).await? else {
        return Err(io::Error::other(format!("there is no device {}", cable.device)));
    };
    let (device, mtu) = (found.header.index, mtu(&found));
    match limits.ingress {
        Some(bits) => queue(&handle, device, Bucket::new(bits, mtu))
            .await
            .map_err(|error| lacking(error, INGRESS, QUEUES))?,
        None => missing_is_fine(delete(&handle, device, TcHandle::ROOT).await)?,
    }
    // What it sends is led through the mirror when that is ready, and no longer before it goes.
    missing_is_fine(delete(&handle, device, TcHandle::INGRESS).await)?;
    match limits.egress {
        Some(bits) => send(&handle, device, cable, Bucket::new(bits, mtu)).await,
        None => match link(&handle, &cable.mirror).await? {
            Some(mirror) => missing_is_fine(handle.link().del(mirror.header.index).execute().await),
            None => Ok(()),
        },
    }
}

/// Leads what comes in at a device through a mirror that holds to a rate.
async fn send(handle: &Handle, device: u32, cable: &Cable, bucket: Bucket) -> io::Result<()> {
    let made = LinkIfb::new(&cable.mirror).link_group(cable.owner).build();
    match handle.link().add(made).execute().await {
        Err(error) if errno(&error) == Some(Errno::EXIST) => {}
        made => made.map_err(|error| lacking(error, EGRESS, "mirrors of devices (ifb)"))?,
    }
    let gone = || io::Error::other(format!("{} is gone again", cable.mirror));
    let mirror = link(handle, &cable.mirror).await?.ok_or_else(gone)?.header.index;
    let change = LinkUnspec::new_with_index(mirror)
        .link_group(cable.owner)
        .append_extra_attribute(LinkAttribute::IfAlias(cable.sandbox.clone()))
        .up();
    handle.link().set(change.build()).execute().await.map_err(io::Error::other)?;
    queue(handle, mirror, bucket).await.map_err(|error| lacking(error, EGRESS, QUEUES))?;
    let index = signed(device)?;
    let made = handle.qdisc().add(index).ingress().execute().await;
    made.map_err(|error| lacking(error, EGRESS, "a place for what comes in at devices (sch_ingress)"))?;
    let filter = handle.traffic_filter(index).add().parent(INGRESS_QUEUE);
    let filter = filter.priority(1).protocol(ANY.to_be()).redirect(mirror).map_err(io::Error::other)?;
    let made = filter.execute().await;
    made.map_err(|error| lacking(error, EGRESS, "filters that lead elsewhere (cls_u32, act_mirred)"))
}

/// Has all that leaves a device go through a bucket.
async fn queue(handle: &Handle, device: u32, bucket: Bucket) -> Result<(), Error> {
    let mut message = TcMessage::with_index(i32::try_from(device).unwrap_or_default());
    message.header.parent = TcHandle::ROOT;
    let option = |kind, bytes: Vec<u8>| TcOption::Other(DefaultNla::new(kind, bytes));
    message.attributes = vec![
        TcAttribute::Kind("tbf".into()),
        TcAttribute::Options(vec![
            option(PARAMETERS, parameters(bucket)),
            option(BURST, bucket.burst.to_ne_bytes().into()),
            option(RATE, bucket.rate.to_ne_bytes().into()),
        ]),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(Error::NetlinkError(error));
        }
    }
    Ok(())
}

/// The rate, the rate of peaks (none), how much may wait, and two numbers that are said otherwise or not at all.
fn parameters(bucket: Bucket) -> Vec<u8> {
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(u32::try_from(bucket.rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(bucket.limit.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

async fn delete(handle: &Handle, device: u32, parent: TcHandle) -> Result<(), Error> {
    let mut request = handle.qdisc().del(i32::try_from(device).unwrap_or_default());
    request.message_mut().header.parent = parent;
    request.execute().await
}

/// The mirrors of an owner, each with its number and its name, and the sandbox it is of: none if its making was broken off.
pub(crate) async fn mirrors(handle: &Handle, owner: u32) -> io::Result<Vec<(u32, String, String)>> {
    let mut request = handle.link().get();
    request.message_mut().attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
    let all: Vec<LinkMessage> = request.execute().try_collect().await.map_err(io::Error::other)?;
    let is_ours = |link: &LinkMessage| {
        let is_mirror = |part: &LinkInfo| matches!(part, LinkInfo::Kind(InfoKind::Ifb));
        let has = |wanted: &dyn Fn(&LinkAttribute) -> bool| link.attributes.iter().any(wanted);
        has(&|it| matches!(it, LinkAttribute::Group(group) if *group == owner))
            && has(&|it| matches!(it, LinkAttribute::LinkInfo(parts) if parts.iter().any(is_mirror)))
    };
    let described = |link: LinkMessage| {
        let (mut name, mut sandbox) = (String::new(), String::new());
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(is) => name = is,
                LinkAttribute::IfAlias(is) => sandbox = is,
                _ => {}
            }
        }
        (link.header.index, name, sandbox)
    };
    Ok(all.into_iter().filter(is_ours).map(described).collect())
}

/// Takes away the mirrors of an owner whose sandboxes are such.
pub(super) async fn remove(owner: u32, is_such: impl Fn(&str) -> bool + Send) -> io::Result<()> {
    let handle = connect()?;
    for (index, _, sandbox) in mirrors(&handle, owner).await? {
        if is_such(&sandbox) {
            missing_is_fine(handle.link().del(index).execute().await)?;
        }
    }
    Ok(())
}

/// A connection to the kernel, which ends when nobody has its handle any more.
fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn link(handle: &Handle, name: &str) -> io::Result<Option<LinkMessage>> {
    let mut found = std::pin::pin!(handle.link().get().match_name(name.to_owned()).execute());
    match found.try_next().await {
        Err(error) if errno(&error) == Some(Errno::NODEV) => Ok(None),
        found => found.map_err(io::Error::other),
    }
}

fn mtu(link: &LinkMessage) -> u32 {
    let said = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(bytes) => Some(*bytes),
        _ => None,
    });
    said.unwrap_or(USUAL_MTU)
}

fn signed(index: u32) -> io::Result<i32> {
    i32::try_from(index).map_err(io::Error::other)
}

/// What a kernel answers that was built without something, said by its name and by the annotation that needs it.
fn lacking(error: Error, annotation: &str, what: &str) -> io::Error {
    match errno(&error) {
        Some(Errno::NOENT | Errno::OPNOTSUPP) => {
            io::Error::other(format!("{annotation}: this machine's kernel has no {what}"))
        }
        _ => io::Error::other(format!("{annotation}: {error}")),
    }
}

fn missing_is_fine(done: Result<(), Error>) -> io::Result<()> {
    match done {
        Err(error) if matches!(errno(&error), Some(Errno::NOENT | Errno::NODEV | Errno::INVAL)) => Ok(()),
        done => done.map_err(io::Error::other),
    }
}

fn errno(error: &Error) -> Option<Errno> {
    match error {
        Error::NetlinkError(error) => Some(Errno::from_raw_os_error(-error.raw_code())),
        _ => None,
    }
}
