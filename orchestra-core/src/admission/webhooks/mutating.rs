use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::Value;

use super::super::review::{Access, Compiled, Subject, Views, accepted};
use super::call::Asker;
use super::hook::{Hook, Key};
use super::review::{patched, refusal, unanswered};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Authorizer, Caches, Status};
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
        for hook in hooks {
            let key = hook.key();
            if again.is_some_and(|again| !again.contains(&key)) {
                continue;
            }
            let change = {
                let subject = Subject::new(attributes, Some(object), namespace.clone());
                let Some(version) = hook.matcher.version(&subject) else { continue };
                let mut views = Views::default();
                let view = views.of(&subject, version).await?;
                if !self.asker.is_meant(hook, &subject, view, &mut access).await? {
                    continue;
                }
                let Some(answer) = self.asker.ask(hook, attributes, view, true).await? else {
                    continue;
                };
                warnings.extend(answer.warnings);
                if let Some(said) = answer.refused {
                    return Err(refusal(&hook.name, &said));
                }
                match answer.patch {
                    Some(patch) => Some(match patched(attributes.resource, view.object(), &patch) {
                        Ok(made) => accepted(attributes, version, made, object).await,
                        Err(why) => Err(why),
                    }),
                    None => None,
                }
            };
            match change {
                Some(Ok(changed)) if changed != *object => {
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
        for hook in configurations.iter().flat_map(|hooks| hooks.iter()) {
            let Some(version) = hook.matcher.version(&subject) else { continue };
            let view = views.of(&subject, version).await?;
            if !self.asker.is_meant(hook, &subject, view, &mut access).await? {
                continue;
            }
            let Some(answer) = self.asker.ask(hook, attributes, view, true).await? else {
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
    fn is_foreign(&self) -> bool {
        !self.hooks.all(Hook::mutating).is_empty()
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
