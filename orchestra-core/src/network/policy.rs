//! Who may reach whom: the policies of the cluster as one node should hold to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Protocol;

/// What the pods of one node may receive and send, as one value. Two plans that are equal ask for the same.
///
/// Pods that no policy selects are not in it: they receive and send what they like. Of pods that it has not been made for it is
/// not known which policies select them, so they receive and send nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyPlan {
    /// The pods that some policy selects, in order of namespace and name.
    pub pods: Vec<PodPolicy>,
    /// The uids of the pods that it has been made for, by which a network is asked to connect them; `None` when it is for
    /// whichever pods there are, also later.
    pub known: Option<BTreeSet<String>>,
}

impl PolicyPlan {
    /// Whether it has been made for a pod.
    pub fn knows(&self, uid: &str) -> bool {
        self.known.as_ref().is_none_or(|known| known.contains(uid))
    }
}

/// What one pod may receive and send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPolicy {
    /// `namespace/name`.
    pub pod: String,
    /// The uid by which a network is asked to connect it.
    pub uid: String,
    /// Its addresses as far as the cluster knows them. A network that has connected it knows them before.
    pub ips: Vec<IpAddr>,
    /// What it may receive; `None` is everything.
    pub ingress: Option<Vec<Allowed>>,
    /// What it may send; `None` is everything.
    pub egress: Option<Vec<Allowed>>,
}

/// Traffic that is allowed: with one of these peers, and at one of these ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Which rule says so, one word in the cluster: peers of the same rule are the same.
    pub rule: String,
    /// With whom; `None` is everybody.
    pub peers: Option<Peers>,
    /// At which ports of the receiver; `None` is all, of every protocol.
    pub ports: Option<Vec<PortRange>>,
}

/// Addresses that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// Those of pods, in order.
    pub pods: Vec<IpAddr>,
    /// Ranges.
    pub blocks: Vec<Block>,
}

/// A range of addresses but for parts of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The range, its first address and how many leading bits count.
    pub range: (IpAddr, u8),
    /// Parts that are not in it.
    pub except: Vec<(IpAddr, u8)>,
}

/// Ports of one protocol, all of them if there are no bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first and the last.
    pub bounds: Option<(u16, u16)>,
}
