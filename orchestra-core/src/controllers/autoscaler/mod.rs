//! HorizontalPodAutoscalers: as many pods of a target as what is measured asks for.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | reads target, pods and figures, and carries out the plan, every quarter of a minute |
//! | `metrics` | the port to whoever measures |
//! | `reading` | from a metric of the specification to figures, and to the number they ask for |
//! | `pods`, `replicas` | which pods count, and the rule of the ratio; pure |
//! | `behavior` | how fast the number may change; pure |
//! | `plan` | the number, the conditions and the events; pure |
//!
//! Targets are of any kind that has a `scale`, and nothing else of them is read or written.

mod behavior;
mod metrics;
mod plan;
mod pods;
mod reading;
mod replicas;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use self::behavior::History;
pub use self::metrics::{ApiMetrics, ContainerUsage, Metric, MetricValue, MetricsSource, PodUsage};
use self::plan::{Observed, Plan, Replicas, Selection};
use super::{Host, scale};
use crate::api::{Client, Kind, Status, split_api_version};
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, Reconciler, write};
use crate::meta::ObjectName;
use crate::selector::Selector;
use crate::watch::{Entry, Event, EventKind, Query};

/// How often an autoscaler looks.
const PERIOD: Duration = Duration::from_secs(15);
/// How often a new number is written again when the target has changed meanwhile.
const TRIES: usize = 5;

struct Autoscalers {
    recorder: Recorder,
    source: Arc<dyn MetricsSource>,
    remembered: Mutex<HashMap<ObjectName, Memory>>,
}

/// What is kept of an autoscaler from one look to the next.
#[derive(Default)]
struct Memory {
    history: History,
    /// Which pods its target has.
    selector: Option<Selector>,
}

/// Runs the controller.
pub(super) async fn run(host: Host, source: Option<Arc<dyn MetricsSource>>) -> Result<(), Status> {
    let controller = host
        .controller::<HorizontalPodAutoscaler>()
        .named("horizontal-pod-autoscaler")
        .when(wants_otherwise)
        .reads::<Pod>();
    let recorder = host.recorder("horizontal-pod-autoscaler");
    let source = source.unwrap_or_else(|| Arc::new(ApiMetrics::new(host.client.clone())));
    host.run(controller, Autoscalers { recorder, source, remembered: Mutex::default() }).await
}

/// Autoscalers have no generation: what they write of themselves is told from a change of what is wanted by its place.
fn wants_otherwise(event: &Event) -> bool {
    #[derive(Deserialize)]
    struct Wanted {
        spec: Value,
    }
    let spec = |entry: &Entry| entry.view::<Wanted>().ok();
    match &event.kind {
        EventKind::Modified(before) => {
            spec(before).map(|it| it.spec.clone()) != spec(&event.object).map(|it| it.spec.clone())
        }
        EventKind::Added | EventKind::Deleted => true,
    }
}

#[async_trait]
impl Reconciler for Autoscalers {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<HorizontalPodAutoscaler>().await? else {
            self.remembered().remove(context.name());
            return Ok(Action::Done);
        };
        let scaler: HorizontalPodAutoscaler = entry.decode_bare()?;
        // Whoever has just made one, or another of it, has a period to make the rest of what it needs.
        if let Some(wait) = first_look(&scaler, context.now()) {
            return Ok(Action::Again(wait));
        }
        let held = scaler.status.clone().unwrap_or_default();
        let plan = match Target::find(&context, &scaler.spec.scale_target_ref).await {
            Ok(target) => self.work(&context, &scaler, &held, target).await?,
            Err(why) => plan::without_scale(&held, &why, context.now()),
        };
        let about = reference_to::<HorizontalPodAutoscaler>(&entry);
        for (kind, reason, message) in plan.told {
            self.recorder.record(&about, kind, reason, message);
        }
        if plan.status != held {
            let patch = write::difference(&json!(held), &json!(plan.status));
            let patched =
                write::patch_status::<HorizontalPodAutoscaler>(context.client(), &entry, patch).await;
            write::unless_gone(patched)?;
        }
        Ok(Action::Again(PERIOD))
    }
}

/// How long it is until an autoscaler that nobody has looked at yet is looked at: as in Kubernetes, a period after it was
/// made.
fn first_look(scaler: &HorizontalPodAutoscaler, now: jiff::Timestamp) -> Option<Duration> {
    if scaler.status.as_ref().is_some_and(|status| status.conditions.is_some()) {
        return None;
    }
    let made = scaler.metadata.creation_timestamp.as_ref()?.0;
    let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
    PERIOD.checked_sub(age).filter(|wait| !wait.is_zero())
}

impl Autoscalers {
    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectName, Memory>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures, decides, and has the target be of another size.
    async fn work(
        &self,
        context: &Context,
        scaler: &HorizontalPodAutoscaler,
        held: &HorizontalPodAutoscalerStatus,
        mut target: Target,
    ) -> Result<Plan, Error> {
        let (spec, mut pods, mut readings) = (&scaler.spec, Ok(Vec::new()), Vec::new());
        if plan::measures(spec, target.replicas().wanted) {
            match self.selected(context, &target).await? {
                Ok((selector, found)) => {
                    pods = Ok(found);
                    for metric in spec.metrics.iter().flatten() {
                        let (source, namespace) = (&*self.source, context.namespace());
                        readings.push(reading::read(source, namespace, &selector, metric).await);
                    }
                }
                Err(fault) => pods = Err(fault),
            }
        }
        let (now, elapsed) = (context.now(), context.clock().elapsed());
        let replicas = target.replicas();
        let observed = Observed { spec, status: held, replicas, pods, readings, now, elapsed };
        let mut plan = {
            let mut remembered = self.remembered();
            plan::plan(&observed, &mut remembered.entry(context.name().clone()).or_default().history)
        };
        if let Some((desired, _)) = plan.rescale {
            match target.resize(context.client(), desired).await {
                Ok(()) => {
                    plan.rescaled(context.now());
                    let mut remembered = self.remembered();
                    let history = &mut remembered.entry(context.name().clone()).or_default().history;
                    history.change(replicas.wanted, desired, context.clock().elapsed());
                }
                Err(status) => plan.not_rescaled(held, status.message(), context.now()),
            }
        }
        Ok(plan)
    }

    /// The pods of a target, which no other autoscaler may have a say in.
    async fn selected(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Result<(Selector, Vec<pods::Pod>), Selection>, Error> {
        let text = target.scale["status"]["selector"].as_str().unwrap_or_default();
        if text.is_empty() {
            let condition = "the HPA target's scale is missing a selector".to_owned();
            let why = "selector is required".to_owned();
            return Ok(Err(Selection {
                event: "SelectorRequired",
                reason: "InvalidSelector",
                condition,
                why,
            }));
        }
        let selector = match Selector::parse(text) {
            Ok(selector) => selector,
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                let condition = why.clone();
                return Ok(Err(Selection {
                    event: "InvalidSelector",
                    reason: "InvalidSelector",
                    condition,
                    why,
                }));
            }
        };
        let namespace = context.namespace();
        let cache = context.cache::<Pod>().await?;
        let entries = cache.list(&Query::namespace(namespace).labels(&selector));
        let sharing = self.sharing(context.name(), &selector, &entries);
        if sharing.len() > 1 {
            let names: Vec<String> = sharing.iter().map(|name| format!("{{{name} {namespace}}}")).collect();
            let names = names.join(" ");
            let why = format!("pods by selector {text} are controlled by multiple HPAs: [{names}]");
            let condition = why.clone();
            return Ok(Err(Selection {
                event: "AmbiguousSelector",
                reason: "AmbiguousSelector",
                condition,
                why,
            }));
        }
        let pods = entries.iter().map(|entry| Ok((*entry.view::<pods::Pod>()?).clone()));
        Ok(Ok((selector, pods.collect::<Result<_, Error>>()?)))
    }

    /// Remembers which pods an autoscaler has, and returns the names of all that have one of them.
    fn sharing(&self, name: &ObjectName, selector: &Selector, pods: &[Arc<Entry>]) -> Vec<String> {
        let mut remembered = self.remembered();
        remembered.entry(name.clone()).or_default().selector = Some(selector.clone());
        let has_one = |memory: &Memory| {
            let selector = memory.selector.as_ref().map(Selector::compile);
            selector.is_some_and(|selector| pods.iter().any(|pod| selector.matches(pod.labels())))
        };
        let beside = remembered.iter().filter(|(other, _)| other.namespace() == name.namespace());
        let mut names: Vec<String> =
            beside.filter(|(_, memory)| has_one(memory)).map(|(other, _)| other.name().to_owned()).collect();
        names.sort();
        names
    }
}

/// The target of an autoscaler, with its scale as it was read.
struct Target {
    kind: Kind,
    name: ObjectName,
    scale: Value,
}

impl Target {
    /// The first kind of the name in the group that has a scale; or why there is none.
    async fn find(context: &Context, reference: &CrossVersionObjectReference) -> Result<Self, String> {
        let (group, _) = split_api_version(reference.api_version.as_deref().unwrap_or("v1"));
        let kinds = context.client().service().kinds().await.map_err(|status| status.message().to_owned())?;
        let is_meant = |kind: &Kind| *kind.kind == *reference.kind && *kind.id.group == *group;
        let mut first = None;
        for kind in kinds.into_iter().filter(is_meant) {
            match scale::get(context.client(), &kind, context.namespace(), &reference.name).await {
                Ok(scale) => {
                    let name = ObjectName::new(Some(context.namespace()), &reference.name);
                    return Ok(Self { kind, name, scale });
                }
                Err(status) => first = first.or(Some(status.message().to_owned())),
            }
        }
        Err(first
            .unwrap_or_else(|| format!("no matches for kind \"{}\" in group \"{group}\"", reference.kind)))
    }

    fn replicas(&self) -> Replicas {
        Replicas {
            wanted: scale::replicas(&self.scale, "spec"),
            there: scale::replicas(&self.scale, "status"),
        }
    }

    /// Writes another number; again if somebody else has written meanwhile.
    async fn resize(&mut self, client: &Client, replicas: i32) -> Result<(), Status> {
        let (namespace, name) = (self.name.namespace().unwrap_or_default(), self.name.name());
        for _ in 1..TRIES {
            match scale::set(client, &self.kind, (namespace, name), self.scale.clone(), replicas).await {
                Err(status) if status.is_conflict() => {
                    self.scale = scale::get(client, &self.kind, namespace, name).await?;
                }
                done => return done,
            }
        }
        scale::set(client, &self.kind, (namespace, name), self.scale.clone(), replicas).await
    }
}
