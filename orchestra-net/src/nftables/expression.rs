//! Parts of rules as expressions of the kernel's packet filter.

use orchestra_core::network::Protocol;

use super::attributes::Bytes;
use super::cidr::Cidr;
use super::family::{Family, octets};
use super::rule::{Part, Side, Verdict};
use crate::Balance;

/// A set that one rule has for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    pub(super) name: &'static str,
    pub(super) id: u32,
}

/// Flags of a set.
pub(super) mod set_flag {
    pub(in super::super) const ANONYMOUS: u32 = 0x1;
    pub(in super::super) const CONSTANT: u32 = 0x2;
    pub(in super::super) const INTERVAL: u32 = 0x4;
    pub(in super::super) const MAP: u32 = 0x8;
    pub(in super::super) const TIMEOUT: u32 = 0x10;
    pub(in super::super) const DYNAMIC: u32 = 0x20;
}

/// The register that takes a verdict, and the one that values are passed on in.
const TO_VERDICT: u32 = 0;
const VALUE: u32 = 1;
/// Where the port is when an address is in [`VALUE`] and the port behind it.
const BEHIND_IPV4: u32 = 9;
const BEHIND_IPV6: u32 = 2;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Where the port of the destination is in the transport header.
const DESTINATION_PORT: u32 = 2;
const META_PROTOCOL: u32 = 16;
const FIB_SOURCE: u32 = 1;
const FIB_TYPE: u32 = 3;
/// The type of an address that is the machine's own.
const LOCAL: u32 = 2;
const DNAT: u32 = 1;
const DYNSET_UPDATE: u32 = 1;
const NUMBER_INCREMENTAL: u32 = 0;
const NUMBER_RANDOM: u32 = 1;

/// The expressions of one part, which has a set of its own if it needs one.
pub(super) fn part(list: &mut Bytes, family: Family, part: &Part, own: Option<Own>) {
    match part {
        // Looked for before.
        Part::Words(_) => {}
        Part::Protocol(protocol) => is_protocol(list, *protocol),
        Part::Within(side, range) => within(list, family, *side, range),
        Part::Outside(side, _) => {
            load_address(list, family, *side);
            lookup(list, own, |it| it.number(5, 1));
        }
        Part::In(side, set) => {
            load_address(list, family, *side);
            say(list, "lookup", |it| {
                it.number(2, VALUE);
                it.text(1, set);
            });
        }
        Part::FromHere => {
            say(list, "fib", |it| {
                it.number(3, FIB_SOURCE);
                it.number(2, FIB_TYPE);
                it.number(1, VALUE);
            });
            compare(list, &LOCAL.to_ne_bytes());
        }
        Part::Ports(protocol, _) => {
            is_protocol(list, *protocol);
            load(list, TRANSPORT_HEADER, DESTINATION_PORT, 2);
            lookup(list, own, |_| {});
        }
        Part::Remember(set) => {
            load_address(list, family, Side::Source);
            say(list, "dynset", |it| {
                it.number(4, VALUE);
                it.number(3, DYNSET_UPDATE);
                it.text(1, set);
            });
        }
        Part::Dnat(balance, to) => match to.as_slice() {
            [one] => {
                immediate(list, VALUE, |data| data.put(1, &octets(one.ip())));
                immediate(list, BEHIND_IPV6, |data| data.put(1, &one.port().to_be_bytes()));
                dnat(list, family, BEHIND_IPV6);
            }
            several => {
                take_number(list, *balance, several.len());
                lookup(list, own, |it| it.number(3, VALUE));
                dnat(list, family, if family == Family::V4 { BEHIND_IPV4 } else { BEHIND_IPV6 });
            }
        },
        Part::OneOf(balance, chains) => {
            take_number(list, *balance, chains.len());
            lookup(list, own, |it| it.number(3, TO_VERDICT));
        }
        Part::Verdict(it) => immediate(list, TO_VERDICT, |data| verdict(data, it)),
    }
}

fn say(list: &mut Bytes, name: &str, data: impl FnOnce(&mut Bytes)) {
    list.nest(1, |expression| {
        expression.text(1, name);
        expression.nest(2, data);
    });
}

fn is_protocol(list: &mut Bytes, protocol: Protocol) {
    say(list, "meta", |it| {
        it.number(2, META_PROTOCOL);
        it.number(1, VALUE);
    });
    compare(list, &[protocol_number(protocol)]);
}

fn within(list: &mut Bytes, family: Family, side: Side, range: &Cidr) {
    load_address(list, family, side);
    let (first, mask) = (octets(range.first()), octets(range.mask()));
    if mask.iter().any(|byte| *byte != u8::MAX) {
        say(list, "bitwise", |it| {
            it.number(1, VALUE);
            it.number(2, VALUE);
            it.number(3, family.address_length());
            it.nest(4, |data| data.put(1, &mask));
            it.nest(5, |data| data.put(1, &vec![0; mask.len()]));
        });
    }
    compare(list, &first);
}

fn compare(list: &mut Bytes, with: &[u8]) {
    say(list, "cmp", |it| {
        it.number(1, VALUE);
        it.number(2, 0);
        it.nest(3, |data| data.put(1, with));
    });
}

fn load_address(list: &mut Bytes, family: Family, side: Side) {
    let offset = match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    };
    load(list, NETWORK_HEADER, offset, family.address_length());
}

fn load(list: &mut Bytes, base: u32, offset: u32, length: u32) {
    say(list, "payload", |it| {
        it.number(1, VALUE);
        it.number(2, base);
        it.number(3, offset);
        it.number(4, length);
    });
}

/// Looks a value up in the rule's own set.
fn lookup(list: &mut Bytes, own: Option<Own>, more: impl FnOnce(&mut Bytes)) {
    let Some(own) = own else { return };
    say(list, "lookup", |it| {
        it.number(2, VALUE);
        more(it);
        it.text(1, own.name);
        it.number(4, own.id);
    });
}

fn take_number(list: &mut Bytes, balance: Balance, below: usize) {
    let kind = match balance {
        Balance::RoundRobin => NUMBER_INCREMENTAL,
        Balance::Random => NUMBER_RANDOM,
    };
    say(list, "numgen", |it| {
        it.number(1, VALUE);
        it.number(2, u32::try_from(below).unwrap_or(u32::MAX));
        it.number(3, kind);
        it.number(4, 0);
    });
}

fn dnat(list: &mut Bytes, family: Family, port: u32) {
    say(list, "nat", |it| {
        it.number(1, DNAT);
        it.number(2, family.number().into());
        it.number(3, VALUE);
        it.number(5, port);
    });
}

fn immediate(list: &mut Bytes, register: u32, data: impl FnOnce(&mut Bytes)) {
    say(list, "immediate", |it| {
        it.number(1, register);
        it.nest(2, data);
    });
}

/// A verdict as data.
pub(super) fn verdict(data: &mut Bytes, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    data.nest(2, |it| {
        it.put(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            it.text(2, chain);
        }
    });
}

pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
