//! What is wrong with what containers ask for, and which class of service it gives a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde::Deserialize;

use crate::api::field::{Errors, Path};
use crate::objects::check::NEGATIVE;
use crate::objects::{names, quantities};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Text>;

/// Says what is wrong with the resources of a container.
pub(super) fn of_container(
    resources: &ResourceRequirements,
    spec: &PodSpec,
    path: &Path,
    errors: &mut Errors,
) {
    let none = Amounts::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    amounts(limits, &path.child("limits"), errors);
    amounts(requests, &path.child("requests"), errors);
    requests_within_limits(requests, limits, &path.child("requests"), errors);
    huge_pages(requests, limits, path, errors);
    let claims = spec.resource_claims.as_deref().unwrap_or_default();
    for (index, claim) in resources.claims.iter().flatten().enumerate() {
        let path = path.child("claims").index(index).child("name");
        if claim.name.is_empty() {
            errors.required(&path, "");
        } else if !claims.iter().any(|held| held.name == claim.name) {
            errors.not_found(&path, claim.name.clone());
        }
    }
}

/// Says what is wrong with the resources of a pod as a whole.
pub(super) fn of_pod(spec: &PodSpec, resources: &ResourceRequirements, path: &Path, errors: &mut Errors) {
    if resources.claims.is_some() {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    let none = Amounts::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    for (field, held) in [("limits", limits), ("requests", requests)] {
        for name in held.keys().filter(|name| !is_of_pods(name)) {
            let supported = ["cpu", "hugepages-", "memory"];
            errors.not_supported(&path.child(field).key(name), name.as_str(), &supported);
        }
        amounts(held, &path.child(field), errors);
    }
    requests_within_limits(requests, limits, &path.child("requests"), errors);
    for (index, container) in spec.containers.iter().enumerate() {
        let own = container.resources.as_ref().and_then(|own| own.limits.as_ref());
        for (name, amount) in own.into_iter().flatten() {
            let (Some(most), Some(given)) = (parsed(limits.get(name)), parsed(Some(amount))) else {
                continue;
            };
            if given > most {
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(&path, given.to_string(), detail);
            }
        }
    }
}

/// Says what is wrong with a map from resources to amounts.
pub(in crate::objects) fn amounts(held: &Amounts, path: &Path, errors: &mut Errors) {
    for (name, amount) in held {
        let path = path.key(name);
        resource_name(name, &path, errors);
        let Some(amount) = parsed(Some(amount)) else {
            errors.invalid(&path, amount.0.as_str(), "must be a quantity");
            continue;
        };
        if amount.is_negative() {
            errors.invalid(&path, amount.to_string(), NEGATIVE);
        }
        if is_whole(name) && amount.milli_value() % 1000 != 0 {
            errors.invalid(&path, amount.to_string(), "must be an integer");
        }
    }
}

/// Huge pages are had whole, and beside memory or processors.
fn huge_pages(requests: &Amounts, limits: &Amounts, path: &Path, errors: &mut Errors) {
    let pages = |amounts: &Amounts| {
        let sized = amounts.iter().filter_map(|(name, amount)| {
            let size = Quantity::parse(name.strip_prefix("hugepages-")?).ok()?;
            Some((name.clone(), size, parsed(Some(amount))?))
        });
        sized.collect::<Vec<_>>()
    };
    let (asked, most) = (pages(requests), pages(limits));
    for (name, size, amount) in most.iter().chain(&asked) {
        if size.value() <= 0 || amount.value() % size.value() != 0 {
            let detail = format!("{amount} is not positive integer multiple of {name}");
            errors.invalid(path, amount.to_string(), detail);
        }
    }
    let has_others = |amounts: &Amounts| amounts.contains_key("cpu") || amounts.contains_key("memory");
    if !(asked.is_empty() && most.is_empty() || has_others(requests) || has_others(limits)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// Says what is wrong with the name of a resource that a container asks for.
pub(in crate::objects) fn resource_name(name: &str, path: &Path, errors: &mut Errors) {
    quantities::resource_name(name, path, errors);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    // A quota has it under another name.
    let fits_quota = || names::qualified(&format!("requests.{name}")).is_empty();
    if !name.contains('/') {
        if !standard {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !name.contains("kubernetes.io/") && (name.starts_with("requests.") || !fits_quota()) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// Whether only whole amounts of a resource make sense: devices, not processors or bytes.
fn is_whole(name: &str) -> bool {
    name.contains('/')
}

fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn parsed(amount: Option<&Text>) -> Option<Quantity> {
    Quantity::parse(&amount?.0).ok()
}

/// Memory and processors may be promised more than once; devices may not.
fn requests_within_limits(requests: &Amounts, limits: &Amounts, path: &Path, errors: &mut Errors) {
    for (name, request) in requests {
        let exact = is_whole(name) || name.starts_with("hugepages-");
        let (Some(request), limit) = (parsed(Some(request)), parsed(limits.get(name))) else { continue };
        let detail = match limit {
            Some(limit) if exact && limit != request => {
                format!("must be equal to {name} limit of {limit}")
            }
            Some(limit) if !exact && request > limit => {
                format!("must be less than or equal to {name} limit of {limit}")
            }
            None if exact && !requests.is_empty() => {
                errors.required(&path.key(name), "Limit must be set for non overcommitable resources");
                continue;
            }
            _ => continue,
        };
        errors.invalid(path, request.to_string(), detail);
    }
}

/// What the class of service of a pod follows from.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Asked {
    resources: Option<Sides>,
    containers: Vec<Asking>,
    init_containers: Vec<Asking>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asking {
    resources: Option<Sides>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sides {
    requests: Option<Amounts>,
    limits: Option<Amounts>,
}

/// The class of service of a pod: `Guaranteed` if every container may use just what it asks for, `BestEffort` if none
/// asks for anything, and `Burstable` otherwise.
pub(super) fn quality(pod: &Asked) -> &'static str {
    let own = pod.resources.as_ref().filter(|own| own.limits.is_some() || own.requests.is_some());
    let containers = pod.containers.iter().chain(&pod.init_containers);
    let all: Vec<Option<&Sides>> = match own {
        Some(own) => vec![Some(own)],
        None => containers.map(|container| container.resources.as_ref()).collect(),
    };
    let amount = |held: Option<&Amounts>, name: &str| {
        parsed(held.and_then(|held| held.get(name))).filter(|amount| !amount.is_zero())
    };
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let request = amount(resources.and_then(|own| own.requests.as_ref()), name);
            let limit = amount(resources.and_then(|own| own.limits.as_ref()), name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
