//! Where a list goes on: what the wire calls a `continue` token, opaque to callers.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use super::patch::mistaken;
use super::{base64, syntax};
use crate::meta::{ObjectName, Revision};

/// The revision that a list is of, and the last object of the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContinueToken {
    /// `None` for what is there when the token is used: the one that the list began with is no longer kept.
    pub(crate) revision: Option<Revision>,
    pub(crate) after: ObjectName,
}

/// Why a text is no such token.
#[derive(Debug, thiserror::Error)]
#[error("invalid continue token: continue key is not valid: {0}")]
pub(crate) struct InvalidToken(String);

/// What is in a token.
#[derive(Debug, Serialize)]
struct Content {
    v: String,
    rv: i64,
    start: String,
}

impl Content {
    /// Reads what a token is the base64 of. What is missing or null is empty.
    fn read(json: &[u8]) -> Result<Self, String> {
        let fields = match syntax::read(json)? {
            Value::Object(fields) => fields,
            Value::Null => serde_json::Map::new(),
            other => return Err(mistaken(&other, "storage.continueToken")),
        };
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let wrong = |value: &Value, name: &str, wanted: &str| {
            mistaken(value, wanted).replace("value of", &format!("struct field continueToken.{name} of"))
        };
        let text = |name: &str| match field(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(wrong(other, name, "string")),
            None => Ok(String::new()),
        };
        let rv = match field("rv") {
            Some(value) => value.as_i64().ok_or_else(|| match value {
                Value::Number(number) => {
                    wrong(value, "rv", "int64").replace("number", &format!("number {number}"))
                }
                other => wrong(other, "rv", "int64"),
            })?,
            None => 0,
        };
        Ok(Self { v: text("v")?, rv, start: text("start")? })
    }
}

/// The revision of a token that is of no certain one.
const LATEST: i64 = -1;
const VERSION: &str = "meta.k8s.io/v1";

impl ContinueToken {
    pub(crate) fn encode(&self) -> String {
        let start = format!("{}/{}", self.after.namespace().unwrap_or_default(), self.after.name());
        let rv = self.revision.map_or(LATEST, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
        let content = Content { v: VERSION.to_owned(), rv, start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&content).unwrap_or_default())
    }

    pub(crate) fn decode(text: &str) -> Result<Self, InvalidToken> {
        let invalid = |why: &dyn std::fmt::Display| InvalidToken(why.to_string());
        let bytes = base64::decode_url(text).map_err(|error| invalid(&error))?;
        let content = Content::read(&bytes).map_err(|why| invalid(&why))?;
        if content.v != VERSION {
            return Err(invalid(&format_args!(
                "server does not recognize this encoded version {}",
                content.v
            )));
        }
        if content.rv == 0 {
            return Err(invalid(&"incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if content.start.is_empty() {
            return Err(invalid(&"encoded start key empty (version meta.k8s.io/v1)"));
        }
        let (namespace, name) = content.start.split_once('/').ok_or_else(|| invalid(&content.start))?;
        // A place is in the collection, whatever way leads there.
        let no_step = |step: &str| matches!(step, "" | "." | "..");
        if no_step(name) || name.contains('/') || matches!(namespace, "." | "..") {
            return Err(invalid(&content.start));
        }
        let after = ObjectName::new((!namespace.is_empty()).then_some(namespace), name);
        Ok(Self { revision: u64::try_from(content.rv).ok().map(Revision), after })
    }
}
