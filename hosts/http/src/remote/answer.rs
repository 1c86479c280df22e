//! What comes back, read from JSON into the terms of the core; pure.

use std::sync::Arc;

use http::header::WARNING;
use http::{HeaderMap, StatusCode};
use orchestra_core::api::{ObjectList, Reason, Reply, Status, Target, WatchEvent, api_version};
use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use orchestra_core::meta::Revision;
use orchestra_core::watch::{Entry, IndexedFields};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The kind that is spoken of: what fills in for objects in lists, which need not say it of themselves.
#[derive(Debug)]
pub(super) struct Reader {
    api_version: String,
    indexed: IndexedFields,
}

impl Reader {
    pub(super) fn new(target: &Target, indexed: IndexedFields) -> Self {
        Self { api_version: api_version(&target.group, &target.version), indexed }
    }

    /// What an operation gave.
    pub(super) fn reply(&self, body: &[u8]) -> Result<Reply, Status> {
        let mut value: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let kind = value["kind"].as_str().unwrap_or_default();
        if let (Some(kind), true) = (kind.strip_suffix("List"), value["items"].is_array()) {
            let kind = kind.to_owned();
            return self.list(&kind, value).map(Reply::List);
        }
        // A scale is of another group, a `Status` has no uid: neither is an object that is kept.
        if value["apiVersion"] == self.api_version && value["metadata"]["uid"].is_string() {
            return self.entry(&mut value).map(Reply::Object);
        }
        Ok(Reply::Value(value))
    }

    fn list(&self, kind: &str, mut value: Value) -> Result<ObjectList, Status> {
        let items = value["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let objects = items.into_iter().map(|mut item| {
            if let Value::Object(fields) = &mut item {
                fields.entry("kind").or_insert_with(|| kind.into());
                fields.entry("apiVersion").or_insert_with(|| self.api_version.as_str().into());
            }
            self.entry(&mut item)
        });
        let objects = objects.collect::<Result<_, _>>()?;
        let meta = &value["metadata"];
        Ok(ObjectList {
            objects,
            revision: revision(meta)?,
            continue_token: meta["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned),
            remaining: meta["remainingItemCount"].as_u64(),
        })
    }

    /// An object as the caches keep it: its revision beside it.
    fn entry(&self, value: &mut Value) -> Result<Arc<Entry>, Status> {
        let revision = revision(&value["metadata"])?;
        let bytes = Entry::encode(value).map_err(unreadable)?;
        Entry::read(bytes, revision, &self.indexed).map(Arc::new).map_err(unreadable)
    }

    /// One line of a watch.
    ///
    /// # Errors
    /// What an `ERROR` event says, or that the line is none.
    pub(super) fn event(&self, line: &[u8]) -> Result<WatchEvent, Status> {
        #[derive(Deserialize)]
        struct Line<'l> {
            r#type: &'l str,
            #[serde(borrow)]
            object: &'l RawValue,
        }
        let Line { r#type, object } = serde_json::from_slice(line).map_err(unreadable)?;
        if r#type == "ERROR" {
            let status: metav1::Status = serde_json::from_str(object.get()).map_err(unreadable)?;
            return Err(Status::from_object(status));
        }
        let mut value: Value = serde_json::from_str(object.get()).map_err(unreadable)?;
        Ok(match r#type {
            "ADDED" => WatchEvent::Added(self.entry(&mut value)?),
            "MODIFIED" => WatchEvent::Modified(self.entry(&mut value)?),
            "DELETED" => WatchEvent::Deleted(self.entry(&mut value)?),
            "BOOKMARK" => WatchEvent::Bookmark {
                revision: revision(&value["metadata"])?,
                initial_events_end: value["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true",
            },
            other => {
                return Err(Status::internal(format!(
                    "the server sent a watch event of the unknown type {other:?}"
                )));
            }
        })
    }
}

fn revision(meta: &Value) -> Result<Revision, Status> {
    // What a dry run would have stored has none.
    let Some(text) = meta["resourceVersion"].as_str().filter(|text| !text.is_empty()) else {
        return Ok(Revision::ZERO);
    };
    text.parse().map_err(unreadable)
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("what the server answered cannot be read: {error}"))
}

/// The failure that a server answered with; of its code alone, if it sent no `Status`, as a proxy on the way might.
pub(crate) fn failure(code: StatusCode, body: &[u8]) -> Status {
    let sent = serde_json::from_slice::<metav1::Status>(body).ok();
    if let Some(status) = sent.filter(|status| status.reason.is_some() || status.message.is_some()) {
        return Status::from_object(status);
    }
    let reason = match code.as_u16() {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        405 => Reason::MethodNotAllowed,
        409 => Reason::Conflict,
        410 => Reason::Gone,
        413 => Reason::RequestEntityTooLarge,
        415 => Reason::UnsupportedMediaType,
        422 => Reason::Invalid,
        429 => Reason::TooManyRequests,
        502 | 503 => Reason::ServiceUnavailable,
        504 => Reason::Timeout,
        400..500 => Reason::BadRequest,
        _ => Reason::InternalError,
    };
    Status::new(reason, format!("the server answered {code} and did not say why"))
}

/// What the server warns of: the texts of its warnings of code 299.
pub(super) fn warnings(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(WARNING).into_iter().filter_map(|value| value.to_str().ok());
    all.filter_map(|value| {
        let text = value.strip_prefix("299 ")?.split_once(" \"")?.1.strip_suffix('"')?;
        let mut out = String::with_capacity(text.len());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
        }
        Some(out)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
    use orchestra_core::k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_lists_and_the_rest_are_told_apart() {
        let target = Target::of::<Deployment>(Some("default"));
        let reader = Reader::new(&target, IndexedFields::none());
        let read = |value: Value| reader.reply(value.to_string().as_bytes()).unwrap();
        let meta = json!({"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7"});
        let object = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": meta});
        let Reply::Object(entry) = read(object.clone()) else { panic!("an object") };
        assert_eq!((entry.revision(), entry.to_value().unwrap()), (Revision(7), object));
        let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta});
        assert!(matches!(read(scale), Reply::Value(_)));
        assert!(matches!(
            read(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}})),
            Reply::Value(_)
        ));
        let list = json!({
            "kind": "DeploymentList", "apiVersion": "apps/v1", "items": [{"metadata": meta}],
            "metadata": {"resourceVersion": "9", "continue": "more", "remainingItemCount": 3},
        });
        let Reply::List(list) = read(list) else { panic!("a list") };
        assert_eq!(
            (list.revision, list.continue_token.as_deref(), list.remaining),
            (Revision(9), Some("more"), Some(3))
        );
        assert_eq!(list.objects[0].to_value().unwrap()["kind"], "Deployment");
    }

    #[test]
    fn events_end_with_what_went_wrong() {
        let target = Target::of::<Pod>(None);
        let reader = Reader::new(&target, IndexedFields::none());
        let error = json!({"type": "ERROR", "object": Status::expired("too old").to_object()}).to_string();
        assert!(reader.event(error.as_bytes()).unwrap_err().is_expired());
        let mark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {
            "resourceVersion": "8", "annotations": {"k8s.io/initial-events-end": "true"},
        }}});
        let event = reader.event(mark.to_string().as_bytes()).unwrap();
        assert!(matches!(event, WatchEvent::Bookmark { revision: Revision(8), initial_events_end: true }));
        for line in [
            "",
            "{",
            "[]",
            r#"{"type":"ADDED"}"#,
            r#"{"type":"ADDED","object":{}}"#,
            r#"{"type":"NEW","object":{}}"#,
        ] {
            assert_eq!(reader.event(line.as_bytes()).unwrap_err().reason(), Reason::InternalError, "{line}");
        }
    }

    #[test]
    fn failures_and_warnings_come_through() {
        let conflict = Status::modified(&orchestra_core::meta::GroupResource::new("", "pods"), "a");
        let body = serde_json::to_vec(&conflict.to_object()).unwrap();
        assert_eq!(failure(StatusCode::CONFLICT, &body), conflict);
        assert!(failure(StatusCode::BAD_GATEWAY, b"<html>").is_transient());
        let mut response = http::Response::new(crate::reply::text(200, "").into_body());
        crate::reply::warn(&mut response, [r#"unknown field "spec.a\b""#]);
        assert_eq!(warnings(response.headers()), [r#"unknown field "spec.a\b""#]);
    }
}
