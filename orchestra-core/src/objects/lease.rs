use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::store::Durability;

use super::check;

/// The rules of Lease objects: heartbeats, and who leads. Kept in memory, since they are renewed all the time.
pub(super) struct LeaseRules;

impl Rules for LeaseRules {
    type Object = Lease;

    const DURABILITY: Durability = Durability::Volatile;
    const CREATED_BY_UPDATE: bool = true;
    const ANY_FINALIZER: bool = true;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Holder", "Who holds the lease."), Column::AGE];

    fn validate(object: &Lease, errors: &mut Errors) {
        let Some(spec) = &object.spec else { return };
        let path = Path::new("spec");
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        check::not_negative(errors, &path.child("leaseTransitions"), spec.lease_transitions);
        if spec.preferred_holder.as_deref().is_some_and(|holder| !holder.is_empty())
            && spec.strategy.as_deref().unwrap_or_default().is_empty()
        {
            errors
                .forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
    }

    fn cells(object: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = object.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        vec![
            object.metadata.name.clone().into(),
            holder.unwrap_or_default().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}
