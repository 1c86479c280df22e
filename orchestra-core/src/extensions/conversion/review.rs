//! The question that a conversion webhook is asked, and what its answer must be like: pure, in Kubernetes' words.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::api::field::{Errors, Path};
use crate::api::{check, metadata, split_api_version};

/// Where `ConversionReview` is defined.
const GROUP: &str = "apiextensions.k8s.io";

/// A question to a webhook.
#[derive(Debug)]
pub(super) struct Review<'r> {
    /// What identifies it.
    pub(super) uid: String,
    /// The version of `ConversionReview` that both know.
    pub(super) version: &'r str,
    /// The version that the objects are wanted in.
    pub(super) wanted: &'r str,
    /// The objects; none is of that version.
    pub(super) objects: Vec<Value>,
}

/// The first version of `ConversionReview` that a definition names and this server knows.
pub(super) fn version_of(named: &[String]) -> Option<&str> {
    named.iter().map(String::as_str).find(|name| matches!(*name, "v1" | "v1beta1"))
}

impl Review<'_> {
    /// The body of the question.
    pub(super) fn body(&self) -> Value {
        json!({
            "kind": "ConversionReview",
            "apiVersion": format!("{GROUP}/{}", self.version),
            "request": {"uid": self.uid, "desiredAPIVersion": self.wanted, "objects": self.objects},
        })
    }

    /// The kind and version that the objects are of.
    pub(super) fn of(&self) -> String {
        self.objects.first().map(kind_of).unwrap_or_default()
    }

    /// The objects of an answer.
    ///
    /// # Errors
    /// What is wrong with it, as a reader of the objects is told.
    pub(super) fn read(self, answer: &[u8]) -> Result<Vec<Value>, String> {
        let of = self.of();
        let converted =
            self.outcome(answer).map_err(|why| format!("conversion webhook for {of} failed: {why}"))?;
        let (got, expected) = (converted.len(), self.objects.len());
        if got != expected {
            return Err(format!("conversion webhook for {of} returned {got} objects, expected {expected}"));
        }
        let single = expected == 1;
        let pairs = self.objects.into_iter().zip(converted).enumerate();
        let checked = pairs.map(|(index, (original, converted))| {
            let mut converted = settled(converted, (single, index), &of)?;
            check_kind(&original, &converted, self.wanted).map_err(|why| {
                let what = if single { "object" } else { "converted object" };
                format!("conversion webhook for {of} returned invalid {what} at index {index}: {why}")
            })?;
            check_identity(&original, &converted).map_err(|why| match single {
                true => format!("conversion webhook for {of} returned invalid object: {why}"),
                false => {
                    format!(
                        "conversion webhook for {of} returned invalid converted object at index {index}: {why}"
                    )
                }
            })?;
            restore_metadata(original, &mut converted).map_err(|why| match single {
                true => format!("conversion webhook for {of} returned invalid metadata: {why}"),
                false => {
                    format!(
                        "conversion webhook for {of} returned invalid metadata in object at index {index}: {why}"
                    )
                }
            })?;
            Ok(converted)
        });
        checked.collect()
    }

    /// The objects that an answer has, if it is one to this question and says that it succeeded.
    fn outcome(&self, answer: &[u8]) -> Result<Vec<Value>, String> {
        let mut answer: Value = serde_json::from_slice(answer)
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
        if self.version == "v1" && kind_of(&answer) != format!("{GROUP}/v1, Kind=ConversionReview") {
            let got = kind_of(&answer);
            return Err(format!("expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {got}"));
        }
        let response = &mut answer["response"];
        if !response.is_object() {
            return Err("no response provided".to_owned());
        }
        let uid = text(response, "uid");
        if self.version == "v1" && uid != self.uid {
            return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
        }
        let (status, message) = (text(&response["result"], "status"), text(&response["result"], "message"));
        if status != "Success" {
            return Err(match message {
                "" => format!("response.result.status was '{status}', not 'Success'"),
                message => message.to_owned(),
            });
        }
        match response["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The version and kind that an object says it is of, as Kubernetes shows them.
fn kind_of(object: &Value) -> String {
    let (group, version) = split_api_version(text(object, "apiVersion"));
    format!("{group}/{version}, Kind={}", text(object, "kind"))
}

/// What was answered for an object must be an object of a kind.
fn settled(converted: Value, (single, index): (bool, usize), of: &str) -> Result<Value, String> {
    let why = match &converted {
        Value::Object(fields) if fields.get("kind").is_some_and(|kind| kind.as_str() != Some("")) => {
            return Ok(converted);
        }
        Value::Null => "unexpected end of JSON input".to_owned(),
        other => {
            let shown: String = other.to_string().chars().take(256).collect();
            format!("Object 'Kind' is missing in '{shown}'")
        }
    };
    Err(match single {
        true => why,
        false => {
            format!("conversion webhook for {of} returned invalid converted object at index {index}: {why}")
        }
    })
}

/// It is of the version that was wanted, and of the same kind.
fn check_kind(original: &Value, converted: &Value, wanted: &str) -> Result<(), String> {
    let got = text(converted, "apiVersion");
    if got != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    let (expected, got) = (text(original, "kind"), text(converted, "kind"));
    if expected != got {
        return Err(format!("invalid kind (expected {expected}, received {got})"));
    }
    Ok(())
}

/// It is the same object.
fn check_identity(original: &Value, converted: &Value) -> Result<(), String> {
    for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let of = |object: &Value| text(&object["metadata"], field).to_owned();
        let (expected, got) = (of(original), of(converted));
        if expected != got {
            return Err(format!("must have the same {called}: {expected} != {got}"));
        }
    }
    Ok(())
}

/// Metadata are those of the original but for labels and annotations, which a webhook may change.
fn restore_metadata(mut original: Value, converted: &mut Value) -> Result<(), String> {
    let mut kept = match original["metadata"].take() {
        Value::Object(metadata) => metadata,
        _ => Map::new(),
    };
    let answered = match converted.get_mut("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(answered)) => std::mem::take(answered),
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go_type(other)));
        }
    };
    for field in ["labels", "annotations"] {
        let before = kept.remove(field);
        let Some(given) = answered.get(field).filter(|given| !given.is_null()) else { continue };
        let texts = texts(field, given)?;
        if before.as_ref() != Some(given) {
            check_texts(field, texts)?;
        }
        kept.insert(field.to_owned(), given.clone());
    }
    converted["metadata"] = kept.into();
    Ok(())
}

/// Labels or annotations, all of which are texts.
fn texts(field: &str, given: &Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Object(entries) = given else {
        return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(given)));
    };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        other => Err(format!(
            "metadata.{field}[{name}] must be a string, but is {} in converted object",
            go_type(other)
        )),
    };
    entries.iter().map(text).collect()
}

fn check_texts(field: &str, texts: BTreeMap<String, String>) -> Result<(), String> {
    let (mut errors, path) = (Errors::new(), Path::new("metadata"));
    if field == "labels" {
        check::labels(&mut errors, &path.child(field), Some(&texts));
    } else {
        let meta = ObjectMeta { annotations: Some(texts), ..ObjectMeta::default() };
        // Kubernetes leaves out a letter here.
        metadata::annotations(&meta, &path.child("annotation"), &mut errors);
    }
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match &all[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
