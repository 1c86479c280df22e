//! How many pods a figure asks for.
//!
//! The rule is that of a ratio: what is used, by what should be, times the pods there are. Around it stand the doubts: a
//! small change is none, and pods of which nothing is known, or that are only beginning, are counted as whatever
//! speaks against the change that the others ask for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::pods::{self, Figure, Figures, Groups, Pod};

/// By how much a ratio may differ from 1 and ask for no change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What pods are measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure<'m> {
    pub(super) pods: &'m [Pod],
    pub(super) tolerance: Tolerance,
    /// How many pods are wanted now.
    pub(super) wanted: i32,
    pub(super) now: Timestamp,
}

/// A proposal, and the figure that it is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// A mean, or a value, in thousandths.
    pub(super) figure: i64,
    /// In percent of what was asked for.
    pub(super) utilization: Option<i32>,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";

/// Whole pods, at least so many.
fn ceil(pods: f64) -> i32 {
    // Casts of floating point saturate.
    pods.ceil() as i32
}

impl Measure<'_> {
    /// By the share of what they asked for that pods use, in percent.
    pub(super) fn utilization(
        &self,
        figures: Figures,
        (resource, container): (&str, Option<&str>),
        target: i32,
    ) -> Result<Proposal, String> {
        let (mut figures, groups) = self.grouped(figures, Some(resource))?;
        let requests = pods::requests(self.pods, container, resource)?;
        let first = utilization(&figures, &requests)?;
        let ratio = |utilization: i32| f64::from(utilization) / f64::from(target);
        let found = |replicas| Proposal { replicas, figure: first.mean, utilization: Some(first.percent) };
        let usage = ratio(first.percent);
        let fallback = i64::from(target.max(100));
        let assumed =
            |pod: &str| requests.get(pod).map_or(0, |request| request.saturating_mul(fallback) / 100);
        if !self.fill(&mut figures, &groups, usage, assumed) {
            return Ok(found(self.plainly(usage, groups.ready)));
        }
        let again = ratio(utilization(&figures, &requests)?.percent);
        Ok(found(self.doubted(usage, again, figures.len())))
    }

    /// By the mean of what was measured of pods, in thousandths. `resource` is what was measured, if it is a resource.
    pub(super) fn mean(
        &self,
        figures: Figures,
        resource: Option<&str>,
        target: i64,
    ) -> Result<Proposal, String> {
        let (mut figures, groups) = self.grouped(figures, resource)?;
        let first = mean(&figures);
        let found = |replicas| Proposal { replicas, figure: first, utilization: None };
        let ratio = |mean: i64| mean as f64 / target as f64;
        let usage = ratio(first);
        if !self.fill(&mut figures, &groups, usage, |_| target) {
            return Ok(found(self.plainly(usage, groups.ready)));
        }
        Ok(found(self.doubted(usage, ratio(mean(&figures)), figures.len())))
    }

    /// By one value, of which each ready pod should bring the target, in thousandths.
    pub(super) fn value(&self, value: i64, target: i64) -> Result<Proposal, String> {
        let ratio = value as f64 / target as f64;
        let replicas = if self.wanted == 0 {
            ceil(ratio)
        } else if self.tolerance.holds(ratio) {
            self.wanted
        } else if self.pods.is_empty() {
            return Err(format!("unable to calculate ready pods: {NO_PODS}"));
        } else {
            ceil(ratio * self.pods.iter().filter(|pod| pod.is_ready()).count() as f64)
        };
        Ok(Proposal { replicas, figure: value, utilization: None })
    }

    /// By one value that is shared among the pods there are, of which each should have the target, in thousandths.
    pub(super) fn share(&self, value: i64, target: i64, there: i32) -> Proposal {
        let ratio = value as f64 / (target as f64 * f64::from(there));
        let replicas = if self.tolerance.holds(ratio) { there } else { ceil(value as f64 / target as f64) };
        let figure = (value as f64 / f64::from(there)).ceil() as i64;
        Proposal { replicas, figure, utilization: None }
    }

    /// What was measured of those pods that count, and all pods by groups.
    fn grouped(&self, mut figures: Figures, resource: Option<&str>) -> Result<(Figures, Groups), String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let groups = pods::group(self.pods, &figures, resource, self.now);
        let known = |name: &String| self.pods.iter().any(|pod| pod.metadata.name == *name);
        figures.retain(|name, _| {
            known(name) && !groups.ignored.contains(name) && !groups.unready.contains(name)
        });
        if figures.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        Ok((figures, groups))
    }

    /// Gives the pods of which nothing is known what speaks against the change that `ratio` asks for; returns whether
    /// there are any that matter.
    fn fill(
        &self,
        figures: &mut Figures,
        groups: &Groups,
        ratio: f64,
        assumed: impl Fn(&str) -> i64,
    ) -> bool {
        let grows_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        let figure = |value| Figure { value, at: self.now, window: std::time::Duration::ZERO };
        for name in &groups.missing {
            if ratio < 1.0 {
                figures.insert(name.clone(), figure(assumed(name)));
            } else if ratio > 1.0 {
                figures.insert(name.clone(), figure(0));
            }
        }
        if grows_with_unready {
            figures.extend(groups.unready.iter().map(|name| (name.clone(), figure(0))));
        }
        grows_with_unready || !groups.missing.is_empty()
    }

    /// The rule, when every pod is known.
    fn plainly(&self, ratio: f64, ready: usize) -> i32 {
        if self.tolerance.holds(ratio) { self.wanted } else { ceil(ratio * ready as f64) }
    }

    /// The rule, when some pods are only assumed: the ratio with them may not change the direction of the one without.
    fn doubted(&self, first: f64, again: f64, counted: usize) -> i32 {
        let turns = (first < 1.0 && again > 1.0) || (first > 1.0 && again < 1.0);
        if self.tolerance.holds(again) || turns {
            return self.wanted;
        }
        let replicas = ceil(again * counted as f64);
        let against = (again < 1.0 && replicas > self.wanted) || (again > 1.0 && replicas < self.wanted);
        if against { self.wanted } else { replicas }
    }
}

/// How much pods use of what they asked for.
struct Utilization {
    percent: i32,
    /// What a pod uses in the mean, in thousandths.
    mean: i64,
}

fn utilization(figures: &Figures, requests: &BTreeMap<String, i64>) -> Result<Utilization, String> {
    let (mut used, mut asked, mut count) = (0i128, 0i128, 0i128);
    for (name, figure) in figures {
        let Some(request) = requests.get(name) else { continue };
        used += i128::from(figure.value);
        asked += i128::from(*request);
        count += 1;
    }
    if asked == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
    Ok(Utilization { percent, mean: i64::try_from(used / count).unwrap_or(i64::MAX) })
}

fn mean(figures: &Figures) -> i64 {
    let sum: i128 = figures.values().map(|figure| i128::from(figure.value)).sum();
    let count = i128::try_from(figures.len().max(1)).unwrap_or(1);
    i64::try_from(sum / count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::controllers::testing::{at, text};

    const TOLERANCE: Tolerance = Tolerance { down: 0.1, up: 0.1 };

    /// Pods that ask for a processor each, by a letter: ready, Pending, fresh (just started), unready, failed.
    fn pods(kinds: &str) -> Vec<Pod> {
        let pod = |(index, kind): (usize, char)| {
            let (phase, ready, start) = match kind {
                'p' => ("Pending", "False", -600),
                'f' => ("Running", "True", 990),
                'u' => ("Running", "False", -600),
                'x' => ("Failed", "False", -600),
                _ => ("Running", "True", -600),
            };
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{index}")},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": phase, "startTime": text(start),
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": text(start)}]},
            }))
            .unwrap()
        };
        kinds.chars().enumerate().map(pod).collect()
    }

    /// Figures in thousandths, `None` where there is none.
    fn figures(values: &[Option<i64>]) -> Figures {
        let figure = |value| Figure { value, at: at(1000), window: Duration::from_secs(30) };
        let each = values.iter().enumerate();
        each.filter_map(|(index, value)| Some((format!("p{index}"), figure((*value)?)))).collect()
    }

    fn measure(pods: &[Pod], wanted: i32) -> Measure<'_> {
        Measure { pods, tolerance: TOLERANCE, wanted, now: at(1000) }
    }

    #[test]
    fn replicas_follow_the_share_that_is_used() {
        let some = Some;
        for (what, kinds, values, wanted, expected) in [
            ("twice as much as wanted", "rr", vec![some(1000), some(1000)], 2, Ok((4, 100))),
            ("within the tolerance", "rr", vec![some(540), some(540)], 2, Ok((2, 54))),
            ("half of what is wanted", "rrrr", vec![some(250); 4], 4, Ok((2, 25))),
            ("pending pods hold back growth", "rrp", vec![some(1000), some(1000)], 3, Ok((4, 100))),
            ("fresh pods count as idle", "rf", vec![some(1000), some(1000)], 2, Ok((2, 100))),
            ("missing ones count as idle when it grows", "rr", vec![some(1500), None], 2, Ok((3, 150))),
            ("and as busy when it shrinks", "rr", vec![some(100), None], 2, Ok((2, 10))),
            ("failed ones do not count", "rx", vec![some(1000), some(9000)], 1, Ok((2, 100))),
            ("no pods", "", vec![], 1, Err("no pods returned by selector while calculating replica count")),
            (
                "only fresh ones",
                "f",
                vec![some(1000)],
                1,
                Err("did not receive metrics for targeted pods (pods might be unready)"),
            ),
        ] {
            let pods = pods(kinds);
            let found = measure(&pods, wanted).utilization(figures(&values), ("cpu", None), 50);
            let found = found.map(|it| (it.replicas, it.utilization.unwrap()));
            assert_eq!(found, expected.map_err(str::to_owned), "{what}");
        }
    }

    #[test]
    fn what_was_not_asked_for_has_no_share() {
        let mut all = pods("r");
        let find = |resource, container| {
            measure(&all, 1).utilization(figures(&[Some(1)]), (resource, container), 50).unwrap_err()
        };
        assert_eq!(find("memory", None), "missing request for memory in container c of Pod p0");
        assert_eq!(find("cpu", Some("d")), "container d not found in Pod p0");
        let whole = json!({"requests": {"memory": "1Gi"}});
        all[0].spec.resources = Some(serde_json::from_value(whole).unwrap());
        let found = measure(&all, 1).utilization(figures(&[Some(1)]), ("cpu", None), 50).unwrap_err();
        assert_eq!(found, "missing pod-level request for cpu in Pod p0");
    }

    #[test]
    fn replicas_follow_means_and_values() {
        let all = pods("rrru");
        let mean = |values: &[Option<i64>], target| measure(&all, 4).mean(figures(values), None, target);
        // Whether a pod is ready matters only where processors are measured.
        assert_eq!(mean(&[Some(30_000); 4], 15_000).unwrap().replicas, 8);
        assert_eq!(mean(&[Some(16_000); 4], 15_000).unwrap().replicas, 4);
        assert_eq!(mean(&[Some(10_000), Some(10_000), None, None], 20_000).unwrap().replicas, 3);
        let value = |value, target| measure(&all, 4).value(value, target).unwrap().replicas;
        assert_eq!((value(20_000, 10_000), value(10_500, 10_000), value(1, 10_000)), (6, 4, 1));
        let share = |value| measure(&all, 4).share(value, 10_000, 4);
        assert_eq!((share(90_000).replicas, share(90_000).figure, share(41_000).replicas), (9, 22_500, 4));
    }

    proptest! {
        /// Whatever is measured, or is not: a pod more of which nothing is known makes the change smaller, never larger,
        /// and never turns it round.
        #[test]
        fn doubt_never_makes_a_change_larger(values in prop::collection::vec(1i64..5000, 1..8), unknown in 1usize..5) {
            let known = pods(&"r".repeat(values.len()));
            let all = pods(&"r".repeat(values.len() + unknown));
            let measured: Vec<_> = values.iter().copied().map(Some).collect();
            let find = |pods: &[Pod]| {
                let wanted = i32::try_from(pods.len()).unwrap();
                let found = measure(pods, wanted).utilization(figures(&measured), ("cpu", None), 50).unwrap();
                f64::from(found.replicas) / f64::from(wanted)
            };
            let (sure, unsure) = (find(&known), find(&all));
            prop_assert!((sure.min(1.0)..=sure.max(1.0)).contains(&unsure));
        }
    }
}
