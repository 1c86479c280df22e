//! How fast nodes that fail are given up, by how the others of their zone do. Pure.
//!
//! When many nodes of a zone fail at once, the fault is rather in between than in the nodes, and there would be little
//! room for their pods elsewhere: then they are given up slowly, or not at all.

use std::collections::HashMap;
use std::time::Duration;

use crate::selector::LabelSet;

/// The pause between two nodes of a zone that are given up, and of a large zone of which many nodes fail.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_PAUSE: Duration = Duration::from_secs(100);
/// More nodes than this make a zone large.
const LARGE: usize = 50;
/// From this share on, in percent, and from this number on many nodes fail.
const MANY_PERCENT: usize = 55;
const MANY: usize = 3;

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
pub(super) fn give_up(zones: &HashMap<String, Zone>, name: &str) -> GiveUp {
    let all_fail = |zone: &Zone| zone.ready == 0 && zone.failing > 0;
    if zones.values().all(all_fail) {
        return GiveUp::TakeBack;
    }
    let zone = zones.get(name).copied().unwrap_or_default();
    let total = zone.ready + zone.failing;
    let many = zone.failing >= MANY && zone.failing * 100 >= total * MANY_PERCENT;
    // A zone that is gone as a whole is given up like a single node: the others have room to spare for that.
    match many && !all_fail(&zone) {
        false => GiveUp::After(PAUSE),
        true if total > LARGE => GiveUp::After(LONG_PAUSE),
        true => GiveUp::NotNow,
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

    #[test]
    fn the_more_nodes_of_a_zone_fail_the_slower_they_are_given_up() {
        let (soon, slowly) = (GiveUp::After(PAUSE), GiveUp::After(LONG_PAUSE));
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
            assert_eq!(give_up(&zones, ""), expected, "{ready} ready, {failing} failing");
        }
    }

    #[test]
    fn a_zone_that_is_gone_is_given_up_while_another_is_there() {
        let zone = |ready, failing| Zone { ready, failing };
        let zones = HashMap::from([("a".to_owned(), zone(0, 4)), ("b".to_owned(), zone(4, 0))]);
        assert_eq!(give_up(&zones, "a"), GiveUp::After(PAUSE));
        let none = HashMap::from([("a".to_owned(), zone(0, 4)), ("b".to_owned(), zone(0, 1))]);
        assert_eq!(give_up(&none, "a"), GiveUp::TakeBack);
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
