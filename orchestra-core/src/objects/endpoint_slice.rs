use std::collections::HashSet;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};
use serde_json::Value;

use super::check::{self, say};
use super::json::Fields;
use super::{address, names};
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Rules, desires_otherwise, table};

/// The most endpoints that a slice may have, addresses that an endpoint may have, and ports that a slice may have.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
/// The most zones, and the most nodes, that an endpoint may be for.
const MAX_HINTS: usize = 8;

/// The rules of EndpointSlice objects.
pub(super) struct EndpointSliceRules;

impl Rules for EndpointSliceRules {
    type Object = EndpointSlice;

    const GENERATION: bool = true;
    const METADATA_CHECKED_ONCE: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("AddressType", "What the addresses are."),
        Column::new("Ports", "The ports, the first three."),
        Column::new("Endpoints", "The addresses, the first three."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        for port in object.as_object_mut().into_iter().flat_map(|fields| fields.each("ports")) {
            port.or("name", "");
            port.or("protocol", "TCP");
        }
    }

    fn prepare_create(object: &mut Value) {
        drop_topology(object);
    }

    fn prepare_update(new: &mut Value, _old: &Value) {
        drop_topology(new);
    }

    fn validate(object: &EndpointSlice, errors: &mut Errors) {
        let kinds = ["FQDN", "IPv4", "IPv6"];
        check::one_of(errors, &Path::new("addressType"), &object.address_type, &kinds);
        let path = Path::new("endpoints");
        let endpoints = object.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > MAX_ENDPOINTS {
            errors.push(&path, Problem::TooMany(endpoints.len(), MAX_ENDPOINTS));
        }
        for (index, endpoint) in endpoints.iter().enumerate().take(MAX_ENDPOINTS) {
            validate_endpoint(endpoint, &object.address_type, &path.index(index), errors);
        }
        ports(object.ports.as_deref().unwrap_or_default(), &Path::new("ports"), errors);
    }

    fn validate_update(new: &EndpointSlice, old: &EndpointSlice, errors: &mut Errors) {
        check::unchanged(errors, &Path::new("addressType"), &new.address_type, &old.address_type);
    }

    fn is_new_generation(new: &Value, old: &Value) -> bool {
        let labels = |object: &Value| object["metadata"]["labels"].clone();
        desires_otherwise(new, old) || labels(new) != labels(old)
    }

    fn cells(object: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let ports = object.ports.iter().flatten().map(|port| match port.port {
            Some(number) => number.to_string(),
            None => "*".to_owned(),
        });
        let endpoints = object.endpoints.iter().flatten();
        let addresses = endpoints.flat_map(|endpoint| endpoint.addresses.iter().cloned());
        vec![
            object.metadata.name.clone().into(),
            object.address_type.clone().into(),
            some(ports.collect()).into(),
            some(addresses.collect()).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// Only the versions before this one had labels of where an endpoint is.
fn drop_topology(object: &mut Value) {
    for endpoint in object.as_object_mut().into_iter().flat_map(|fields| fields.each("endpoints")) {
        endpoint.remove("deprecatedTopology");
    }
}

fn validate_endpoint(endpoint: &Endpoint, kind: &str, path: &Path, errors: &mut Errors) {
    let at = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&at, "must contain at least 1 address"),
        count if count > MAX_ADDRESSES => errors.push(&at, Problem::TooMany(count, MAX_ADDRESSES)),
        _ => {}
    }
    for (index, text) in endpoint.addresses.iter().enumerate() {
        let at = at.index(index);
        match (kind, text.parse::<IpAddr>()) {
            ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {
                // This server may itself be reached at such an address, and its own slice says so.
                address::endpoint(errors, &at, text, true);
            }
            ("IPv4" | "IPv6", Err(_)) => drop(check::ip(errors, &at, text)),
            ("IPv4" | "IPv6", Ok(_)) => {
                errors.invalid(&at, text.as_str(), format!("must be an {kind} address"));
            }
            _ => say(errors, &at, text, names::subdomain(text)),
        }
    }
    for (field, name, rule) in [
        ("hostname", &endpoint.hostname, names::label as fn(&str) -> Vec<String>),
        ("nodeName", &endpoint.node_name, names::subdomain),
    ] {
        if let Some(name) = name {
            say(errors, &path.child(field), name, rule(name));
        }
    }
    if let Some(given) = &endpoint.hints {
        hints(given, &path.child("hints"), errors);
    }
}

/// Whom an endpoint is for. The zone that it is in itself is not looked into, as in Kubernetes.
fn hints(hints: &EndpointHints, path: &Path, errors: &mut Errors) {
    let zones: Vec<&str> = hints.for_zones.iter().flatten().map(|zone| zone.name.as_str()).collect();
    let nodes = hints.for_nodes.iter().flatten().map(|node| node.name.as_str()).collect();
    let of_zones = ("forZones", zones, names::label_value as fn(&str) -> Vec<String>);
    for (field, given, rule) in [of_zones, ("forNodes", nodes, names::subdomain)] {
        let at = path.child(field);
        if given.len() > MAX_HINTS {
            errors.push(&at, Problem::TooMany(given.len(), MAX_HINTS));
            return;
        }
        let mut seen = HashSet::new();
        for (index, name) in given.into_iter().enumerate() {
            let at = at.index(index).child("name");
            check::unique(errors, &mut seen, &at, name);
            say(errors, &at, name, rule(name));
        }
    }
}

fn ports(ports: &[EndpointPort], path: &Path, errors: &mut Errors) {
    if ports.len() > MAX_PORTS {
        errors.push(path, Problem::TooMany(ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            say(errors, &path.child("name"), name, names::label(name));
        }
        check::unique(errors, &mut seen, &path.child("name"), name);
        let protocol = port.protocol.as_deref().unwrap_or_default();
        check::supported(errors, &path.child("protocol"), protocol, check::PROTOCOLS);
        if let Some(protocol) = &port.app_protocol {
            say(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

/// The first few of a list, and how many more there are.
fn some(all: Vec<String>) -> String {
    const SHOWN: usize = 3;
    match all.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}
