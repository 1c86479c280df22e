//! Cluster addresses on this machine's loopback device, so that they can be listened at.
//!
//! Each carries a label of ours. Whatever has that label and is not wanted is taken away, also what an earlier life of
//! this program left. They end by themselves when they are not renewed, since a program that was killed may never come
//! back, and nobody listens there without it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, CacheInfo};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const LOOPBACK: &str = "lo";

/// How long addresses stay without being renewed, and how often they are.
const LIFE: Duration = Duration::from_secs(120);
const RENEW: Duration = Duration::from_secs(40);

/// The addresses of one owner on this machine, for as long as this is there.
#[derive(Debug)]
pub(crate) struct Kept {
    label: Arc<str>,
    wanted: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
    renewing: JoinHandle<()>,
}

impl Kept {
    /// None yet. It takes a runtime, for a task that renews them.
    pub(crate) fn new(label: &str) -> Self {
        let (label, wanted) = (Arc::from(label), Arc::default());
        let renewing = tokio::spawn(renew(Arc::clone(&label), Arc::clone(&wanted)));
        Self { label, wanted, renewing }
    }

    /// Gives the machine these addresses and takes away others of this label. What could not be added is in the answer.
    pub(crate) async fn set(&self, wanted: &BTreeSet<Ipv4Addr>) -> io::Result<BTreeMap<Ipv4Addr, String>> {
        let mut held = self.wanted.lock().await;
        held.clone_from(wanted);
        set(&self.label, wanted).await
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

async fn renew(label: Arc<str>, wanted: Arc<Mutex<BTreeSet<Ipv4Addr>>>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let wanted = wanted.lock().await;
        if !wanted.is_empty()
            && let Err(error) = set(&label, &wanted).await
        {
            tracing::warn!(%error, "addresses of services cannot be renewed; they end in {LIFE:?}");
        }
    }
}

/// The label of one network's addresses: at most 15 letters that begin with the device's name.
pub(crate) fn label(owner: &str) -> String {
    format!("{LOOPBACK}:orc{:08x}", hash(owner))
}

/// A number for a word: FNV-1a, which is the same in every version of this program.
pub(crate) fn hash(word: &str) -> u32 {
    word.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The metric of one network's routes and addresses: one that no others are likely to have.
pub(crate) fn metric(owner: &str) -> u32 {
    0x6f00_0000 | (hash(owner) & 0x00ff_ffff)
}

async fn set(label: &str, wanted: &BTreeSet<Ipv4Addr>) -> io::Result<BTreeMap<Ipv4Addr, String>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let done = set_with(&handle, label, wanted).await;
    connection.abort();
    done
}

async fn set_with(
    handle: &Handle,
    label: &str,
    wanted: &BTreeSet<Ipv4Addr>,
) -> io::Result<BTreeMap<Ipv4Addr, String>> {
    let device = device(handle).await?;
    let mut present = labelled(handle, device, label).await?;
    let mut failed = BTreeMap::new();
    for address in wanted {
        let is_ours = present.remove(address).is_some();
        if let Err(error) = add(handle, device, label, *address, is_ours).await {
            failed.insert(*address, error.to_string());
        }
    }
    for (address, message) in present {
        if let Err(error) = handle.address().del(message).execute().await {
            tracing::warn!(%address, %error, "cannot take an address away");
        }
    }
    Ok(failed)
}

async fn device(handle: &Handle) -> io::Result<u32> {
    let mut found = handle.link().get().match_name(LOOPBACK).execute();
    let device = found.try_next().await.map_err(io::Error::other)?;
    device.map(|device| device.header.index).ok_or_else(|| io::ErrorKind::NotFound.into())
}

async fn labelled(
    handle: &Handle,
    device: u32,
    label: &str,
) -> io::Result<BTreeMap<Ipv4Addr, AddressMessage>> {
    let all = handle.address().get().set_link_index_filter(device).execute();
    let ours = all.try_filter_map(|message| async move { Ok(ours(&message, label).map(|ip| (ip, message))) });
    ours.try_collect().await.map_err(io::Error::other)
}

fn ours(message: &AddressMessage, label: &str) -> Option<Ipv4Addr> {
    let labelled =
        message.attributes.iter().any(|it| matches!(it, AddressAttribute::Label(it) if it == label));
    let address = message.attributes.iter().find_map(|it| match it {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    });
    address.filter(|_| labelled)
}

/// Adds an address, or renews one that `is_ours`.
async fn add(handle: &Handle, device: u32, label: &str, address: Ipv4Addr, is_ours: bool) -> io::Result<()> {
    let request = handle.address().add(device, address.into(), 32);
    let mut request = if is_ours { request.replace() } else { request };
    let mut cache = CacheInfo::default();
    cache.ifa_valid = u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX);
    cache.ifa_preferred = cache.ifa_valid;
    request
        .message_mut()
        .attributes
        .extend([AddressAttribute::Label(label.to_owned()), AddressAttribute::CacheInfo(cache)]);
    match request.execute().await {
        Ok(()) => Ok(()),
        Err(rtnetlink::Error::NetlinkError(error)) => match error.to_io() {
            // Somebody else's, but there.
            error if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            error => Err(error),
        },
        Err(error) => Err(io::Error::other(error)),
    }
}
