//! What a claim was given, and who uses it.

use std::collections::HashSet;

use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration, DeviceClaim,
    DeviceRequestAllocationResult, ResourceClaim, ResourceClaimConsumerReference,
};

use super::check::{IMMUTABLE, say};
use super::requests::{RequestNames, reference, references};
use super::{
    MAX_CONFIGURATIONS, bounded, check, configuration, driver_name, names, pod, pool_name, raw, set,
    shown_value,
};
use crate::api::field::{Errors, Path, Problem};

/// The most results of an allocation, users of a claim, conditions of a device and bytes of its data.
const MAX_RESULTS: usize = 32;
const MAX_USERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 * 1024;

/// A device, by driver, pool and name, and which share of it.
type DeviceId<'d> = (&'d str, &'d str, &'d str, Option<&'d str>);

pub(super) fn status(new: &ResourceClaim, old: &ResourceClaim, errors: &mut Errors) {
    let path = Path::new("status");
    let (now, before) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let users = now.reserved_for.as_deref().unwrap_or_default();
    set(users, MAX_USERS, &path.child("reservedFor"), errors, |user| user.uid.as_str(), user);
    let results = now.allocation.as_ref().and_then(|given| given.devices.as_ref()?.results.as_deref());
    let given: HashSet<DeviceId<'_>> = results.unwrap_or_default().iter().map(id_of).collect();
    let devices = now.devices.as_deref().unwrap_or_default();
    let id = |device: &AllocatedDeviceStatus| {
        let device = device.clone();
        (device.driver, device.pool, device.device, device.share_id)
    };
    set(devices, usize::MAX, &path.child("devices"), errors, id, |device, path, errors| {
        device_status(device, &given, path, errors);
    });
    reserved(new, users, before.reserved_for.as_deref().unwrap_or_default(), &path, errors);
    let at = path.child("allocation");
    match (&now.allocation, &before.allocation) {
        (Some(now), Some(before)) if now != before => errors.invalid(&at, shown_value(now), IMMUTABLE),
        (Some(now), None) => {
            let none = DeviceClaim::default();
            let known = RequestNames::of(new.spec.devices.as_ref().unwrap_or(&none));
            allocation(now, &known, &at, errors);
        }
        _ => {}
    }
}

fn id_of(result: &DeviceRequestAllocationResult) -> DeviceId<'_> {
    (&result.driver, &result.pool, &result.device, result.share_id.as_deref())
}

/// Only what is there is used, and what is going is not used anew.
fn reserved(
    claim: &ResourceClaim,
    users: &[ResourceClaimConsumerReference],
    before: &[ResourceClaimConsumerReference],
    path: &Path,
    errors: &mut Errors,
) {
    let path = path.child("reservedFor");
    let allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    if users.is_empty() {
        return;
    }
    if !allocated {
        errors.forbidden(&path, "may not be specified when `allocated` is not set");
    } else if claim.metadata.deletion_timestamp.is_some() && users.iter().any(|user| !before.contains(user)) {
        let detail =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&path, detail);
    }
}

fn user(user: &ResourceClaimConsumerReference, path: &Path, errors: &mut Errors) {
    for (field, text) in [("resource", &user.resource), ("name", &user.name), ("uid", &user.uid)] {
        if text.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
}

fn allocation(allocation: &AllocationResult, known: &RequestNames<'_>, path: &Path, errors: &mut Errors) {
    let at = path.child("devices");
    let devices = allocation.devices.clone().unwrap_or_default();
    let results = devices.results.as_deref().unwrap_or_default();
    bounded(results, MAX_RESULTS, &at.child("results"), errors, |one, path, errors| {
        result(one, known, path, errors);
    });
    let configurations = devices.config.as_deref().unwrap_or_default();
    bounded(configurations, 2 * MAX_CONFIGURATIONS, &at.child("config"), errors, |one, path, errors| {
        given_configuration(one, known, path, errors);
    });
    if let Some(selector) = &allocation.node_selector {
        pod::validate_node_selector(selector, &path.child("nodeSelector"), errors);
    }
}

fn result(
    result: &DeviceRequestAllocationResult,
    known: &RequestNames<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    reference(&result.request, known, &path.child("request"), errors);
    driver_name(&result.driver, &path.child("driver"), errors);
    pool_name(&result.pool, &path.child("pool"), errors);
    say(errors, &path.child("device"), &result.device, names::label(&result.device));
}

fn given_configuration(
    given: &DeviceAllocationConfiguration,
    known: &RequestNames<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    check::one_of(errors, &path.child("source"), &given.source, &["FromClaim", "FromClass"]);
    references(given.requests.as_deref(), known, path, errors);
    configuration(given.opaque.as_ref(), path, errors);
}

fn device_status(
    device: &AllocatedDeviceStatus,
    given: &HashSet<DeviceId<'_>>,
    path: &Path,
    errors: &mut Errors,
) {
    driver_name(&device.driver, &path.child("driver"), errors);
    pool_name(&device.pool, &path.child("pool"), errors);
    say(errors, &path.child("device"), &device.device, names::label(&device.device));
    let id = (&*device.driver, &*device.pool, &*device.device, device.share_id.as_deref());
    if !given.contains(&id) {
        let shown = format!("{}/{}/{}", device.driver, device.pool, device.device);
        errors.invalid(path, shown, "must be an allocated device in the claim");
    }
    let conditions = device.conditions.as_ref().map_or(0, Vec::len);
    if conditions > MAX_CONDITIONS {
        errors.push(&path.child("conditions"), Problem::TooMany(conditions, MAX_CONDITIONS));
    }
    if let Some(data) = &device.data {
        raw(data, MAX_DATA, &path.child("data"), errors);
    }
}
