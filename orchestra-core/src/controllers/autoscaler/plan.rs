//! What an autoscaler does: the number of pods it wants, and what its status and its events say of it.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
    MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::behavior::{self, Bounds, History};
use super::pods::Pod;
use super::reading::{Asked, Failed, Reading, ask};
use super::replicas::{Measure, Tolerance};
use crate::control::events::EventType;
use crate::quantity::Quantity;

/// By how much a ratio may differ from 1, unless a behavior says otherwise.
const TOLERANCE: f64 = 0.1;

/// How many pods the target wants, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Replicas {
    pub(super) wanted: i32,
    pub(super) there: i32,
}

/// What is wrong with the pods that a target selects: why, in a word for the event, a word and a sentence for the condition,
/// and a sentence for the event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    pub(super) event: &'static str,
    pub(super) reason: &'static str,
    pub(super) condition: String,
    pub(super) why: String,
}

/// What is seen of an autoscaler and its target.
#[derive(Clone, Debug)]
pub(super) struct Observed<'o> {
    pub(super) spec: &'o HorizontalPodAutoscalerSpec,
    pub(super) status: &'o HorizontalPodAutoscalerStatus,
    pub(super) replicas: Replicas,
    /// The pods of the target, and what was measured for each metric. Empty if nothing [has to be](measures).
    pub(super) pods: Result<Vec<Pod>, Selection>,
    pub(super) readings: Vec<Result<Reading, String>>,
    pub(super) now: Timestamp,
    /// The same by the clock that does not jump.
    pub(super) elapsed: std::time::Duration,
}

/// Something to tell people.
pub(super) type Told = (EventType, &'static str, String);

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How many pods the target is to have, and why, if not as many as it has.
    pub(super) rescale: Option<(i32, String)>,
    pub(super) status: HorizontalPodAutoscalerStatus,
    pub(super) told: Vec<Told>,
}

/// Whether anything has to be measured of a target that wants so many pods.
pub(super) fn measures(spec: &HorizontalPodAutoscalerSpec, wanted: i32) -> bool {
    wanted != 0 && wanted <= spec.max_replicas && wanted >= least(spec)
}

fn least(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

/// The plan of an autoscaler whose target has no scale, or none that can be read.
pub(super) fn without_scale(held: &HorizontalPodAutoscalerStatus, why: &str, now: Timestamp) -> Plan {
    let mut status = held.clone();
    let message = format!("the HPA controller was unable to get the target's current scale: {why}");
    set(&mut status, now, ("AbleToScale", false, "FailedGetScale", message));
    let told = vec![(EventType::Warning, "FailedGetScale", why.to_owned())];
    Plan { rescale: None, status, told }
}

/// Decides.
pub(super) fn plan(seen: &Observed<'_>, history: &mut History) -> Plan {
    let (spec, now, current) = (seen.spec, seen.now, seen.replicas.wanted);
    let mut status = seen.status.clone();
    let got = "the HPA controller was able to get the target's current scale".to_owned();
    set(&mut status, now, ("AbleToScale", true, "SucceededGetScale", got));
    history.begin(current, seen.elapsed);
    let mut plan = Plan { rescale: None, status, told: Vec::new() };
    let desired = if current == 0 {
        let why = "scaling is disabled since the replica count of the target is zero".to_owned();
        set(&mut plan.status, now, ("ScalingActive", false, "ScalingDisabled", why));
        Some((0, String::new(), None))
    } else if current > spec.max_replicas {
        Some((spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned(), None))
    } else if current < least(spec) {
        Some((least(spec), "Current number of replicas below Spec.MinReplicas".to_owned(), None))
    } else {
        measured(seen, history, &mut plan)
    };
    plan.status.current_replicas = Some(current).filter(|count| *count != 0);
    let Some((desired, why, metrics)) = desired else { return plan };
    plan.status.current_metrics = metrics;
    plan.status.desired_replicas = desired;
    plan.rescale = (desired != current).then_some((desired, why));
    plan
}

/// The number, why it is another, and what was measured; `None` if nothing can be decided.
type Desired = Option<(i32, String, Option<Vec<MetricStatus>>)>;

fn measured(seen: &Observed<'_>, history: &mut History, plan: &mut Plan) -> Desired {
    let (spec, now, current) = (seen.spec, seen.now, seen.replicas.wanted);
    let (largest, statuses) = match by_metrics(seen, plan) {
        Ok(found) => found,
        Err(undecided) => {
            plan.status.current_metrics = undecided.metrics;
            plan.told.push((EventType::Warning, "FailedComputeMetricsReplicas", undecided.why));
            return None;
        }
    };
    let asked = largest.as_ref().map_or(0, |asked| asked.replicas);
    let why = match asked {
        more if more > current => {
            format!("{} above target", largest.map(|asked| asked.by).unwrap_or_default())
        }
        less if less < current => "All metrics below target".to_owned(),
        _ => String::new(),
    };
    let bounds = Bounds { current, min: least(spec), max: spec.max_replicas };
    let decision = behavior::decide(asked, bounds, spec.behavior.as_ref(), history, seen.elapsed);
    let (reason, message) = decision.able;
    set(&mut plan.status, now, ("AbleToScale", true, reason, message.to_owned()));
    let (reason, message) = decision.limit;
    set(&mut plan.status, now, ("ScalingLimited", decision.limited, reason, message.to_owned()));
    Some((decision.replicas, why, Some(statuses)))
}

/// Why nothing is decided; what was measured is shown nevertheless.
struct Undecided {
    why: String,
    metrics: Option<Vec<MetricStatus>>,
}

/// The largest number that a metric asks for. Metrics that cannot be measured count against fewer pods.
fn by_metrics(seen: &Observed<'_>, plan: &mut Plan) -> Result<(Option<Asked>, Vec<MetricStatus>), Undecided> {
    let pods = match &seen.pods {
        Ok(pods) => pods,
        Err(fault) => {
            plan.told.push((EventType::Warning, fault.event, fault.why.clone()));
            set(&mut plan.status, seen.now, ("ScalingActive", false, fault.reason, fault.condition.clone()));
            return Err(Undecided { why: fault.why.clone(), metrics: None });
        }
    };
    let (wanted, now) = (seen.replicas.wanted, seen.now);
    let measure = Measure { pods, tolerance: tolerance(seen.spec), wanted, now };
    let specs = seen.spec.metrics.as_deref().unwrap_or_default();
    let (mut largest, mut failed) = (None::<Asked>, Vec::<Failed>::new());
    let mut statuses = Vec::with_capacity(specs.len());
    for (spec, reading) in specs.iter().zip(&seen.readings) {
        match ask(&measure, seen.replicas.there, spec, reading) {
            Ok(asked) => {
                statuses.push(asked.status.clone());
                if largest.as_ref().is_none_or(|largest| asked.replicas > largest.replicas) {
                    largest = Some(asked);
                }
            }
            Err(failure) => {
                statuses.push(MetricStatus::default());
                plan.told.push((EventType::Warning, failure.reason, failure.why.clone()));
                failed.push(failure);
            }
        }
    }
    if let Some(first) = failed.first()
        && largest.as_ref().is_none_or(|largest| largest.replicas < wanted)
    {
        let why = format!("the HPA was unable to compute the replica count: {}", first.why);
        set(&mut plan.status, now, ("ScalingActive", false, first.reason, why));
        let counted = format!("invalid metrics ({} invalid out of {})", failed.len(), specs.len());
        let why = format!("{counted}, first error is: {}", first.whole);
        return Err(Undecided { why, metrics: Some(statuses) });
    }
    let by = largest.as_ref().map(|asked| asked.by.clone()).unwrap_or_default();
    let why = format!("the HPA was able to successfully calculate a replica count from {by}");
    set(&mut plan.status, now, ("ScalingActive", true, "ValidMetricFound", why));
    Ok((largest, statuses))
}

fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> Tolerance {
    let behavior = spec.behavior.as_ref();
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        text.and_then(|text| Quantity::parse(&text.0).ok()).map_or(TOLERANCE, |it| it.to_f64())
    };
    Tolerance {
        down: of(behavior.and_then(|it| it.scale_down.as_ref())),
        up: of(behavior.and_then(|it| it.scale_up.as_ref())),
    }
}

impl Plan {
    /// The target was given its new number.
    pub(super) fn rescaled(&mut self, now: Timestamp) {
        let Some((desired, why)) = &self.rescale else { return };
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.told.push((
            EventType::Normal,
            "SuccessfulRescale",
            format!("New size: {desired}; reason: {why}"),
        ));
        set(&mut self.status, now, ("AbleToScale", true, "SucceededRescale", message));
        self.status.last_scale_time = Some(Time(now));
    }

    /// The target could not be given its new number; `held` is what the status said before.
    pub(super) fn not_rescaled(&mut self, held: &HorizontalPodAutoscalerStatus, error: &str, now: Timestamp) {
        let Some((desired, why)) = &self.rescale else { return };
        let told = format!("New size: {desired}; reason: {why}; error: {error}");
        self.told.push((EventType::Warning, "FailedRescale", told));
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        set(&mut self.status, now, ("AbleToScale", false, "FailedUpdateScale", message));
        self.status.desired_replicas = held.desired_replicas;
    }
}

/// Sets a condition, whose time is that of the last change of its status.
fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    now: Timestamp,
    (kind, holds, reason, message): (&str, bool, &str, String),
) {
    let holds = if holds { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let held = conditions.iter().position(|condition| condition.type_ == kind);
    let same = held.map(|index| &conditions[index]).filter(|condition| condition.status == holds);
    let new = HorizontalPodAutoscalerCondition {
        last_transition_time: same.map_or(Some(Time(now)), |same| same.last_transition_time.clone()),
        message: Some(message),
        reason: Some(reason.to_owned()),
        status: holds.to_owned(),
        type_: kind.to_owned(),
    };
    match held {
        Some(index) => conditions[index] = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::autoscaler::pods::Figure;
    use crate::controllers::testing::{at, over, text};

    fn spec(change: &Value) -> HorizontalPodAutoscalerSpec {
        let spec = json!({
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        });
        serde_json::from_value(over(spec, change)).unwrap()
    }

    fn pods(count: usize) -> Vec<Pod> {
        let pod = |index| {
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{index}")},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Running", "startTime": text(-600),
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(-600)}]},
            }))
            .unwrap()
        };
        (0..count).map(pod).collect()
    }

    fn used(milli: i64, count: usize) -> Result<Reading, String> {
        let figure = Figure { value: milli, at: at(0), window: Duration::from_secs(15) };
        Ok(Reading::Pods((0..count).map(|index| (format!("p{index}"), figure)).collect()))
    }

    fn decide(
        spec: &HorizontalPodAutoscalerSpec,
        wanted: i32,
        readings: Vec<Result<Reading, String>>,
    ) -> Plan {
        let observed = Observed {
            spec,
            status: &HorizontalPodAutoscalerStatus::default(),
            replicas: Replicas { wanted, there: wanted },
            pods: Ok(pods(usize::try_from(wanted).unwrap())),
            readings,
            now: at(0),
            elapsed: Duration::from_secs(1000),
        };
        plan(&observed, &mut History::default())
    }

    /// The plan in lines.
    fn shown(plan: &Plan) -> String {
        let mut text = match &plan.rescale {
            Some((replicas, why)) => format!("rescale to {replicas}: {why}\n"),
            None => "stay\n".to_owned(),
        };
        for it in plan.status.conditions.iter().flatten() {
            text += &format!("{} {} {}\n", it.type_, it.status, it.reason.as_deref().unwrap());
        }
        for (_, reason, message) in &plan.told {
            text += &format!("event {reason}: {message}\n");
        }
        text
    }

    #[test]
    fn plans_say_what_is_done_and_why() {
        let why = || Err("unable to get metrics".to_owned());
        let two = json!({"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1"}}},
        ]});
        let none = json!({});
        let cases = [
            ("busy", &none, 2, vec![used(1000, 2)]),
            ("idle, at first", &none, 4, vec![used(100, 4)]),
            ("zero", &none, 0, vec![]),
            ("too many", &none, 12, vec![]),
            ("too few", &json!({"minReplicas": 3}), 1, vec![]),
            ("nothing measured", &none, 2, vec![why()]),
            ("one of two measured, and more wanted", &two, 2, vec![used(1000, 2), why()]),
            ("one of two measured, and fewer wanted", &two, 2, vec![used(10, 2), why()]),
            ("at the limit", &json!({"maxReplicas": 3}), 2, vec![used(1000, 2)]),
        ];
        let text: String = cases
            .into_iter()
            .map(|(what, change, wanted, readings)| {
                format!("# {what}\n{}", shown(&decide(&spec(change), wanted, readings)))
            })
            .collect();
        assert_eq!(text, include_str!("plans.txt"));
    }

    #[test]
    fn what_comes_of_a_new_number_is_told() {
        let mut plan = decide(&spec(&json!({})), 2, vec![used(1000, 2)]);
        let mut failed = plan.clone();
        plan.rescaled(at(5));
        assert!(shown(&plan).contains("AbleToScale True SucceededRescale"));
        assert!(
            shown(&plan).contains("event SuccessfulRescale: New size: 4; reason: cpu resource utilization")
        );
        assert_eq!(plan.status.last_scale_time, Some(Time(at(5))));
        failed.not_rescaled(&HorizontalPodAutoscalerStatus::default(), "no", at(5));
        assert!(shown(&failed).contains("AbleToScale False FailedUpdateScale"));
        assert_eq!((failed.status.last_scale_time, failed.status.desired_replicas), (None, 0));
    }
}
