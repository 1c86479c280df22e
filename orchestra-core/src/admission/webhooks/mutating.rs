use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::review::{Access, Compiled, Subject, Views, accepted};
use super::call::{Asker, Turn};
use super::hook::{Hook, Key};
use super::review::{patched, refusal, unanswered};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Authorizer, Caches, Resource, Status};
use crate::clock::SharedClock;
use crate::webhook::Webhooks;

/// Changes what is written as the webhooks of MutatingWebhookConfigurations say, one after the other.
#[derive(Debug)]
pub struct MutatingWebhooks {
    asker: Asker,
    hooks: Compiled<Vec<Hook>>,
}

impl MutatingWebhooks {
    /// Over these caches, asking this authorizer and these webhooks.
    pub fn new(
        caches: &Caches,
        authorizer: &Arc<dyn Authorizer>,
        webhooks: &Webhooks,
        clock: &SharedClock,
    ) -> Self {
        let asker = Asker::new(caches, authorizer, webhooks, clock);
        Self { asker, hooks: Compiled::of::<MutatingWebhookConfiguration>(caches) }
    }

    /// Asks the webhooks, once each. Of `again`, if there is one, only those in it are. Answers which of those asked before
    /// a change want to be asked again.
    async fn round<'h>(
        &self,
        hooks: &[&'h Hook],
        attributes: &Attributes<'_>,
        object: &mut Value,
        warnings: &mut Vec<String>,
        again: Option<&HashSet<Key<'h>>>,
    ) -> Result<HashSet<Key<'h>>, Status> {
        let (mut outdated, mut asked) = (HashSet::new(), HashSet::new());
        let namespace = Subject::find_namespace(attributes, &self.asker.caches);
        let mut access = Access::new();
        for (index, hook) in hooks.iter().enumerate() {
            let key = hook.key();
            if again.is_some_and(|again| !again.contains(&key)) {
                continue;
            }
            let turn = Turn { mutating: true, again: again.is_some(), index };
            let change = {
                let subject = Subject::new(attributes, Some(object), namespace.clone());
                let Some(version) = hook.matcher.version(&subject) else { continue };
                let mut views = Views::default();
                let view = views.of(&subject, version).await?;
                if !self.asker.is_meant(hook, &subject, view, &mut access).await? {
                    continue;
                }
                let answer = self.asker.ask(hook, attributes, view, turn).await;
                let answer = answer.inspect_err(|_| note(attributes, hook, turn, false))?;
                let Some(answer) = answer else {
                    note(attributes, hook, turn, false);
                    continue;
                };
                warnings.extend(answer.warnings);
                if let Some(said) = answer.refused {
                    note(attributes, hook, turn, false);
                    return Err(refusal(&hook.name, &said));
                }
                match answer.patch {
                    Some(patch) => Some(match patched(attributes.resource, view.object(), &patch) {
                        Ok(made) => {
                            note_patch(attributes, hook, turn, &patch);
                            accepted(attributes, version, made, object).await
                        }
                        Err(why) => Err(why),
                    }),
                    None => None,
                }
            };
            let changes = matches!(&change, Some(Ok(changed)) if *changed != *object);
            note(attributes, hook, turn, changes);
            match change {
                Some(Ok(changed)) if changes => {
                    *object = changed;
                    // Those that were asked before see it, if they want to.
                    outdated.extend(asked.drain());
                }
                // Kubernetes lets no patch pass that cannot be applied, whatever the configuration says.
                Some(Err(why)) => return Err(unanswered(&hook.name, &why)),
                _ => {}
            }
            if hook.again {
                asked.insert(key);
            }
        }
        Ok(outdated)
    }

    /// Asks about a deletion or a connection, of which nothing can be changed.
    async fn judge(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let configurations = self.hooks.all(Hook::mutating);
        if configurations.is_empty() || Subject::is_of_judges(attributes) {
            return Ok(Vec::new());
        }
        let namespace = Subject::find_namespace(attributes, &self.asker.caches);
        let subject = Subject::new(attributes, object, namespace);
        let (mut views, mut access, mut warnings) = (Views::default(), Access::new(), Vec::new());
        for (index, hook) in configurations.iter().flat_map(|hooks| hooks.iter()).enumerate() {
            let turn = Turn { mutating: true, again: false, index };
            let Some(version) = hook.matcher.version(&subject) else { continue };
            let view = views.of(&subject, version).await?;
            if !self.asker.is_meant(hook, &subject, view, &mut access).await? {
                continue;
            }
            note(attributes, hook, turn, false);
            let Some(answer) = self.asker.ask(hook, attributes, view, turn).await? else {
                continue;
            };
            warnings.extend(answer.warnings);
            if let Some(said) = answer.refused {
                return Err(refusal(&hook.name, &said).warned(&warnings));
            }
            if answer.patch.is_some() {
                let why = "it attempted to modify the object, which is not supported for this operation";
                return Err(unanswered(&hook.name, why).warned(&warnings));
            }
        }
        Ok(warnings)
    }

    async fn mutated(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let configurations = self.hooks.all(Hook::mutating);
        if configurations.is_empty() || Subject::is_of_judges(attributes) {
            return Ok(Vec::new());
        }
        let hooks: Vec<&Hook> = configurations.iter().flat_map(|hooks| hooks.iter()).collect();
        let mut warnings = Vec::new();
        let outcome = async {
            let willing = hooks.iter().filter(|hook| hook.again).map(|hook| hook.key()).collect();
            let only = attributes.again.then_some(&willing);
            let again = self.round(&hooks, attributes, object, &mut warnings, only).await?;
            if attributes.again {
                return Ok(());
            }
            if !again.is_empty() {
                self.round(&hooks, attributes, object, &mut warnings, Some(&again)).await?;
            }
            Ok(())
        };
        let outcome: Result<(), Status> = outcome.await;
        match outcome {
            Ok(()) => Ok(warnings),
            Err(status) => Err(status.warned(&warnings)),
        }
    }
}

#[async_trait]
impl Admission for MutatingWebhooks {
    fn concerns(&self, _kind: &Resource) -> bool {
        !self.hooks.all(Hook::mutating).is_empty()
    }

    fn is_foreign(&self) -> bool {
        true
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        // What is sent was changed, and not what comes of it.
        if attributes.body.is_some() {
            return Ok(Vec::new());
        }
        self.mutated(attributes, object).await
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        // All else has been asked about when it could still be changed.
        match attributes.verb {
            WriteVerb::Delete if attributes.body.is_none() => self.judge(attributes, None).await,
            _ => Ok(Vec::new()),
        }
    }

    async fn review_body(
        &self,
        attributes: &Attributes<'_>,
        body: &mut Value,
    ) -> Result<Vec<String>, Status> {
        self.mutated(attributes, body).await
    }

    async fn connect(&self, attributes: &Attributes<'_>, options: &Value) -> Result<Vec<String>, Status> {
        self.judge(attributes, Some(options)).await
    }
}

/// What the audit log has of a webhook that was asked.
#[derive(Serialize)]
struct Mutation<'m> {
    configuration: &'m str,
    webhook: &'m str,
    mutated: bool,
}

/// What the audit log has of what a webhook changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch<'p> {
    configuration: &'p str,
    webhook: &'p str,
    patch: &'p RawValue,
    patch_type: &'static str,
}

fn note(attributes: &Attributes<'_>, hook: &Hook, turn: Turn, mutated: bool) {
    let (configuration, webhook) = hook.key();
    attributes.note(&turn.note(), || {
        serde_json::to_string(&Mutation { configuration, webhook, mutated }).unwrap_or_default()
    });
}

fn note_patch(attributes: &Attributes<'_>, hook: &Hook, turn: Turn, patch: &[u8]) {
    let (configuration, webhook) = hook.key();
    attributes.note_quoting(&turn.patch_note(), || {
        let patch = serde_json::from_slice::<&RawValue>(patch);
        let patch = patch.map(|patch| Patch { configuration, webhook, patch, patch_type: "JSONPatch" });
        patch.and_then(|patch| serde_json::to_string(&patch)).unwrap_or_default()
    });
}
