//! Rules and elements of sets as values, and their text in the language of `nft`.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use orchestra_core::network::Protocol;

use super::cidr::Cidr;
use super::family::{Family, word};
use crate::Balance;

/// The name of a chain or a set.
pub(super) type Name = Arc<str>;

/// A rule: what a packet must be, and what becomes of it, in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule(pub(super) Vec<Part>);

/// A part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// What only the program `nft` can say.
    Words(String),
    /// It is of this protocol.
    Protocol(Protocol),
    /// One of its addresses is in a range.
    Within(Side, Cidr),
    /// One of its addresses is in none of these ranges, none of which is within another.
    Outside(Side, Vec<Cidr>),
    /// One of its addresses is in a set.
    In(Side, Name),
    /// It comes from this machine.
    FromHere,
    /// It is of this protocol and for one of these ports, in order and apart from each other.
    Ports(Protocol, Vec<(u16, u16)>),
    /// A set remembers where it comes from, from now on.
    Remember(Name),
    /// It goes to one of these.
    Dnat(Balance, Vec<SocketAddr>),
    /// It goes on in one of these chains.
    OneOf(Balance, Vec<Name>),
    /// That becomes of it.
    Verdict(Verdict),
}

/// Which address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Goto(Name),
    Jump(Name),
    Return,
    Drop,
}

/// What stands in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Ip(IpAddr),
    Ips(IpAddr, IpAddr),
    Range(Cidr),
    /// A port of an address.
    End(IpAddr, Protocol, u16),
    Port(Protocol, u16),
}

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ip,
    Ips,
    Range,
    End,
    Port,
}

impl From<String> for Rule {
    fn from(words: String) -> Self {
        Self(vec![Part::Words(words)])
    }
}

impl From<&str> for Rule {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl From<Verdict> for Rule {
    fn from(verdict: Verdict) -> Self {
        Self(vec![Part::Verdict(verdict)])
    }
}

impl Rule {
    /// Its text in a table of this family.
    pub(super) fn text(&self, family: Family) -> String {
        let parts: Vec<String> = self.0.iter().map(|part| part.text(family)).collect();
        parts.join(" ")
    }
}

impl Part {
    fn text(&self, family: Family) -> String {
        let ip = family.ip();
        match self {
            Self::Words(words) => words.clone(),
            Self::Protocol(protocol) => format!("meta l4proto {}", word(*protocol)),
            Self::Within(side, range) => format!("{ip} {side} {range}"),
            Self::Outside(side, ranges) => format!("{ip} {side} != {{ {} }}", list(ranges)),
            Self::In(side, set) => format!("{ip} {side} @{set}"),
            Self::FromHere => "fib saddr type local".into(),
            Self::Ports(protocol, ranges) => {
                let ranges = ranges.iter().map(|(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                });
                format!("{} dport {{ {} }}", word(*protocol), list(ranges))
            }
            Self::Remember(set) => format!("update @{set} {{ {ip} saddr }}"),
            Self::Dnat(balance, to) => match to.as_slice() {
                [one] => format!("dnat to {one}"),
                several => {
                    let turns = several.iter().enumerate();
                    let turns = turns.map(|(turn, to)| format!("{turn} : {} . {}", to.ip(), to.port()));
                    format!("dnat to {} map {{ {} }}", number(*balance, several.len()), list(turns))
                }
            },
            Self::OneOf(balance, chains) => {
                let turns = chains.iter().enumerate().map(|(turn, chain)| format!("{turn} : goto {chain}"));
                format!("{} vmap {{ {} }}", number(*balance, chains.len()), list(turns))
            }
            Self::Verdict(verdict) => verdict.to_string(),
        }
    }
}

/// A number below another: the next one, or any.
fn number(balance: Balance, below: usize) -> String {
    let kind = match balance {
        Balance::RoundRobin => "inc",
        Balance::Random => "random",
    };
    format!("numgen {kind} mod {below}")
}

/// Things one after another.
pub(super) fn list(things: impl IntoIterator<Item = impl Display>) -> String {
    let things: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    things.join(", ")
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Source { "saddr" } else { "daddr" })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Return => f.write_str("return"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Ips(one, other) => write!(f, "{one} . {other}"),
            Self::Range(range) => range.fmt(f),
            Self::End(ip, protocol, port) => write!(f, "{ip} . {} . {port}", word(*protocol)),
            Self::Port(protocol, port) => write!(f, "{} . {port}", word(*protocol)),
        }
    }
}

impl Kind {
    /// The text of the type and what goes with it.
    pub(super) fn text(self, family: Family) -> String {
        let ip = family.kind();
        match self {
            Self::Ip => ip.into(),
            Self::Ips => format!("{ip} . {ip}"),
            Self::Range => format!("{ip}; flags interval"),
            Self::End => format!("{ip} . inet_proto . inet_service"),
            Self::Port => "inet_proto . inet_service".into(),
        }
    }
}
