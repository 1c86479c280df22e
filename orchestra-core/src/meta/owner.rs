use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Object, Uid};

/// An entry of `metadata.ownerReferences`: who goes first when this object is to go.
///
/// Ownership is by uid. Kind and name are there to find the owner and to print it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    /// Group and version of the owner.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name, in the same namespace or cluster-wide.
    pub name: String,
    /// Which object of that name.
    pub uid: Uid,
    /// Whether this owner is the one that manages the object. At most one is.
    #[serde(default)]
    pub controller: bool,
    /// Whether the owner, deleted in the foreground, waits for this object to go.
    #[serde(default)]
    pub block_owner_deletion: bool,
}

/// The reference that makes `owner` the controller of a new object.
///
/// Empty names and uids stand for what an object that was never created does not have.
pub fn controller_of<K: Object>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(),
        kind: K::KIND.to_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
