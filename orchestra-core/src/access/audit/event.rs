use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Status as StatusObject};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::terms::{Level, Stage};
use crate::api::access::AccessRequest;
use crate::api::{Status, Target, User};

/// The longest user agent that is kept whole.
const LONGEST_AGENT: usize = 1024;

/// What happened, as a line of the log has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    /// How much it says.
    pub level: Level,
    /// The number by which the request is known.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// How far the request has come.
    pub stage: Stage,
    /// What was asked for, as it was sent.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// What is done.
    pub verb: String,
    /// Who does it.
    #[serde(serialize_with = "write_user")]
    pub user: User,
    /// As whom, if it is done as another.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_other")]
    pub impersonated_user: Option<User>,
    /// From where, the sender first.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// By which program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// To what, if it is a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectReference>,
    /// How it was answered.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_status")]
    pub response_status: Option<StatusObject>,
    /// What was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    /// When the request came.
    pub request_received_timestamp: MicroTime,
    /// When it came so far.
    pub stage_timestamp: MicroTime,
    /// What else is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The object that a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they are Kubernetes' own")]
pub struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'s> {
    /// With this code.
    Code(u16),
    /// With this failure.
    Failure(&'s Status),
    /// Not at all: whoever sent it did not wait.
    GivenUp,
    /// Not at all: what was to answer failed.
    Panic,
}

impl Event {
    /// A request that has come in.
    pub fn received(
        level: Level,
        audit_id: &str,
        user: &User,
        request: &AccessRequest<'_>,
        received: Timestamp,
    ) -> Self {
        let (verb, object_ref) = match request {
            AccessRequest::Resource { verb, target, .. } => (*verb, Some(ObjectReference::of(target))),
            AccessRequest::Path { verb, .. } => (*verb, None),
        };
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: audit_id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: String::new(),
            verb: verb.to_owned(),
            user: user.clone(),
            impersonated_user: None,
            source_ips: Vec::new(),
            user_agent: String::new(),
            object_ref,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: MicroTime(received),
            stage_timestamp: MicroTime(received),
            annotations: BTreeMap::new(),
        }
    }

    /// Also says by what the request was sent.
    #[must_use]
    pub fn sent(self, uri: &str, user_agent: &str, source_ips: Vec<String>) -> Self {
        let user_agent = match user_agent.len() > LONGEST_AGENT {
            true => {
                let end = user_agent.floor_char_boundary(LONGEST_AGENT);
                format!("{}...TRUNCATED", &user_agent[..end])
            }
            false => user_agent.to_owned(),
        };
        Self { request_uri: uri.to_owned(), user_agent, source_ips, ..self }
    }

    /// Says that an authorizer allowed the request, or did not.
    pub fn decided(&mut self, allowed: bool, reason: &str) {
        let decision = if allowed { "allow" } else { "forbid" };
        self.annotations.insert("authorization.k8s.io/decision".to_owned(), decision.to_owned());
        self.annotations.insert("authorization.k8s.io/reason".to_owned(), reason.to_owned());
    }

    /// Says how the request was answered. What a failure says of what was sent is left out where that `is_secret`.
    pub fn answered(&mut self, outcome: Outcome<'_>, is_secret: bool) {
        let failure = |code: i32, reason: &str, message: &str| StatusObject {
            code: Some(code),
            status: Some("Failure".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..StatusObject::default()
        };
        self.response_status = Some(match outcome {
            Outcome::Code(code) => StatusObject { code: Some(code.into()), ..StatusObject::default() },
            Outcome::Panic => failure(500, "InternalError", "APIServer panic'd"),
            Outcome::GivenUp => failure(499, "", "the request was given up before it was answered"),
            Outcome::Failure(status) => {
                let mut object = status.to_object();
                // Who may not, or asks for what is not there, was not read. All others may quote what they read.
                if is_secret && !matches!(status.code(), 401 | 403 | 404 | 405 | 409 | 429) {
                    (object.message, object.details) = (None, None);
                }
                object
            }
        });
    }

    /// Says what was sent, and of which object: its name may be known only from here.
    pub fn sent_object(&mut self, object: &Value) {
        let Some(reference) = &mut self.object_ref else { return };
        let meta = &object["metadata"];
        for (held, field) in [
            (&mut reference.namespace, "namespace"),
            (&mut reference.name, "name"),
            (&mut reference.uid, "uid"),
            (&mut reference.resource_version, "resourceVersion"),
        ] {
            if held.is_empty() {
                meta[field].as_str().unwrap_or_default().clone_into(held);
            }
        }
    }
}

impl ObjectReference {
    fn of(target: &Target) -> Self {
        let text = |part: &Option<std::sync::Arc<str>>| part.as_deref().unwrap_or_default().to_owned();
        Self {
            resource: target.resource.to_string(),
            namespace: text(&target.namespace),
            name: text(&target.name),
            api_group: target.group.to_string(),
            api_version: target.version.to_string(),
            subresource: text(&target.subresource),
            ..Self::default()
        }
    }
}

/// An object, a list or a table without what says who owns which fields.
pub fn without_managed_fields(mut object: Value) -> Value {
    fn strip(object: &mut Value) {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    }
    strip(&mut object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        row.get_mut("object").map(strip);
    }
    object
}

#[derive(Serialize)]
struct UserInfo<'u> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'u str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'u str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'u [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'u BTreeMap<String, Vec<String>>,
}

fn write_user<S: Serializer>(user: &User, serializer: S) -> Result<S::Ok, S::Error> {
    let User { name, groups, uid, extra } = user;
    UserInfo { username: name, uid, groups, extra }.serialize(serializer)
}

fn write_other<S: Serializer>(user: &Option<User>, serializer: S) -> Result<S::Ok, S::Error> {
    match user {
        Some(user) => write_user(user, serializer),
        None => serializer.serialize_none(),
    }
}

/// As a part of an event, a status does not say of which kind it is.
fn write_status<S: Serializer>(status: &Option<StatusObject>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(status).map_err(serde::ser::Error::custom)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    value.serialize(serializer)
}
