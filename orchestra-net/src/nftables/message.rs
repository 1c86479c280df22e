//! Changes as messages to the kernel's packet filter, for what it takes without the program `nft`, which reads all that
//! there is before it adds anything. Pure.
//!
//! The names and numbers are those of `linux/netfilter/nf_tables.h`. A rule is a list of expressions that pass values on in
//! registers; sets that a rule has for itself are made before it and bound to it.

use std::net::IpAddr;

use orchestra_core::network::Protocol;

use super::attributes::{Bytes, Head};
use super::cidr::Cidr;
use super::expression::{self as say, Own, set_flag};
use super::family::{Family, octets};
use super::rule::{Key, Kind, Part, Rule, Verdict};
use super::ruleset::{Change, Changes, Set};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_CHAIN: u16 = 3;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DELETE_SET: u16 = 11;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// The types of the language of `nft`, which shows sets by them.
const INTEGER: u32 = 4;
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;
const SERVICE: u32 = 13;
const VERDICT: u32 = 0xffff_ff00;
/// How many bits a type has in the type of several.
const TYPE_BITS: u32 = 6;

/// A list of elements is told in parts: the length of one must fit sixteen bits.
const ELEMENTS_AT_ONCE: usize = 400;

/// Messages that the kernel does all of or none.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// The number of the last one, which is answered.
    pub(super) last: u32,
}

impl Batch {
    /// What does these changes; nothing if one of them only the program `nft` can do.
    pub(super) fn of(changes: &Changes<'_>) -> Option<Self> {
        let mut writing =
            Writing { table: changes.table, bytes: Bytes::default(), sequence: 0, sets: 0, last: None };
        writing.edge(BATCH_BEGIN);
        for (family, change) in &changes.list {
            writing.change(*family, change)?;
        }
        let last = writing.sequence;
        let start = writing.last?;
        writing.edge(BATCH_END);
        let mut bytes = writing.bytes.into_vec();
        // The flags come after the length and the type.
        let flags = bytes.get_mut(start + 6..start + 8)?;
        let acknowledged = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
        flags.copy_from_slice(&acknowledged.to_ne_bytes());
        Some(Self { bytes, last })
    }
}

struct Writing<'a> {
    table: &'a str,
    bytes: Bytes,
    sequence: u32,
    /// How many sets were made that have no name yet.
    sets: u32,
    /// Where the last message begins.
    last: Option<usize>,
}

impl Writing<'_> {
    fn edge(&mut self, kind: u16) {
        self.sequence += 1;
        let head = Head { kind, flags: REQUEST, sequence: self.sequence, family: 0, resource: SUBSYSTEM };
        self.bytes.message(head, |_| {});
    }

    fn message(&mut self, family: Family, kind: u16, flags: u16, attributes: impl FnOnce(&mut Bytes)) {
        self.sequence += 1;
        self.last = Some(self.bytes.len());
        let head = Head {
            kind: SUBSYSTEM << 8 | kind,
            flags: REQUEST | flags,
            sequence: self.sequence,
            family: family.number(),
            resource: 0,
        };
        let table = self.table;
        self.bytes.message(head, |message| {
            message.text(1, table);
            attributes(message);
        });
    }

    fn change(&mut self, family: Family, change: &Change<'_>) -> Option<()> {
        match change {
            Change::AddSet(name, set) => self.set(family, name, set)?,
            Change::AddChain(_, chain) if chain.hook.is_some() => return None,
            Change::AddChain(name, _) => self.message(family, NEW_CHAIN, CREATE, |it| it.text(3, name)),
            Change::RemoveChain(name) => self.message(family, DELETE_CHAIN, 0, |it| it.text(3, name)),
            // That names no rule, so it is all of them.
            Change::FlushChain(name) => self.message(family, DELETE_RULE, 0, |it| it.text(2, name)),
            Change::RemoveSet(name, _) => self.message(family, DELETE_SET, 0, |it| it.text(2, name)),
            Change::AddRule(chain, rule) => self.rule(family, chain, rule)?,
            Change::AddElements(set, elements) => {
                let elements: Option<Vec<Element>> = elements.iter().map(Element::of).collect();
                self.elements(family, NEW_ELEMENT, set, None, &elements?);
            }
            Change::RemoveElements(set, keys) => {
                let elements: Option<Vec<Element>> =
                    keys.iter().map(|key| Element::of(&(key, None))).collect();
                self.elements(family, DELETE_ELEMENT, set, None, &elements?);
            }
        }
        Some(())
    }

    /// A set with a name. Those with other keys are there from the beginning.
    fn set(&mut self, family: Family, name: &str, set: &Set) -> Option<()> {
        if set.kind != Kind::Ip || set.is_map {
            return None;
        }
        let id = self.next_set();
        let flags = set.forgets.map_or(0, |_| set_flag::TIMEOUT | set_flag::DYNAMIC);
        self.message(family, NEW_SET, CREATE, |it| {
            it.text(2, name);
            it.number(3, flags);
            it.number(4, address_type(family));
            it.number(5, family.address_length());
            it.number(10, id);
            if let Some(seconds) = set.forgets {
                it.put(11, &seconds.saturating_mul(1000).to_be_bytes());
            }
            it.put(13, &set_data(true));
        });
        Some(())
    }

    fn elements(&mut self, family: Family, kind: u16, set: &str, id: Option<u32>, elements: &[Element]) {
        let create = if kind == NEW_ELEMENT { CREATE } else { 0 };
        for elements in elements.chunks(ELEMENTS_AT_ONCE) {
            self.message(family, kind, create, |it| {
                it.text(2, set);
                it.nest(3, |list| elements.iter().for_each(|element| list.nest(1, |it| element.write(it))));
                if let Some(id) = id {
                    it.number(4, id);
                }
            });
        }
    }

    fn next_set(&mut self) -> u32 {
        self.sets += 1;
        self.sets
    }

    fn rule(&mut self, family: Family, chain: &str, rule: &Rule) -> Option<()> {
        let own: Vec<Option<Own>> = rule.0.iter().map(|part| self.own_set(family, part)).collect();
        if rule.0.iter().any(|part| matches!(part, Part::Words(_))) {
            return None;
        }
        self.message(family, NEW_RULE, CREATE | APPEND, |it| {
            it.text(2, chain);
            it.nest(4, |list| {
                for (part, own) in rule.0.iter().zip(own) {
                    say::part(list, family, part, own);
                }
            });
        });
        Some(())
    }

    /// The set that a part of a rule has for itself.
    fn own_set(&mut self, family: Family, part: &Part) -> Option<Own> {
        let map = |keys, data, elements| Some((keys, data, elements));
        let (keys, data, elements) = match part {
            Part::Dnat(_, to) if to.len() > 1 => {
                let turns = to.iter().enumerate().map(|(turn, to)| {
                    let mut bytes = octets(to.ip());
                    push_port(&mut bytes, to.port());
                    Element::new(&host_order(turn), Some(Data::Bytes(bytes)))
                });
                let kind = address_type(family) << TYPE_BITS | SERVICE;
                map((INTEGER, 4), Some((kind, family.address_length() + 4)), turns.collect())
            }
            Part::OneOf(_, chains) => {
                let turns = chains.iter().enumerate().map(|(turn, chain)| {
                    Element::new(&host_order(turn), Some(Data::Verdict(Verdict::Goto(chain.clone()))))
                });
                map((INTEGER, 4), Some((VERDICT, 0)), turns.collect::<Vec<_>>())
            }
            Part::Outside(_, ranges) => {
                map((address_type(family), family.address_length()), None, address_ranges(ranges))
            }
            Part::Ports(_, ranges) => {
                let ranges = ranges.iter().map(|(first, last)| {
                    (first.to_be_bytes().to_vec(), last.checked_add(1).map(|end| end.to_be_bytes().to_vec()))
                });
                map((SERVICE, 2), None, intervals(ranges))
            }
            _ => None,
        }?;
        let id = self.next_set();
        let name = if data.is_some() { "__map%d" } else { "__set%d" };
        let kind = if data.is_some() { set_flag::MAP } else { set_flag::INTERVAL };
        self.message(family, NEW_SET, CREATE, |it| {
            it.text(2, name);
            it.number(3, set_flag::ANONYMOUS | set_flag::CONSTANT | kind);
            it.number(4, keys.0);
            it.number(5, keys.1);
            if let Some((kind, length)) = data {
                it.number(6, kind);
                it.number(7, length);
            }
            it.nest(9, |size| size.number(1, u32::try_from(elements.len()).unwrap_or(u32::MAX)));
            it.number(10, id);
            it.put(13, &set_data(keys.0 != INTEGER));
        });
        self.elements(family, NEW_ELEMENT, name, Some(id), &elements);
        Some(Own { name, id })
    }
}

/// An element of a set.
struct Element {
    key: Vec<u8>,
    data: Option<Data>,
    ends_interval: bool,
}

enum Data {
    Bytes(Vec<u8>),
    Verdict(Verdict),
}

impl Element {
    fn new(key: &[u8], data: Option<Data>) -> Self {
        Self { key: key.to_vec(), data, ends_interval: false }
    }

    /// Nothing for ranges: what a set of them holds between two is not told by one of them.
    fn of((key, value): &(&Key, Option<&Verdict>)) -> Option<Self> {
        let key = match key {
            Key::Ip(ip) => octets(*ip),
            Key::Ips(one, other) => [octets(*one), octets(*other)].concat(),
            Key::Range(_) => return None,
            Key::End(ip, protocol, port) => [octets(*ip), end(*protocol, *port)].concat(),
            Key::Port(protocol, port) => end(*protocol, *port),
        };
        Some(Self::new(&key, value.map(|verdict| Data::Verdict(verdict.clone()))))
    }

    fn write(&self, it: &mut Bytes) {
        if self.ends_interval {
            it.number(3, 1);
        }
        it.nest(1, |key| key.put(1, &self.key));
        match &self.data {
            None => {}
            Some(Data::Bytes(bytes)) => it.nest(2, |data| data.put(1, bytes)),
            Some(Data::Verdict(verdict)) => it.nest(2, |data| say::verdict(data, verdict)),
        }
    }
}

/// A protocol and a port, each of them aligned.
fn end(protocol: Protocol, port: u16) -> Vec<u8> {
    let mut bytes = vec![say::protocol_number(protocol), 0, 0, 0];
    push_port(&mut bytes, port);
    bytes
}

fn push_port(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 2]);
}

/// A turn as the kernel counts them.
fn host_order(turn: usize) -> [u8; 4] {
    u32::try_from(turn).unwrap_or(u32::MAX).to_ne_bytes()
}

/// Ranges of addresses that are apart from each other.
fn address_ranges(ranges: &[Cidr]) -> Vec<Element> {
    let after = |last: IpAddr| match last {
        IpAddr::V4(ip) => ip.to_bits().checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        IpAddr::V6(ip) => ip.to_bits().checked_add(1).map(|next| next.to_be_bytes().to_vec()),
    };
    intervals(ranges.iter().map(|range| (octets(range.first()), after(range.last()))))
}

/// The elements of ranges in order, each its first value and the one after its last, if there is one: an element begins
/// one, or ends it, and ranges that touch are one. The first element ends what is below the first range.
fn intervals(ranges: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    for (first, end) in ranges {
        if elements.is_empty() && first.iter().any(|byte| *byte != 0) {
            elements.push(Element { ends_interval: true, ..Element::new(&vec![0; first.len()], None) });
        }
        match elements.last() {
            Some(before) if before.ends_interval && before.key == first => {
                elements.pop();
            }
            _ => elements.push(Element::new(&first, None)),
        }
        elements.extend(end.map(|end| Element { ends_interval: true, ..Element::new(&end, None) }));
    }
    elements
}

fn address_type(family: Family) -> u32 {
    if family == Family::V4 { IPV4_ADDRESS } else { IPV6_ADDRESS }
}

/// What `nft` reads to show a set: in which order the bytes of its keys are.
fn set_data(is_network_order: bool) -> [u8; 6] {
    let [a, b, c, d] = (1 + u32::from(is_network_order)).to_ne_bytes();
    [0, 4, a, b, c, d]
}
