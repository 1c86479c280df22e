use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use serde_json::Value;

use super::check::{self, say};
use super::json::Fields;
use super::{address, names};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};

/// The rules of Endpoints objects.
pub(super) struct EndpointsRules;

impl Rules for EndpointsRules {
    type Object = Endpoints;

    const SHORT_NAMES: &'static [&'static str] = &["ep"];
    const CREATED_BY_UPDATE: bool = true;
    const DEPRECATED: Option<&'static str> =
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Endpoints", "Addresses and ports, the first three."), Column::AGE];

    fn default(object: &mut Value) {
        for subset in object.as_object_mut().into_iter().flat_map(|fields| fields.each("subsets")) {
            for port in subset.each("ports") {
                port.or_text("protocol", "TCP");
            }
        }
    }

    fn validate(object: &Endpoints, errors: &mut Errors) {
        // A server for one machine only is itself reached at a loopback address.
        let meta = &object.metadata;
        let own = meta.name.as_deref() == Some("kubernetes") && meta.namespace.as_deref() == Some("default");
        for (index, subset) in object.subsets.iter().flatten().enumerate() {
            validate_subset(subset, own, &Path::new("subsets").index(index), errors);
        }
    }

    fn cells(object: &Endpoints, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            list(object.subsets.as_deref().unwrap_or_default()).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn validate_subset(subset: &EndpointSubset, own: bool, path: &Path, errors: &mut Errors) {
    let ready = subset.addresses.as_deref().unwrap_or_default();
    let waiting = subset.not_ready_addresses.as_deref().unwrap_or_default();
    if ready.is_empty() && waiting.is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, addresses) in [("addresses", ready), ("notReadyAddresses", waiting)] {
        for (index, address) in addresses.iter().enumerate() {
            validate_address(address, own, &path.child(field).index(index), errors);
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &path.child("ports").index(index), errors);
    }
}

fn validate_address(held: &EndpointAddress, own: bool, path: &Path, errors: &mut Errors) {
    let target = held.target_ref.as_ref().and_then(|target| target.kind.as_deref());
    address::endpoint(errors, &path.child("ip"), &held.ip, own || target == Some("Pod"));
    // Kubernetes parses the address twice, and says so twice.
    if held.ip.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(&path.child("ip"), held.ip.as_str(), "must be a valid IP address");
    }
    for (field, name, rule) in [
        // A name that is empty is none, but that of a node is.
        (
            "hostname",
            held.hostname.as_deref().filter(|name| !name.is_empty()),
            names::label as fn(&str) -> Vec<String>,
        ),
        ("nodeName", held.node_name.as_deref(), names::subdomain),
    ] {
        if let Some(name) = name {
            say(errors, &path.child(field), name, rule(name));
        }
    }
}

fn validate_port(port: &EndpointPort, named: bool, path: &Path, errors: &mut Errors) {
    match port.name.as_deref().unwrap_or_default() {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => say(errors, &path.child("name"), name, names::label(name)),
    }
    check::port_number(errors, &path.child("port"), port.port);
    let protocol = port.protocol.as_deref().unwrap_or_default();
    check::one_of(errors, &path.child("protocol"), protocol, check::PROTOCOLS);
    if let Some(protocol) = &port.app_protocol {
        say(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
    }
}

/// The first few endpoints, and how many more there are.
fn list(subsets: &[EndpointSubset]) -> String {
    const SHOWN: usize = 3;
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = subset.addresses.as_deref().unwrap_or_default();
        match subset.ports.as_deref().unwrap_or_default() {
            [] => all.extend(addresses.iter().map(|held| held.ip.clone())),
            ports => {
                for port in ports {
                    all.extend(addresses.iter().map(|held| match held.ip.contains(':') {
                        true => format!("[{}]:{}", held.ip, port.port),
                        false => format!("{}:{}", held.ip, port.port),
                    }));
                }
            }
        }
    }
    match all.len() {
        0 if subsets.is_empty() => "<none>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}
