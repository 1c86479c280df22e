use json_patch::PatchOperation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde_json::Value;

use super::{malformed, mistaken, parse};
use crate::api::{Reason, Status};

/// As many operations as one patch may have.
const MOST_OPERATIONS: usize = 10_000;
/// As many bytes as all `copy` operations of one patch may add: without a limit, thirty of them fill any memory.
const MOST_COPIED: usize = 3 << 20;
/// As deep as the outcome may be nested. Operations can build towers that no parser would read back.
const DEEPEST: usize = 100;

/// Applies an RFC 6902 patch.
pub(super) fn apply(current: &Value, patch: &[u8]) -> Result<Value, Status> {
    let operations = match parse(patch).map_err(malformed)? {
        Value::Array(operations) => operations,
        other => return Err(malformed(mistaken(&other, "[]handlers.jsonPatchOp"))),
    };
    if operations.len() > MOST_OPERATIONS {
        let count = operations.len();
        let message =
            format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}");
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for (index, operation) in operations.into_iter().enumerate() {
        let operation: PatchOperation = serde_json::from_value(operation)
            .map_err(|error| rejected(format!("operation {index}: {error}")))?;
        if let PatchOperation::Copy(copy) = &operation {
            copied += patched.pointer(copy.from.as_str()).map_or(0, size);
            if copied > MOST_COPIED {
                return Err(rejected(format!("operation {index}: copies add more than {MOST_COPIED} bytes")));
            }
        }
        json_patch::patch(&mut patched, std::slice::from_ref(&operation)).map_err(|error| {
            rejected(format!("operation {index} at path '{}': {}", error.path, error.kind))
        })?;
    }
    if depth(&patched) > DEEPEST {
        return Err(rejected(format!("the outcome is nested more than {DEEPEST} levels deep")));
    }
    Ok(patched)
}

/// How many levels of maps and lists there are. The budget of copies keeps this recursion within a thousand.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Roughly the bytes that a value has as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>() + 2
        }
    }
}

/// 422 with Kubernetes' sentence, and as a cause the operation that failed, which Kubernetes keeps to itself.
fn rejected(why: String) -> Status {
    Status::from_object(metav1::Status {
        code: Some(422),
        reason: Some(Reason::Invalid.as_str().to_owned()),
        message: Some("the server rejected our request due to an error in our request".to_owned()),
        details: Some(metav1::StatusDetails {
            causes: Some(vec![metav1::StatusCause { message: Some(why), ..Default::default() }]),
            ..Default::default()
        }),
        ..Default::default()
    })
}
