//! A pod's network namespace: pinned by a file, connected to the machine by a pair of virtual cables.
//!
//! The pod reaches the machine and, by way of it, whatever the machine serves; and the other pods, directly on the bridge.
//! Where pods are [routed](super::Config::routed), their cables end at the machine, which has a route to each, so that its
//! rules see what pods send each other: on a bridge the kernel would lead what a rule sends to a neighbour past the rest of
//! the rules, wherever `br_netfilter` is loaded. The bridge holds the gateway's address all the same.
//!
//! There is no way out to other networks: that takes rules in the machine's firewall, which are a network's to
//! set.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use futures::TryStreamExt;
use orchestra_core::runtime::{Result, RuntimeError};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::mount::UnmountFlags;
use rustix::thread::UnshareFlags;

use super::address::Range;
use super::pins::is_namespace;
use crate::namespaces::unshare;
use crate::netns;

/// What a pod's own device is called within it.
const INSIDE: &str = "eth0";
/// Where a pod's cable ends at the machine, for version 6: each cable has it, as addresses of a link are the link's own.
const CABLE_END: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Makes the bridge if it is not there, with the gateway's address, for packets of at most so many bytes if that is said.
pub(super) async fn have_bridge(name: &str, range: Range, mtu: Option<u32>) -> Result<()> {
    let handle = connect().map_err(|error| failed("netlink", error))?;
    let wanted = LinkBridge::new(name).address(hardware(range.gateway()).to_vec()).build();
    let made = handle.link().add(wanted).execute().await;
    ignore_existing(made).map_err(|error| failed("making the bridge", error))?;
    let bridge = index(&handle, name).await.map_err(|error| failed("finding the bridge", error))?;
    let added = handle.address().add(bridge, range.gateway().into(), range.prefix()).execute().await;
    ignore_existing(added).map_err(|error| failed("giving the bridge its address", error))?;
    if let Some((gateway, prefix)) = range.second() {
        let given = give_v6(&handle, (name, bridge), gateway, prefix).await;
        given.map_err(|error| failed("giving the bridge its IPv6 address", error))?;
    }
    set(&handle, with_mtu(LinkUnspec::new_with_index(bridge).up(), mtu))
        .await
        .map_err(|error| failed("switching the bridge on", error))
}

/// The hardware address of a bridge. The kernel gives a bridge that is not told one the lowest address among its cables, which
/// changes as pods come and go; and what the other pods send to the address that they know is lost until they ask again.
fn hardware(gateway: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = gateway.octets();
    // Of those that everybody may give out.
    [0x0a, 0x62, a, b, c, d]
}

/// Gives a device of this thread's network an address of version 6, which is good at once: nobody else has it.
async fn give_v6(
    handle: &Handle,
    (name, index): (&str, u32),
    address: Ipv6Addr,
    prefix: u8,
) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0")?;
    let mut request = handle.address().add(index, IpAddr::V6(address), prefix);
    request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    ignore_existing(request.execute().await).map_err(io::Error::other)
}

/// How a pod is to be connected.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) bridge: String,
    pub(super) address: Ipv4Addr,
    pub(super) second: Option<Ipv6Addr>,
    pub(super) range: Range,
    /// Whether it reaches other pods by way of the machine only.
    pub(super) routed: bool,
    /// The largest packet, if it is said.
    pub(super) mtu: Option<u32>,
}

/// Makes a namespace, pins it at `pin`, and connects it.
pub(super) async fn attach(pin: &Path, outside: &str, connection: &Connection) -> Result<()> {
    make(pin).await?;
    let namespace = File::open(pin).map_err(|error| failed("opening the network namespace", error))?;
    cable(outside, connection, namespace.as_raw_fd())
        .await
        .map_err(|error| failed("connecting the pod", error))?;
    let (pin, temporary, connection) = (pin.to_owned(), peer(outside), connection.clone());
    let configured = tokio::task::spawn_blocking(move || {
        netns::within(&pin, move || on_this_thread(configure(temporary, connection)))
    });
    configured
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| failed("giving the pod its address", error))
}

/// Makes a namespace with nothing in it but loopback, and pins it; unless one is pinned there that others have made.
pub(super) async fn make(pin: &Path) -> Result<()> {
    let file = pin.to_owned();
    let pinned = tokio::task::spawn_blocking(move || make_namespace(&file)).await;
    pinned.map_err(io::Error::other).flatten().map_err(|error| failed("making a network namespace", error))
}

/// Lets go of a namespace and its cable. What is not there any more is no error.
pub(super) async fn detach(pin: &Path, outside: &str) -> Result<()> {
    unplug(outside).await?;
    release(pin)
}

/// Takes away the machine's end of a cable, and with it the pod's. That it is not there any more is no error.
pub(super) async fn unplug(outside: &str) -> Result<()> {
    let handle = connect().map_err(|error| failed("netlink", error))?;
    if let Ok(device) = index(&handle, outside).await {
        let removed = handle.link().del(device).execute().await;
        ignore_missing(removed).map_err(|error| failed("removing the pod's device", error))?;
    }
    Ok(())
}

/// Lets go of a namespace. Its end of the cable goes with it, unless a process is still there.
pub(super) fn release(pin: &Path) -> Result<()> {
    match rustix::mount::unmount(pin, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(failed("releasing the network namespace", error)),
    }
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("releasing the network namespace", error))
        }
        _ => Ok(()),
    }
}

/// The name of the device at which a pod's cable ends at the machine, from its address: unique where that is. Pods have one where
/// they have a network namespace that is not [`bare`](super::Config::bare).
pub fn device(address: Ipv4Addr) -> String {
    format!("orc{:08x}", address.to_bits())
}

fn peer(outside: &str) -> String {
    format!("{outside}p")
}

fn make_namespace(pin: &Path) -> io::Result<()> {
    let lo_up = || on_this_thread(async { switch_on("lo").await });
    if is_namespace(pin) {
        return netns::within(pin, lo_up);
    }
    if let Some(folder) = pin.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(pin)?;
    let pin = pin.to_owned();
    let thread = std::thread::Builder::new().name("netns".into()).spawn(move || {
        unshare(UnshareFlags::NEWNET)?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &pin)?;
        lo_up()
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// Runs netlink calls where they must run: on a thread that has gone into a namespace.
fn on_this_thread(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn switch_on(name: &str) -> io::Result<()> {
    let handle = connect()?;
    let device = index(&handle, name).await?;
    set(&handle, LinkUnspec::new_with_index(device).up()).await
}

async fn cable(outside: &str, connection: &Connection, namespace: RawFd) -> io::Result<()> {
    let handle = connect()?;
    let (bridge, inside) = (index(&handle, &connection.bridge).await?, peer(outside));
    let made = handle.link().add(LinkVeth::new(outside, &inside).build()).execute().await;
    ignore_existing(made).map_err(io::Error::other)?;
    let (name, inside) = (outside, index(&handle, &inside).await?);
    let outside = index(&handle, name).await?;
    let moved = LinkUnspec::new_with_index(inside).setns_by_fd(namespace);
    set(&handle, with_mtu(moved, connection.mtu)).await?;
    let outside_up = with_mtu(LinkUnspec::new_with_index(outside), connection.mtu);
    if !connection.routed {
        return set(&handle, outside_up.controller(bridge).up()).await;
    }
    set(&handle, outside_up.up()).await?;
    let way = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(connection.address, 32)
        .output_interface(outside)
        .scope(RouteScope::Link)
        .pref_source(connection.range.gateway())
        .build();
    ignore_existing(handle.route().add(way).execute().await).map_err(io::Error::other)?;
    let Some((second, (gateway, _))) = connection.second.zip(connection.range.second()) else {
        return Ok(());
    };
    give_v6(&handle, (name, outside), CABLE_END, 64).await?;
    let way = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(second, 128)
        .output_interface(outside)
        .pref_source(gateway)
        .build();
    ignore_existing(handle.route().add(way).execute().await).map_err(io::Error::other)
}

async fn configure(temporary: String, connection: Connection) -> io::Result<()> {
    let Connection { address, second, range, routed, .. } = connection;
    let handle = connect()?;
    let device = index(&handle, &temporary).await?;
    set(&handle, LinkUnspec::new_with_index(device).name(INSIDE.to_owned())).await?;
    let prefix = if routed { 32 } else { range.prefix() };
    let added = handle.address().add(device, address.into(), prefix).execute().await;
    ignore_existing(added).map_err(io::Error::other)?;
    set(&handle, LinkUnspec::new_with_index(device).up()).await?;
    if routed {
        listen_to_no_redirects()?;
        let gateway = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.gateway(), 32)
            .output_interface(device)
            .scope(RouteScope::Link)
            .build();
        ignore_existing(handle.route().add(gateway).execute().await).map_err(io::Error::other)?;
    }
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(range.gateway()).build();
    ignore_existing(handle.route().add(route).execute().await).map_err(io::Error::other)?;
    let Some((second, (gateway, prefix))) = second.zip(range.second()) else { return Ok(()) };
    let (gateway, prefix) = if routed { (CABLE_END, 128) } else { (gateway, prefix) };
    give_v6(&handle, (INSIDE, device), second, prefix).await?;
    let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(device).build();
    ignore_existing(handle.route().add(route).execute().await).map_err(io::Error::other)
}

/// The machine would tell a pod that it reaches another directly, and answers would pass by its rules.
fn listen_to_no_redirects() -> io::Result<()> {
    for device in ["all", INSIDE] {
        fs::write(format!("/proc/sys/net/ipv4/conf/{device}/accept_redirects"), "0")?;
        // A kernel may have no version 6.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{device}/accept_redirects"), "0");
    }
    Ok(())
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn index(handle: &Handle, name: &str) -> io::Result<u32> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await.map_err(io::Error::other)? {
        Some(link) => Ok(link.header.index),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A change of a device that also says how large its packets may be, if that is said.
fn with_mtu(change: LinkMessageBuilder<LinkUnspec>, mtu: Option<u32>) -> LinkMessageBuilder<LinkUnspec> {
    match mtu {
        Some(mtu) => change.mtu(mtu),
        None => change,
    }
}

async fn set(handle: &Handle, change: LinkMessageBuilder<LinkUnspec>) -> io::Result<()> {
    handle.link().set(change.build()).execute().await.map_err(io::Error::other)
}

fn ignore_existing(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    ignore(result, rustix::io::Errno::EXIST)
}

fn ignore_missing(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    ignore(result, rustix::io::Errno::NODEV)
}

fn ignore(result: Result<(), rtnetlink::Error>, harmless: rustix::io::Errno) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -harmless.raw_os_error() => Ok(()),
        other => other,
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed { message: format!("{what}: {error}") }
}
