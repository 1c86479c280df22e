//! How many pods there may be too many or too few while a Deployment rolls.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::share::share;

/// The bounds of a rolling update, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) replicas: i32,
    /// How many more there may be.
    pub(super) surge: i32,
    /// How many fewer of them may be available.
    pub(super) unavailable: i32,
}

impl Bounds {
    /// The bounds that a Deployment sets. One that recreates its pods sets none.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self { replicas, surge: 0, unavailable: 0 };
        }
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        Self::resolve(replicas, surge, unavailable)
    }

    /// Percentages of surge are rounded up and those of unavailability down. Both 0 would stop a rollout for ever:
    /// then one pod may be unavailable.
    pub(super) fn resolve(replicas: i32, surge: &IntOrString, unavailable: &IntOrString) -> Self {
        let surge = share(surge, replicas, true);
        let mut unavailable = share(unavailable, replicas, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// The most pods there may be.
    pub(super) fn most(self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// The fewest available pods there must be.
    pub(super) fn least(self) -> i32 {
        self.replicas - self.unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_to_the_safe_side() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        for (replicas, surge, unavailable, expected) in [
            (10, percent("25%"), percent("25%"), (3, 2)),
            (1, percent("25%"), percent("25%"), (1, 0)),
            (4, IntOrString::Int(0), percent("10%"), (0, 1)),
            (4, IntOrString::Int(0), IntOrString::Int(0), (0, 1)),
            (2, IntOrString::Int(1), IntOrString::Int(5), (1, 2)),
            (0, percent("25%"), percent("25%"), (0, 0)),
            (3, percent("100%"), percent("0%"), (3, 0)),
            (3, percent("nonsense"), IntOrString::Int(-1), (0, 1)),
        ] {
            let bounds = Bounds::resolve(replicas, &surge, &unavailable);
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{replicas} {surge:?} {unavailable:?}");
        }
    }
}
