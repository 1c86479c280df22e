//! Bootstrap tokens that have ended are removed with their Secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::Host;
use crate::access::bootstrap_tokens::{EXPIRATION, NAMESPACE, SECRET_TYPE};
use crate::api::Status;
use crate::control::{Action, Context, Error, write};

/// What is read of a Secret.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    r#type: String,
    data: BTreeMap<String, String>,
}

/// What becomes of a Secret.
#[derive(Debug, PartialEq)]
enum Plan {
    Keep,
    Look(Duration),
    Delete,
}

impl View {
    fn plan(&self, now: Timestamp) -> Plan {
        if self.r#type != SECRET_TYPE {
            return Plan::Keep;
        }
        let Some(encoded) = self.data.get(EXPIRATION).filter(|text| !text.is_empty()) else {
            return Plan::Keep;
        };
        let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // What nobody understands does not count any more.
        let Some(end) = decoded.and_then(|text| text.parse::<Timestamp>().ok()) else { return Plan::Delete };
        match Duration::try_from(end.duration_since(now)) {
            Ok(left) if !left.is_zero() => Plan::Look(left),
            _ => Plan::Delete,
        }
    }
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    host.run(host.controller::<Secret>().named("token-cleaner"), |context: Context| async move {
        if context.name().namespace() != Some(NAMESPACE) {
            return Ok(Action::Done);
        }
        match context.entry::<Secret>().await? {
            Some(entry) if !entry.is_deleting() => match entry.view::<View>()?.plan(context.now()) {
                Plan::Keep => Ok(Action::Done),
                Plan::Look(left) => Ok::<_, Error>(Action::Again(left)),
                Plan::Delete => {
                    write::delete::<Secret>(context.client(), entry.name(), entry.uid()).await?;
                    Ok(Action::Done)
                }
            },
            _ => Ok(Action::Done),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::at;

    #[test]
    fn a_token_is_removed_when_it_has_ended() {
        let view = |kind: &str, expiration: Option<&str>| View {
            r#type: kind.to_owned(),
            data: expiration
                .map(|text| (EXPIRATION.to_owned(), BASE64_STANDARD.encode(text)))
                .into_iter()
                .collect(),
        };
        let now = at(0);
        let later = (now + Duration::from_secs(60)).to_string();
        for (kind, expiration, plan) in [
            (SECRET_TYPE, None, Plan::Keep),
            (SECRET_TYPE, Some(later.as_str()), Plan::Look(Duration::from_secs(60))),
            (SECRET_TYPE, Some(&*now.to_string()), Plan::Delete),
            (SECRET_TYPE, Some("tomorrow"), Plan::Delete),
            ("Opaque", Some(&*now.to_string()), Plan::Keep),
        ] {
            assert_eq!(view(kind, expiration).plan(now), plan, "{kind} {expiration:?}");
        }
    }
}
