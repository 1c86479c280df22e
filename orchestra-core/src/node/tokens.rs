//! Tokens of a pod's account, for its projected volumes and for drivers that ask for them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use serde_json::json;

use super::backoff::add;
use super::context::Context;
use super::model::{HeldToken, HeldTokens};
use crate::api::{Body, Operation, Reply, Status, Target, WriteOptions};

/// A token for a volume: that which is held, while it need not be renewed.
pub(super) async fn held_token(
    ctx: &Context,
    pod: &Pod,
    volume: &str,
    source: &ServiceAccountTokenProjection,
    held: &mut HeldTokens,
) -> Result<HeldToken, String> {
    let key = (volume.to_owned(), source.path.clone());
    if let Some(held) = held.get(&key).filter(|held| ctx.now() < held.renew) {
        return Ok(held.clone());
    }
    let fetched = fetch_token(ctx, pod, source).await;
    let fetched = fetched.map_err(|error| format!("failed to fetch token: {error}"))?;
    held.insert(key, fetched.clone());
    Ok(fetched)
}

/// Asks for a token in the name of a pod.
async fn fetch_token(
    ctx: &Context,
    pod: &Pod,
    source: &ServiceAccountTokenProjection,
) -> Result<HeldToken, Status> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let target = Target::of::<ServiceAccount>(pod.metadata.namespace.as_deref())
        .named(account.unwrap_or("default"))
        .sub("token");
    let audiences: Vec<&str> = source.audience.iter().map(String::as_str).collect();
    let seconds = source.expiration_seconds.unwrap_or(3600);
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid,
            },
        },
    });
    let operation = Operation::Create { body: Body::Value(body), options: WriteOptions::default() };
    let asked = ctx.now();
    let Reply::Value(value) = ctx.client.call(target, operation).await?.reply else {
        return Err(Status::internal("a request for a token was answered with none"));
    };
    let token = value["status"]["token"].as_str().unwrap_or_default().to_owned();
    let given = value["spec"]["expirationSeconds"].as_i64().unwrap_or(seconds);
    let told = value["status"]["expirationTimestamp"].as_str().and_then(|at| at.parse().ok());
    let expires = told.unwrap_or_else(|| add(asked, Duration::from_secs(given.max(0).unsigned_abs())));
    Ok(HeldToken { token, renew: renewal(asked, given), expires })
}

/// When a token that counts for so many seconds is to be renewed: when a fifth of its time is left, and once a day.
fn renewal(asked: Timestamp, seconds: i64) -> Timestamp {
    let after = (seconds / 5 * 4).clamp(0, DAY);
    asked.checked_add(SignedDuration::from_secs(after)).unwrap_or(Timestamp::MAX)
}

const DAY: i64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_while_it_still_counts() {
        let after = |seconds| renewal(Timestamp::UNIX_EPOCH, seconds).as_second();
        assert_eq!([600, 3607, 10 * DAY, 0].map(after), [480, 2884, DAY, 0]);
    }
}
