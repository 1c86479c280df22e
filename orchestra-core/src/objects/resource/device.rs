//! What a slice says of a device.

use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, Device, DeviceAttribute, DeviceCapacity, DeviceCounterConsumption, DeviceTaint,
};
use serde_json::Value;

use super::bounds::{MAX_COUNTERS, too_many};
use super::check::{self, say, shown};
use super::{bounded, names, pod, qualified, set};
use crate::api::field::{Errors, Path, Problem};
use crate::quantity::Quantity;

/// The most attributes and capacities of a device, values of an attribute, taints, sets of counters that it uses, and
/// bytes of a value.
const MAX_ATTRIBUTES: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_VALUE: usize = 64;

pub(super) fn device(device: &Device, by_device: bool, path: &Path, errors: &mut Errors) {
    say(errors, &path.child("name"), &device.name, names::label(&device.name));
    let count = device.attributes.as_ref().map_or(0, |all| all.len())
        + device.capacity.as_ref().map_or(0, |all| all.len());
    if count > MAX_ATTRIBUTES {
        let detail =
            format!("the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}");
        errors.invalid(path, count, detail);
    }
    let at = path.child("attributes");
    for (name, one) in device.attributes.iter().flatten() {
        qualified(name, &at, errors);
        attribute(one, &at.key(name), errors);
    }
    let at = path.child("capacity");
    let shared = device.allow_multiple_allocations == Some(true);
    for (name, one) in device.capacity.iter().flatten() {
        qualified(name, &at, errors);
        capacity(one, shared, &at.key(name), errors);
    }
    let taints = device.taints.as_deref().unwrap_or_default();
    bounded(taints, MAX_TAINTS, &path.child("taints"), errors, taint);
    let consumed = device.consumes_counters.as_deref().unwrap_or_default();
    let at = path.child("consumesCounters");
    set(consumed, MAX_CONSUMPTIONS, &at, errors, |each| each.counter_set.as_str(), consumption);
    nodes(device, by_device, path, errors);
}

/// The nodes of a device of its own are said in one way, where the slice leaves them to its devices.
fn nodes(device: &Device, by_device: bool, path: &Path, errors: &mut Errors) {
    let given = device.node_name.is_some() || device.node_selector.is_some() || device.all_nodes.is_some();
    if !by_device {
        if given {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is \
                          set to true in the ResourceSlice spec";
            errors.invalid(path, Value::Null, detail);
        }
        return;
    }
    let mut ways = Vec::new();
    match device.node_name.as_deref() {
        Some("") => errors.invalid(&path.child("nodeName"), "", "must not be empty"),
        Some(name) => {
            ways.push("`nodeName`");
            say(errors, &path.child("nodeName"), name, names::subdomain(name));
        }
        None => {}
    }
    if let Some(selector) = &device.node_selector {
        ways.push("`nodeSelector`");
        pod::validate_node_selector(selector, &path.child("nodeSelector"), errors);
    }
    match device.all_nodes {
        Some(true) => ways.push("`allNodes`"),
        Some(false) => {
            errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true");
        }
        None => {}
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is \
               set to true in the ResourceSlice spec";
    match ways.len() {
        0 => errors.required(path, one),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", ways.join(", ")), one),
    }
}

/// An attribute has one value, or one list of them.
fn attribute(attribute: &DeviceAttribute, path: &Path, errors: &mut Errors) {
    let lists = [
        ("bools", attribute.bools.as_ref().map(Vec::len)),
        ("ints", attribute.ints.as_ref().map(Vec::len)),
        ("strings", attribute.strings.as_ref().map(Vec::len)),
        ("versions", attribute.versions.as_ref().map(Vec::len)),
    ];
    let single = [
        attribute.bool.is_some(),
        attribute.int.is_some(),
        attribute.string.is_some(),
        attribute.version.is_some(),
    ];
    for (field, _) in lists.iter().filter(|(_, length)| *length == Some(0)) {
        errors.invalid(&path.child(field), Value::Array(Vec::new()), "must not be empty if specified");
    }
    let texts =
        |one: &'static str, single: &Option<String>, many: &'static str, list: &Option<Vec<String>>| {
            let single = single.iter().map(|text| (path.child(one), text.clone()));
            let list = list.iter().flatten().enumerate();
            let list = list.map(|(index, text)| (path.child(many).index(index), text.clone()));
            single.chain(list).collect::<Vec<_>>()
        };
    for (at, text) in texts("string", &attribute.string, "strings", &attribute.strings) {
        short(&text, &at, errors);
    }
    for (at, text) in texts("version", &attribute.version, "versions", &attribute.versions) {
        if !is_semantic_version(&text) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(&at, text.as_str(), detail);
        }
        short(&text, &at, errors);
    }
    let count = single.iter().filter(|given| **given).count()
        + lists.iter().filter(|(_, length)| length.is_some()).count();
    if count != 1 {
        let value = if count == 0 { Value::from("") } else { shown(attribute) };
        errors.invalid(path, value, "exactly one value must be specified");
    }
}

fn short(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > MAX_VALUE {
        errors.push(path, Problem::TooLong(MAX_VALUE));
    }
}

/// Whether a text is a version as semver.org has them.
fn is_semantic_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|each| each.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|each| each.is_ascii_alphanumeric() || each == b'-')
    };
    let core = core.split('.').collect::<Vec<_>>();
    core.len() == 3
        && core.iter().all(|part| number(part))
        && before
            .is_none_or(|before| before.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn capacity(capacity: &DeviceCapacity, shared: bool, path: &Path, errors: &mut Errors) {
    let Some(policy) = &capacity.request_policy else { return };
    let at = path.child("requestPolicy");
    if shared {
        request_policy(&capacity.value.0, policy, &at, errors);
    } else {
        errors.forbidden(&at, "allowMultipleAllocations must be true");
    }
}

/// Which parts of a capacity may be asked for: some values, or a range of them.
fn request_policy(whole: &str, policy: &CapacityRequestPolicy, path: &Path, errors: &mut Errors) {
    let values = policy.valid_values.as_deref().unwrap_or_default();
    let amount = |text: &str| Quantity::parse(text).unwrap_or_default();
    let whole = amount(whole);
    let (kind, default) = match (values.is_empty(), &policy.valid_range, &policy.default) {
        (false, Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at \
                          the same time";
            return errors.forbidden(path, detail);
        }
        (true, None, _) => return,
        (false, ..) => ("validValues", &policy.default),
        (true, Some(_), _) => ("validRange", &policy.default),
    };
    let Some(default) = default else {
        return errors.required(&path.child("default"), format!("required when {kind} is defined"));
    };
    let default = amount(&default.0);
    let at = path.child(kind);
    if let Some(range) = &policy.valid_range {
        let (least, most) = (amount(&range.min.0), range.max.as_ref().map(|most| amount(&most.0)));
        if least > whole {
            let detail = format!("min is larger than capacity value: {whole}");
            errors.invalid(&at.child("min"), least.to_string(), detail);
        }
        if default < least {
            let detail = format!("default is less than min: {least}");
            errors.invalid(&at.child("min"), default.to_string(), detail);
        }
        if let Some(most) = most {
            for (wrong, value, what) in [
                (least > most, &least, format!("min is larger than max: {most}")),
                (most > whole, &most, format!("max is larger than capacity value: {whole}")),
                (default > most, &default, format!("default is more than max: {most}")),
            ] {
                if wrong {
                    errors.invalid(&at.child("max"), value.to_string(), what);
                }
            }
        }
        return;
    }
    for (index, value) in values.iter().enumerate() {
        let value = amount(&value.0);
        if value > whole {
            let detail = format!("option is larger than capacity value: {whole}");
            errors.invalid(&at.index(index), value.to_string(), detail);
        }
    }
    if !values.iter().any(|value| amount(&value.0) == default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.invalid(&at, default.to_string(), detail);
    }
}

fn taint(taint: &DeviceTaint, path: &Path, errors: &mut Errors) {
    say(errors, &path.child("key"), &taint.key, names::qualified(&taint.key));
    if let Some(value) = taint.value.as_deref().filter(|value| !value.is_empty()) {
        say(errors, &path.child("value"), value, names::label_value(value));
    }
    check::one_of(errors, &path.child("effect"), &taint.effect, &["NoExecute", "NoSchedule", "None"]);
}

fn consumption(consumption: &DeviceCounterConsumption, path: &Path, errors: &mut Errors) {
    check::required_label(errors, &path.child("counterSet"), &consumption.counter_set);
    counters(consumption.counters.keys(), &path.child("counters"), errors);
}

/// Counters, of which there must be one or more.
pub(super) fn counters<'n>(
    names: impl ExactSizeIterator<Item = &'n String>,
    path: &Path,
    errors: &mut Errors,
) {
    if names.len() == 0 {
        errors.required(path, "");
    }
    if too_many(names.len(), MAX_COUNTERS, path, errors) {
        return;
    }
    for name in names {
        say(errors, path, name, super::names::label(name));
    }
}

#[cfg(test)]
mod tests {
    use super::is_semantic_version;

    #[test]
    fn versions_are_told_from_other_texts() {
        for text in ["1.2.3", "0.0.0", "1.2.3-rc.1", "1.2.3-0a.x-y+build.01"] {
            assert!(is_semantic_version(text), "{text}");
        }
        for text in ["", "1.2", "1.2.3x", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", "v1.2.3"] {
            assert!(!is_semantic_version(text), "{text}");
        }
    }
}
