use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use serde::Deserialize;
use serde_json::Value;

use super::{RoleView, permissions_of};
use crate::api::access::{AccessRequest, Authorizer, MASTERS, Permissions, is_in, quoted};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status, Target};
use crate::meta::{GroupResource, Object as _, ObjectName};

const GROUP: &str = ClusterRole::GROUP;

/// Sees to it that nobody gives a right that they do not have: not by writing it into a role, unless they may `escalate`
/// that role, and not by binding a role that has it, unless they may `bind` that role.
#[derive(Debug)]
pub struct NoEscalation {
    caches: Caches,
    authorizer: Arc<dyn Authorizer>,
}

impl NoEscalation {
    /// Over these caches; the authorizer says what somebody may do.
    pub fn new(caches: &Caches, authorizer: &Arc<dyn Authorizer>) -> Self {
        Self { caches: caches.clone(), authorizer: Arc::clone(authorizer) }
    }

    async fn may(&self, attributes: &Attributes<'_>, verb: &str, role: Target) -> bool {
        self.authorizer.authorize(attributes.user, &AccessRequest::resource(verb, &role)).await.is_allowed()
    }

    /// What is to be in a role.
    async fn check_role(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let Attributes { resource, name, old, verb, .. } = attributes;
        let role = resource.info().target(name.namespace());
        // As in Kubernetes, a role that is made is not asked about by its name.
        let role = if *verb == WriteVerb::Create { role } else { role.named(name.name()) };
        if self.may(attributes, "escalate", role).await {
            return Ok(());
        }
        let rules = Vec::<PolicyRule>::deserialize(&object["rules"]).unwrap_or_default();
        self.check_held(attributes, &permissions_of(&rules))?;
        let aggregates = |object: &Value| {
            object["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|list| !list.is_empty())
        };
        if aggregates(object) || old.is_some_and(aggregates) {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            self.check_held(attributes, &Permissions::all())
                .map_err(|_| Status::forbidden(&resource.id, name.name(), why))?;
        }
        Ok(())
    }

    /// What the role has that is to be bound.
    async fn check_binding(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let Ok(role) = RoleRef::deserialize(&object["roleRef"]) else { return Ok(()) };
        let namespace = attributes.name.namespace();
        let (target, id, scope) = match (&*role.kind, namespace) {
            ("ClusterRole", _) => {
                (Target::of::<ClusterRole>(namespace), GroupResource::of::<ClusterRole>(), None)
            }
            ("Role", Some(_)) => (Target::of::<Role>(namespace), GroupResource::of::<Role>(), namespace),
            // It is refused as invalid.
            _ => return Ok(()),
        };
        if self.may(attributes, "bind", target.named(&*role.name)).await {
            return Ok(());
        }
        let held = self.caches.get(&id).and_then(|cache| cache.get(&ObjectName::new(scope, &role.name)));
        let held = held.ok_or_else(|| Status::not_found(&id, &role.name))?;
        let view = held.view::<RoleView>().map_err(Status::internal)?;
        self.check_held(attributes, &permissions_of(view.rules.as_deref().unwrap_or_default()))
    }

    /// Whether the author of a write may do all of this.
    fn check_held(&self, attributes: &Attributes<'_>, given: &Permissions) -> Result<(), Status> {
        let Attributes { user, resource, name, .. } = attributes;
        let held = self.authorizer.permissions(user, name.namespace().unwrap_or_default());
        let missing = held.missing(given);
        if missing.is_empty() {
            return Ok(());
        }
        let errors = match held.error.as_str() {
            "" => String::new(),
            error => format!("; resolution errors: [{error}]"),
        };
        let why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}{errors}",
            user.name,
            quoted(&user.groups),
            missing.join("\n"),
        );
        Err(Status::forbidden(&resource.id, name.name(), why))
    }
}

#[async_trait]
impl Admission for NoEscalation {
    fn concerns(&self, kind: &Resource) -> bool {
        &*kind.id.group == GROUP
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let id = &attributes.resource.id;
        if is_in(attributes.user, MASTERS) {
            return Ok(Vec::new());
        }
        if attributes.old.is_some_and(|old| only_collected(object, old)) {
            return Ok(Vec::new());
        }
        if [Role::PLURAL, ClusterRole::PLURAL].contains(&&*id.resource) {
            self.check_role(attributes, object).await?;
        } else if [RoleBinding::PLURAL, ClusterRoleBinding::PLURAL].contains(&&*id.resource) {
            self.check_binding(attributes, object).await?;
        }
        Ok(Vec::new())
    }
}

/// Whether a change is only of what garbage collection changes.
fn only_collected(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                meta.remove(field);
            }
        }
        object
    };
    rest(new) == rest(old)
}
