//! Which masters a cluster has. Each says in a Lease of its own where it serves, and that it lives by renewing it; whoever
//! leads looks at them. What counts is when a change was seen, by the steady time of who looks, as clocks of machines differ.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::api::{Client, Status};
use crate::control::leader::TERM;
use crate::watch::{Entry, Query};

pub(super) const NAMESPACE: &str = "kube-system";
/// What Leases of masters have, in Kubernetes too.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Where a master serves.
const ADDRESS: &str = "orchestra.io/api-address";

/// Says that a master lives, and where it serves, until `shutdown`; then that it does not any more. One that says nothing
/// for a `term` is taken for dead. Meanwhile it looks at the others, and so knows them when it is to lead.
pub(crate) async fn announce(
    client: Client,
    (identity, address, term): (String, SocketAddr, Duration),
    seen: Arc<Seen>,
    shutdown: impl Future<Output = ()>,
) {
    let name = name(address);
    let mut shutdown = std::pin::pin!(shutdown);
    for look in 0_u64.. {
        if look.is_multiple_of(2)
            && let Err(status) = renew(&client, &name, (&identity, address, term)).await
        {
            tracing::debug!(error = %status, "a master did not say that it lives");
        }
        if let Ok(cache) = client.cache::<Lease>().await {
            seen.look(&cache.list(&Query::namespace(NAMESPACE)), client.clock().elapsed());
        }
        let pause = client.clock().sleep(term / 6);
        if let Either::Left(_) = select(shutdown.as_mut(), pause).await {
            break;
        }
    }
    // Who cannot say so is found out when its term is over.
    let _ = client.api::<Lease>(NAMESPACE).delete(&name).await;
}

/// The Lease of whoever serves there: a master that is started again goes on with it.
fn name(address: SocketAddr) -> String {
    format!("apiserver-{}-{}", address.ip().to_string().replace(':', "-"), address.port())
}

async fn renew(
    client: &Client,
    name: &str,
    (identity, address, term): (&str, SocketAddr, Duration),
) -> Result<(), Status> {
    let leases = client.api::<Lease>(NAMESPACE);
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(term.as_secs().max(1)).ok(),
        renew_time: Some(MicroTime(client.clock().now())),
        ..LeaseSpec::default()
    };
    if let Some(held) = leases.find(name).await? {
        return leases.update(&Lease { spec: Some(spec), ..held }).await.map(drop);
    }
    let one = |key: &str, value: String| Some([(key.to_owned(), value)].into());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: one(LABEL.0, LABEL.1.to_owned()),
        annotations: one(ADDRESS, address.to_string()),
        ..ObjectMeta::default()
    };
    leases.create(&Lease { metadata, spec: Some(spec) }).await.map(drop)
}

/// Whether an object is the Lease of a master.
pub(super) fn is_masters(entry: &Entry) -> bool {
    entry.name().namespace() == Some(NAMESPACE) && entry.labels().get(LABEL.0).as_deref() == Some(LABEL.1)
}

/// What was seen of the Leases: how each was last, and when it was seen so first.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, (Option<LeaseSpec>, Duration)>>);

/// What is to be seen now.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where masters live.
    pub(super) live: BTreeSet<SocketAddr>,
    /// The names of Leases of those that do not, with their revisions.
    pub(super) dead: Vec<(String, Arc<Entry>)>,
    /// How soon the next would be found dead.
    pub(super) next: Option<Duration>,
}

impl Seen {
    /// Looks at all Leases of masters, which may be among others.
    pub(super) fn look(&self, leases: &[Arc<Entry>], now: Duration) -> Found {
        let mut found = Found::default();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *seen);
        for entry in leases.iter().filter(|entry| is_masters(entry)) {
            let Ok(lease) = entry.decode_bare::<Lease>() else { continue };
            let address = lease.metadata.annotations.as_ref().and_then(|all| all.get(ADDRESS)?.parse().ok());
            let Some(address) = address else { continue };
            let name = entry.name().name().to_owned();
            let since = match before.get(&name) {
                Some((spec, since)) if *spec == lease.spec => *since,
                _ => now,
            };
            let asked = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
            let term =
                asked.and_then(|seconds| u64::try_from(seconds).ok()).map_or(TERM, Duration::from_secs);
            match (since + term).checked_sub(now).filter(|left| !left.is_zero()) {
                Some(left) => {
                    found.live.insert(address);
                    found.next = Some(found.next.map_or(left, |next| next.min(left)));
                }
                None => found.dead.push((name.clone(), Arc::clone(entry))),
            }
            seen.insert(name, (lease.spec, since));
        }
        found
    }
}
