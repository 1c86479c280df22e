//! Claims as errors show them: with the fields of Kubernetes' own structs, in their order, empty ones too.

use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceSubRequest, ExactDeviceRequest,
    OpaqueDeviceConfiguration, ResourceClaimSpec, ResourceClaimTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value};

use super::shown_value;
use crate::api::field::Shown;

fn plain(value: &impl Serialize) -> Shown {
    shown_value(value).into()
}

fn nothing() -> Shown {
    Value::Null.into()
}

/// A list that Go has as `nil` when it is not there.
fn list<T>(items: Option<&[T]>, one: impl Fn(&T) -> Shown) -> Shown {
    items.filter(|items| !items.is_empty()).map_or_else(nothing, |items| Shown::list(items.iter().map(one)))
}

pub(super) fn claim(spec: &ResourceClaimSpec) -> Shown {
    let none = DeviceClaim::default();
    let devices = spec.devices.as_ref().unwrap_or(&none);
    let configuration = |requests: &Option<Vec<String>>, opaque: &Option<OpaqueDeviceConfiguration>| {
        let opaque = opaque.as_ref().map_or_else(nothing, |opaque| {
            Shown::object([("Driver", plain(&opaque.driver)), ("Parameters", plain(&opaque.parameters))])
        });
        Shown::object([("Requests", plain(requests)), ("Opaque", opaque)])
    };
    let devices = Shown::object([
        ("Requests", list(devices.requests.as_deref(), request)),
        ("Constraints", list(devices.constraints.as_deref(), constraint)),
        ("Config", list(devices.config.as_deref(), |one| configuration(&one.requests, &one.opaque))),
    ]);
    Shown::object([("Devices", devices)])
}

pub(super) fn template(spec: &ResourceClaimTemplateSpec) -> Shown {
    let none = ObjectMeta::default();
    let meta = spec.metadata.as_ref().unwrap_or(&none);
    let mut fields = Map::new();
    for (name, map) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if let Some(map) = map.as_ref().filter(|map| !map.is_empty()) {
            fields.insert(name.to_owned(), shown_value(map));
        }
    }
    let fields = fields.into_iter().map(|(name, value)| (name, Shown::from(value))).collect::<Vec<_>>();
    let meta = fields.iter().map(|(name, value)| (name.as_str(), value.clone()));
    Shown::object(meta.chain([("Spec", claim(&spec.spec))]))
}

fn request(request: &DeviceRequest) -> Shown {
    Shown::object([
        ("Name", plain(&request.name)),
        ("Exactly", request.exactly.as_ref().map_or_else(nothing, exactly)),
        ("FirstAvailable", list(request.first_available.as_deref(), alternative)),
    ])
}

fn selectors(selectors: Option<&[DeviceSelector]>) -> Shown {
    list(selectors, |selector| {
        let cel = selector.cel.as_ref();
        let cel = cel.map_or_else(nothing, |cel| Shown::object([("Expression", plain(&cel.expression))]));
        Shown::object([("CEL", cel)])
    })
}

fn exactly(request: &ExactDeviceRequest) -> Shown {
    Shown::object([
        ("DeviceClassName", plain(&request.device_class_name)),
        ("Selectors", selectors(request.selectors.as_deref())),
        ("AllocationMode", plain(&request.allocation_mode.clone().unwrap_or_default())),
        ("Count", plain(&request.count.unwrap_or_default())),
        ("AdminAccess", plain(&request.admin_access)),
        ("Tolerations", plain(&request.tolerations)),
        ("Capacity", plain(&request.capacity)),
    ])
}

fn alternative(request: &DeviceSubRequest) -> Shown {
    Shown::object([
        ("Name", plain(&request.name)),
        ("DeviceClassName", plain(&request.device_class_name)),
        ("Selectors", selectors(request.selectors.as_deref())),
        ("AllocationMode", plain(&request.allocation_mode.clone().unwrap_or_default())),
        ("Count", plain(&request.count.unwrap_or_default())),
        ("Tolerations", plain(&request.tolerations)),
        ("Capacity", plain(&request.capacity)),
    ])
}

fn constraint(constraint: &DeviceConstraint) -> Shown {
    Shown::object([
        ("Requests", plain(&constraint.requests)),
        ("MatchAttribute", plain(&constraint.match_attribute)),
        ("DistinctAttribute", plain(&constraint.distinct_attribute)),
    ])
}
