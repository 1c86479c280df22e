//! What a name of the cluster stands for. Pure.
//!
//! The names are those of Kubernetes' specification of DNS, with `cluster.local` for whatever the cluster is called:
//!
//! | name | records |
//! | --- | --- |
//! | `SVC.NS.svc.cluster.local` | addresses of the service, or of its endpoints if it has none; CNAME of an `ExternalName` |
//! | `LABEL.SVC.NS.svc.cluster.local` | the address of one endpoint: its host name, or its address with dashes |
//! | `_PORT._PROTO.SVC.NS.svc.cluster.local` | SRV |
//! | `1-2-3-4.NS.pod.cluster.local` | the address that it says |
//! | `4.3.2.1.in-addr.arpa` | PTR of services, and of endpoints without a service address |
//! | `dns-version.cluster.local` | TXT, the version of the specification |

use std::net::IpAddr;

use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::index::{Endpoint, Index, Port, Service, Target};

/// How long an answer may be kept, in seconds: names change when services do.
pub(super) const TTL: u32 = 5;

/// The names of one cluster.
#[derive(Debug)]
pub(super) struct Zone {
    /// Such as `cluster.local.`, in lower case.
    pub(super) origin: Name,
    pub(super) index: Index,
    /// Where the cluster's names are answered.
    pub(super) servers: Vec<IpAddr>,
}

/// What was found of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// Records of what was asked for, and others that go with them.
    Records { answers: Vec<Record>, additionals: Vec<Record> },
    /// Another name that is asked instead.
    Alias { record: Box<Record>, target: Name },
    /// The name is there, but nothing of what was asked for.
    Nothing,
    /// There is no such name.
    NoName,
    /// It is no name of the cluster.
    Elsewhere,
}

impl Zone {
    pub(super) fn new(origin: Name) -> Self {
        Self { origin: origin.to_lowercase(), index: Index::default(), servers: Vec::new() }
    }

    /// Looks up a name.
    pub(super) fn find(&self, name: &Name, kind: RecordType) -> Found {
        let lower = name.to_lowercase();
        if self.origin.zone_of_case(&lower) {
            let depth = usize::from(lower.num_labels() - self.origin.num_labels());
            let labels: Option<Vec<&str>> =
                lower.iter().take(depth).map(|label| std::str::from_utf8(label).ok()).collect();
            return labels.map_or(Found::NoName, |labels| self.within(name, &labels, kind));
        }
        match lower.parse_arpa_name() {
            Ok(network) if network.prefix_len() == network.max_prefix_len() => {
                self.reverse(name, network.addr(), kind)
            }
            _ => Found::Elsewhere,
        }
    }

    fn within(&self, name: &Name, labels: &[&str], kind: RecordType) -> Found {
        let pick = |records: Vec<RData>| chosen(name, kind, records);
        match labels {
            [] => pick(vec![RData::SOA(self.soa()), RData::NS(NS(self.server()))]),
            ["dns-version"] => pick(vec![RData::TXT(TXT::new(vec!["1.1.0".into()]))]),
            ["dns" | "svc" | "pod"] => Found::Nothing,
            ["ns", "dns"] => pick(self.servers.iter().map(|ip| address(*ip)).collect()),
            [namespace, "svc"] if self.index.has_namespace(namespace) => Found::Nothing,
            // That a namespace is there is not known if it has no service; it does no harm.
            [_, "pod"] => Found::Nothing,
            [dashes, _, "pod"] => undashed(dashes).map_or(Found::NoName, |ip| pick(vec![address(ip)])),
            [service, namespace, "svc"] => self.service(name, namespace, service, kind),
            [label, service, namespace, "svc"] => self.endpoint(name, (namespace, service), label, kind),
            [port, protocol, service, namespace, "svc"] => {
                self.port(name, (namespace, service), (port, protocol), kind)
            }
            _ => Found::NoName,
        }
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Found {
        let Some(found) = self.index.service(namespace, service) else { return Found::NoName };
        match &found.target {
            Target::External(target) => {
                let record = Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())));
                match kind {
                    RecordType::CNAME => Found::Records { answers: vec![record], additionals: Vec::new() },
                    _ => Found::Alias { record: Box::new(record), target: target.clone() },
                }
            }
            _ if kind == RecordType::SRV => self.offers(name, (namespace, service), found, |_| true),
            Target::Cluster(addresses) => {
                chosen(name, kind, addresses.iter().map(|ip| address(*ip)).collect())
            }
            Target::Headless => {
                let mut addresses: Vec<IpAddr> =
                    self.endpoints(namespace, service).map(|endpoint| endpoint.address).collect();
                addresses.sort_unstable();
                addresses.dedup();
                chosen(name, kind, addresses.into_iter().map(address).collect())
            }
        }
    }

    fn endpoints<'z>(
        &'z self,
        namespace: &str,
        service: &str,
    ) -> impl Iterator<Item = &'z Endpoint> + use<'z> {
        self.index
            .slices(namespace, service)
            .flat_map(|slice| &slice.endpoints)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn endpoint(
        &self,
        name: &Name,
        (namespace, service): (&str, &str),
        label: &str,
        kind: RecordType,
    ) -> Found {
        let Some(found) = self.index.service(namespace, service) else { return Found::NoName };
        if let Some(protocol) = label.strip_prefix('_') {
            let there = self.ports(namespace, service, found).any(|port| port.protocol == protocol);
            return if there { Found::Nothing } else { Found::NoName };
        }
        if matches!(found.target, Target::External(_)) {
            return Found::NoName;
        }
        let mut addresses: Vec<IpAddr> = self
            .endpoints(namespace, service)
            .filter(|endpoint| endpoint.label == label)
            .map(|endpoint| endpoint.address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        match addresses.is_empty() {
            true => Found::NoName,
            false => chosen(name, kind, addresses.into_iter().map(address).collect()),
        }
    }

    fn port(
        &self,
        name: &Name,
        (namespace, service): (&str, &str),
        (port, protocol): (&str, &str),
        kind: RecordType,
    ) -> Found {
        let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
            return Found::NoName;
        };
        let Some(found) = self.index.service(namespace, service) else { return Found::NoName };
        let asked = |offered: &Port| offered.name == port && offered.protocol == protocol;
        if port.is_empty() || !self.ports(namespace, service, found).any(asked) {
            return Found::NoName;
        }
        if kind != RecordType::SRV {
            return Found::Nothing;
        }
        self.offers(name, (namespace, service), found, asked)
    }

    /// The ports that SRV records tell of: the endpoints' own where they are reached themselves.
    fn ports<'z>(
        &'z self,
        namespace: &str,
        service: &str,
        found: &'z Service,
    ) -> impl Iterator<Item = &'z Port> + use<'z> {
        let own = matches!(found.target, Target::Cluster(_)).then_some(&found.ports);
        let slices = matches!(found.target, Target::Headless).then(|| self.index.slices(namespace, service));
        let offered: Vec<&Port> = slices.into_iter().flatten().flat_map(|slice| &slice.ports).collect();
        own.into_iter().flatten().chain(offered)
    }

    fn offers(
        &self,
        name: &Name,
        (namespace, service): (&str, &str),
        found: &Service,
        asked: impl Fn(&Port) -> bool,
    ) -> Found {
        let mut offers: Vec<(u16, Name, IpAddr)> = Vec::new();
        match &found.target {
            Target::External(_) => {}
            Target::Cluster(addresses) => {
                let Some(target) = self.name(&[service, namespace, "svc"]) else { return Found::Nothing };
                for port in found.ports.iter().filter(|port| asked(port)) {
                    offers.extend(addresses.iter().map(|ip| (port.port, target.clone(), *ip)));
                }
            }
            Target::Headless => {
                for slice in self.index.slices(namespace, service) {
                    for port in slice.ports.iter().filter(|port| asked(port)) {
                        let named = slice.endpoints.iter().filter_map(|endpoint| {
                            let target = self.name(&[&endpoint.label, service, namespace, "svc"])?;
                            Some((port.port, target, endpoint.address))
                        });
                        offers.extend(named);
                    }
                }
            }
        }
        offers.sort_by(|a, b| (&a.1, a.0, a.2).cmp(&(&b.1, b.0, b.2)));
        service_records(name, offers)
    }

    fn reverse(&self, name: &Name, ip: IpAddr, kind: RecordType) -> Found {
        let mut names: Vec<Name> = Vec::new();
        if let Some((namespace, service)) = self.index.service_at(ip) {
            names.extend(self.name(&[service, namespace, "svc"]));
        } else {
            let found = self.index.endpoints_at(ip);
            names.extend(
                found.iter().filter_map(|(label, service, ns)| self.name(&[label, service, ns, "svc"])),
            );
        }
        if names.is_empty() {
            return Found::Elsewhere;
        }
        chosen(name, kind, names.into_iter().map(|name| RData::PTR(PTR(name))).collect())
    }

    /// A name below the origin.
    fn name(&self, labels: &[&str]) -> Option<Name> {
        Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?.append_domain(&self.origin).ok()
    }

    fn server(&self) -> Name {
        self.name(&["ns", "dns"]).unwrap_or_else(|| self.origin.clone())
    }

    fn soa(&self) -> SOA {
        let contact = self.name(&["hostmaster"]).unwrap_or_else(|| self.origin.clone());
        // Nobody copies the zone, so that its number means nothing.
        SOA::new(self.server(), contact, 1, 7200, 1800, 86_400, TTL)
    }

    /// What goes with an answer that nothing was found, so that it can be kept for a while.
    pub(super) fn authority(&self) -> Record {
        Record::from_rdata(self.origin.clone(), TTL, RData::SOA(self.soa()))
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    }
}

fn undashed(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

/// Of the records that a name has, those asked for.
fn chosen(name: &Name, kind: RecordType, records: Vec<RData>) -> Found {
    let asked = records.into_iter().filter(|record| kind == RecordType::ANY || record.record_type() == kind);
    let answers: Vec<Record> = asked.map(|record| Record::from_rdata(name.clone(), TTL, record)).collect();
    match answers.is_empty() {
        true => Found::Nothing,
        false => Found::Records { answers, additionals: Vec::new() },
    }
}

/// SRV records for sorted offers, with the addresses of their targets. All weigh the same.
fn service_records(name: &Name, offers: Vec<(u16, Name, IpAddr)>) -> Found {
    let mut targets: Vec<(u16, Name)> =
        offers.iter().map(|(port, target, _)| (*port, target.clone())).collect();
    targets.dedup();
    let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
    let answers: Vec<Record> = targets
        .into_iter()
        .map(|(port, target)| {
            Record::from_rdata(name.clone(), TTL, RData::SRV(SRV::new(0, weight, port, target)))
        })
        .collect();
    let mut additionals: Vec<Record> =
        offers.into_iter().map(|(_, target, ip)| Record::from_rdata(target, TTL, address(ip))).collect();
    additionals.dedup();
    match answers.is_empty() {
        true => Found::Nothing,
        false => Found::Records { answers, additionals },
    }
}
