use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::api::access::{AccessRequest, Authorizer, Decision, Permissions};
use orchestra_core::api::{Status, User};
use orchestra_core::clock::SharedClock;
use orchestra_core::expression::{Budget, Program, Val};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authn::cache::Answers;
use crate::endpoint::Endpoint;

/// What is decided when a server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Others may say.
    #[default]
    NoOpinion,
    /// It may not be.
    Deny,
}

/// How long answers are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Those that allow.
    pub allowed: Duration,
    /// Those that do not.
    pub refused: Duration,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { allowed: Duration::from_secs(5 * 60), refused: Duration::from_secs(30) }
    }
}

/// Asks a server whether somebody may do something, and remembers for a while what it said.
#[derive(Debug)]
pub struct AccessWebhook {
    name: String,
    endpoint: Endpoint,
    remembered: Remembered,
    failure: FailurePolicy,
    conditions: Vec<Program>,
    answers: Answers<Decision>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewStatus {
    allowed: bool,
    #[serde(default)]
    denied: bool,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    evaluation_error: String,
}

impl AccessWebhook {
    /// By a server, which is called `name` in logs.
    pub fn new(name: impl Into<String>, endpoint: Endpoint, clock: &SharedClock) -> Self {
        Self {
            name: name.into(),
            endpoint,
            remembered: Remembered::default(),
            failure: FailurePolicy::default(),
            conditions: Vec::new(),
            answers: Answers::new(clock),
        }
    }

    /// How long answers are remembered.
    #[must_use]
    pub fn remembering(self, remembered: Remembered) -> Self {
        Self { remembered, ..self }
    }

    /// What is decided when it cannot be asked.
    #[must_use]
    pub fn failing(self, failure: FailurePolicy) -> Self {
        Self { failure, ..self }
    }

    /// It is asked only if all of these are true of `request`, which is the specification of the review.
    #[must_use]
    pub(crate) fn when(self, conditions: Vec<Program>) -> Self {
        Self { conditions, ..self }
    }

    fn failed(&self, why: &Status) -> Decision {
        tracing::warn!(webhook = self.name, error = %why, "an authorization webhook cannot be asked");
        match self.failure {
            FailurePolicy::NoOpinion => Decision::no_opinion().because(why.message().to_owned()),
            FailurePolicy::Deny => Decision::deny(why.message().to_owned()),
        }
    }

    /// Whether it is to be asked. A condition that is false counts more than one that has no value.
    fn is_asked(&self, spec: &Value) -> Result<bool, Status> {
        let mut failure = None;
        for condition in &self.conditions {
            let value = condition.evaluate(&[Val::json(spec)], &mut Budget::new(Budget::CALL));
            match value.map(|value| value.as_bool()) {
                Ok(Some(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => failure = failure.or(Some(Status::internal(error))),
            }
        }
        failure.map_or(Ok(true), Err)
    }
}

/// What is asked, as the specification of a review.
fn spec(user: &User, request: &AccessRequest<'_>) -> Value {
    let mut spec = json!({ "user": user.name });
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.uid.is_empty() {
        spec["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    match request {
        AccessRequest::Resource { verb, target, fields, .. } => {
            let mut of = json!({ "verb": verb, "version": target.version, "resource": target.resource });
            let parts = [
                ("group", Some(&target.group)),
                ("namespace", target.namespace.as_ref()),
                ("name", target.name.as_ref()),
                ("subresource", target.subresource.as_ref()),
            ];
            for (field, part) in parts {
                if let Some(part) = part.filter(|part| !part.is_empty()) {
                    of[field] = json!(part);
                }
            }
            if let Some(fields) = fields {
                of["fieldSelector"] = json!({ "rawSelector": fields.to_string() });
            }
            spec["resourceAttributes"] = of;
        }
        AccessRequest::Path { verb, path, .. } => {
            spec["nonResourceAttributes"] = json!({ "verb": verb, "path": path });
        }
        _ => {}
    }
    spec
}

/// What an answer says.
fn understood(answer: &[u8]) -> Result<Decision, Status> {
    let wrong = |why: String| Status::internal(format!("the authorization webhook answered {why}"));
    let review: Review = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    if (&*review.api_version, &*review.kind) != ("authorization.k8s.io/v1", "SubjectAccessReview") {
        return Err(wrong(format!("with {} of {}", review.kind, review.api_version)));
    }
    let ReviewStatus { allowed, denied, reason, evaluation_error } = review.status;
    match (allowed, denied) {
        (true, true) => Err(wrong("that it allows and denies".to_owned())),
        (true, false) => Ok(Decision::allow().because(reason)),
        (false, true) => Ok(Decision::deny(reason)),
        (false, false) if reason.is_empty() => Ok(Decision::no_opinion().because(evaluation_error)),
        (false, false) => Ok(Decision::no_opinion().because(reason)),
    }
}

#[async_trait]
impl Authorizer for AccessWebhook {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        let spec = spec(user, request);
        match self.is_asked(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::no_opinion(),
            Err(why) => return self.failed(&why),
        }
        let key = self.answers.key(spec.to_string().as_bytes());
        if let Some(decision) = self.answers.get(&key) {
            return decision;
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": { "creationTimestamp": null },
            "spec": spec,
            "status": { "allowed": false },
        });
        let answer = self.endpoint.post(review.to_string()).await;
        match answer.and_then(|answer| understood(&answer)) {
            Ok(decision) => {
                let Remembered { allowed, refused } = self.remembered;
                let time = if decision.is_allowed() { allowed } else { refused };
                self.answers.put(key, decision.clone(), time);
                decision
            }
            Err(why) => self.failed(&why),
        }
    }

    fn permissions(&self, _: &User, _: &str) -> Permissions {
        Permissions::unknown("webhook authorizer does not support user rule resolution")
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::api::Target;
    use orchestra_core::api::access::Verdict;

    use super::*;

    #[test]
    fn what_is_asked_is_said_as_kubernetes_says_it() {
        let user = User { uid: "7".into(), ..User::named("ann") };
        let target = Target {
            group: "".into(),
            version: "v1".into(),
            resource: "pods".into(),
            namespace: Some("x".into()),
            name: Some("web".into()),
            subresource: Some("log".into()),
        };
        assert_eq!(
            spec(&user, &AccessRequest::resource("get", &target)),
            json!({
                "user": "ann",
                "groups": ["system:authenticated"],
                "uid": "7",
                "resourceAttributes": {
                    "verb": "get", "version": "v1", "resource": "pods", "namespace": "x", "name": "web",
                    "subresource": "log",
                },
            })
        );
        assert_eq!(
            spec(&User::default(), &AccessRequest::path("get", "/metrics")),
            json!({ "user": "", "nonResourceAttributes": { "verb": "get", "path": "/metrics" } })
        );
    }

    #[test]
    fn answers_are_understood_as_kubernetes_understands_them() {
        for (status, verdict, reason) in [
            (json!({ "allowed": true, "reason": "yes" }), Some(Verdict::Allow), "yes"),
            (json!({ "allowed": false, "denied": true, "reason": "no" }), Some(Verdict::Deny), "no"),
            (json!({ "allowed": false, "reason": "who knows" }), Some(Verdict::NoOpinion), "who knows"),
            (json!({ "allowed": false, "evaluationError": "broken" }), Some(Verdict::NoOpinion), "broken"),
            (json!({ "allowed": true, "denied": true }), None, ""),
            (json!({ "denied": true }), None, ""),
        ] {
            let kind = ("authorization.k8s.io/v1", "SubjectAccessReview");
            let answer = json!({ "apiVersion": kind.0, "kind": kind.1, "status": status });
            let decision = understood(answer.to_string().as_bytes()).ok();
            assert_eq!(decision.as_ref().map(|decision| decision.verdict), verdict, "{status}");
            assert_eq!(decision.map(|decision| decision.reason).unwrap_or_default(), reason, "{status}");
        }
        for wrong in ["", "{}", r#"{"apiVersion":"v1","kind":"Status","status":{"allowed":true}}"#] {
            assert!(understood(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
