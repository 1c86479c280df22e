use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{CounterSet, Device, ResourceSlice, ResourceSliceSpec};
use serde_json::Value;

use super::check::{self, say, shown};
use super::{device, driver_name, names, pod, pool_name, set};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::json::{Fields, at};
use crate::watch::IndexedField;

/// The most devices of a slice, and of one whose devices are described at length.
const MAX_DEVICES: usize = 128;
const MAX_LONG_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;

/// The rules of ResourceSlice objects.
pub(in crate::objects) struct ResourceSliceRules;

impl Rules for ResourceSliceRules {
    type Object = ResourceSlice;

    const DELETION: Deletion = Deletion::Object;
    const GENERATION: bool = true;
    const UNKNOWN_FIELD: &'static str =
        "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}";
    const FIELDS: &'static [IndexedField] =
        &[IndexedField::new("spec.nodeName"), IndexedField::new("spec.driver")];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Node", "The node that the devices are on."),
        Column::new("Driver", "The driver that described the devices."),
        Column::new("Pool", "The pool that the devices are in."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        for device in at(object, &["spec"]).into_iter().flat_map(|spec| spec.each("devices")) {
            let mappings = device.object("nodeAllocatableResourceMappings");
            for mapping in mappings.into_iter().flat_map(serde_json::Map::values_mut) {
                if let Some(mapping) = mapping.as_object_mut() {
                    mapping.or("allocationMultiplier", "1");
                }
            }
        }
    }

    fn validate(object: &ResourceSlice, errors: &mut Errors) {
        let (spec, path) = (&object.spec, Path::new("spec"));
        driver_name(&spec.driver, &path.child("driver"), errors);
        pool(spec, &path.child("pool"), errors);
        nodes(spec, &path, errors);
        let devices = spec.devices.as_deref().unwrap_or_default();
        if spec.shared_counters.is_some() && spec.devices.is_some() {
            errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
        }
        let most = if devices.iter().any(is_long) { MAX_LONG_DEVICES } else { MAX_DEVICES };
        let by_device = spec.per_device_node_selection == Some(true);
        let at = path.child("devices");
        set(
            devices,
            most,
            &at,
            errors,
            |device| device.name.as_str(),
            |one, path, errors| {
                device::device(one, by_device, path, errors);
            },
        );
        let counters = spec.shared_counters.as_deref().unwrap_or_default();
        let at = path.child("sharedCounters");
        set(counters, MAX_COUNTER_SETS, &at, errors, |counters| counters.name.as_str(), counter_set);
    }

    fn validate_update(new: &ResourceSlice, old: &ResourceSlice, errors: &mut Errors) {
        let path = Path::new("spec");
        check::unchanged(errors, &path.child("pool.name"), &new.spec.pool.name, &old.spec.pool.name);
        check::unchanged(errors, &path.child("driver"), &new.spec.driver, &old.spec.driver);
        check::unchanged(errors, &path.child("nodeName"), &new.spec.node_name, &old.spec.node_name);
    }

    fn warnings_at_creation(object: &ResourceSlice) -> Vec<String> {
        let driver = &object.spec.driver;
        if *driver == driver.to_lowercase() {
            return Vec::new();
        }
        vec![format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        )]
    }

    fn cells(object: &ResourceSlice, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        vec![
            object.metadata.name.clone().into(),
            spec.node_name.clone().unwrap_or_default().into(),
            spec.driver.clone().into(),
            spec.pool.name.clone().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn is_long(device: &Device) -> bool {
    let has = |length: Option<usize>| length.is_some_and(|length| length > 0);
    has(device.taints.as_ref().map(Vec::len))
        || has(device.consumes_counters.as_ref().map(Vec::len))
        || device.attributes.iter().flatten().any(|(_, attribute)| {
            attribute.bools.is_some()
                || attribute.ints.is_some()
                || attribute.strings.is_some()
                || attribute.versions.is_some()
        })
}

fn pool(spec: &ResourceSliceSpec, path: &Path, errors: &mut Errors) {
    let pool = &spec.pool;
    pool_name(&pool.name, &path.child("name"), errors);
    if pool.resource_slice_count <= 0 {
        let at = path.child("resourceSliceCount");
        errors.invalid(&at, pool.resource_slice_count, "must be greater than zero");
    }
    if pool.generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.invalid(&path.child("generation"), pool.generation, detail);
    }
}

/// The nodes from which the devices can be used are said in one way.
fn nodes(spec: &ResourceSliceSpec, path: &Path, errors: &mut Errors) {
    let mut ways = Vec::new();
    if let Some(name) = &spec.node_name {
        let at = path.child("nodeName");
        if name.is_empty() {
            errors.invalid(&at, "", "must be either unset or set to a non-empty string");
        } else {
            ways.push("`nodeName`");
            say(errors, &at, name, names::subdomain(name));
        }
    }
    if let Some(selector) = &spec.node_selector {
        ways.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        pod::validate_node_selector(selector, &at, errors);
        if selector.node_selector_terms.len() != 1 {
            let terms = shown(&selector.node_selector_terms);
            errors.invalid(&at.child("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    for (field, way, given) in [
        ("allNodes", "`allNodes`", spec.all_nodes),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`", spec.per_device_node_selection),
    ] {
        match given {
            Some(true) => ways.push(way),
            Some(false) => {
                errors.invalid(&path.child(field), false, "must be either unset or set to true");
            }
            None => {}
        }
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match ways.len() {
        0 => errors.required(path, one),
        1 => {}
        _ => {
            let detail = format!("{one}, but multiple fields are set");
            errors.invalid(path, format!("{{{}}}", ways.join(", ")), detail);
        }
    }
}

fn counter_set(counters: &CounterSet, path: &Path, errors: &mut Errors) {
    check::required_label(errors, &path.child("name"), &counters.name);
    device::counters(counters.counters.keys(), &path.child("counters"), errors);
}
