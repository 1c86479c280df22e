//! The authorizers that a cluster has by default.

use async_trait::async_trait;

use super::{AccessRequest, Authorizer, Chain, Decision, PathRule, Permissions};
use crate::api::User;

/// The group of those who may do everything.
pub const MASTERS: &str = "system:masters";
/// Where a backup of the whole store is read.
pub const BACKUP_PATH: &str = "/orchestra/v1/backup";
/// The group of those who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";

/// The group of those who did not say who they are.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// What a cluster allows by default: see the [module](super).
pub fn standard() -> Chain {
    Chain::new().then(Masters).then(PublicPaths).then(BackupsForMasters).then(Authenticated)
}

pub(crate) fn is_in(user: &User, group: &str) -> bool {
    user.groups.iter().any(|held| held == group)
}

/// Lets the group `system:masters` do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masters;

#[async_trait]
impl Authorizer for Masters {
    async fn authorize(&self, user: &User, _: &AccessRequest<'_>) -> Decision {
        if is_in(user, MASTERS) { Decision::allow() } else { Decision::no_opinion() }
    }

    fn permissions(&self, user: &User, _: &str) -> Permissions {
        if is_in(user, MASTERS) { Permissions::all() } else { Permissions::default() }
    }
}

/// Lets anyone read how the server is and which version it has, as Kubernetes' role `system:public-info-viewer` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublicPaths;

#[async_trait]
impl Authorizer for PublicPaths {
    async fn authorize(&self, _: &User, request: &AccessRequest<'_>) -> Decision {
        match request {
            AccessRequest::Path { verb: "get", path } if is_public(path) => Decision::allow(),
            _ => Decision::no_opinion(),
        }
    }

    fn permissions(&self, _: &User, _: &str) -> Permissions {
        let paths = ["/healthz", "/livez", "/readyz", "/version"];
        let below = paths.map(|path| format!("{path}/*"));
        let paths = paths.into_iter().map(str::to_owned).chain(below).collect();
        let rule = PathRule { verbs: vec!["get".to_owned()], paths };
        Permissions { paths: vec![rule], ..Permissions::default() }
    }
}

fn is_public(path: &str) -> bool {
    let below = |root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/healthz", "/livez", "/readyz", "/version"].into_iter().any(below)
}

/// Denies backups, which hold every Secret, to all but the group `system:masters`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupsForMasters;

#[async_trait]
impl Authorizer for BackupsForMasters {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        match request {
            AccessRequest::Path { path: BACKUP_PATH, .. } if !is_in(user, MASTERS) => {
                Decision::deny("a backup holds every Secret: it is for the group system:masters only")
            }
            _ => Decision::no_opinion(),
        }
    }

    fn permissions(&self, _: &User, _: &str) -> Permissions {
        Permissions::default()
    }
}

/// Lets everyone who proved who they are do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Authenticated;

#[async_trait]
impl Authorizer for Authenticated {
    async fn authorize(&self, user: &User, _: &AccessRequest<'_>) -> Decision {
        if is_in(user, AUTHENTICATED) { Decision::allow() } else { Decision::no_opinion() }
    }

    fn permissions(&self, user: &User, _: &str) -> Permissions {
        if is_in(user, AUTHENTICATED) { Permissions::all() } else { Permissions::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Target, Verdict};

    #[tokio::test]
    async fn the_standard_policy() {
        let (anonymous, known, master) = (User::anonymous(), User::named("a"), User::admin());
        let secrets = Target::of::<k8s_openapi::api::core::v1::Secret>(None);
        let paths = ["/version", "/readyz/etcd", "/versions", "/metrics", BACKUP_PATH];
        let [version, check, other, metrics, backup] = paths.map(|path| AccessRequest::path("get", path));
        let change = AccessRequest::path("post", "/version");
        let list = AccessRequest::resource("list", &secrets);
        for (request, allowed) in [
            (version, [true, true, true]),
            (check, [true, true, true]),
            (other, [false, true, true]),
            (change, [false, true, true]),
            (metrics, [false, true, true]),
            (backup, [false, false, true]),
            (list, [false, true, true]),
        ] {
            for (user, allowed) in [&anonymous, &known, &master].into_iter().zip(allowed) {
                let decision = standard().authorize(user, &request).await;
                assert_eq!(decision.verdict == Verdict::Allow, allowed, "{} {request}", user.name);
            }
        }
    }
}
