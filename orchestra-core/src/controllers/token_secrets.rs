//! Filling Secrets of the type `kubernetes.io/service-account-token`, and removing them with their service account.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Host;
use crate::access::tokens::{Bound, SigningKeys, for_secret};
use crate::api::Status;
use crate::control::{Action, Context, Error, Reconciler, write};
use crate::meta::ObjectName;
use crate::watch::{Entry, Query};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

struct Tokens {
    keys: Arc<dyn SigningKeys>,
    authority: Option<String>,
}

/// A Secret, as far as it says whose token it holds and whether it does.
#[derive(Deserialize)]
struct View {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What becomes of a Secret.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Delete,
    Patch(Value),
}

/// Runs the controller. It runs for accounts, whether or not they are there.
pub(super) async fn run(
    host: Host,
    keys: Arc<dyn SigningKeys>,
    authority: Option<String>,
) -> Result<(), Status> {
    let controller = host.controller::<ServiceAccount>().named("serviceaccount-token");
    let controller = controller.watches::<Secret, _, _>(account_of);
    host.run(controller, Tokens { keys, authority }).await
}

/// The account whose token a Secret is to hold.
fn account_of(secret: &Entry) -> Option<ObjectName> {
    if secret.field("type") != Some(TYPE) {
        return None;
    }
    let view = secret.view::<View>().ok()?;
    Some(ObjectName::new(secret.name().namespace(), view.metadata.annotations.get(ACCOUNT)?))
}

#[async_trait]
impl Reconciler for Tokens {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let account = context.entry::<ServiceAccount>().await?.filter(|account| !account.is_deleting());
        let account = account.map(|entry| Bound::of(&entry));
        let secrets = context.cache::<Secret>().await?.list(&Query::namespace(context.namespace()));
        for secret in secrets.iter().filter(|secret| account_of(secret).as_ref() == Some(context.name())) {
            if secret.is_deleting() {
                continue;
            }
            match self.plan(secret.name(), &*secret.view::<View>()?, account.as_ref())? {
                Plan::Nothing => {}
                Plan::Delete => {
                    write::delete::<Secret>(context.client(), secret.name(), secret.uid()).await?;
                }
                Plan::Patch(patch) => {
                    write::unless_gone(write::patch::<Secret>(context.client(), secret, patch).await)?;
                }
            }
        }
        Ok(Action::Done)
    }
}

impl Tokens {
    fn plan(&self, name: &ObjectName, secret: &View, account: Option<&Bound>) -> Result<Plan, Status> {
        let Some(account) = account else { return Ok(Plan::Delete) };
        let given = secret.metadata.annotations.get(ACCOUNT_UID);
        if given.is_some_and(|uid| *uid != account.uid) {
            return Ok(Plan::Delete);
        }
        let namespace = name.namespace().unwrap_or_default();
        let mut data = Map::new();
        let mut fill = |key: &str, value: &str| {
            data.insert(key.to_owned(), BASE64_STANDARD.encode(value).into());
        };
        if let Some(authority) = self.authority.as_ref().filter(|_| !secret.data.contains_key("ca.crt")) {
            fill("ca.crt", authority);
        }
        if !secret.data.contains_key("namespace") {
            fill("namespace", namespace);
        }
        if secret.data.get("token").is_none_or(String::is_empty) {
            fill("token", &for_secret(&*self.keys, namespace, name.name(), account)?);
        }
        if data.is_empty() && given.is_some() {
            return Ok(Plan::Nothing);
        }
        let mut patch = json!({"metadata": {"annotations": {ACCOUNT_UID: account.uid}}});
        if !data.is_empty() {
            patch["data"] = data.into();
        }
        Ok(Plan::Patch(patch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tokens::Unsigned;

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let tokens = Tokens { keys: Arc::new(Unsigned), authority: Some("ca".to_owned()) };
        let name = ObjectName::namespaced("n", "t");
        let account = Bound { name: "s".to_owned(), uid: "u".to_owned() };
        let plan = |annotations: Value, data: Value, account: Option<&Bound>| {
            let view = json!({"metadata": {"annotations": annotations}, "type": TYPE, "data": data});
            tokens.plan(&name, &serde_json::from_value(view).unwrap(), account).unwrap()
        };
        let of = json!({ACCOUNT: "s"});
        let known = json!({ACCOUNT: "s", ACCOUNT_UID: "u"});
        let full = json!({"ca.crt": "Y2E=", "namespace": "bg==", "token": "dA=="});
        assert_eq!(plan(known.clone(), full.clone(), Some(&account)), Plan::Nothing);
        assert_eq!(plan(of.clone(), json!({}), None), Plan::Delete);
        let other = json!({ACCOUNT: "s", ACCOUNT_UID: "of another"});
        assert_eq!(plan(other, full.clone(), Some(&account)), Plan::Delete);
        let uid = json!({"metadata": {"annotations": {ACCOUNT_UID: "u"}}});
        assert_eq!(plan(of.clone(), full, Some(&account)), Plan::Patch(uid));
        let Plan::Patch(patch) = plan(of, json!({"extra": "eA=="}), Some(&account)) else {
            panic!("it is empty")
        };
        let keys: Vec<_> = patch["data"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["ca.crt", "namespace", "token"]);
    }
}
