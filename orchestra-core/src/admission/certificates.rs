use async_trait::async_trait;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Resource, Status};
use crate::clock::SharedClock;

/// The signer of clients of the API server, which makes no one a master.
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// Writes down who asks for a certificate, and when what became of it.
#[derive(Debug)]
pub struct CertificateRequests {
    clock: SharedClock,
}

impl CertificateRequests {
    /// With the time from this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock }
    }

    /// Conditions say when they came, and when they were last written.
    fn times(&self, old: &Value, object: &mut Value) {
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let held = old.pointer("/status/conditions").and_then(Value::as_array);
        let list = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in list.into_iter().flatten().filter(|condition| condition.is_object()) {
            let same = |held: &&Value| {
                held["type"] == condition["type"]
                    && held["status"] == condition["status"]
                    && held["lastTransitionTime"].is_string()
            };
            let since = held.into_iter().flatten().find(same).map(|held| held["lastTransitionTime"].clone());
            if condition["lastUpdateTime"].is_null() {
                condition["lastUpdateTime"] = now.as_str().into();
            }
            if condition["lastTransitionTime"].is_null() {
                condition["lastTransitionTime"] = since.unwrap_or_else(|| now.as_str().into());
            }
        }
    }
}

/// The user who asks stands in the request, whatever is sent.
fn requestor(attributes: &Attributes<'_>, spec: &mut Value) {
    let user = attributes.user;
    for (field, value, given) in [
        ("username", json!(user.name), !user.name.is_empty()),
        ("uid", json!(user.uid), !user.uid.is_empty()),
        ("groups", json!(user.groups), !user.groups.is_empty()),
        ("extra", json!(user.extra), !user.extra.is_empty()),
    ] {
        let Some(fields) = spec.as_object_mut() else { return };
        if given {
            fields.insert(field.to_owned(), value);
        } else {
            fields.remove(field);
        }
    }
}

/// Refuses a request by which a client would become a master.
fn no_master(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let text = object.pointer("/spec/request").and_then(Value::as_str).unwrap_or_default();
    if object["spec"]["signerName"] != CLIENTS
        || !crate::objects::certificate_request::organizations(text).iter().any(|group| group == MASTERS)
    {
        return Ok(());
    }
    let why = format!("use of {CLIENTS} signer with {MASTERS} group is not allowed");
    Err(Status::forbidden(&attributes.resource.id, attributes.name.name(), why))
}

#[async_trait]
impl Admission for CertificateRequests {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<CertificateSigningRequest>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if !attributes.resource.id.is::<CertificateSigningRequest>() {
            return Ok(Vec::new());
        }
        match (attributes.verb, attributes.old) {
            (WriteVerb::Create, _) => {
                if let Some(spec) = object.get_mut("spec") {
                    requestor(attributes, spec);
                }
                no_master(attributes, object)?;
            }
            (WriteVerb::Update, Some(old)) if attributes.subresource.is_some() => self.times(old, object),
            _ => {}
        }
        Ok(Vec::new())
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

    use super::*;
    use crate::api::{Api, Patch, Reason, User};
    use crate::testing::TestServer;

    fn api(server: &TestServer, user: User) -> Api<CertificateSigningRequest> {
        server.client().as_user(user).cluster()
    }

    fn asked(signer: &str) -> CertificateSigningRequest {
        serde_json::from_value(json!({
            "metadata": { "name": "r" },
            "spec": {
                "request": crate::objects::certificate_request::SAMPLE,
                "signerName": signer,
                "usages": ["client auth"],
                "username": "somebody else",
                "groups": ["system:masters"],
            },
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_says_who_asked_and_when_it_was_decided() {
        let server = TestServer::start().await;
        let asking = api(&server, User::named("jane").in_group("devs"));
        let made = asking.create(&asked("example.com/s")).await.unwrap();
        assert_eq!(made.spec.username.as_deref(), Some("jane"));
        assert_eq!(made.spec.groups, Some(vec!["devs".to_owned(), "system:authenticated".to_owned()]));
        let target = crate::api::Target::of::<CertificateSigningRequest>(None).named("r").sub("approval");
        let condition = json!({ "type": "Approved", "status": "True", "reason": "R" });
        let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
        server.client().call(target, patch.operation()).await.unwrap();
        let conditions = asking.get("r").await.unwrap().status.unwrap().conditions.unwrap();
        let times = [&conditions[0].last_update_time, &conditions[0].last_transition_time];
        assert!(times.iter().all(|time| time.as_ref().is_some_and(|time| time.0 > Timestamp::UNIX_EPOCH)));
        let again = Patch::Merge(json!({ "spec": { "username": "root" } }));
        let kept = asking.patch("r", again).await.unwrap();
        assert_eq!(kept.spec.username.as_deref(), Some("jane"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_becomes_a_master_by_a_request() {
        let server = TestServer::start().await;
        let refused = api(&server, User::named("jane")).create(&asked(CLIENTS)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::Forbidden);
        assert!(refused.message().ends_with(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        ));
    }
}
