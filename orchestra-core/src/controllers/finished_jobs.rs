//! Jobs that are deleted some time after they have ended, as they ask for: `ttlSecondsAfterFinished`.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use super::Host;
use crate::api::{DeleteOptions, Operation, Propagation, Status};
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host.controller::<Job>().named("ttl-after-finished-controller");
    host.run(controller, FinishedJobs).await
}

struct FinishedJobs;

#[async_trait]
impl Reconciler for FinishedJobs {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Job>().await? else { return Ok(Action::Done) };
        if entry.is_deleting() {
            return Ok(Action::Done);
        }
        match left(&*entry.view::<Job>()?, context.now()) {
            None => Ok(Action::Done),
            Some(left) if !left.is_zero() => Ok(Action::Again(left)),
            Some(_) => {
                // As it was read: it may have been given more time.
                let options = DeleteOptions {
                    uid: Some(entry.uid().to_string()),
                    revision: Some(entry.revision()),
                    propagation: Some(Propagation::Foreground),
                    ..DeleteOptions::default()
                };
                let target = write::target::<Job>(entry.name());
                match context.client().call(target, Operation::Delete(options)).await {
                    Err(status) if !status.is_not_found() => Err(status.into()),
                    _ => Ok(Action::Done),
                }
            }
        }
    }
}

/// How long a Job is still kept; zero when it is to go, `None` if it is to stay. Never longer than it asks for, also when
/// the clock was set back since it ended.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    let ended = conditions.find(|it| matches!(&*it.type_, "Complete" | "Failed") && it.status == "True")?;
    let kept = SignedDuration::from_secs(i64::from(seconds));
    let left = kept - now.duration_since(ended.last_transition_time.as_ref()?.0);
    Some(Duration::try_from(left.min(kept)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::testing::{at, text};

    #[test]
    fn a_job_is_kept_for_as_long_as_it_asks_for_after_it_ended() {
        let job = |ttl: Option<i32>, kind: &str, status: &str| -> Job {
            let ended = json!({"type": kind, "status": status, "lastTransitionTime": text(100)});
            let status = json!({"conditions": [{"type": "Suspended", "status": "False"}, ended]});
            serde_json::from_value(
                json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": status}),
            )
            .unwrap()
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (ttl, kind, status, now, expected) in [
            (Some(60), "Complete", "True", 100, seconds(60)),
            (Some(60), "Failed", "True", 130, seconds(30)),
            (Some(60), "Failed", "True", 160, seconds(0)),
            (Some(60), "Failed", "True", 1_000, seconds(0)),
            (Some(60), "Failed", "True", 0, seconds(60)),
            (Some(0), "Complete", "True", 100, seconds(0)),
            (None, "Complete", "True", 1_000, None),
            (Some(60), "Complete", "False", 1_000, None),
            (Some(60), "SuccessCriteriaMet", "True", 1_000, None),
        ] {
            assert_eq!(left(&job(ttl, kind, status), at(now)), expected, "{ttl:?} {kind} {status} {now}");
        }
    }
}
