//! Quotas: how much the objects of a namespace may use in all.
//!
//! What is used is counted in the very transaction of the write that uses it: the quota's status is written with the
//! object, guarded by the revision at which it was read, so that of two writers who race for the last of it one is
//! made to look again, and the limit is never passed. What goes, or ends, gives back what it used in the same way. A
//! controller (`controllers/resource_quota`) counts anew when a quota comes or changes, and from time to time.
//!
//! An amount that is not counted yet holds nobody to anything, as in Kubernetes. Yet who uses of it writes the quota as
//! it is, which makes a first count that is under way too late: no write is left out by both.

pub(crate) mod usage;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use serde_json::{Value, json};

use super::amounts::Amounts;
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::server::Open;
use crate::api::{Caches, Resource, Status};
use crate::meta::GroupResource;
use crate::quantity::Quantity;
use crate::store::{Expect, Txn};
use crate::watch::{Entry, Query};
pub(crate) use view::QuotaView;

/// Holds what the objects of a namespace use to its quotas.
#[derive(Debug)]
pub struct Quotas {
    caches: Caches,
}

/// A quota that a write touches, and by how much.
struct Touched {
    entry: Arc<Entry>,
    quota: Arc<QuotaView>,
    /// What more is used than before; less, where it is negative.
    more: Amounts,
    /// Whether the write uses of what is not counted yet, or gives back.
    uncounted: bool,
}

impl Quotas {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// The row and the cache of quotas.
    fn open(&self) -> Option<Open> {
        let id = GroupResource::of::<ResourceQuota>();
        self.caches.table().served(&id.group, "v1", &id.resource)
    }

    fn touched(open: &Open, attributes: &Attributes<'_>, new: Option<&Value>) -> Vec<Touched> {
        let id = &attributes.resource.id;
        let Some(namespace) = attributes.name.namespace() else { return Vec::new() };
        let entries = open.cache().list(&Query::namespace(namespace));
        // A quota is not counted by itself: it is written in this transaction already.
        let others =
            entries.into_iter().filter(|entry| *id != open.row().id || entry.name() != attributes.name);
        let touched = others.filter_map(|entry| {
            let quota = entry.view::<QuotaView>().ok()?;
            let more_of = |hard: &Amounts| {
                let used = |object: Option<&Value>| {
                    object.map(|object| quota.used_by(hard, id, object)).unwrap_or_default()
                };
                let mut more = used(new);
                for (name, amount) in used(attributes.old) {
                    *more.entry(name).or_default() -= amount;
                }
                more.retain(|_, amount| *amount != Quantity::ZERO);
                more
            };
            let uncounted = quota.uncounted().is_some_and(|hard| !more_of(&hard).is_empty());
            let more = more_of(&quota.status.hard);
            Some(Touched { entry, quota, more, uncounted })
        });
        touched.collect()
    }
}

#[async_trait]
impl Admission for Quotas {
    fn concerns(&self, _kind: &Resource) -> bool {
        self.open().is_some_and(|open| !open.cache().is_empty())
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let Some(open) = self.open() else { return Ok(Vec::new()) };
        let id = &attributes.resource.id;
        let refuse = |why: String| Err(Status::forbidden(id, attributes.name.name(), why));
        let touched = Self::touched(&open, attributes, new);
        let is_new_pod = id.is::<Pod>() && attributes.verb == WriteVerb::Create;
        for Touched { entry, quota, more, .. } in &touched {
            let (name, hard) = (entry.name().name(), &quota.status.hard);
            if let Some(pod) = new.filter(|pod| is_new_pod && quota.covers(id, pod)) {
                let missing = view::missing(hard, pod);
                if !missing.is_empty() {
                    return refuse(format!("failed quota: {name}: must specify {}", told(&missing)));
                }
            }
            let over = exceeded(&quota.status.used, hard, more);
            if !over.is_empty() {
                let of = |amounts: &Amounts| {
                    let amount =
                        |name: &String| format!("{name}={}", amounts.get(name).copied().unwrap_or_default());
                    over.iter().map(amount).collect::<Vec<_>>().join(",")
                };
                let (used, hard) = (of(&quota.status.used), of(hard));
                let requested = of(more);
                return refuse(format!(
                    "exceeded quota: {name}, requested: {requested}, used: {used}, limited: {hard}"
                ));
            }
        }
        let written = touched.iter().filter(|touched| touched.uncounted || !touched.more.is_empty());
        for Touched { entry, quota, more, .. } in written {
            let mut value = entry.to_value().map_err(Status::internal)?;
            for (name, amount) in more {
                let used = quota.status.used.get(name).copied().unwrap_or_default() + *amount;
                value["status"]["used"][name] = json!(used.max(Quantity::ZERO).to_string());
            }
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            let key = open.row().key(entry.name());
            let bytes = Entry::encode(&value).map_err(Status::internal)?;
            let counted = std::mem::take(txn).expect(key.clone(), Expect::At(entry.revision()));
            *txn = counted.put_with(key, bytes, open.row().durability);
        }
        Ok(Vec::new())
    }
}

/// The amounts of which more would be used than there is.
fn exceeded(used: &Amounts, hard: &Amounts, more: &Amounts) -> Vec<String> {
    let over = more.iter().filter(|(name, amount)| {
        let used = used.get(*name).copied().unwrap_or_default();
        **amount > Quantity::ZERO && hard.get(*name).is_some_and(|hard| used + **amount > *hard)
    });
    over.map(|(name, _)| name.clone()).collect()
}

/// `limits.memory for: a,b; requests.cpu for: a`
fn told(missing: &BTreeMap<String, Vec<String>>) -> String {
    let each = missing.iter().map(|(name, containers)| format!("{name} for: {}", containers.join(",")));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
