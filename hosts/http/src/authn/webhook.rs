//! A server that is asked whose a token is: `TokenReview` of `authentication.k8s.io/v1`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::api::access::{API_AUDIENCE, AUTHENTICATED, Authenticator, Credentials, Known};
use orchestra_core::api::{Reason, Status, User};
use orchestra_core::clock::SharedClock;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::cache::Answers;
use crate::endpoint::Endpoint;

/// How many tokens are asked about at a time: strangers send them.
const AT_ONCE: usize = 64;

/// Asks a server whose a token is, and remembers for a while what it said.
#[derive(Debug)]
pub struct TokenWebhook {
    endpoint: Endpoint,
    remembered: Duration,
    answers: Answers<Option<Known>>,
    asking: Semaphore,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: UserInfo,
    audiences: Vec<String>,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl TokenWebhook {
    /// By a server, whose answers are remembered for a time; two minutes with Kubernetes.
    pub fn new(endpoint: Endpoint, clock: &SharedClock, remembered: Duration) -> Self {
        Self { endpoint, remembered, answers: Answers::new(clock), asking: Semaphore::new(AT_ONCE) }
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": { "creationTimestamp": null },
            "spec": { "token": token, "audiences": audiences },
            "status": { "user": {} },
        });
        let _turn = self.asking.acquire().await.map_err(Status::internal)?;
        let answer = self.endpoint.post(review.to_string()).await?;
        understood(&answer, audiences)
    }
}

/// What an answer says.
fn understood(answer: &[u8], audiences: &[String]) -> Result<Option<Known>, Status> {
    let wrong = |why: String| Status::new(Reason::InternalError, format!("the token webhook answered {why}"));
    let review: Review = serde_json::from_slice(answer).map_err(|error| wrong(error.to_string()))?;
    if (&*review.api_version, &*review.kind) != ("authentication.k8s.io/v1", "TokenReview") {
        return Err(wrong(format!("with {} of {}", review.kind, review.api_version)));
    }
    let ReviewStatus { authenticated, user, audiences: said, error } = review.status;
    if !error.is_empty() {
        return Err(Status::new(Reason::Unauthorized, error));
    }
    if !authenticated {
        return Ok(None);
    }
    if user.username.is_empty() {
        return Err(wrong("that it knows a user without a name".to_owned()));
    }
    // One that says nothing of audiences speaks of the API's own.
    let said = if said.is_empty() { vec![API_AUDIENCE.to_owned()] } else { said };
    let audiences: Vec<String> =
        audiences.iter().filter(|audience| said.contains(audience)).cloned().collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    let UserInfo { username: name, uid, mut groups, extra } = user;
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(Some(Known { user: User { name, groups, uid, extra }, audiences }))
}

#[async_trait]
impl Authenticator for TokenWebhook {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        let Some(token) = credentials.token else { return Ok(None) };
        Ok(self.review(token, &[]).await?.map(|known| known.user))
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        let api = [API_AUDIENCE.to_owned()];
        let audiences = if audiences.is_empty() { &api } else { audiences };
        let key = self.answers.key(json!([token, audiences]).to_string().as_bytes());
        if let Some(known) = self.answers.get(&key) {
            return Ok(known);
        }
        let known = self.ask(token, audiences).await?;
        self.answers.put(key, known.clone(), self.remembered);
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn answer(status: &Value) -> String {
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status })
            .to_string()
    }

    fn name(answer: &str, audiences: &[&str]) -> Result<Option<String>, u16> {
        let audiences: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let known = understood(answer.as_bytes(), &audiences).map_err(|status| status.code())?;
        Ok(known.map(|known| format!("{} {:?} {:?}", known.user.name, known.user.groups, known.audiences)))
    }

    #[test]
    fn answers_are_understood_as_kubernetes_understands_them() {
        let ann = json!({ "username": "ann", "groups": ["devs"] });
        let shown =
            |audience: &str| Ok(Some(format!("ann [\"devs\", \"system:authenticated\"] [{audience:?}]")));
        for (status, audiences, expected) in [
            (json!({ "authenticated": true, "user": ann }), vec![API_AUDIENCE], shown(API_AUDIENCE)),
            (json!({ "authenticated": true, "user": ann }), vec!["other"], Ok(None)),
            (
                json!({ "authenticated": true, "user": ann, "audiences": ["b", "c"] }),
                vec!["a", "b"],
                shown("b"),
            ),
            (json!({ "authenticated": true, "user": ann, "audiences": ["b"] }), vec![API_AUDIENCE], Ok(None)),
            (json!({ "authenticated": false, "user": ann }), vec![API_AUDIENCE], Ok(None)),
            (json!({ "authenticated": true, "error": "no" }), vec![API_AUDIENCE], Err(401)),
            (json!({ "authenticated": true, "user": {} }), vec![API_AUDIENCE], Err(500)),
            (json!({}), vec![API_AUDIENCE], Ok(None)),
        ] {
            assert_eq!(name(&answer(&status), &audiences), expected, "{status}");
        }
        for wrong in
            ["", "[]", "{}", r#"{"apiVersion":"v1","kind":"TokenReview","status":{"authenticated":true}}"#]
        {
            assert_eq!(name(wrong, &[API_AUDIENCE]), Err(500), "{wrong}");
        }
    }
}
