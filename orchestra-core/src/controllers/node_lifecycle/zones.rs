//! How fast nodes that fail are given up, by how the others of their zone do. Pure.
//!
//! When many nodes of a zone fail at once, the fault is rather in between than in the nodes, and there would be little
//! room for their pods elsewhere: then they are given up slowly, or not at all.

use std::collections::HashMap;
use std::time::Duration;

use crate::selector::LabelSet;

/// From this number on, if their share is large enough, many nodes fail.
const MANY: usize = 3;
/// What has a node not count, whether it fails or not.
const NOT_COUNTED: &str = "node.kubernetes.io/exclude-disruption";

/// How fast nodes that fail are given up: nodes a second, of each zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvictionRates {
    /// While few nodes of the zone fail, or all of them while those of others do not: 0.1. Zero for never.
    pub usual: f64,
    /// While many of a large zone fail: 0.01. Of a smaller one, none is given up then.
    pub reduced: f64,
    /// More nodes than this make a zone large: 50.
    pub large: usize,
    /// From which share on many nodes fail: 0.55.
    pub unhealthy: f64,
}

impl Default for EvictionRates {
    fn default() -> Self {
        Self { usual: 0.1, reduced: 0.01, large: 50, unhealthy: 0.55 }
    }
}

/// The nodes of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) ready: usize,
    pub(super) failing: usize,
}

/// The name of a node's zone: empty if it says none.
pub(super) fn name(labels: &LabelSet) -> String {
    let label = |key: &str| labels.get(key).unwrap_or_default();
    let (region, zone) = (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"));
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}/{zone}") }
}

/// Whether a node counts among those of its zone.
pub(super) fn counts(labels: &LabelSet) -> bool {
    labels.get(NOT_COUNTED).is_none()
}

/// When a node that fails may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// One after each pause.
    After(Duration),
    /// Not while so many of its zone fail. One that is given up already stays so.
    NotNow,
    /// Not at all, and those that were given up are taken back: every node fails, so it is rather we who are cut off.
    TakeBack,
}

/// Decides for the nodes of one zone.
pub(super) fn give_up(zones: &HashMap<String, Zone>, name: &str, rates: EvictionRates) -> GiveUp {
    let all_fail = |zone: &Zone| zone.ready == 0 && zone.failing > 0;
    if !zones.is_empty() && zones.values().all(all_fail) {
        return GiveUp::TakeBack;
    }
    let zone = zones.get(name).copied().unwrap_or_default();
    let total = zone.ready + zone.failing;
    let share = zone.failing as f64 / total.max(1) as f64;
    let many = zone.failing >= MANY && share >= rates.unhealthy;
    // A zone that is gone as a whole is given up like a single node: the others have room to spare for that.
    let rate = match many && !all_fail(&zone) {
        false => rates.usual,
        true if total > rates.large => rates.reduced,
        true => 0.0,
    };
    // What is no rate, such as one below zero, is none.
    match Duration::try_from_secs_f64(rate.recip()) {
        Ok(pause) if rate > 0.0 => GiveUp::After(pause),
        _ => GiveUp::NotNow,
    }
}

/// When a node of each zone was given up last, by steady time.
#[derive(Debug, Default)]
pub(super) struct Given(HashMap<String, Duration>);

impl Given {
    /// Whether another node of a zone may be given up now, which then counts as done.
    pub(super) fn take(&mut self, zone: &str, pause: Duration, now: Duration) -> bool {
        let free = self.0.get(zone).is_none_or(|last| now.saturating_sub(*last) >= pause);
        if free {
            self.0.insert(zone.to_owned(), now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn the_more_nodes_of_a_zone_fail_the_slower_they_are_given_up() {
        let (soon, slowly) = (GiveUp::After(PAUSE), GiveUp::After(Duration::from_secs(100)));
        for (ready, failing, expected) in [
            (3, 1, soon),
            (1, 1, soon),
            (1, 2, soon),
            (2, 3, GiveUp::NotNow),
            (3, 3, soon),
            (40, 60, slowly),
            (60, 40, soon),
            (0, 1, GiveUp::TakeBack),
            (0, 100, GiveUp::TakeBack),
        ] {
            let zones = HashMap::from([(String::new(), Zone { ready, failing })]);
            let found = give_up(&zones, "", EvictionRates::default());
            assert_eq!(found, expected, "{ready} ready, {failing} failing");
        }
    }

    #[test]
    fn rates_and_what_is_many_may_be_said() {
        let rates = EvictionRates { usual: 1.0, reduced: 0.5, large: 4, unhealthy: 0.7 };
        let seconds = |seconds| GiveUp::After(Duration::from_secs(seconds));
        let none = EvictionRates { usual: 0.0, reduced: -1.0, ..rates };
        for (ready, failing, rates, expected) in [
            (1, 3, rates, GiveUp::NotNow),
            (2, 3, rates, seconds(1)),
            (1, 4, rates, seconds(2)),
            (3, 1, none, GiveUp::NotNow),
            (1, 4, none, GiveUp::NotNow),
            (3, 1, EvictionRates { usual: f64::NAN, ..rates }, GiveUp::NotNow),
        ] {
            let zones = HashMap::from([(String::new(), Zone { ready, failing })]);
            assert_eq!(give_up(&zones, "", rates), expected, "{ready} ready, {failing} failing: {rates:?}");
        }
        assert_eq!(give_up(&HashMap::new(), "", rates), seconds(1), "no node of any zone counts");
    }

    #[test]
    fn a_zone_that_is_gone_is_given_up_while_another_is_there() {
        let zone = |ready, failing| Zone { ready, failing };
        let zones = HashMap::from([("a".to_owned(), zone(0, 4)), ("b".to_owned(), zone(4, 0))]);
        let rates = EvictionRates::default();
        assert_eq!(give_up(&zones, "a", rates), GiveUp::After(PAUSE));
        let none = HashMap::from([("a".to_owned(), zone(0, 4)), ("b".to_owned(), zone(0, 1))]);
        assert_eq!(give_up(&none, "a", rates), GiveUp::TakeBack);
    }

    #[test]
    fn one_node_of_a_zone_is_given_up_in_a_pause() {
        let mut given = Given::default();
        let at = Duration::from_secs;
        assert!(given.take("a", PAUSE, at(100)));
        assert!(!given.take("a", PAUSE, at(109)));
        assert!(given.take("b", PAUSE, at(109)));
        assert!(given.take("a", PAUSE, at(110)));
    }
}
