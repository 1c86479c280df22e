use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::claims::{self, Bound, Objects, Terms};
use super::{SigningKeys, sign};
use crate::access::node::check_token as check_node;
use crate::api::access::API_AUDIENCE;
use crate::api::field::{Errors, Path};
use crate::api::{Caches, Question, Responder, Status, split_api_version};
use crate::clock::{SharedClock, random_uid};
use crate::meta::{GroupResource, Object, ObjectName};
use crate::watch::Entry;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";

/// How long a token counts that does not say.
const DEFAULT_SECONDS: i64 = 3600;
/// The shortest and the longest that one may ask for.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// What the admission of pods asks for. By it Kubernetes knows the tokens whose holders may not know yet that they must
/// read them again, and lets these count for a year.
const AUTOMATIC: i64 = 3607;
const EXTENDED: i64 = 365 * 24 * 3600;

/// Issues tokens for service accounts: the subresource `token`.
#[derive(Debug)]
pub struct TokenRequests {
    caches: Caches,
    clock: SharedClock,
    keys: Arc<dyn SigningKeys>,
}

#[derive(Default, Deserialize)]
struct PodView {
    #[serde(default)]
    spec: PodSpecView,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpecView {
    service_account_name: String,
    node_name: String,
}

impl TokenRequests {
    /// By these keys, for the accounts of these caches.
    pub fn new(caches: &Caches, clock: &SharedClock, keys: Arc<dyn SigningKeys>) -> Self {
        Self { caches: caches.clone(), clock: Arc::clone(clock), keys }
    }

    fn find<K: Object>(&self, namespace: Option<&str>, name: &str) -> Result<Arc<Entry>, Status> {
        let id = GroupResource::of::<K>();
        let entry = self.caches.get(&id).and_then(|cache| cache.get(&ObjectName::new(namespace, name)));
        entry.ok_or_else(|| Status::not_found(&id, name))
    }

    /// What the token is to be bound to.
    fn bind(&self, objects: &mut Objects, reference: &BoundObjectReference) -> Result<(), Status> {
        let namespace = objects.namespace.clone();
        let name = reference.name.as_deref().unwrap_or_default();
        let (group, version) = split_api_version(reference.api_version.as_deref().unwrap_or_default());
        let kind = reference.kind.as_deref().unwrap_or_default();
        let uid = match (group, kind) {
            ("", "Pod") => {
                let pod = self.find::<Pod>(Some(&namespace), name)?;
                let view = pod.view::<PodView>().map_err(Status::internal)?;
                if view.spec.service_account_name != objects.account.name {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        objects.account.name
                    )));
                }
                objects.node = self.node_of(&view.spec.node_name);
                objects.pod.insert(Bound::of(&pod)).uid.clone()
            }
            ("", "Node") => objects.node.insert(Bound::of(&*self.find::<Node>(None, name)?)).uid.clone(),
            ("", "Secret") => {
                let secret = self.find::<Secret>(Some(&namespace), name)?;
                objects.secret.insert(Bound::of(&secret)).uid.clone()
            }
            _ => {
                let what = format!("{group}/{version}, Kind={kind}");
                return Err(Status::bad_request(format!("cannot bind token to object of type {what}")));
            }
        };
        match reference.uid.as_deref().filter(|wanted| !wanted.is_empty() && *wanted != uid) {
            None => Ok(()),
            Some(wanted) => {
                let why = format!(
                    "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might \
                     have been deleted and then recreated"
                );
                Err(Status::conflict(&GroupResource::new(group, kind), name, why))
            }
        }
    }

    /// The node of a pod; by its name alone, if there is no such node.
    fn node_of(&self, name: &str) -> Option<Bound> {
        let name = Some(name).filter(|name| !name.is_empty())?;
        let by_name = || Bound { name: name.to_owned(), uid: String::new() };
        Some(self.find::<Node>(None, name).map_or_else(|_| by_name(), |node| Bound::of(&node)))
    }
}

#[async_trait]
impl Responder for TokenRequests {
    async fn respond(&self, question: &Question<'_>, body: Value) -> Result<Value, Status> {
        let target = question.target;
        let (namespace, name) = target.namespace.as_deref().zip(target.name.as_deref()).unwrap_or_default();
        let TokenRequest { mut metadata, spec, .. } = read(body)?;
        check_metadata(&metadata, namespace, name)?;
        let account = Bound::of(&*self.find::<ServiceAccount>(Some(namespace), name)?);
        check_uid(&metadata, &account)?;
        let spec = spec.unwrap_or_default();
        check(&spec)?;
        check_node(&self.caches, question.user, namespace, &spec)
            .map_err(|why| Status::forbidden(&question.resource.id, name, why))?;
        metadata.uid = Some(account.uid.clone());
        let mut objects = Objects { namespace: namespace.to_owned(), account, ..Objects::default() };
        if let Some(reference) = &spec.bound_object_ref {
            self.bind(&mut objects, reference)?;
        }
        let audiences = spec.audiences.filter(|given| !given.is_empty());
        let audiences = audiences.unwrap_or_else(|| vec![API_AUDIENCE.to_owned()]);
        let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        let now = self.clock.now();
        let mut counts = seconds;
        if objects.pod.is_some() && seconds == AUTOMATIC && audiences == [API_AUDIENCE] {
            objects.warn_after = Some(now.as_second() + seconds);
            counts = EXTENDED;
        }
        let id = random_uid(&*self.clock);
        let terms = Terms { id: id.as_str(), audiences: &audiences, now, seconds: counts };
        let token = sign(&*self.keys, &claims::issued(&objects, &terms))?;
        let ends = now.checked_add(Duration::from_secs(seconds.unsigned_abs())).unwrap_or(Timestamp::MAX);
        let text = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        metadata.name = Some(name.to_owned());
        metadata.namespace = Some(namespace.to_owned());
        let mut metadata = json!(metadata);
        metadata["creationTimestamp"] = text(now).into();
        Ok(json!({
            "kind": KIND,
            "apiVersion": format!("{GROUP}/v1"),
            "metadata": metadata,
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.bound_object_ref,
            },
            "status": {"token": token, "expirationTimestamp": text(ends)},
        }))
    }
}

fn read(body: Value) -> Result<TokenRequest, Status> {
    if let Some(kind) = body["kind"].as_str().filter(|kind| !kind.is_empty() && *kind != KIND) {
        let version = body["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a TokenRequest: no kind {kind:?} is registered for \
             version {version:?}"
        )));
    }
    TokenRequest::deserialize(&body).map_err(|why| {
        Status::bad_request(format!(
            "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {why}"
        ))
    })
}

/// What is asked for is a token of the account that is asked.
fn check_metadata(metadata: &ObjectMeta, namespace: &str, name: &str) -> Result<(), Status> {
    let other = |given: &Option<String>, wanted: &str| {
        given.clone().filter(|given| !given.is_empty() && given != wanted)
    };
    if other(&metadata.namespace, namespace).is_some() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let Some(given) = other(&metadata.name, name) else { return Ok(()) };
    let mut errors = Errors::new();
    let why = "must match the service account name if specified";
    errors.invalid(&Path::new("metadata.name"), given, why);
    Err(Status::invalid(GROUP, KIND, name, &errors))
}

/// Who knows the account by its uid is given no token of another that has its name since.
fn check_uid(metadata: &ObjectMeta, account: &Bound) -> Result<(), Status> {
    match metadata.uid.as_deref().filter(|given| !given.is_empty() && *given != account.uid) {
        None => Ok(()),
        Some(given) => {
            let why = format!(
                "the UID in the token request ({given}) does not match the UID of the service account ({})",
                account.uid
            );
            Err(Status::conflict(&GroupResource::new(GROUP, KIND), &account.name, why))
        }
    }
}

fn check(spec: &TokenRequestSpec) -> Result<(), Status> {
    let mut errors = Errors::new();
    let path = Path::new("spec.expirationSeconds");
    match spec.expiration_seconds {
        Some(given) if given < SHORTEST => {
            errors.invalid(&path, given, "may not specify a duration less than 10 minutes");
        }
        Some(given) if given > LONGEST => {
            errors.invalid(&path, given, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(GROUP, KIND, "", &errors)),
    }
}
