use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use serde::Deserialize;

use super::claims::{self, Bound, Objects, SECRET_ISSUER};
use super::{SigningKeys, jwt};
use crate::api::access::{API_AUDIENCE, Authenticator, Credentials, Known, quoted};
use crate::api::{Caches, Reason, Status, User};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, Object, ObjectName};
use crate::watch::Entry;

/// For how long tokens of what is being deleted still count, in seconds: so that a pod can end in good order.
const LEAVING: i64 = 60;

/// Knows the tokens of service accounts that this cluster has signed.
#[derive(Debug)]
pub struct ServiceAccountTokens {
    caches: Caches,
    clock: SharedClock,
    keys: Arc<dyn SigningKeys>,
}

impl ServiceAccountTokens {
    /// By these keys; the caches say whether what a token is bound to is still there.
    pub fn new(caches: &Caches, clock: &SharedClock, keys: Arc<dyn SigningKeys>) -> Self {
        Self { caches: caches.clone(), clock: Arc::clone(clock), keys }
    }

    /// The user of a token for one of these audiences; `None` if it is not one of ours at all.
    fn known(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        let Ok(parsed) = jwt::parse(token) else { return Ok(None) };
        let of_secret = match parsed.claims["iss"].as_str() {
            Some(API_AUDIENCE) => false,
            Some(SECRET_ISSUER) => true,
            _ => return Ok(None),
        };
        let key = parsed.key_id.as_deref();
        if !self.keys.verify(&parsed.algorithm, key, parsed.message.as_bytes(), &parsed.signature) {
            return Err(refused("the signature of the token is not by a key of this cluster"));
        }
        match of_secret {
            false => self.issued(&parsed.claims, audiences),
            true => self.of_secret(&parsed.claims, token, audiences),
        }
    }

    fn issued(&self, claims: &serde_json::Value, audiences: &[String]) -> Result<Option<Known>, Status> {
        let said = claims::read(claims, self.clock.now()).map_err(|why| refused(why.to_string()))?;
        let audiences = meant(&said.audiences, audiences)?;
        self.check(&said.objects)?;
        let mut user = account(&said.objects);
        let mut extra = |name: &str, value: String| {
            user.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value]);
        };
        if !said.id.is_empty() {
            extra("credential-id", format!("JTI={}", said.id));
        }
        for (kind, bound) in [("pod", &said.objects.pod), ("node", &said.objects.node)] {
            if let Some(bound) = bound {
                extra(&format!("{kind}-name"), bound.name.clone());
                if !bound.uid.is_empty() {
                    extra(&format!("{kind}-uid"), bound.uid.clone());
                }
            }
        }
        Ok(Some(Known { user, audiences }))
    }

    fn of_secret(
        &self,
        claims: &serde_json::Value,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Known>, Status> {
        let objects = claims::read_of_secret(claims).map_err(|why| refused(why.to_string()))?;
        let audiences = meant(&[API_AUDIENCE.to_owned()], audiences)?;
        self.check(&objects)?;
        let secret = objects.secret.as_ref().map(|bound| &*bound.name).unwrap_or_default();
        let entry = self.find::<Secret>(&objects.namespace, secret)?;
        let held = entry.decode_bare::<Secret>().map_err(Status::internal)?;
        let held = held.data.unwrap_or_default().remove("token").unwrap_or_default();
        // The Secret may have been given another since.
        if held.0 != token.as_bytes() {
            return Err(refused("service account token has been invalidated"));
        }
        Ok(Some(Known { user: account(&objects), audiences }))
    }

    /// Whether what a token speaks of is still there.
    fn check(&self, objects: &Objects) -> Result<(), Status> {
        self.check_one::<ServiceAccount>(&objects.namespace, &objects.account)?;
        if let Some(secret) = &objects.secret {
            self.check_one::<Secret>(&objects.namespace, secret)?;
        }
        match (&objects.pod, &objects.node) {
            (Some(pod), _) => self.check_one::<Pod>(&objects.namespace, pod),
            (None, Some(node)) => self.check_one::<Node>("", node),
            (None, None) => Ok(()),
        }
    }

    fn check_one<K: Object>(&self, namespace: &str, bound: &Bound) -> Result<(), Status> {
        let entry = self.find::<K>(namespace, &bound.name)?;
        if !bound.uid.is_empty() && entry.uid().as_str() != bound.uid {
            let kind = K::KIND;
            return Err(refused(format!("the {kind} of the token has been replaced by another of its name")));
        }
        if is_gone(&entry, self.clock.now()) {
            return Err(refused(format!("the {} of the token has been deleted", K::KIND)));
        }
        Ok(())
    }

    fn find<K: Object>(&self, namespace: &str, name: &str) -> Result<Arc<Entry>, Status> {
        let id = GroupResource::of::<K>();
        let name = ObjectName::new(Some(namespace).filter(|namespace| !namespace.is_empty()), name);
        let entry = self.caches.get(&id).and_then(|cache| cache.get(&name));
        entry.ok_or_else(|| refused(format!("{id} {:?} not found", name.name())))
    }
}

/// Those of the wanted audiences that a token is for; those of the API are wanted if none are named.
fn meant(token: &[String], wanted: &[String]) -> Result<Vec<String>, Status> {
    let api = [API_AUDIENCE.to_owned()];
    let wanted = if wanted.is_empty() { &api } else { wanted };
    let both: Vec<String> = wanted.iter().filter(|audience| token.contains(audience)).cloned().collect();
    match both.is_empty() {
        false => Ok(both),
        true => {
            let (token, wanted) = (quoted(token), quoted(wanted));
            Err(refused(format!("token audiences {token} is invalid for the target audiences {wanted}")))
        }
    }
}

fn account(objects: &Objects) -> User {
    let Objects { namespace, account, .. } = objects;
    User { uid: account.uid.clone(), ..User::service_account(namespace, &account.name) }
}

/// Whether an object has been deleted for longer than its tokens outlive that.
fn is_gone(entry: &Entry, now: Timestamp) -> bool {
    #[derive(Deserialize)]
    struct View {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        deletion_timestamp: Option<Timestamp>,
    }
    if !entry.is_deleting() {
        return false;
    }
    let deleted = entry.view::<View>().ok().and_then(|view| view.metadata.deletion_timestamp);
    deleted.is_none_or(|deleted| now.as_second() - deleted.as_second() > LEAVING)
}

fn refused(why: impl Into<String>) -> Status {
    Status::new(Reason::Unauthorized, why.into())
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        let Some(token) = credentials.token else { return Ok(None) };
        Ok(self.known(token, &[])?.map(|known| known.user))
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        self.known(token, audiences)
    }
}
