//! Which endpoints go into which slice, so that as few slices change as can be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::endpoints::service::{Family, Port};
use crate::selector::Labels;

/// How many endpoints a slice holds at most.
pub(super) const SLICE: usize = 100;

/// What the slices of one owner are to hold together, and carry each.
#[derive(Clone, Debug, Default)]
pub(super) struct Desired {
    pub(super) labels: Labels,
    /// When that happened which they are changed for, if it is known.
    pub(super) changed_at: Option<Time>,
    /// By family of addresses and ports offered.
    pub(super) groups: BTreeMap<(Family, Vec<Port>), Vec<Endpoint>>,
}

/// A slice that there is.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) family: Option<Family>,
    pub(super) ports: Vec<Port>,
    pub(super) labels: Labels,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<New>,
    /// The new endpoints of slices; the labels are those desired.
    pub(super) update: Vec<(String, Vec<Endpoint>)>,
    /// Slices that nothing is left for and that are given other ports and endpoints, so that who watches sees one
    /// slice change and not two side by side.
    pub(super) reuse: Vec<(String, New)>,
    pub(super) delete: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct New {
    pub(super) family: Family,
    pub(super) ports: Vec<Port>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// Distributes the endpoints. What is in a slice stays in it. What is new goes into slices that change anyway, then
/// into the fullest one that takes all that is left, and only then into new ones.
pub(super) fn plan(desired: &Desired, held: &[Held]) -> Plan {
    let mut plan = Plan::default();
    let mut by_group: BTreeMap<(Family, &[Port]), Vec<&Held>> = BTreeMap::new();
    for slice in held {
        match slice.family {
            Some(family) if desired.groups.contains_key(&(family, slice.ports.clone())) => {
                by_group.entry((family, &slice.ports)).or_default().push(slice);
            }
            _ => plan.delete.push(slice.name.clone()),
        }
    }
    for ((family, ports), endpoints) in &desired.groups {
        let slices = by_group.remove(&(*family, &ports[..])).unwrap_or_default();
        let group = Group::new(endpoints, slices, &desired.labels);
        group.distribute(&mut plan, *family, ports);
    }
    reuse(&mut plan, held);
    plan
}

/// Turns deletions and creations into changes, where a slice may have both: its type of addresses cannot change.
fn reuse(plan: &mut Plan, held: &[Held]) {
    let family = |name: &str| held.iter().find(|slice| slice.name == name)?.family;
    for name in std::mem::take(&mut plan.delete) {
        match plan.create.iter().position(|new| family(&name) == Some(new.family)) {
            Some(index) => plan.reuse.push((name, plan.create.remove(index))),
            None => plan.delete.push(name),
        }
    }
}

/// What tells two endpoints apart; the rest of an endpoint may change in its place.
fn identity(endpoint: &Endpoint) -> (Option<&str>, Option<&str>) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    (uid, endpoint.addresses.first().map(String::as_str))
}

/// The endpoints of one family that offer the same ports.
struct Group<'g> {
    slices: Vec<Filling<'g>>,
    left: Vec<&'g Endpoint>,
}

struct Filling<'g> {
    held: &'g Held,
    endpoints: Vec<&'g Endpoint>,
    changed: bool,
}

impl<'g> Group<'g> {
    fn new(desired: &'g [Endpoint], slices: Vec<&'g Held>, labels: &Labels) -> Self {
        let mut wanted: BTreeMap<_, &Endpoint> =
            desired.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
        let fill = |held: &'g Held| {
            let kept = held.endpoints.iter().filter_map(|endpoint| wanted.remove(&identity(endpoint)));
            let endpoints: Vec<_> = kept.collect();
            let same = endpoints.iter().copied().eq(held.endpoints.iter());
            Filling { changed: !same || held.labels != *labels, held, endpoints }
        };
        let slices = slices.into_iter().map(fill).collect();
        Self { slices, left: wanted.into_values().collect() }
    }

    fn distribute(mut self, plan: &mut Plan, family: Family, ports: &[Port]) {
        for slice in self.slices.iter_mut().filter(|slice| slice.changed) {
            let room = SLICE.saturating_sub(slice.endpoints.len()).min(self.left.len());
            slice.endpoints.extend(self.left.drain(..room));
        }
        while self.left.len() > SLICE {
            plan.create.push(new(family, ports, self.left.drain(..SLICE)));
        }
        if !self.left.is_empty() {
            let fits = |slice: &&mut Filling<'_>| slice.endpoints.len() + self.left.len() <= SLICE;
            match self.slices.iter_mut().filter(fits).max_by_key(|slice| slice.endpoints.len()) {
                Some(slice) => {
                    slice.endpoints.append(&mut self.left);
                    slice.changed = true;
                }
                None => plan.create.push(new(family, ports, self.left.drain(..))),
            }
        }
        self.settle(plan, family, ports);
    }

    /// Empty slices go, but one stays when there are no endpoints at all: it says that there are none.
    fn settle(self, plan: &mut Plan, family: Family, ports: &[Port]) {
        let none = plan.create.is_empty() && self.slices.iter().all(|slice| slice.endpoints.is_empty());
        let keep = if none { self.slices.first().map(|slice| slice.held.name.as_str()) } else { None };
        if none && keep.is_none() {
            plan.create.push(new(family, ports, std::iter::empty()));
        }
        for slice in &self.slices {
            let name = &slice.held.name;
            if slice.endpoints.is_empty() && keep != Some(name) {
                plan.delete.push(name.clone());
            } else if slice.changed {
                let endpoints = slice.endpoints.iter().map(|endpoint| (*endpoint).clone()).collect();
                plan.update.push((name.clone(), endpoints));
            }
        }
    }
}

fn new<'e>(family: Family, ports: &[Port], endpoints: impl Iterator<Item = &'e Endpoint>) -> New {
    New { family, ports: ports.to_vec(), endpoints: endpoints.cloned().collect() }
}

/// A port as it stands in a slice.
pub(super) fn endpoint_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: port.port,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

#[cfg(test)]
mod tests;
