use k8s_openapi::api::coordination::v1::Lease;

use crate::api::Rules;
use crate::store::Durability;

/// The rules of Lease objects.
pub(super) struct LeaseRules;

impl Rules for LeaseRules {
    type Object = Lease;

    const DURABILITY: Durability = Durability::Volatile;
}
