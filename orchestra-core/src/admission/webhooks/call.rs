use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tracing::{debug, warn};

use super::super::review::{Access, Decided, Judge, Subject, View};
use super::hook::Hook;
use super::review::{self, Answer};
use crate::api::admission::Attributes;
use crate::api::{Authorizer, Caches, Status};
use crate::clock::{SharedClock, random_uid};
use crate::webhook::Webhooks;

/// What asks webhooks about requests.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) caches: Caches,
    judge: Judge,
    webhooks: Webhooks,
    clock: SharedClock,
}

impl Asker {
    pub(super) fn new(
        caches: &Caches,
        authorizer: &Arc<dyn Authorizer>,
        webhooks: &Webhooks,
        clock: &SharedClock,
    ) -> Self {
        Self {
            caches: caches.clone(),
            judge: Judge::new(authorizer),
            webhooks: webhooks.clone(),
            clock: Arc::clone(clock),
        }
    }

    /// Whether the conditions of a webhook are met. One whose conditions have no value is skipped, or refuses the request.
    pub(super) async fn is_meant(
        &self,
        hook: &Hook,
        subject: &Subject<'_>,
        view: &View,
        access: &mut Access,
    ) -> Result<bool, Status> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let attributes = subject.attributes;
        let decided = self
            .judge
            .settle(attributes.user, access, |access| {
                hook.conditions.decide(view.inputs(subject, None, access))
            })
            .await;
        match decided
            .unwrap_or_else(|| Decided::Failed("the conditions ask the authorizer too much".to_owned()))
        {
            Decided::Met => Ok(true),
            Decided::Unmet => Ok(false),
            Decided::Failed(why) if hook.fails => {
                Err(Status::forbidden(&attributes.resource.id, attributes.name.name(), why))
            }
            Decided::Failed(why) => {
                debug!(webhook = hook.name, why, "a webhook is skipped: its conditions have no value");
                Ok(false)
            }
        }
    }

    /// Asks a webhook about a request. It need not have an answer: then the request goes on without.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        attributes: &Attributes<'_>,
        view: &View,
        turn: Turn,
    ) -> Result<Option<Answer>, Status> {
        if attributes.dry_run && !hook.dry_runs {
            return Err(review::side_effects(&hook.name));
        }
        match self.answer(hook, view, turn.mutating).await {
            Ok(answer) => {
                for (key, value) in &answer.notes {
                    attributes.note(&format!("{}/{key}", hook.name), || value.clone());
                }
                Ok(Some(answer))
            }
            Err(why) if hook.fails => Err(review::unanswered(&hook.name, &why)),
            Err(why) => {
                warn!(
                    webhook = hook.name,
                    configuration = hook.configuration,
                    why,
                    "a webhook has no answer"
                );
                attributes.note(&format!("failed-open.{}", turn.note()), || hook.name.clone());
                Ok(None)
            }
        }
    }

    async fn answer(&self, hook: &Hook, view: &View, mutating: bool) -> Result<Answer, String> {
        let Some(version) = hook.review else {
            return Err("webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned());
        };
        let uid = random_uid(&*self.clock);
        let question: Value = review::question(view, version, uid.as_str());
        let body = Bytes::from(question.to_string());
        let answer = self.webhooks.call(&hook.client, body, hook.timeout).await;
        let bytes = answer.map_err(|error| format!("failed to call webhook: {error}"))?;
        let answer = review::read(&bytes, version, uid.as_str(), mutating);
        answer.map_err(|why| format!("received invalid webhook response: {why}"))
    }
}

/// When a webhook is asked about a request: by it the audit log tells one from the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) mutating: bool,
    /// Whether those are asked again that want to see what others changed.
    pub(super) again: bool,
    /// The place of the webhook among those that may be asked.
    pub(super) index: usize,
}

impl Turn {
    /// The name of a note of it.
    pub(super) fn note(self) -> String {
        let kind = if self.mutating { "mutation" } else { "validating" };
        format!("{kind}.webhook.admission.k8s.io/{self}")
    }

    /// The name of a note of what it changed.
    pub(super) fn patch_note(self) -> String {
        format!("patch.webhook.admission.k8s.io/{self}")
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round_{}_index_{}", u8::from(self.again), self.index)
    }
}
