//! What a claim asks for.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceSubRequest, DeviceToleration,
    ExactDeviceRequest,
};
use serde_json::{Map, Value};

use super::check::{self, say};
use super::{
    MAX_CONFIGURATIONS, MAX_EXPRESSION, MAX_SELECTORS, bounded, configuration, fully_qualified, names, set,
};
use crate::api::field::{Errors, Path, Problem};
use crate::expression::device_environment;
use crate::objects::admission_registration::expressions::{Wanted, compile};
use crate::objects::json::Fields;

/// The most requests of a claim, alternatives of a request and constraints of a claim.
pub(super) const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_CONSTRAINTS: usize = 32;
const EXACT: &str = "ExactCount";

/// Fills in how many devices are meant.
pub(super) fn default(devices: &mut Map<String, Value>) {
    let one = |request: &mut Map<String, Value>| {
        request.or_text("allocationMode", EXACT);
        if request.text("allocationMode") == EXACT {
            request.or_number("count", 1);
        }
    };
    for request in devices.each("requests") {
        if let Some(exactly) = request.object("exactly") {
            one(exactly);
        }
        request.each("firstAvailable").for_each(one);
    }
}

/// The names of requests, each with those of its alternatives.
pub(super) struct RequestNames<'c>(HashMap<&'c str, HashSet<&'c str>>);

impl<'c> RequestNames<'c> {
    pub(super) fn of(claim: &'c DeviceClaim) -> Self {
        let requests = claim.requests.iter().flatten().map(|request| {
            let alternatives = request.first_available.iter().flatten();
            (request.name.as_str(), alternatives.map(|each| each.name.as_str()).collect())
        });
        Self(requests.collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, part)) => self.0.get(request).is_some_and(|parts| parts.contains(part)),
        }
    }
}

pub(super) fn claim(claim: &DeviceClaim, path: &Path, errors: &mut Errors) {
    let known = RequestNames::of(claim);
    let list = claim.requests.as_deref().unwrap_or_default();
    set(list, MAX_REQUESTS, &path.child("requests"), errors, |request| request.name.as_str(), request);
    let constraints = claim.constraints.as_deref().unwrap_or_default();
    bounded(constraints, MAX_CONSTRAINTS, &path.child("constraints"), errors, |one, path, errors| {
        constraint(one, &known, path, errors);
    });
    let configurations = claim.config.as_deref().unwrap_or_default();
    bounded(configurations, MAX_CONFIGURATIONS, &path.child("config"), errors, |one, path, errors| {
        references(one.requests.as_deref(), &known, path, errors);
        configuration(one.opaque.as_ref(), path, errors);
    });
}

/// The requests that something is about.
pub(super) fn references(
    names: Option<&[String]>,
    known: &RequestNames<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    let list = names.unwrap_or_default();
    set(list, MAX_REQUESTS, &path.child("requests"), errors, String::as_str, |name, path, errors| {
        reference(name, known, path, errors);
    });
}

pub(super) fn reference(name: &str, known: &RequestNames<'_>, path: &Path, errors: &mut Errors) {
    let unknown = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    if name.matches('/').count() > 1 {
        errors.invalid(path, name, unknown);
        return;
    }
    for part in name.split('/') {
        say(errors, path, part, names::label(part));
    }
    if !known.has(name) {
        errors.invalid(path, name, unknown);
    }
}

fn request(request: &DeviceRequest, path: &Path, errors: &mut Errors) {
    say(errors, &path.child("name"), &request.name, names::label(&request.name));
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    let only = "exactly one of `exactly` or `firstAvailable` is required";
    match (&request.exactly, alternatives.is_empty()) {
        (None, true) => errors.required(path, only),
        (Some(_), false) => {
            errors.invalid(path, Value::Null, format!("{only}, but multiple fields are set"));
        }
        (Some(exactly), true) => exact(exactly, &path.child("exactly"), errors),
        (None, false) => {
            let path = path.child("firstAvailable");
            let name = |each: &DeviceSubRequest| each.name.clone();
            set(alternatives, MAX_ALTERNATIVES, &path, errors, name, alternative);
        }
    }
}

fn alternative(each: &DeviceSubRequest, path: &Path, errors: &mut Errors) {
    say(errors, &path.child("name"), &each.name, names::label(&each.name));
    let same = ExactDeviceRequest {
        allocation_mode: each.allocation_mode.clone(),
        count: each.count,
        device_class_name: each.device_class_name.clone(),
        selectors: each.selectors.clone(),
        tolerations: each.tolerations.clone(),
        ..ExactDeviceRequest::default()
    };
    exact(&same, path, errors);
}

fn exact(request: &ExactDeviceRequest, path: &Path, errors: &mut Errors) {
    let class = request.device_class_name.as_str();
    match class {
        "" => errors.required(&path.child("deviceClassName"), ""),
        class => say(errors, &path.child("deviceClassName"), class, names::subdomain(class)),
    }
    selectors(request.selectors.as_deref(), &path.child("selectors"), errors);
    let count = request.count.unwrap_or_default();
    let at = path.child("count");
    match request.allocation_mode.as_deref().unwrap_or_default() {
        "All" if count != 0 => {
            errors.invalid(&at, count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        EXACT if count <= 0 => errors.invalid(&at, count, "must be greater than zero"),
        EXACT => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", EXACT]),
    }
    for (index, one) in request.tolerations.iter().flatten().enumerate() {
        toleration(one, &path.child("tolerations").index(index), errors);
    }
}

pub(super) fn selectors(selectors: Option<&[DeviceSelector]>, path: &Path, errors: &mut Errors) {
    let list = selectors.unwrap_or_default();
    bounded(list, MAX_SELECTORS, path, errors, |selector, path, errors| match &selector.cel {
        None => errors.required(&path.child("cel"), ""),
        Some(cel) if cel.expression.len() > MAX_EXPRESSION => {
            errors.push(&path.child("cel.expression"), Problem::TooLong(MAX_EXPRESSION));
        }
        Some(cel) => {
            let text = cel.expression.as_str();
            if let Err(why) = compile(&device_environment(), text, Wanted::Truth) {
                errors.invalid(&path.child("cel.expression"), text, why);
            }
        }
    });
}

fn constraint(constraint: &DeviceConstraint, known: &RequestNames<'_>, path: &Path, errors: &mut Errors) {
    references(constraint.requests.as_deref(), known, path, errors);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(name), _) => fully_qualified(name, &path.child("matchAttribute"), errors),
        (None, Some(name)) => fully_qualified(name, &path.child("distinctAttribute"), errors),
        (None, None) => errors.required(
            path,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ),
    }
}

fn toleration(toleration: &DeviceToleration, path: &Path, errors: &mut Errors) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    if !key.is_empty() {
        say(errors, &path.child("key"), &key, names::qualified(&key));
    }
    match text(&toleration.operator).as_str() {
        "Exists" if value.is_empty() => {}
        "Exists" => errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`"),
        "Equal" => say(errors, &path.child("value"), &value, names::label_value(&value)),
        other => check::one_of(errors, &path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = text(&toleration.effect);
    if !effect.is_empty() {
        check::supported(errors, &path.child("effect"), &effect, &["NoExecute", "NoSchedule", "None"]);
    }
}
