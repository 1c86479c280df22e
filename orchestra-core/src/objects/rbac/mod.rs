//! The kinds of `rbac.authorization.k8s.io`: what may be done, and by whom.

mod binding;
mod role;

pub(super) use binding::{ClusterRoleBindingRules, RoleBindingRules};
pub(super) use role::{ClusterRoleRules, RoleRules};

const GROUP: &str = "rbac.authorization.k8s.io";
