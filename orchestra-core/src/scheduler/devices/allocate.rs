//! The search for devices on one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::resource::v1 as api;
use serde_json::{Value, json};

use super::capacity::{self, Amounts};
use super::view::{DeviceClaim, DeviceClassInfo, Held, Nodes, Way, qualified};
use super::{Counters, Devices, Share, Taken, Wanted, give, take};
use crate::expression::Attribute;
use crate::scheduler::volumes::At;

/// After so many devices were tried, it is given up: what asks for more is a riddle and no request.
const MOST_STEPS: usize = 100_000;

/// What a claim of a pod is to have, or has already.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    pub(crate) claim: Arc<DeviceClaim>,
    /// What its status is to say; `None`: it says so already.
    pub(super) result: Option<Value>,
    taken: Taken,
}

impl Allocation {
    /// Whether it is still to be written.
    pub(super) fn is_new(&self) -> bool {
        self.result.is_some()
    }

    /// What is still to be written.
    #[cfg(test)]
    pub(crate) fn status(&self) -> Option<&Value> {
        self.result.as_ref()
    }

    /// The devices that it takes.
    pub(super) fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

/// What a node is to the claims of a pod.
#[derive(Clone, Debug)]
pub(crate) enum OnNode {
    /// It will do, once so much is allocated.
    Fits(Vec<Allocation>),
    /// What a claim has cannot be used there.
    Elsewhere,
    /// There are not the devices there that are asked for.
    TooFew,
    /// A selector has no answer.
    Fault(String),
}

impl Wanted {
    /// What a node is to them.
    pub(crate) fn allocate(&self, devices: &Devices, at: At<'_>) -> OnNode {
        if !self.is_reached_from(at.name, at.labels) {
            return OnNode::Elsewhere;
        }
        let new: Vec<_> = self.claims.iter().filter(|claim| claim.allocated.is_none()).collect();
        let mut allocations: Vec<Allocation> = self
            .claims
            .iter()
            .filter(|claim| claim.allocated.is_some())
            .map(|claim| Allocation { claim: Arc::clone(claim), result: None, taken: Taken::default() })
            .collect();
        if !new.is_empty() {
            let mut search = match Search::new(devices, &new, at) {
                Ok(search) => search,
                Err(why) => return why,
            };
            if !search.request(0) {
                return search.fault.map_or(OnNode::TooFew, OnNode::Fault);
            }
            let found = new.iter().enumerate();
            allocations.extend(found.map(|(number, claim)| search.allocation(number, claim, at.name)));
        }
        OnNode::Fits(allocations)
    }
}

/// A request of one of the claims.
struct Request<'d> {
    claim: usize,
    ways: Vec<(&'d Way, &'d DeviceClassInfo, Vec<usize>)>,
}

/// A device that was chosen.
struct Chosen<'d> {
    claim: usize,
    way: &'d Way,
    class: &'d DeviceClassInfo,
    device: usize,
    /// What is given of one that others may have too.
    share: Option<Amounts>,
}

struct Search<'d> {
    claims: Vec<&'d DeviceClaim>,
    requests: Vec<Request<'d>>,
    /// The devices that can be had on the node, and the pool of each.
    there: Vec<(&'d Held, usize)>,
    counters: Vec<Counters>,
    /// Of the devices there, those that somebody has.
    taken: HashSet<usize>,
    /// What is given of those that several may have.
    shares: HashMap<usize, Share>,
    chosen: Vec<Chosen<'d>>,
    steps: usize,
    fault: Option<String>,
}

impl<'d> Search<'d> {
    fn new(devices: &'d Devices, claims: &[&'d Arc<DeviceClaim>], at: At<'_>) -> Result<Self, OnNode> {
        let mut search = Self {
            claims: claims.iter().map(|claim| &***claim).collect(),
            requests: Vec::new(),
            there: Vec::new(),
            counters: Vec::new(),
            taken: HashSet::new(),
            shares: HashMap::new(),
            chosen: Vec::new(),
            steps: 0,
            fault: None,
        };
        let (taken, shared) = (devices.taken(), devices.shared());
        let mut partial = false;
        for pool in devices.pools().into_values() {
            let here = |device: &&Arc<Held>| {
                device.nodes.as_ref().is_some_and(|nodes| nodes.include(at.name, at.labels))
            };
            let all = || pool.slices.iter().copied().flat_map(|slice| &slice.devices);
            if !pool.is_complete() {
                partial |= all().any(|device| here(&device));
                continue;
            }
            let mut counters: Counters = Counters::new();
            for (set, name, amount) in pool.slices.iter().copied().flat_map(|slice| &slice.counters) {
                counters.insert((set.clone(), name.clone()), *amount);
            }
            let had = |device: &&Arc<Held>| taken.contains(&device.id) || shared.contains_key(&device.id);
            all().filter(had).for_each(|it| give(&mut counters, it, false));
            let pool = search.counters.len();
            search.there.extend(all().filter(here).map(|device| (&**device, pool)));
            search.counters.push(counters);
        }
        // Those for which nobody has to be waited come first.
        search.there.sort_by_key(|(device, _)| device.conditions.is_some());
        for (index, (device, _)) in search.there.iter().enumerate() {
            if taken.contains(&device.id) {
                search.taken.insert(index);
            }
            if let Some(share) = shared.get(&device.id) {
                search.shares.insert(index, share.clone());
            }
        }
        for (number, claim) in claims.iter().enumerate() {
            for ways in &claim.requests {
                let mut request = Request { claim: number, ways: Vec::new() };
                for way in ways {
                    let Some(class) = devices.classes.get(&way.class) else { continue };
                    // It is not known of which devices all are wanted.
                    if way.count.is_none() && partial {
                        continue;
                    }
                    let fitting = search.fitting(way, class).map_err(OnNode::Fault)?;
                    request.ways.push((way, class, fitting));
                }
                search.requests.push(request);
            }
        }
        Ok(search)
    }

    /// The devices that a way may use, whoever has them.
    fn fitting(&self, way: &Way, class: &DeviceClassInfo) -> Result<Vec<usize>, String> {
        let mut fitting = Vec::new();
        'devices: for (index, (device, _)) in self.there.iter().enumerate() {
            for selector in class.selectors.iter().chain(&way.selectors) {
                match selector.selects(&device.seen) {
                    Ok(true) => {}
                    Ok(false) => continue 'devices,
                    Err(why) => {
                        let (id, name) = (&device.id, &way.name);
                        return Err(format!(
                            "request {name}: the selector has no answer for the device {}/{}/{}: {why}",
                            id.driver, id.pool, id.device
                        ));
                    }
                }
            }
            if way.is_admin || device.taints.iter().all(|taint| is_tolerated(taint, &way.tolerations)) {
                fitting.push(index);
            }
        }
        Ok(fitting)
    }

    /// Whether the requests from one on can be met, with what was chosen so far.
    fn request(&mut self, number: usize) -> bool {
        let Some(request) = self.requests.get(number) else { return true };
        let claim = request.claim;
        for way in 0..request.ways.len() {
            let (way, class, fitting) = self.requests[number].ways[way].clone();
            let met = match way.count {
                Some(count) => self.some(number, (claim, way, class), &fitting, count),
                None => !fitting.is_empty() && self.all(number, (claim, way, class), &fitting),
            };
            if met {
                return true;
            }
        }
        false
    }

    /// So many more of the devices, and then the other requests.
    fn some(
        &mut self,
        number: usize,
        by: (usize, &'d Way, &'d DeviceClassInfo),
        fitting: &[usize],
        count: usize,
    ) -> bool {
        if count == 0 {
            return self.request(number + 1);
        }
        // One that several may have, a request may have several times.
        let again = |device: &usize| self.there[*device].0.seen.is_shared;
        if fitting.len() < count && !fitting.iter().any(again) {
            return false;
        }
        for (at, device) in fitting.iter().enumerate() {
            self.steps += 1;
            if self.steps > MOST_STEPS {
                return false;
            }
            if self.choose(by, *device) {
                let next = at + usize::from(!self.there[*device].0.seen.is_shared);
                if self.some(number, by, &fitting[next..], count - 1) {
                    return true;
                }
                self.put_back();
            }
        }
        false
    }

    /// All of the devices, and then the other requests.
    fn all(&mut self, number: usize, by: (usize, &'d Way, &'d DeviceClassInfo), fitting: &[usize]) -> bool {
        let before = self.chosen.len();
        if fitting.iter().all(|device| self.choose(by, *device)) && self.request(number + 1) {
            return true;
        }
        while self.chosen.len() > before {
            self.put_back();
        }
        false
    }

    fn choose(&mut self, (claim, way, class): (usize, &'d Way, &'d DeviceClassInfo), device: usize) -> bool {
        let share = match way.is_admin {
            true => None,
            false => match self.take(way, device) {
                Some(share) => share,
                None => return false,
            },
        };
        self.chosen.push(Chosen { claim, way, class, device, share });
        if self.agrees(claim) {
            return true;
        }
        self.put_back();
        false
    }

    /// Takes a device, or a share of it, whose amounts are answered then; `None` if that cannot be.
    fn take(&mut self, way: &Way, device: usize) -> Option<Option<Amounts>> {
        let (held, pool) = self.there[device];
        let given = capacity::given(&held.capacities, &way.capacity)?;
        if !held.seen.is_shared {
            let is_free = !self.taken.contains(&device) && take(&mut self.counters[pool], held);
            return is_free.then(|| {
                self.taken.insert(device);
                None
            });
        }
        let share = self.shares.entry(device).or_default();
        // However many have it, it takes of the pool's counters once.
        let is_left = capacity::is_left(&held.capacities, &share.amounts, &given)
            && (share.by > 0 || take(&mut self.counters[pool], held));
        is_left.then(|| {
            share.give(&given);
            Some(given)
        })
    }

    fn put_back(&mut self) {
        let Some(Chosen { way, device, share, .. }) = self.chosen.pop() else { return };
        if way.is_admin {
            return;
        }
        let is_free = match (share, self.shares.get_mut(&device)) {
            (Some(amounts), Some(share)) => {
                share.take_back(&amounts);
                share.by == 0
            }
            _ => self.taken.remove(&device),
        };
        if is_free {
            let (held, pool) = self.there[device];
            give(&mut self.counters[pool], held, true);
        }
    }

    /// Whether what a claim is to have agrees with its constraints.
    fn agrees(&self, claim: usize) -> bool {
        let of_claim = |chosen: &&Chosen<'_>| chosen.claim == claim;
        self.claims[claim].constraints.iter().all(|constraint| {
            let named = constraint.requests.as_deref().unwrap_or_default();
            let chosen =
                self.chosen.iter().filter(of_claim).filter(|chosen| is_meant(named, &chosen.way.name));
            let attribute = |name: &str| {
                let values: Option<Vec<&Attribute>> = chosen
                    .map(|chosen| {
                        let device = self.there[chosen.device].0;
                        let (domain, name) = qualified(name, &device.id.driver);
                        device.seen.attributes.get(&domain)?.get(&name)
                    })
                    .collect();
                values
            };
            match (&constraint.match_attribute, &constraint.distinct_attribute) {
                (Some(name), _) => {
                    attribute(name).is_some_and(|values| values.windows(2).all(|two| two[0] == two[1]))
                }
                (None, Some(name)) => attribute(name).is_some_and(|values| {
                    values.iter().enumerate().all(|(at, value)| !values[..at].contains(value))
                }),
                (None, None) => true,
            }
        })
    }

    /// What the status of a claim is to say.
    fn allocation(&self, number: usize, claim: &Arc<DeviceClaim>, node: &str) -> Allocation {
        let chosen = || self.chosen.iter().filter(|chosen| chosen.claim == number);
        let results: Vec<Value> = chosen()
            .map(|chosen| {
                let held = self.there[chosen.device].0;
                let id = &held.id;
                let mut result = json!({
                    "request": chosen.way.name, "driver": *id.driver, "pool": *id.pool, "device": *id.device,
                });
                if chosen.way.is_admin {
                    result["adminAccess"] = true.into();
                }
                if !chosen.way.tolerations.is_empty() {
                    result["tolerations"] = json!(chosen.way.tolerations);
                }
                if let Some(amounts) = &chosen.share {
                    let amounts = amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string()));
                    result["consumedCapacity"] = amounts.collect();
                }
                if let Some(conditions) = held.conditions.as_ref().filter(|_| !chosen.way.is_admin) {
                    result["bindingConditions"] = json!(conditions.ready);
                    result["bindingFailureConditions"] = json!(conditions.failed);
                }
                result
            })
            .collect();
        let mut config = Vec::new();
        let mut ways = BTreeMap::new();
        for chosen in chosen() {
            if ways.insert(&chosen.way.name, ()).is_none() {
                config.extend(chosen.class.config.iter().map(
                    |one| json!({"source": "FromClass", "requests": [chosen.way.name], "opaque": one.opaque}),
                ));
            }
        }
        for one in &claim.config {
            let named = one.requests.as_deref().unwrap_or_default();
            if chosen().any(|chosen| is_meant(named, &chosen.way.name)) {
                config.push(json!({"source": "FromClaim", "requests": named, "opaque": one.opaque}));
            }
        }
        let mut result = json!({"devices": {"results": results}});
        if !config.is_empty() {
            result["devices"]["config"] = config.into();
        }
        if let Some(selector) = nodes(chosen().map(|chosen| self.there[chosen.device].0), node) {
            result["nodeSelector"] = selector;
        }
        let mut taken = Taken::default();
        for chosen in chosen().filter(|chosen| !chosen.way.is_admin) {
            let id = self.there[chosen.device].0.id.clone();
            match &chosen.share {
                Some(amounts) => taken.shares.push((id, amounts.clone())),
                None => taken.whole.push(id),
            }
        }
        Allocation { claim: Arc::clone(claim), result: Some(result), taken }
    }
}

/// Whether a list of requests, where none means all, has one, or the request that it is an alternative of.
fn is_meant(named: &[String], way: &str) -> bool {
    let request = way.split_once('/').map_or(way, |(request, _)| request);
    named.is_empty() || named.iter().any(|name| name == way || name == request)
}

fn is_tolerated(taint: &api::DeviceTaint, tolerations: &[api::DeviceToleration]) -> bool {
    let tolerates = |toleration: &api::DeviceToleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let same =
            || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
        (key.is_empty() || key == taint.key)
            && (effect.is_empty() || effect == taint.effect)
            && (toleration.operator.as_deref() == Some("Exists") || same())
    };
    !matches!(&*taint.effect, "NoSchedule" | "NoExecute") || tolerations.iter().any(tolerates)
}

fn only(node: &str) -> Value {
    json!({"nodeSelectorTerms": [{
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}],
    }]})
}

/// The nodes on which all of the devices can be used; `None`: every node.
fn nodes<'h>(devices: impl Iterator<Item = &'h Held>, node: &str) -> Option<Value> {
    let mut terms: Vec<core::NodeSelectorRequirement> = Vec::new();
    let mut fields: Vec<core::NodeSelectorRequirement> = Vec::new();
    for device in devices {
        match &device.nodes {
            _ if device.binds_to_node => return Some(only(node)),
            Some(Nodes::Named(_)) => return Some(only(node)),
            Some(Nodes::Selected(selector)) => {
                for term in &selector.1.node_selector_terms {
                    terms.extend(term.match_expressions.iter().flatten().cloned());
                    fields.extend(term.match_fields.iter().flatten().cloned());
                }
            }
            Some(Nodes::All) | None => {}
        }
    }
    let mut unique = Vec::new();
    for term in terms {
        if !unique.contains(&term) {
            unique.push(term);
        }
    }
    fields.dedup();
    let mut term = json!({});
    if !unique.is_empty() {
        term["matchExpressions"] = json!(unique);
    }
    if !fields.is_empty() {
        term["matchFields"] = json!(fields);
    }
    (term != json!({})).then(|| json!({"nodeSelectorTerms": [term]}))
}
