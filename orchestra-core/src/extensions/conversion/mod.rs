//! Conversion of custom objects by the webhook that their definition names.

mod review;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde::Deserialize as _;
use serde_json::Value;

use self::review::Review;
use crate::api::{Converter, Status};
use crate::clock::{SharedClock, random_uid};
use crate::webhook::{ClientConfig, Webhooks};

/// How long a webhook may take, as in Kubernetes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A definition's webhook.
#[derive(Debug)]
pub(super) struct ByWebhook {
    webhooks: Webhooks,
    clock: SharedClock,
    client: ClientConfig,
    /// The versions of `ConversionReview` that it knows, in the order of its preference.
    reviews: Vec<String>,
}

/// What converts the objects of a definition's kind; `None` if its versions differ in nothing but their name and schema.
pub(super) fn converter(
    definition: &Value,
    webhooks: &Webhooks,
    clock: &SharedClock,
) -> Option<Arc<dyn Converter>> {
    let conversion = &definition["spec"]["conversion"];
    if conversion["strategy"] != "Webhook" {
        return None;
    }
    let webhook = &conversion["webhook"];
    let reviews = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
    Some(Arc::new(ByWebhook {
        webhooks: webhooks.clone(),
        clock: Arc::clone(clock),
        client: ClientConfig::deserialize(&webhook["clientConfig"]).unwrap_or_default(),
        reviews: reviews.filter_map(Value::as_str).map(str::to_owned).collect(),
    }))
}

#[async_trait]
impl Converter for ByWebhook {
    async fn convert(&self, objects: Vec<Value>, api_version: &str) -> Result<Vec<Value>, Status> {
        let Some(version) = review::version_of(&self.reviews) else {
            return Err(failed("no supported conversion review versions".to_owned()));
        };
        let uid = random_uid(&*self.clock).as_str().to_owned();
        let review = Review { uid, version, wanted: api_version, objects };
        let body = Bytes::from(review.body().to_string());
        let answer = self.webhooks.call(&self.client, body, TIMEOUT).await;
        let answer = answer
            .map_err(|error| failed(format!("conversion webhook for {} failed: {error}", review.of())))?;
        review.read(&answer).map_err(failed)
    }
}

/// What Kubernetes says with 500 and without a reason.
fn failed(message: String) -> Status {
    Status::from_object(metav1::Status { code: Some(500), message: Some(message), ..Default::default() })
}
