use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value};

use super::check::{self, say, shown};
use super::{address, names, print};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::objects::json::Fields;

const DIRECTIONS: [&str; 2] = ["Ingress", "Egress"];

/// The rules of NetworkPolicy objects.
pub(in crate::objects) struct NetworkPolicyRules;

impl Rules for NetworkPolicyRules {
    type Object = NetworkPolicy;

    const SHORT_NAMES: &'static [&'static str] = &["netpol"];
    const GENERATION: bool = true;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Pod-Selector", "Which pods it is for."), Column::AGE];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        for rules in ["ingress", "egress"] {
            for rule in spec.each(rules) {
                for port in rule.each("ports") {
                    port.or("protocol", "TCP");
                }
            }
        }
        if !has_items(spec, "policyTypes") {
            let count = if has_items(spec, "egress") { 2 } else { 1 };
            spec.insert("policyTypes".to_owned(), DIRECTIONS[..count].into());
        }
    }

    fn validate(object: &NetworkPolicy, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = NetworkPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        if let Some(selector) = &spec.pod_selector {
            check::selector(errors, &path.child("podSelector"), selector);
        }
        for Side { path, ports, peers, field } in sides(spec) {
            for (index, port) in ports.iter().enumerate() {
                validate_port(port, &path.child("ports").index(index), errors);
            }
            for (index, peer) in peers.iter().enumerate() {
                validate_peer(peer, &path.child(field).index(index), errors);
            }
        }
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let at = path.child("policyTypes");
        if types.len() > DIRECTIONS.len() {
            errors.invalid(&at, shown(&types), "may not specify more than two policyTypes");
            return;
        }
        for (index, direction) in types.iter().enumerate() {
            check::supported(errors, &at.index(index), direction, &DIRECTIONS);
        }
    }

    fn warnings(object: &NetworkPolicy) -> Vec<String> {
        let none = NetworkPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let mut warnings = Vec::new();
        for Side { path, peers, field, .. } in sides(spec) {
            for (index, peer) in peers.iter().enumerate() {
                let Some(block) = &peer.ip_block else { continue };
                let path = path.child(field).index(index).child("ipBlock");
                warnings.extend(address::range_warnings(&path.child("cidr"), &block.cidr));
                for (index, hole) in block.except.iter().flatten().enumerate() {
                    warnings.extend(address::range_warnings(&path.child("except").index(index), hole));
                }
            }
        }
        warnings
    }

    fn cells(object: &NetworkPolicy, now: Timestamp) -> Vec<Value> {
        let selector = object.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        vec![
            object.metadata.name.clone().into(),
            print::selector(selector).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn has_items(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}

/// A rule of either direction: its ports, and those at the other end.
struct Side<'p> {
    path: Path,
    ports: &'p [NetworkPolicyPort],
    peers: &'p [NetworkPolicyPeer],
    /// The field in which the peers are.
    field: &'static str,
}

fn sides(spec: &NetworkPolicySpec) -> Vec<Side<'_>> {
    let inward = spec.ingress.iter().flatten().enumerate().map(|(index, rule)| Side {
        path: Path::new("spec.ingress").index(index),
        ports: rule.ports.as_deref().unwrap_or_default(),
        peers: rule.from.as_deref().unwrap_or_default(),
        field: "from",
    });
    let outward = spec.egress.iter().flatten().enumerate().map(|(index, rule)| Side {
        path: Path::new("spec.egress").index(index),
        ports: rule.ports.as_deref().unwrap_or_default(),
        peers: rule.to.as_deref().unwrap_or_default(),
        field: "to",
    });
    inward.chain(outward).collect()
}

fn validate_port(port: &NetworkPolicyPort, path: &Path, errors: &mut Errors) {
    if let Some(protocol) = &port.protocol {
        check::supported(errors, &path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let at = path.child("endPort");
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(first)), Some(last)) => {
            check::port_number(errors, &path.child("port"), *first);
            if last < *first {
                errors.invalid(&at, *first, "must be greater than or equal to `port`");
            }
            check::port_number(errors, &at, last);
        }
        (Some(IntOrString::Int(number)), None) => {
            check::port_number(errors, &path.child("port"), *number);
        }
        (Some(IntOrString::String(name)), last) => {
            if let Some(last) = last {
                errors.invalid(&at, last, "may not be specified when `port` is non-numeric");
            }
            say(errors, &path.child("port"), name, names::port(name));
        }
        (None, Some(last)) => {
            errors.invalid(&at, last, "may not be specified when `port` is not specified");
        }
        (None, None) => {}
    }
}

fn validate_peer(peer: &NetworkPolicyPeer, path: &Path, errors: &mut Errors) {
    let selectors = [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)];
    for (field, selector) in selectors {
        if let Some(selector) = selector {
            check::selector(errors, &path.child(field), selector);
        }
    }
    if let Some(block) = &peer.ip_block {
        ip_block(block, &path.child("ipBlock"), errors);
    }
    let selects = selectors.iter().any(|(_, selector)| selector.is_some());
    match (&peer.ip_block, selects) {
        (None, false) => errors.required(path, "must specify a peer"),
        (Some(_), true) => errors.forbidden(path, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn ip_block(block: &IPBlock, path: &Path, errors: &mut Errors) {
    if block.cidr.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    let Some(whole) = address::range(errors, &path.child("cidr"), &block.cidr) else { return };
    for (index, hole) in block.except.iter().flatten().enumerate() {
        let path = path.child("except").index(index);
        if let Some(part) = address::range(errors, &path, hole)
            && !(whole.contains(part.address) && part.bits > whole.bits)
        {
            errors.invalid(&path, hole.as_str(), "must be a strict subset of `cidr`");
        }
    }
}
