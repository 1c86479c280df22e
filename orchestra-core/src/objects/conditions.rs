//! Conditions of the form that many kinds share.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use serde_json::{Map, Value};

use super::check::{self, say};
use super::json::Fields;
use super::names;
use crate::api::field::{Errors, Path, Problem};

/// The longest reason and message, in bytes.
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

/// A time that is left out is the first one there is, which no condition can have: so validation tells.
pub(super) fn default(status: &mut Map<String, Value>) {
    for condition in status.each("conditions") {
        condition.or("lastTransitionTime", "1970-01-01T00:00:00Z");
    }
}

/// Says what is wrong with the conditions of a status.
pub(super) fn validate(conditions: &[Condition], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        check::unique(errors, &mut seen, &path.child("type"), &condition.type_);
        say(errors, &path.child("type"), &condition.type_, names::qualified(&condition.type_));
        check::supported(errors, &path.child("status"), &condition.status, &["False", "True", "Unknown"]);
        if let Some(generation) = condition.observed_generation.filter(|generation| *generation < 0) {
            let detail = "must be greater than or equal to zero";
            errors.invalid(&path.child("observedGeneration"), generation, detail);
        }
        if condition.last_transition_time.0 == Timestamp::UNIX_EPOCH {
            errors.required(&path.child("lastTransitionTime"), "");
        }
        reason(&condition.reason, &path.child("reason"), errors);
        if condition.message.len() > MAX_MESSAGE {
            errors.push(&path.child("message"), Problem::TooLong(MAX_MESSAGE));
        }
    }
}

fn reason(reason: &str, path: &Path, errors: &mut Errors) {
    if reason.is_empty() {
        return errors.required(path, "");
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let fits = reason.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && reason.ends_with(is_word)
        && reason.chars().all(|letter| is_word(letter) || matches!(letter, ',' | ':'));
    if !fits {
        errors.invalid(
            path,
            reason,
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
             characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
             'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
             '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
        );
    }
    if reason.len() > MAX_REASON {
        errors.push(path, Problem::TooLong(MAX_REASON));
    }
}
