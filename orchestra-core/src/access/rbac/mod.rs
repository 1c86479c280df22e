//! Rights by roles: `rbac.authorization.k8s.io`.
//!
//! A Role or a ClusterRole says what may be done, a RoleBinding or a ClusterRoleBinding to whom it is given. [`Rbac`]
//! answers from an index that follows the caches, so that a write which was acknowledged counts from the next request
//! on. [`NoEscalation`] sees to it that nobody gives a right that they do not have.

mod escalation;
mod index;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use serde::Deserialize;

pub use escalation::NoEscalation;

use self::index::{Binding, Index};
use crate::api::access::{AccessRequest, Authorizer, Decision, Permissions};
use crate::api::{Caches, User};
use crate::meta::GroupResource;
use crate::watch::{Cache, Cursor, Entry, EventKind, Query};

/// Allows what roles say that are bound to the user. Denies nothing: what no role allows, others may.
#[derive(Clone)]
pub struct Rbac(Arc<Shared>);

struct Shared {
    caches: Caches,
    index: RwLock<Index>,
    followed: Mutex<[Followed; 4]>,
    /// The revision of the caches that the index is of.
    seen: AtomicU64,
}

impl fmt::Debug for Rbac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rbac").finish_non_exhaustive()
    }
}

/// One of the four kinds, and how far its cache is in the index.
struct Followed {
    kind: Kind,
    id: GroupResource,
    place: Option<(Cache, Cursor)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Role,
    Binding,
}

/// A role, as far as it says what may be done.
#[derive(Deserialize)]
struct RoleView {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

/// A binding, as far as it says of which role and to whom.
#[derive(Deserialize)]
struct BindingView {
    #[serde(rename = "roleRef")]
    role: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
}

/// What rules allow.
pub(super) fn permissions_of(rules: &[PolicyRule]) -> Permissions {
    index::Role::of(rules).permissions()
}

impl Rbac {
    /// By the roles and bindings of these caches.
    pub fn new(caches: &Caches) -> Self {
        let followed = |kind, id| Followed { kind, id, place: None };
        Self(Arc::new(Shared {
            caches: caches.clone(),
            index: RwLock::default(),
            followed: Mutex::new([
                followed(Kind::Role, GroupResource::of::<ClusterRole>()),
                followed(Kind::Role, GroupResource::of::<Role>()),
                followed(Kind::Binding, GroupResource::of::<ClusterRoleBinding>()),
                followed(Kind::Binding, GroupResource::of::<RoleBinding>()),
            ]),
            seen: AtomicU64::new(u64::MAX),
        }))
    }

    /// Looks at the index, which is as the caches are.
    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        self.catch_up();
        look(&self.0.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn catch_up(&self) {
        let shared = &self.0;
        // Asked before the events are taken: they are all there that are of this revision or an earlier one.
        let revision = shared.caches.revision().0;
        if shared.seen.load(Ordering::Acquire) == revision {
            return;
        }
        let mut followed = shared.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in followed.iter_mut() {
            kind.catch_up(&shared.caches, &shared.index);
        }
        shared.seen.store(revision, Ordering::Release);
    }
}

impl Followed {
    /// Takes into the index what has happened since the last time.
    fn catch_up(&mut self, caches: &Caches, index: &RwLock<Index>) {
        let followed = self.place.as_mut().filter(|(cache, _)| !cache.is_closed());
        let Some((_, cursor)) = followed else { return self.begin(caches, index) };
        loop {
            match cursor.try_next() {
                Ok(None) => return,
                Ok(Some(event)) => {
                    let gone = matches!(event.kind, EventKind::Deleted);
                    let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
                    self.kind.set(&mut index, &event.object, gone);
                }
                Err(_) => return self.begin(caches, index),
            }
        }
    }

    /// Takes the whole cache: at first, and when more has happened than is kept, or the kind has come anew.
    fn begin(&mut self, caches: &Caches, index: &RwLock<Index>) {
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        match self.kind {
            Kind::Role => index.forget_roles(self.is_namespaced()),
            Kind::Binding => index.forget_bindings(self.is_namespaced()),
        }
        self.place = caches.get(&self.id).filter(|cache| !cache.is_closed()).map(|cache| {
            let (objects, cursor) = cache.list_and_watch(&Query::all());
            for entry in &objects {
                self.kind.set(&mut index, entry, false);
            }
            (cache, cursor)
        });
    }

    fn is_namespaced(&self) -> bool {
        !self.id.resource.starts_with("cluster")
    }
}

impl Kind {
    fn set(self, index: &mut Index, entry: &Entry, gone: bool) {
        let name = entry.name();
        match self {
            Self::Role => {
                let view = entry.view::<RoleView>().ok().filter(|_| !gone);
                let rules = |view: &RoleView| index::Role::of(view.rules.as_deref().unwrap_or_default());
                index.set_role(name, view.as_deref().map(rules));
            }
            Self::Binding => {
                let view = entry.view::<BindingView>().ok().filter(|_| !gone);
                let binding = view.and_then(|view| {
                    Binding::of(name, &view.role, view.subjects.clone().unwrap_or_default())
                });
                index.set_binding(name, binding);
            }
        }
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        match self.read(|index| index.allows(user, request)) {
            Some(why) => Decision::allow().because(format!("RBAC: allowed by {why}")),
            None => Decision::no_opinion(),
        }
    }

    fn permissions(&self, user: &User, namespace: &str) -> Permissions {
        self.read(|index| index.permissions(user, namespace))
    }
}
