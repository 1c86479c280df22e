use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::{Map, Value};

use super::check::{self, say};
use super::json::{Fields, at};
use super::{names, pod, print, quantities};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules};
use crate::quantity::{Format, Quantity};

/// What amounts a limit has.
const AMOUNTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// The rules of LimitRange objects.
pub(super) struct LimitRangeRules;

impl Rules for LimitRangeRules {
    type Object = LimitRange;

    const CREATED_BY_UPDATE: bool = true;

    const SHORT_NAMES: &'static [&'static str] = &["limits"];
    const NAME_OPTIONAL: bool = true;
    const COLUMNS: &'static [Column] = &[Column::NAME, Column::CREATED_AT];

    fn default(object: &mut Value) {
        for limit in at(object, &["spec"]).into_iter().flat_map(|spec| spec.each("limits")) {
            for field in AMOUNTS {
                quantities::round_up(limit, field);
            }
            if limit.text("type") == "Container" {
                fill(limit, "default", "max");
                fill(limit, "defaultRequest", "default");
                fill(limit, "defaultRequest", "min");
            }
        }
    }

    fn validate(object: &LimitRange, errors: &mut Errors) {
        let mut seen = HashSet::new();
        let limits = object.spec.as_ref().map(|spec| spec.limits.as_slice()).unwrap_or_default();
        for (index, limit) in limits.iter().enumerate() {
            let path = Path::new("spec.limits").index(index);
            kind(&limit.type_, &path.child("type"), errors);
            check::unique(errors, &mut seen, &path.child("type"), &limit.type_);
            self::limit(limit, &path, errors);
        }
    }

    fn cells(object: &LimitRange, _now: Timestamp) -> Vec<Value> {
        vec![object.metadata.name.clone().into(), print::created_at(&object.metadata)]
    }
}

/// What one kind of amount does not say is as another one says.
fn fill(limit: &mut Map<String, Value>, field: &str, from: &str) {
    let Some(amounts) = limit.object(from).filter(|amounts| !amounts.is_empty()).cloned() else { return };
    if let Some(fields) = limit.object_or_new(field) {
        amounts.into_iter().for_each(|(name, amount)| fields.or(&name, amount));
    }
}

fn kind(kind: &str, path: &Path, errors: &mut Errors) {
    let faults = names::qualified(kind);
    let standard = kind.contains('/') || matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if faults.is_empty() && !standard {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
    say(errors, path, kind, faults);
}

type Amounts = BTreeMap<String, Text>;

fn limit(limit: &LimitRangeItem, path: &Path, errors: &mut Errors) {
    let none = Amounts::new();
    let of_pod = limit.type_ == "Pod";
    let fields =
        [&limit.max, &limit.min, &limit.default, &limit.default_request, &limit.max_limit_request_ratio];
    let held = fields.map(|field| field.as_ref().unwrap_or(&none));
    let mut resources = BTreeSet::new();
    for (field, amounts) in AMOUNTS.into_iter().zip(held) {
        if of_pod && field.starts_with("default") {
            if !amounts.is_empty() {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for name in amounts.keys() {
            let path = path.child(field).key(name);
            match &*limit.type_ {
                "Pod" | "Container" => pod::container_resource_name(name, &path, errors),
                _ => quantities::resource_name(name, &path, errors),
            }
            resources.insert(name.as_str());
        }
    }
    let [max, min, ..] = held;
    if limit.type_ == "PersistentVolumeClaim" && !max.contains_key("storage") && !min.contains_key("storage")
    {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), detail);
    }
    for name in resources {
        let amount = |field: usize| {
            let given = held[field].get(name).filter(|_| !of_pod || !matches!(field, 2 | 3));
            given.and_then(|amount| Quantity::parse(&amount.0).ok())
        };
        order(name, [0, 1, 2, 3].map(amount), path, errors);
        ratio(name, [0, 1, 4].map(amount), path, errors);
    }
}

/// The least is not more than what is given without asking, nor that more than the most.
fn order(name: &str, amounts: [Option<Quantity>; 4], path: &Path, errors: &mut Errors) {
    let [max, min, default, request] = amounts;
    // Which is greater than which, what they are called, and where that is said, of which of the two.
    let pairs = [
        (min, max, ["min", "max"], "min", min),
        (min, request, ["min", "default request"], "defaultRequest", request),
        (request, max, ["default request", "max"], "defaultRequest", request),
        (request, default, ["default request", "default limit"], "defaultRequest", request),
        (min, default, ["min", "default"], "default", min),
        (default, max, ["default", "max"], "default", max),
    ];
    for (greater, less, [one, other], field, shown) in pairs {
        if let (Some(greater), Some(less), Some(shown)) = (greater, less, shown)
            && greater > less
        {
            let detail = format!("{one} value {greater} is greater than {other} value {less}");
            errors.invalid(&path.child(field).key(name), shown.to_string(), detail);
        }
    }
    let may_overcommit =
        (!name.contains('/') || name.contains("kubernetes.io/")) && !name.starts_with("hugepages-");
    if let (Some(default), Some(request)) = (default, request)
        && !may_overcommit
        && default != request
    {
        let detail =
            format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), detail);
    }
}

/// How many times more than it asks for something may use: at least once, and no more than the bounds allow.
fn ratio(name: &str, amounts: [Option<Quantity>; 3], path: &Path, errors: &mut Errors) {
    let [max, min, Some(ratio)] = amounts else { return };
    let path = path.child("maxLimitRequestRatio").key(name);
    if ratio < Quantity::from_value(1, Format::DecimalSi) {
        errors.invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(max), Some(min)) = (max, min) {
        let most = max.to_f64() / min.to_f64();
        if ratio.to_f64() > most {
            let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.invalid(&path, ratio.to_string(), detail);
        }
    }
}
