//! How fast an autoscaler may do what figures ask for: its history, the windows in which it makes up its mind, and the
//! policies that bound what may change in a period.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// How long a lower number waits when nothing is said.
const DOWN_WINDOW: Duration = Duration::from_secs(300);
/// Without a behavior, pods are at most doubled at a time, and always made up to so many.
const DOUBLING: f64 = 2.0;
const FREE: f64 = 4.0;
/// The longest window and period that can be asked for: what is older is of no use to any.
const LONGEST: Duration = Duration::from_secs(3600);

/// What an autoscaler remembers. It begins anew when its controller does. Times are the clock's, which does not jump.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// What figures asked for, and when.
    recommended: Vec<(Duration, i32)>,
    /// By how many pods it changed, and when: more or less.
    changed: Vec<(Duration, i32)>,
}

impl History {
    /// The number there is when an autoscaler begins counts as recommended.
    pub(super) fn begin(&mut self, replicas: i32, now: Duration) {
        if self.recommended.is_empty() {
            self.recommended.push((now, replicas));
        }
    }

    fn recommend(&mut self, replicas: i32, now: Duration) {
        self.recommended.retain(|(at, _)| now.saturating_sub(*at) <= LONGEST);
        self.recommended.push((now, replicas));
    }

    /// It changed from one number to another.
    pub(super) fn change(&mut self, from: i32, to: i32, now: Duration) {
        self.changed.retain(|(at, _)| now.saturating_sub(*at) <= LONGEST);
        self.changed.push((now, to.saturating_sub(from)));
    }

    /// How many pods there were a period ago.
    fn at_start(&self, current: i32, period: i32, now: Duration) -> i32 {
        let period = Duration::from_secs(u64::try_from(period).unwrap_or(0));
        let within = self.changed.iter().filter(|(at, _)| now.saturating_sub(*at) < period);
        within.fold(current, |replicas, (_, by)| replicas.saturating_sub(*by))
    }
}

/// The numbers between which a decision is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) current: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

/// A condition's status apart: why, in a word and in a sentence.
pub(super) type Because = (&'static str, &'static str);

/// A number within what is allowed, and what the conditions say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) replicas: i32,
    /// Whether the window held it back.
    pub(super) able: Because,
    /// Whether it is not what was asked for.
    pub(super) limited: bool,
    pub(super) limit: Because,
}

const READY: Because = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Because = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Because = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const UP_LIMIT: Because =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Because =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: Because =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Because =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const WITHIN: Because = ("DesiredWithinRange", "the desired count is within the acceptable range");

/// What becomes of a number that figures ask for.
pub(super) fn decide(
    asked: i32,
    bounds: Bounds,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    history: &mut History,
    now: Duration,
) -> Decision {
    let (stable, held) = match behavior {
        Some(behavior) => stabilized(asked, bounds.current, behavior, history, now),
        None => (highest(asked, DOWN_WINDOW, history, now), DOWN_STABILIZED),
    };
    history.recommend(asked, now);
    let (replicas, limit) = match behavior {
        Some(behavior) => limited(stable, bounds, behavior, history, now),
        None => doubled(stable, bounds),
    };
    let able = if stable == asked { READY } else { held };
    Decision { replicas, able, limited: replicas != stable, limit }
}

/// The highest number that was asked for lately.
fn highest(asked: i32, window: Duration, history: &History, now: Duration) -> i32 {
    let recent = history.recommended.iter().filter(|(at, _)| now.saturating_sub(*at) <= window);
    recent.map(|(_, replicas)| *replicas).fold(asked, i32::max)
}

/// Stays where it is as long as what was asked for lately is on both sides of it.
fn stabilized(
    asked: i32,
    current: i32,
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    now: Duration,
) -> (i32, Because) {
    let window = |rules: Option<&HPAScalingRules>, otherwise: Duration| {
        let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
        seconds.map_or(otherwise, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let within = |window: Duration| {
        let recent = history.recommended.iter().filter(move |(at, _)| now.saturating_sub(*at) < window);
        recent.map(|(_, replicas)| *replicas)
    };
    let lowest = within(window(behavior.scale_up.as_ref(), Duration::ZERO)).fold(asked, i32::min);
    let highest = within(window(behavior.scale_down.as_ref(), DOWN_WINDOW)).fold(asked, i32::max);
    (current.max(lowest).min(highest), if asked >= current { UP_STABILIZED } else { DOWN_STABILIZED })
}

fn doubled(asked: i32, bounds: Bounds) -> (i32, Because) {
    let fastest = (DOUBLING * f64::from(bounds.current)).max(FREE) as i32;
    let (most, why) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    if asked < bounds.min {
        (bounds.min, TOO_FEW)
    } else if asked > most {
        (most, why)
    } else {
        (asked, WITHIN)
    }
}

fn limited(
    asked: i32,
    bounds: Bounds,
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    now: Duration,
) -> (i32, Because) {
    let current = bounds.current;
    if asked > current {
        let limit = fastest(current, behavior.scale_up.as_ref(), history, now, true).max(current);
        let (most, why) = if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        return if asked > most { (most, why) } else { (asked, WITHIN) };
    }
    if asked < current {
        let limit = fastest(current, behavior.scale_down.as_ref(), history, now, false).min(current);
        let (least, why) = if bounds.min < limit { (limit, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
        return if asked < least { (least, why) } else { (asked, WITHIN) };
    }
    (asked, WITHIN)
}

/// How far the policies of a direction let the number go.
fn fastest(current: i32, rules: Option<&HPAScalingRules>, history: &History, now: Duration, up: bool) -> i32 {
    let Some(rules) = rules else { return if up { i32::MAX } else { 0 } };
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let start = history.at_start(current, policy.period_seconds, now);
        let by = if up { policy.value } else { policy.value.saturating_neg() };
        match policy.type_.as_str() {
            "Pods" => start.saturating_add(by),
            // A share of few pods still lets one more come.
            _ if up => (f64::from(start) * (1.0 + f64::from(by) / 100.0)).ceil() as i32,
            _ => (f64::from(start) * (1.0 + f64::from(by) / 100.0)) as i32,
        }
    });
    // The policy that changes most, or least.
    let largest = (select == "Min") != up;
    if largest { proposals.max() } else { proposals.min() }.unwrap_or(current)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn behavior(value: Value) -> HorizontalPodAutoscalerBehavior {
        serde_json::from_value(value).unwrap()
    }

    fn policies(up: Value, down: Value) -> HorizontalPodAutoscalerBehavior {
        behavior(json!({"scaleUp": up, "scaleDown": down}))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const BOUNDS: Bounds = Bounds { current: 10, min: 2, max: 100 };

    #[test]
    fn without_a_behavior_pods_double_and_go_only_after_five_minutes() {
        let mut history = History::default();
        history.begin(10, seconds(0));
        let mut ask = |asked, at| {
            let it = decide(asked, BOUNDS, None, &mut history, seconds(at));
            (it.replicas, it.able.0, it.limited, it.limit.0)
        };
        assert_eq!(ask(50, 10), (20, "ReadyForNewScale", true, "ScaleUpLimit"));
        assert_eq!(ask(5, 20), (20, "ScaleDownStabilized", true, "ScaleUpLimit"));
        assert_eq!(ask(5, 311), (5, "ReadyForNewScale", false, "DesiredWithinRange"));
        assert_eq!(ask(1, 1000), (2, "ReadyForNewScale", true, "TooFewReplicas"));
        let few = Bounds { current: 1, min: 1, max: 3 };
        let it = decide(9, few, None, &mut History::default(), seconds(0));
        assert_eq!((it.replicas, it.limit.0), (3, "TooManyReplicas"));
    }

    #[test]
    fn policies_bound_what_changes_in_a_period() {
        let pods = |value, period| json!({"type": "Pods", "value": value, "periodSeconds": period});
        let percent = |value, period| json!({"type": "Percent", "value": value, "periodSeconds": period});
        let rules = |select: &str, policies: Value| json!({"selectPolicy": select, "policies": policies, "stabilizationWindowSeconds": 0});
        for (what, up, down, asked, expected) in [
            (
                "the larger",
                rules("Max", json!([pods(4, 60), percent(100, 60)])),
                json!({}),
                90,
                (20, "ScaleUpLimit"),
            ),
            (
                "the smaller",
                rules("Min", json!([pods(4, 60), percent(100, 60)])),
                json!({}),
                90,
                (14, "ScaleUpLimit"),
            ),
            ("none", rules("Disabled", json!([pods(4, 60)])), json!({}), 90, (10, "ScaleUpLimit")),
            (
                "the maximum",
                rules("Max", json!([percent(10_000, 60)])),
                json!({}),
                900,
                (100, "TooManyReplicas"),
            ),
            (
                "down, the larger",
                json!({}),
                rules("Max", json!([pods(3, 60), percent(50, 60)])),
                1,
                (5, "ScaleDownLimit"),
            ),
            (
                "down, the smaller",
                json!({}),
                rules("Min", json!([pods(3, 60), percent(50, 60)])),
                1,
                (7, "ScaleDownLimit"),
            ),
            (
                "down to the minimum",
                json!({}),
                rules("Max", json!([percent(100, 60)])),
                1,
                (2, "TooFewReplicas"),
            ),
            ("a little", rules("Max", json!([pods(4, 60)])), json!({}), 12, (12, "DesiredWithinRange")),
        ] {
            let it = decide(asked, BOUNDS, Some(&policies(up, down)), &mut History::default(), seconds(0));
            assert_eq!((it.replicas, it.limit.0), expected, "{what}");
        }
    }

    #[test]
    fn what_changed_in_the_period_counts() {
        let rules =
            policies(json!({"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}), json!({}));
        let mut history = History::default();
        history.change(7, 10, seconds(30));
        let mut ask = |at| decide(90, BOUNDS, Some(&rules), &mut history, seconds(at)).replicas;
        assert_eq!((ask(40), ask(89), ask(90)), (11, 11, 14));
    }

    #[test]
    fn a_window_waits_until_nothing_else_was_asked_for() {
        let rules = policies(
            json!({"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}),
            json!({"stabilizationWindowSeconds": 120, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}),
        );
        let mut history = History::default();
        history.begin(10, seconds(0));
        let mut ask = |asked, at| {
            let it = decide(asked, BOUNDS, Some(&rules), &mut history, seconds(at));
            (it.replicas, it.able.0)
        };
        assert_eq!(ask(20, 30), (10, "ScaleUpStabilized"));
        assert_eq!(ask(15, 61), (15, "ReadyForNewScale"));
        assert_eq!(ask(5, 70), (10, "ScaleDownStabilized"));
        assert_eq!(ask(5, 200), (5, "ReadyForNewScale"));
    }

    proptest! {
        /// Whatever is asked for, and whatever the policies: the number stays within the bounds, and a step is never in
        /// the direction opposite to what is asked for.
        #[test]
        fn never_beyond_the_bounds(
            asked in prop::collection::vec((0i32..300, 0u64..100), 1..40),
            (value, period, window) in (1i32..200, 1i32..1800, 0i32..3600),
            (percent, select) in (any::<bool>(), 0usize..3),
            with in any::<bool>(),
        ) {
            let kind = if percent { "Percent" } else { "Pods" };
            let select = ["Max", "Min", "Disabled"][select];
            let rules = json!({
                "selectPolicy": select, "stabilizationWindowSeconds": window,
                "policies": [{"type": kind, "value": value, "periodSeconds": period}],
            });
            let rules = with.then(|| policies(rules.clone(), rules));
            let (mut history, mut current, mut now) = (History::default(), 10, 0);
            history.begin(current, seconds(0));
            let mut seen = (current, current);
            for (asked, pause) in asked {
                now += pause;
                seen = (seen.0.min(asked), seen.1.max(asked));
                let bounds = Bounds { current, ..BOUNDS };
                let next = decide(asked, bounds, rules.as_ref(), &mut history, seconds(now)).replicas;
                prop_assert!((2..=100).contains(&next));
                prop_assert!(next >= seen.0.min(current).min(100) && next <= seen.1.max(2));
                if next != current {
                    history.change(current, next, seconds(now));
                }
                current = next;
            }
        }
    }
}
