//! What a node may do: read what its pods use, write itself and its pods, and nothing else. So that whoever has taken over
//! one machine has not taken over the others.
//!
//! [`NodeAuthorizer`] decides by name and relationship before a body is read; [`NodeRestriction`] looks at what is
//! written.

mod references;
mod restriction;
mod token;

use async_trait::async_trait;

pub use restriction::NodeRestriction;
pub(super) use token::check_token;

use self::references::{Kind, refers};
use super::bootstrap;
use crate::api::access::{AccessRequest, Authorizer, Decision, Permissions, is_in};
use crate::api::{Caches, Target, User};
use crate::selector::FieldSelector;

/// The group of all nodes.
pub const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";
/// Where nodes say that they are alive.
const LEASES: &str = "kube-node-lease";

/// The name of the node that a user is; empty for one that does not say which. `None` if the user is no node.
pub fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(PREFIX).filter(|_| is_in(user, NODES))
}

/// Lets nodes do what they need to. Of anybody else it knows nothing.
#[derive(Debug)]
pub struct NodeAuthorizer {
    caches: Caches,
    /// What any node may do, whatever it is about.
    common: Permissions,
}

/// What is asked of the resources that are looked at one by one.
struct Asked<'a> {
    node: &'a str,
    verb: &'a str,
    target: &'a Target,
    fields: Option<&'a FieldSelector>,
}

impl NodeAuthorizer {
    /// By the pods of these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone(), common: bootstrap::rules_of_nodes() }
    }

    fn decide(&self, asked: &Asked<'_>) -> Result<(), String> {
        let (verb, target) = (asked.verb, asked.target);
        let sub = target.subresource.as_deref().unwrap_or_default();
        match (&*target.group, &*target.resource) {
            ("", "secrets") => self.read(asked, Kind::Secret),
            ("", "configmaps") => self.read(asked, Kind::ConfigMap),
            ("", "persistentvolumeclaims") if sub == "status" => match verb {
                "update" | "patch" => self.related(asked, Kind::Claim),
                _ => refuse("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(asked, Kind::Claim),
            ("", "persistentvolumes") => self.get(asked, Kind::Volume),
            ("resource.k8s.io", "resourceclaims") => self.get(asked, Kind::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => self.get(asked, Kind::Attachment),
            ("", "serviceaccounts") => self.account(asked, sub),
            ("coordination.k8s.io", "leases") => own_lease(asked),
            ("storage.k8s.io", "csinodes") => own_csi_node(asked, sub),
            ("", "nodes") => own_node(asked, sub),
            ("", "pods") => self.pod(asked, sub),
            _ if self.common.allows(&AccessRequest::resource(verb, target)) => Ok(()),
            _ => refuse(""),
        }
    }

    fn related(&self, asked: &Asked<'_>, kind: Kind) -> Result<(), String> {
        let Some(name) = asked.target.name.as_deref() else { return refuse("No Object name found") };
        let namespace = asked.target.namespace.as_deref().unwrap_or_default();
        match refers(&self.caches, asked.node, kind, namespace, name) {
            true => Ok(()),
            false => refuse(format!("no relationship found between node '{}' and this object", asked.node)),
        }
    }

    fn read(&self, asked: &Asked<'_>, kind: Kind) -> Result<(), String> {
        if !matches!(asked.verb, "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if asked.target.subresource.is_some() {
            return refuse("cannot read subresource");
        }
        if asked.target.namespace.is_none() {
            return refuse("can only read namespaced object of this type");
        }
        self.related(asked, kind)
    }

    fn get(&self, asked: &Asked<'_>, kind: Kind) -> Result<(), String> {
        if asked.verb != "get" {
            return refuse("can only get individual resources of this type");
        }
        if asked.target.subresource.is_some() {
            return refuse("cannot get subresource");
        }
        self.related(asked, kind)
    }

    fn account(&self, asked: &Asked<'_>, sub: &str) -> Result<(), String> {
        if asked.verb == "get" && sub.is_empty() {
            return self.read(asked, Kind::Account);
        }
        if asked.verb != "create" || asked.target.name.is_none() {
            return refuse("can only create tokens for individual service accounts");
        }
        if sub != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related(asked, Kind::Account)
    }

    fn pod(&self, asked: &Asked<'_>, sub: &str) -> Result<(), String> {
        match (sub, asked.verb) {
            ("", "get") => self.get(asked, Kind::Pod),
            ("", "list" | "watch") => {
                let node = asked.fields.and_then(|fields| fields.required("spec.nodeName"));
                if node == Some(asked.node) {
                    return Ok(());
                }
                match asked.target.name {
                    Some(_) => self.related(asked, Kind::Pod),
                    None => refuse("can only list/watch pods with spec.nodeName field selector"),
                }
            }
            // Which ones, `NodeRestriction` says.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        }
    }
}

fn refuse(why: impl Into<String>) -> Result<(), String> {
    Err(why.into())
}

fn own_lease(asked: &Asked<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a node lease");
    }
    if asked.target.namespace.as_deref() != Some(LEASES) {
        return refuse(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    match asked.verb == "create" || asked.target.name.as_deref() == Some(asked.node) {
        true => Ok(()),
        false => refuse("can only access node lease with the same name as the requesting node"),
    }
}

fn own_csi_node(asked: &Asked<'_>, sub: &str) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a CSINode");
    }
    if !sub.is_empty() {
        return refuse("cannot authorize CSINode subresources");
    }
    match asked.verb == "create" || asked.target.name.as_deref() == Some(asked.node) {
        true => Ok(()),
        false => refuse("can only access CSINode with the same name as the requesting node"),
    }
}

fn own_node(asked: &Asked<'_>, sub: &str) -> Result<(), String> {
    let node = asked.node;
    match (sub, asked.verb) {
        // Which one, `NodeRestriction` says.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match asked.target.name.as_deref() {
            Some(name) if name == node => Ok(()),
            None => refuse(format!("node '{node}' cannot read all nodes, only its own Node object")),
            Some(other) => refuse(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => refuse(""),
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        let Some(node) = node_of(user) else { return Decision::no_opinion() };
        if node.is_empty() {
            return Decision::no_opinion().because(format!("unknown node for user {:?}", user.name));
        }
        let AccessRequest::Resource { verb, target, fields } = *request else {
            return Decision::no_opinion();
        };
        match self.decide(&Asked { node, verb, target, fields }) {
            Ok(()) => Decision::allow(),
            Err(why) => Decision::no_opinion().because(why),
        }
    }

    fn permissions(&self, user: &User, _: &str) -> Permissions {
        match node_of(user) {
            Some(_) => Permissions::unknown("node authorizer does not support user rule resolution"),
            None => Permissions::default(),
        }
    }
}
