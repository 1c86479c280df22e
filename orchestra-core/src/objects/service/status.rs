//! What is wrong with the status of a Service: where its load balancer is reached.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};

use crate::api::check::{self, say};
use crate::api::field::{Errors, Path};
use crate::api::names;

/// How a load balancer may treat the addresses that it is reached at.
const MODES: &[&str] = &["Proxy", "VIP"];

/// Says what is wrong with a new status.
pub(super) fn validate(object: &Service, errors: &mut Errors) {
    let path = Path::new("status.loadBalancer.ingress");
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let kind = object.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    if kind != Some("LoadBalancer") && !ingress.is_empty() {
        return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (index, point) in ingress.iter().enumerate() {
        entry_point(point, &path.index(index), errors);
    }
}

fn entry_point(point: &LoadBalancerIngress, path: &Path, errors: &mut Errors) {
    let address = point.ip.as_deref().filter(|address| !address.is_empty());
    if let Some(address) = address {
        check::ip(errors, &path.child("ip"), address);
    }
    let at = path.child("ipMode");
    match (address, point.ip_mode.as_deref()) {
        (Some(_), None) => errors.required(&at, "must be specified when `ip` is set"),
        (None, Some(_)) => errors.forbidden(&at, "may not be specified when `ip` is not set"),
        (Some(_), Some(mode)) => check::supported(errors, &at, mode, MODES),
        (None, None) => {}
    }
    let Some(host) = point.hostname.as_deref().filter(|host| !host.is_empty()) else { return };
    let at = path.child("hostname");
    say(errors, &at, host, names::subdomain(host));
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.invalid(&at, host, "must be a DNS name, not an IP address");
    }
}
