//! What reaches pods from outside, what may reach them, and the addresses of services.

mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

pub(super) use ingress::IngressRules;
pub(super) use ingress_class::IngressClassRules;
pub(super) use ip_address::IpAddressRules;
pub(super) use network_policy::NetworkPolicyRules;
pub(super) use service_cidr::ServiceCidrRules;

use super::{address, check, names, print};
