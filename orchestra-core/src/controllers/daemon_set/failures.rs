//! How long a daemon that keeps failing on a node is left alone before it is replaced again.

use std::collections::HashMap;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(15 * 60);

/// The nodes on which pods of one DaemonSet failed, by time of the cluster's clock.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The generation that they are about: another may do better.
    generation: i64,
    nodes: HashMap<String, (Duration, Duration)>,
}

impl Failures {
    /// What is left, by node; what is long ago is forgotten.
    pub(super) fn waits(&mut self, generation: i64, now: Duration) -> HashMap<String, Duration> {
        if self.generation != generation {
            *self = Self { generation, nodes: HashMap::new() };
        }
        self.nodes.retain(|_, (since, _)| now.saturating_sub(*since) <= MOST * 2);
        let left = self
            .nodes
            .iter()
            .map(|(node, (since, delay))| (node.clone(), (*since + *delay).saturating_sub(now)));
        left.filter(|(_, left)| !left.is_zero()).collect()
    }

    /// A pod that failed is replaced now: the next one that fails has to wait twice as long.
    pub(super) fn replaced(&mut self, node: &str, now: Duration) {
        let delay = self.nodes.get(node).map_or(FIRST, |(_, delay)| (*delay * 2).min(MOST));
        self.nodes.insert(node.to_owned(), (now, delay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_is_waited_for_twice_as_long() {
        let at = Duration::from_secs;
        let mut failures = Failures::default();
        assert!(failures.waits(1, at(0)).is_empty());
        failures.replaced("n", at(0));
        assert_eq!(failures.waits(1, at(0)), HashMap::from([("n".to_owned(), at(1))]));
        assert!(failures.waits(1, at(1)).is_empty());
        failures.replaced("n", at(1));
        assert_eq!(failures.waits(1, at(2)), HashMap::from([("n".to_owned(), at(1))]));
        // Another generation, and a long time without, begin anew.
        assert!(failures.waits(2, at(2)).is_empty());
        failures.replaced("n", at(2));
        failures.waits(2, at(4_000));
        failures.replaced("n", at(4_000));
        assert_eq!(failures.waits(2, at(4_000)), HashMap::from([("n".to_owned(), at(1))]));
    }
}
