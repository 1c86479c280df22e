//! What the kernel remembers of datagrams. A client that goes on sending from one port is led where its first datagram
//! was, however the rules have changed since: so what leads to an endpoint that is gone is forgotten here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use futures::StreamExt as _;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Transport, Tuple,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use orchestra_core::network::{Protocol, ServicePlan};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NetlinkPayload};

use super::netfilter::Netfilter;

/// Where datagrams for an address, or for a port of the machine, go.
pub(super) type Ways = BTreeMap<(Option<IpAddr>, u16), BTreeSet<SocketAddr>>;

/// The ways of a plan.
pub(super) fn ways(plan: &ServicePlan) -> Ways {
    let mut ways = Ways::new();
    for service in &plan.services {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let inside: BTreeSet<SocketAddr> =
                service.internal(port).map(|endpoint| endpoint.address).collect();
            let outside: BTreeSet<SocketAddr> =
                service.external(port).map(|endpoint| endpoint.address).collect();
            for ip in &service.cluster_ips {
                ways.entry((Some(*ip), port.port)).or_default().extend(&inside);
            }
            // The cluster's own traffic goes to any of them, whatever the policy.
            for ip in service.external_ips.iter().chain(&service.load_balancer_ips) {
                ways.entry((Some(*ip), port.port)).or_default().extend(inside.union(&outside));
            }
            if let Some(number) = port.node_port {
                ways.entry((None, number)).or_default().extend(inside.union(&outside));
            }
        }
    }
    ways
}

/// What must be looked at when one plan follows another: the ways that changed, with none for those that are gone.
pub(super) fn changed(before: &Ways, now: &Ways) -> Ways {
    let mut changed: Ways = now
        .iter()
        .filter(|(key, ways)| before.get(key) != Some(ways))
        .map(|(key, ways)| (*key, ways.clone()))
        .collect();
    // What was not there before may have been sent elsewhere; what is not there any more leads nowhere.
    changed.extend(before.keys().filter(|key| !now.contains_key(key)).map(|key| (*key, BTreeSet::new())));
    changed
}

/// Has the kernel forget what does not lead as it should now.
pub(super) async fn forget(changed: &Ways) -> io::Result<usize> {
    if changed.is_empty() {
        return Ok(0);
    }
    let netfilter = Netfilter::connect()?;
    let mut forgotten = 0;
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        for flow in known(&netfilter, family).await? {
            if is_stale(&flow, changed) {
                delete(&netfilter, family, flow).await?;
                forgotten += 1;
            }
        }
    }
    Ok(forgotten)
}

/// All that the kernel remembers of one family.
async fn known(
    netfilter: &Netfilter,
    family: NetfilterProtoFamily,
) -> io::Result<Vec<Vec<ConntrackAttribute>>> {
    let mut answers = netfilter.ask(family, NLM_F_DUMP, ConntrackMessage::Get(Vec::new()))?;
    let mut flows = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(NetfilterMessage {
                inner:
                    NetfilterMessageInner::Conntrack(ConntrackMessage::New(flow) | ConntrackMessage::Get(flow)),
                ..
            }) => flows.push(flow),
            _ => {}
        }
    }
    Ok(flows)
}

async fn delete(
    netfilter: &Netfilter,
    family: NetfilterProtoFamily,
    flow: Vec<ConntrackAttribute>,
) -> io::Result<()> {
    let original = flow.into_iter().filter(|it| matches!(it, ConntrackAttribute::CtaTupleOrig(_)));
    let mut answers = netfilter.ask(family, NLM_F_ACK, ConntrackMessage::Delete(original.collect()))?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            let error = error.to_io();
            // It ended by itself meanwhile.
            return if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Whether a flow is of datagrams for something that changed, and does not lead where it should.
fn is_stale(flow: &[ConntrackAttribute], changed: &Ways) -> bool {
    let end = |of: fn(&ConntrackAttribute) -> Option<&Vec<Tuple>>, source: bool| {
        flow.iter().find_map(of).and_then(|tuple| end_of(tuple, source))
    };
    let asked =
        end(|it| if let ConntrackAttribute::CtaTupleOrig(tuple) = it { Some(tuple) } else { None }, false);
    let answers =
        end(|it| if let ConntrackAttribute::CtaTupleReply(tuple) = it { Some(tuple) } else { None }, true);
    let (Some(asked), Some(answers)) = (asked, answers) else { return false };
    let wanted =
        changed.get(&(Some(asked.ip()), asked.port())).or_else(|| changed.get(&(None, asked.port())));
    wanted.is_some_and(|wanted| !wanted.contains(&answers))
}

/// One end of a flow of datagrams.
fn end_of(tuple: &[Tuple], source: bool) -> Option<SocketAddr> {
    let (mut ip, mut port, mut is_udp) = (None, None, false);
    for part in tuple {
        match part {
            Tuple::Ip(parts) => parts.iter().for_each(|part| match part {
                IPTuple::SourceAddress(address) if source => ip = Some(*address),
                IPTuple::DestinationAddress(address) if !source => ip = Some(*address),
                _ => {}
            }),
            Tuple::Proto(parts) => parts.iter().for_each(|part| match part {
                ProtoTuple::Protocol(protocol) => is_udp = *protocol == Transport::Udp,
                ProtoTuple::SourcePort(number) if source => port = Some(*number),
                ProtoTuple::DestinationPort(number) if !source => port = Some(*number),
                _ => {}
            }),
            _ => {}
        }
    }
    Some(SocketAddr::new(ip?, port?)).filter(|_| is_udp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: Transport, asked: &str, answers: &str) -> Vec<ConntrackAttribute> {
        let (client, asked): (SocketAddr, SocketAddr) =
            ("10.0.0.9:4000".parse().unwrap(), asked.parse().unwrap());
        let answers: SocketAddr = answers.parse().unwrap();
        let tuple = |from: SocketAddr, to: SocketAddr| {
            vec![
                Tuple::Ip(vec![IPTuple::SourceAddress(from.ip()), IPTuple::DestinationAddress(to.ip())]),
                Tuple::Proto(vec![
                    ProtoTuple::Protocol(protocol),
                    ProtoTuple::SourcePort(from.port()),
                    ProtoTuple::DestinationPort(to.port()),
                ]),
            ]
        };
        vec![
            ConntrackAttribute::CtaTupleOrig(tuple(client, asked)),
            ConntrackAttribute::CtaTupleReply(tuple(answers, client)),
        ]
    }

    fn ways(text: &[(Option<&str>, u16, &[&str])]) -> Ways {
        let of = |(ip, port, to): &(Option<&str>, u16, &[&str])| {
            ((ip.map(|ip| ip.parse().unwrap()), *port), to.iter().map(|to| to.parse().unwrap()).collect())
        };
        text.iter().map(of).collect()
    }

    #[test]
    fn only_what_leads_elsewhere_is_forgotten() {
        let before = ways(&[
            (Some("10.96.0.1"), 53, &["10.1.0.1:53", "10.1.0.2:53"]),
            (Some("10.96.0.2"), 53, &["10.1.0.3:53"]),
            (Some("10.96.0.3"), 53, &["10.1.0.3:53"]),
        ]);
        let now = ways(&[
            (Some("10.96.0.1"), 53, &["10.1.0.1:53"]),
            (Some("10.96.0.2"), 53, &["10.1.0.3:53"]),
            (None, 30053, &["10.1.0.1:53"]),
        ]);
        let changed = changed(&before, &now);
        for (asked, answers, stale) in [
            ("10.96.0.1:53", "10.1.0.2:53", true),
            ("10.96.0.1:53", "10.1.0.1:53", false),
            ("10.96.0.1:54", "10.1.0.2:53", false),
            ("10.96.0.2:53", "10.1.0.9:53", false),
            ("10.96.0.3:53", "10.1.0.3:53", true),
            ("192.0.2.1:30053", "192.0.2.1:30053", true),
            ("192.0.2.1:30053", "10.1.0.1:53", false),
            ("8.8.8.8:53", "8.8.8.8:53", false),
        ] {
            assert_eq!(is_stale(&flow(Transport::Udp, asked, answers), &changed), stale, "{asked} {answers}");
        }
        assert!(!is_stale(&flow(Transport::Tcp, "10.96.0.1:53", "10.1.0.2:53"), &changed));
        assert!(super::changed(&now, &now).is_empty());
    }
}
