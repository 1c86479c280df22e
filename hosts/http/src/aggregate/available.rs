//! Whether the services of others answer: asked again and again, and written as the condition `Available`.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use orchestra_core::api::{Patch, Status, User};
use orchestra_core::clock::SharedClock;
use orchestra_core::k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use orchestra_core::webhook::Unlocated;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Aggregation, Api, Shared, apis};
use crate::reply;

/// How often each service is asked, as in Kubernetes when it answers, and as soon as that when it does not.
const PERIOD: Duration = Duration::from_secs(5);
/// How long it may take, as in Kubernetes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How large what it says of itself may be.
const LARGEST: usize = 4 * 1024 * 1024;
/// Where other servers find by what they know this one.
const SHARED: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// What was found out of a service: that it answers, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Found {
    fn passed() -> Self {
        Self { reason: "Passed", message: "all checks passed".to_owned() }
    }

    fn is_available(&self) -> bool {
        self.reason == "Passed"
    }

    /// The conditions that say so, if those that are there do not.
    fn conditions(&self, held: &[Value], now: &str) -> Option<Value> {
        let status = if self.is_available() { "True" } else { "False" };
        let is_it = |condition: &&Value| condition["type"] == "Available";
        let before = held.iter().find(is_it);
        let same = before.filter(|before| before["status"] == status);
        if same.is_some_and(|same| same["reason"] == self.reason && same["message"] == self.message.as_str())
        {
            return None;
        }
        let since = same.map_or_else(|| json!(now), |same| same["lastTransitionTime"].clone());
        let condition = json!({
            "type": "Available",
            "status": status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since,
        });
        let others = held.iter().filter(|condition| !is_it(condition)).cloned();
        Some(others.chain([condition]).collect())
    }
}

/// Looks after all of them, for as long as there is somebody who passes requests on.
pub(super) async fn run(aggregator: Weak<Shared>, clock: SharedClock, aggregation: Aggregation) {
    let mut is_told = false;
    loop {
        let Some(shared) = aggregator.upgrade() else { return };
        if !is_told {
            is_told =
                tell(&shared, &aggregation).await.inspect_err(|error| debug!(%error, "not told yet")).is_ok();
        }
        let all = apis::all(shared.server.caches());
        shared.forget(&all);
        join_all(all.iter().map(|api| shared.look(api))).await;
        drop(shared);
        clock.sleep(PERIOD).await;
    }
}

fn user() -> User {
    User::named("system:aggregator").in_group("system:masters")
}

/// Tells other servers by what they know this one: what Kubernetes' library for such servers reads.
async fn tell(shared: &Arc<Shared>, aggregation: &Aggregation) -> Result<(), Status> {
    let list = |values: &[&str]| json!(values).to_string();
    let data = json!({
        "client-ca-file": aggregation.clients,
        "requestheader-client-ca-file": aggregation.authority,
        "requestheader-allowed-names": list(&[]),
        "requestheader-username-headers": list(&["X-Remote-User"]),
        "requestheader-uid-headers": list(&["X-Remote-Uid"]),
        "requestheader-group-headers": list(&["X-Remote-Group"]),
        "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"]),
    });
    let maps = shared.server.client(user()).api::<ConfigMap>(SHARED.0);
    let object = json!({ "metadata": { "name": SHARED.1 }, "data": data });
    match maps.create(&serde_json::from_value(object).map_err(Status::internal)?).await {
        Err(status) if status.is_already_exists() => {
            maps.patch(SHARED.1, Patch::Merge(json!({ "data": data }))).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

impl Shared {
    /// Forgets what is said of those that are gone.
    fn forget(&self, all: &[Api]) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.retain(|name, _| all.iter().any(|api| api.name == *name));
    }

    /// Asks one, and writes what was found.
    async fn look(self: &Arc<Self>, api: &Api) {
        let found = match self.ask(api).await {
            Ok(document) => {
                let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
                documents.insert(api.name.clone(), Arc::new(document));
                Found::passed()
            }
            Err(found) => found,
        };
        if let Err(error) = self.write(api, &found).await
            && !error.is_not_found()
        {
            warn!(api = api.name, %error, "whether an API is available cannot be written");
        }
    }

    /// What an API says of itself.
    async fn ask(&self, api: &Api) -> Result<Value, Found> {
        let service = &api.service;
        if let Err(unlocated) = self.services.locate(service) {
            let which = format!("service/{} in {:?}", service.name, service.namespace);
            let (reason, message) = match unlocated {
                Unlocated::Service(_) => ("ServiceNotFound", format!("{which} is not present")),
                Unlocated::Port(_, port) => {
                    ("ServicePortError", format!("{which} is not listening on port {port}"))
                }
                Unlocated::Endpoints(_) => {
                    ("MissingEndpoints", format!("endpoints for {which} have no addresses"))
                }
            };
            return Err(Found { reason, message });
        }
        let url = format!("https://{}{}", service.host(), api.root());
        let failed = |why: String| {
            let message = format!("failing or missing response from {url}: {why}");
            Found { reason: "FailedDiscoveryCheck", message }
        };
        match timeout(PATIENCE, self.discover(api)).await {
            Ok(Ok(document)) => Ok(document),
            Ok(Err(why)) => Err(failed(why)),
            Err(_) => Err(failed(format!("timed out waiting for {url}"))),
        }
    }

    async fn discover(&self, api: &Api) -> Result<Value, String> {
        let mut sender = self.connect(api).await.map_err(|error| error.to_string())?;
        let request = Request::get(api.root())
            .header("host", api.service.host())
            .header("accept", "application/json")
            .header("x-remote-user", "system:kube-aggregator")
            .header("x-remote-group", "system:masters")
            .body(reply::whole(Bytes::new()))
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("bad status: {}", answer.status().as_u16()));
        }
        let body =
            Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
    }

    async fn write(self: &Arc<Self>, api: &Api, found: &Found) -> Result<(), Status> {
        let services = self.server.client(user()).cluster::<APIService>();
        let Some(held) = services.find(&api.name).await? else { return Ok(()) };
        let held = serde_json::to_value(&held).map_err(Status::internal)?;
        let conditions = held["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let now = orchestra_core::api::Service::clock(&*self.server)
            .now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let Some(conditions) = found.conditions(&conditions, &now) else { return Ok(()) };
        let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        services.patch_status(&api.name, patch).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_changes_when_what_is_found_does() {
        let passed = Found::passed();
        let first = passed.conditions(&[], "t1").unwrap();
        assert_eq!(first[0]["status"], "True");
        let first = first.as_array().unwrap().clone();
        assert_eq!(passed.conditions(&first, "t2"), None);
        let failed = Found { reason: "FailedDiscoveryCheck", message: "a".to_owned() };
        let second = failed.conditions(&first, "t2").unwrap();
        assert_eq!((&second[0]["status"], &second[0]["lastTransitionTime"]), (&json!("False"), &json!("t2")));
        let other = Found { message: "b".to_owned(), ..failed };
        let third = other.conditions(second.as_array().unwrap(), "t3").unwrap();
        assert_eq!((&third[0]["message"], &third[0]["lastTransitionTime"]), (&json!("b"), &json!("t2")));
        let foreign = [json!({ "type": "Other" })];
        assert_eq!(passed.conditions(&foreign, "t").unwrap().as_array().unwrap().len(), 2);
    }
}
