use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::TokenReview;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::info;
use crate::api::access::{Authenticator as _, Authenticators};
use crate::api::{Question, Responder, Status};
use crate::clock::SharedClock;

/// Says who asks.
#[derive(Debug)]
pub(super) struct IdentityReviews(pub(super) SharedClock);

/// Says whose a token is.
#[derive(Debug)]
pub(super) struct TokenReviews(pub(super) Authenticators);

#[async_trait]
impl Responder for IdentityReviews {
    async fn respond(&self, question: &Question<'_>, mut body: Value) -> Result<Value, Status> {
        let now = self.0.now();
        body["metadata"] = json!({"creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        body["status"] = json!({"userInfo": info(question.user)});
        Ok(body)
    }
}

#[async_trait]
impl Responder for TokenReviews {
    async fn respond(&self, _: &Question<'_>, mut body: Value) -> Result<Value, Status> {
        let review = TokenReview::deserialize(&body);
        let review = review.map_err(|error| Status::bad_request(error.to_string()))?;
        let token = review.spec.token;
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = review.spec.audiences.unwrap_or_default();
        body["status"] = match self.0.review(&token, &audiences).await {
            Ok(Some(known)) => json!({
                "authenticated": true,
                "user": info(&known.user),
                "audiences": known.audiences,
            }),
            Ok(None) => json!({"user": {}, "error": INVALID}),
            Err(why) => json!({"user": {}, "error": format!("[{INVALID}, {}]", why.message())}),
        };
        Ok(body)
    }
}

const INVALID: &str = "invalid bearer token";
