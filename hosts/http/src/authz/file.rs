//! `AuthorizationConfiguration` of `apiserver.config.k8s.io/v1`, as Kubernetes reads it with `--authorization-config`.

use std::path::PathBuf;
use std::time::Duration;

use orchestra_core::api::access::Chain;
use orchestra_core::api::yaml;
use orchestra_core::clock::{SharedClock, parse_duration};
use orchestra_core::expression::{Environment, Type};
use serde::Deserialize;

use super::webhook::{AccessWebhook, FailurePolicy, Remembered};
use crate::endpoint::{Endpoint, EndpointError};

/// The longest that a server may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Why it is not known who is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// The file cannot be read as one.
    #[error("the authorization configuration cannot be read: {0}")]
    Unreadable(String),
    /// It says what cannot be.
    #[error("{at}: {why}")]
    Invalid {
        /// Where it says so.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is not known how to reach a server.
    #[error("{at}: {why}")]
    Endpoint {
        /// Where it is named.
        at: String,
        /// What is not known.
        why: EndpointError,
    },
}

/// Which servers are asked, before and after the roles of the cluster.
#[derive(Debug, Default)]
pub struct AuthorizationFile {
    before: Vec<Webhook>,
    after: Vec<Webhook>,
}

/// Those who are asked beside the roles of the cluster.
#[derive(Debug, Default)]
pub struct Authorizers {
    /// Before them.
    pub before: Chain,
    /// After them.
    pub after: Chain,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    authorizers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(rename = "type")]
    type_: String,
    name: String,
    #[serde(default)]
    webhook: Option<WebhookText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookText {
    #[serde(default, rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(default, rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    #[serde(default)]
    cache_authorized_requests: Option<bool>,
    #[serde(default)]
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: Connection,
    #[serde(default)]
    match_conditions: Vec<ConditionText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Connection {
    #[serde(rename = "type")]
    type_: String,
    #[serde(default)]
    kube_config_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConditionText {
    expression: String,
}

#[derive(Debug)]
struct Webhook {
    name: String,
    endpoint: Endpoint,
    remembered: Remembered,
    failure: FailurePolicy,
    conditions: Vec<orchestra_core::expression::Program>,
}

impl AuthorizationFile {
    /// Reads a configuration: one document in YAML or JSON.
    ///
    /// # Errors
    /// When it is none, or says what cannot be.
    pub fn parse(text: &[u8]) -> Result<Self, AuthorizationError> {
        let unreadable = |error: &dyn std::fmt::Display| AuthorizationError::Unreadable(error.to_string());
        let documents = yaml::read(text).map_err(|error| unreadable(&error))?;
        let document = documents.into_iter().next().unwrap_or_default();
        let document: Document = serde_json::from_value(document).map_err(|error| unreadable(&error))?;
        let versions = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
        if document.kind != "AuthorizationConfiguration" || !versions.contains(&&*document.api_version) {
            return Err(unreadable(&format!(
                "it must be an AuthorizationConfiguration of apiserver.config.k8s.io/v1, and is {:?} of {:?}",
                document.kind, document.api_version
            )));
        }
        let (mut file, mut own) = (Self::default(), [false, false]);
        for (number, entry) in document.authorizers.into_iter().enumerate() {
            let at = format!("authorizers[{number}]");
            match (&*entry.type_, entry.webhook) {
                ("Node", None) => own[0] = true,
                ("RBAC", None) => own[1] = true,
                ("Webhook", Some(text)) => {
                    let webhook = webhook(entry.name, text, &format!("{at}.webhook"))?;
                    if own[1] { file.after.push(webhook) } else { file.before.push(webhook) }
                }
                (kind, _) => {
                    let why =
                        format!("{kind:?} is none of Node, RBAC and Webhook, which alone has a webhook");
                    return Err(invalid(&at, why));
                }
            }
        }
        if own != [true, true] {
            return Err(invalid("authorizers", "Node and RBAC must be among them"));
        }
        Ok(file)
    }

    /// One server that is asked after the roles of the cluster.
    #[must_use]
    pub fn after(endpoint: Endpoint, remembered: Remembered) -> Self {
        let (name, failure) = ("default".to_owned(), FailurePolicy::NoOpinion);
        Self {
            after: vec![Webhook { name, endpoint, remembered, failure, conditions: Vec::new() }],
            ..Self::default()
        }
    }

    /// Those who are asked.
    pub fn authorizers(self, clock: &SharedClock) -> Authorizers {
        let chain = |all: Vec<Webhook>| {
            all.into_iter().fold(Chain::new(), |chain, webhook| {
                let Webhook { name, endpoint, remembered, failure, conditions } = webhook;
                let webhook = AccessWebhook::new(name, endpoint, clock).remembering(remembered);
                chain.then(webhook.failing(failure).when(conditions))
            })
        };
        Authorizers { before: chain(self.before), after: chain(self.after) }
    }
}

fn invalid(at: &str, why: impl ToString) -> AuthorizationError {
    AuthorizationError::Invalid { at: at.to_owned(), why: why.to_string() }
}

fn webhook(name: String, text: WebhookText, at: &str) -> Result<Webhook, AuthorizationError> {
    let time = |field: &str, text: &str| {
        parse_duration(text).map_err(|error| invalid(&format!("{at}.{field}"), error))
    };
    if text.subject_access_review_version != "v1" {
        return Err(invalid(&format!("{at}.subjectAccessReviewVersion"), "only v1 is supported"));
    }
    let failure = match &*text.failure_policy {
        "NoOpinion" => FailurePolicy::NoOpinion,
        "Deny" => FailurePolicy::Deny,
        _ => return Err(invalid(&format!("{at}.failurePolicy"), "must be NoOpinion or Deny")),
    };
    let timeout = time("timeout", &text.timeout)?;
    if timeout.is_zero() || timeout > LONGEST {
        return Err(invalid(&format!("{at}.timeout"), "must be above 0s and not above 30s"));
    }
    let remembered =
        |cached: Option<bool>, time: Duration| if cached == Some(false) { Duration::ZERO } else { time };
    let usual = Remembered::default();
    let allowed = text.authorized_ttl.map(|text| time("authorizedTTL", &text)).transpose()?;
    let refused = text.unauthorized_ttl.map(|text| time("unauthorizedTTL", &text)).transpose()?;
    let endpoint = endpoint(text.connection_info, &format!("{at}.connectionInfo"))?;
    let version = &text.match_condition_subject_access_review_version;
    if !text.match_conditions.is_empty() && version != "v1" {
        return Err(invalid(
            &format!("{at}.matchConditionSubjectAccessReviewVersion"),
            "only v1 is supported",
        ));
    }
    let mut conditions = Vec::new();
    for (number, condition) in text.match_conditions.iter().enumerate() {
        let at = format!("{at}.matchConditions[{number}].expression");
        let program = Environment::new().variable("request").compile(&condition.expression);
        let program = program.map_err(|error| invalid(&at, error))?;
        if !matches!(program.output(), Type::Bool | Type::Dyn) {
            return Err(invalid(&at, "must evaluate to bool"));
        }
        conditions.push(program);
    }
    Ok(Webhook {
        name,
        endpoint: endpoint.patience(timeout),
        remembered: Remembered {
            allowed: remembered(text.cache_authorized_requests, allowed.unwrap_or(usual.allowed)),
            refused: remembered(text.cache_unauthorized_requests, refused.unwrap_or(usual.refused)),
        },
        failure,
        conditions,
    })
}

fn endpoint(connection: Connection, at: &str) -> Result<Endpoint, AuthorizationError> {
    match (&*connection.type_, connection.kube_config_file) {
        ("KubeConfigFile", Some(path)) => Endpoint::read(&path)
            .map_err(|why| AuthorizationError::Endpoint { at: format!("{at}.kubeConfigFile"), why }),
        _ => Err(invalid(at, "must be of type KubeConfigFile, and name a kubeConfigFile")),
    }
}
