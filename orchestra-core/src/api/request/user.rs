use std::collections::BTreeMap;

use crate::api::access;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, such as `system:node:edge-1`.
    pub name: String,
    /// The groups, such as `system:masters`.
    pub groups: Vec<String>,
    /// Which user of that name, when the authenticator knows.
    pub uid: String,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user of that name in the group of all who proved who they are.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: vec![access::AUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Also in a group. That of all who proved who they are comes last, as in Kubernetes.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        let last = self.groups.last().is_some_and(|group| group == access::AUTHENTICATED);
        self.groups.insert(self.groups.len() - usize::from(last), group.into());
        self
    }

    /// The user of a service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::named(format!("system:serviceaccount:{namespace}:{name}"))
            .in_group("system:serviceaccounts")
            .in_group(format!("system:serviceaccounts:{namespace}"))
    }

    /// The cluster's administrator, who may do everything.
    pub fn admin() -> Self {
        Self::named("kubernetes-admin").in_group("system:masters")
    }

    /// Whoever did not say who they are.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec![access::UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }
}
