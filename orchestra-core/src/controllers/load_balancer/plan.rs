//! Which Service has which addresses: pure.
//!
//! What Services have is read from them, so nothing is kept beside them, and what a Service that is gone had is free.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::pool::{AddressPool, Family};

/// A Service, as far as load balancers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// Namespace and name.
    pub(super) name: (String, String),
    pub(super) created: Timestamp,
    /// Whether it is of type LoadBalancer and of no class or ours.
    pub(super) is_ours: bool,
    /// Whether the addresses that it shows are out of a pool of ours.
    pub(super) is_marked: bool,
    /// Whether it is of type LoadBalancer and shows anything as its balancer.
    pub(super) shows: bool,
    /// The families that it is to have an address of.
    pub(super) families: Vec<Family>,
    /// Whether it may not have fewer.
    pub(super) all_families: bool,
    /// Addresses that it asks for, as they are written; with one that is none it gets none.
    pub(super) wished: Vec<Result<IpAddr, String>>,
    /// What it shows.
    pub(super) held: Vec<IpAddr>,
    /// Addresses of its own that no balancer may have.
    pub(super) external: Vec<IpAddr>,
}

/// What is to become of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Outcome {
    /// The addresses that it is to show, if others than it does. None of them: it shows no balancer any more.
    pub(super) show: Option<Vec<IpAddr>>,
    /// Why it has not all that it asks for.
    pub(super) lacks: Option<String>,
}

/// What is to become of each Service, in their order.
pub(super) fn plan(pool: &AddressPool, services: &[Asking]) -> Vec<Outcome> {
    let asks = |service: &Asking| service.is_ours && !pool.is_empty();
    let mut taken: BTreeSet<IpAddr> =
        services.iter().flat_map(|service| &service.external).copied().collect();
    // What others give their Services is theirs.
    let others = services.iter().filter(|service| !service.is_ours && !service.is_marked);
    taken.extend(others.flat_map(|service| &service.held));
    let mut order: Vec<usize> = (0..services.len()).filter(|index| asks(&services[*index])).collect();
    order.sort_by_key(|index| (services[*index].created, &services[*index].name));

    let mut given: Vec<Vec<IpAddr>> = vec![Vec::new(); services.len()];
    let mut lacks: Vec<Option<String>> = vec![None; services.len()];
    for index in &order {
        given[*index] = kept(pool, &services[*index], &mut taken);
    }
    // Who asks for an address comes before those for whom any will do.
    for index in order.iter().filter(|index| !services[**index].wished.is_empty()) {
        let wished = wished(pool, &services[*index], &given[*index], &mut taken);
        match wished {
            Ok(more) => given[*index].extend(more),
            Err(why) => lacks[*index] = Some(why),
        }
    }
    for index in order.iter().filter(|index| services[**index].wished.is_empty()) {
        lacks[*index] = unwished(pool, &services[*index], &mut given[*index], &mut taken);
    }
    let outcome = |((service, addresses), lacks): ((&Asking, Vec<IpAddr>), Option<String>)| {
        let differs = match (asks(service), service.is_marked) {
            (true, marked) => {
                (!marked && service.shows) || addresses != service.held || (marked && addresses.is_empty())
            }
            (false, marked) => marked,
        };
        Outcome { show: differs.then_some(addresses), lacks }
    };
    services.iter().zip(given).zip(lacks).map(outcome).collect()
}

/// Of what a Service has, what it may keep: one of each family, out of the pool, and not another's.
fn kept(pool: &AddressPool, service: &Asking, taken: &mut BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let wished: Vec<IpAddr> = service.wished.iter().filter_map(|wish| wish.as_ref().ok()).copied().collect();
    if wished.len() < service.wished.len() {
        return Vec::new();
    }
    let mut kept: Vec<IpAddr> = Vec::new();
    for address in &service.held {
        let family = Family::of(*address);
        let fits = match wished.is_empty() {
            true => {
                service.families.contains(&family) && !kept.iter().any(|other| Family::of(*other) == family)
            }
            false => wished.contains(address),
        };
        if fits && pool.contains(*address) && taken.insert(*address) {
            kept.push(*address);
        }
    }
    kept
}

/// The addresses that a Service asks for and has not; all of them or none.
fn wished(
    pool: &AddressPool,
    service: &Asking,
    has: &[IpAddr],
    taken: &mut BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, String> {
    let mut more = Vec::new();
    for wish in &service.wished {
        let address = match wish {
            Ok(address) => *address,
            Err(text) => return Err(format!("{text:?}, which it asks for, is no address")),
        };
        if has.contains(&address) || more.contains(&address) {
            continue;
        }
        if !pool.contains(address) {
            return Err(format!("{address}, which it asks for, is not among the addresses {pool}"));
        }
        if taken.contains(&address) {
            return Err(format!("{address}, which it asks for, is another Service's"));
        }
        more.push(address);
    }
    taken.extend(&more);
    Ok(more)
}

/// Gives a Service what it has not of its families, and says what could not be given.
fn unwished(
    pool: &AddressPool,
    service: &Asking,
    given: &mut Vec<IpAddr>,
    taken: &mut BTreeSet<IpAddr>,
) -> Option<String> {
    let mut lacks = Vec::new();
    for family in &service.families {
        if given.iter().any(|address| Family::of(*address) == *family) {
            continue;
        }
        match pool.free(*family, |address| taken.contains(&address)) {
            Some(address) => {
                taken.insert(address);
                given.push(address);
            }
            None if pool.has(*family) => lacks.push(format!("no {family} address of {pool} is free")),
            None => lacks.push(format!("there is no {family} address among {pool}")),
        }
    }
    let enough = !given.is_empty() && !service.all_families;
    (!lacks.is_empty() && !enough).then(|| lacks.join("; "))
}

#[cfg(test)]
mod tests {
    use std::slice;

    use proptest::prelude::*;

    use super::*;

    fn pool(ranges: &[&str]) -> AddressPool {
        ranges.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>().into()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn service(name: &str) -> Asking {
        Asking {
            name: ("default".to_owned(), name.to_owned()),
            created: Timestamp::UNIX_EPOCH,
            is_ours: true,
            is_marked: false,
            shows: false,
            families: vec![Family::V4],
            all_families: false,
            wished: Vec::new(),
            held: Vec::new(),
            external: Vec::new(),
        }
    }

    fn with(name: &str, held: &str) -> Asking {
        Asking { is_marked: true, shows: true, held: vec![address(held)], ..service(name) }
    }

    fn asks(name: &str, wish: &str) -> Asking {
        Asking { wished: vec![wish.parse().map_err(|_| wish.to_owned())], ..service(name) }
    }

    fn shown(outcomes: &[Outcome]) -> Vec<String> {
        let text = |outcome: &Outcome| {
            let show = outcome.show.as_ref().map(|all| {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                format!("show [{}]", all.join(", "))
            });
            [show, outcome.lacks.clone()].into_iter().flatten().collect::<Vec<_>>().join(": ")
        };
        outcomes.iter().map(text).collect()
    }

    #[test]
    fn each_gets_one_and_keeps_it() {
        let pool = pool(&["192.0.2.1-192.0.2.3"]);
        let services = [service("c"), with("b", "192.0.2.1"), service("a"), service("d")];
        let exhausted = "no IPv4 address of 192.0.2.1-192.0.2.3 is free";
        assert_eq!(shown(&plan(&pool, &services)), ["show [192.0.2.3]", "", "show [192.0.2.2]", exhausted]);
        let older =
            Asking { created: Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(9), ..service("z") };
        let first = plan(&pool, &[service("a"), older]);
        assert_eq!(
            shown(&first),
            ["show [192.0.2.2]", "show [192.0.2.1]"],
            "who was there first is served first"
        );
    }

    #[test]
    fn what_is_asked_for_is_given_or_said() {
        let pool = pool(&["192.0.2.1-192.0.2.3"]);
        let services = [
            service("any"),
            asks("first", "192.0.2.1"),
            asks("second", "192.0.2.1"),
            asks("outside", "198.51.100.1"),
            asks("none", "x"),
        ];
        assert_eq!(
            shown(&plan(&pool, &services)),
            [
                "show [192.0.2.2]",
                "show [192.0.2.1]",
                "192.0.2.1, which it asks for, is another Service's",
                "198.51.100.1, which it asks for, is not among the addresses 192.0.2.1-192.0.2.3",
                "\"x\", which it asks for, is no address",
            ]
        );
        let moves = Asking {
            held: vec![address("192.0.2.2")],
            is_marked: true,
            shows: true,
            ..asks("a", "192.0.2.3")
        };
        assert_eq!(shown(&plan(&pool, &[moves])), ["show [192.0.2.3]"]);
    }

    #[test]
    fn what_is_not_ours_is_left_and_what_no_longer_is_ours_is_released() {
        let pool = pool(&["192.0.2.1-192.0.2.3"]);
        let foreign = Asking { is_ours: false, is_marked: false, ..with("foreign", "192.0.2.1") };
        let was = Asking { is_ours: false, ..with("was", "192.0.2.3") };
        let external = Asking { is_ours: false, external: vec![address("192.0.2.2")], ..service("external") };
        let outcomes = plan(&pool, &[foreign.clone(), was.clone(), external, service("new")]);
        assert_eq!(shown(&outcomes), ["", "show []", "", "show [192.0.2.3]"]);
        let by_hand = Asking { is_marked: false, ..with("by-hand", "198.51.100.1") };
        assert_eq!(shown(&plan(&pool, slice::from_ref(&by_hand))), ["show [192.0.2.1]"], "whoever wrote it");
        // Without a pool only what was given out of one is taken back.
        let none = AddressPool::default();
        let outcomes = plan(&none, &[service("new"), with("old", "192.0.2.1"), by_hand, foreign]);
        assert_eq!(shown(&outcomes), ["", "show []", "", ""]);
        assert_eq!(
            shown(&plan(&self::pool(&["192.0.2.9"]), &[with("a", "192.0.2.1")])),
            ["show [192.0.2.9]"]
        );
    }

    #[test]
    fn of_two_families_one_is_enough_unless_both_are_required() {
        let (both, only) = (pool(&["192.0.2.1", "2001:db8::/64"]), pool(&["2001:db8::/64"]));
        let dual = Asking { families: vec![Family::V4, Family::V6], ..service("a") };
        let required = Asking { all_families: true, ..dual.clone() };
        assert_eq!(shown(&plan(&both, slice::from_ref(&dual))), ["show [192.0.2.1, 2001:db8::]"]);
        assert_eq!(shown(&plan(&only, &[dual])), ["show [2001:db8::]"]);
        let lacks = "there is no IPv4 address among 2001:db8::-2001:db8::ffff:ffff:ffff:ffff";
        assert_eq!(shown(&plan(&only, &[required])), [format!("show [2001:db8::]: {lacks}")]);
        assert_eq!(shown(&plan(&only, &[service("b")])), [lacks]);
    }

    fn services() -> impl Strategy<Value = Vec<Asking>> {
        let ip = || (0u8..8).prop_map(|last| IpAddr::from([192, 0, 2, last]));
        let one = (
            any::<bool>(),
            any::<bool>(),
            0i64..3,
            prop::collection::vec(ip(), 0..3),
            prop::option::of(ip()),
            prop::option::of(ip()),
        );
        let made = one.prop_map(|(is_ours, is_marked, age, held, wish, external)| Asking {
            is_ours,
            is_marked,
            shows: !held.is_empty(),
            held,
            created: Timestamp::from_second(age).unwrap(),
            wished: wish.map(Ok).into_iter().collect(),
            external: external.into_iter().collect(),
            ..service("")
        });
        prop::collection::vec(made, 0..8).prop_map(|mut all| {
            all.iter_mut().enumerate().for_each(|(index, service)| service.name.1 = format!("s{index}"));
            all
        })
    }

    /// The Services as they are when all that was planned is done.
    fn after(services: &[Asking], outcomes: &[Outcome]) -> Vec<Asking> {
        let settled = |(service, outcome): (&Asking, &Outcome)| match &outcome.show {
            None => service.clone(),
            Some(all) => Asking {
                held: all.clone(),
                is_marked: !all.is_empty(),
                shows: !all.is_empty(),
                ..service.clone()
            },
        };
        services.iter().zip(outcomes).map(settled).collect()
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice_and_nothing_more_is_to_be_done_then(services in services()) {
            let pool = pool(&["192.0.2.2-192.0.2.5"]);
            let outcomes = plan(&pool, &services);
            let after = after(&services, &outcomes);
            let mut seen = BTreeSet::new();
            for service in after.iter().filter(|service| service.is_ours) {
                for address in &service.held {
                    prop_assert!(pool.contains(*address), "{address} is not of the pool");
                    prop_assert!(seen.insert(*address), "{address} is given twice");
                    let others = after.iter().filter(|other| !other.is_ours);
                    prop_assert!(!others.flat_map(|other| &other.held).any(|held| held == address));
                    prop_assert!(!after.iter().any(|other| other.external.contains(address)));
                    let wish = service.wished.first();
                    prop_assert!(wish.is_none_or(|wish| wish.as_ref() == Ok(address)));
                }
                prop_assert!(service.held.len() <= 1);
                prop_assert!(!service.held.is_empty() || outcomes[service.name.1[1..].parse::<usize>().unwrap()].lacks.is_some());
            }
            let again = plan(&pool, &after);
            prop_assert!(again.iter().all(|outcome| outcome.show.is_none()), "{again:?}");
        }
    }
}
