use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use serde_json::Value;

use super::super::review::{Access, Compiled, Subject, Views};
use super::call::{Asker, Turn};
use super::hook::Hook;
use super::review::refusal;
use crate::api::admission::{Admission, Attributes};
use crate::api::{Authorizer, Caches, Resource, Status};
use crate::clock::SharedClock;
use crate::webhook::Webhooks;

/// Refuses what the webhooks of ValidatingWebhookConfigurations refuse. All are asked at once.
#[derive(Debug)]
pub struct ValidatingWebhooks {
    asker: Asker,
    hooks: Compiled<Vec<Hook>>,
}

impl ValidatingWebhooks {
    /// Over these caches, asking this authorizer and these webhooks.
    pub fn new(
        caches: &Caches,
        authorizer: &Arc<dyn Authorizer>,
        webhooks: &Webhooks,
        clock: &SharedClock,
    ) -> Self {
        let asker = Asker::new(caches, authorizer, webhooks, clock);
        Self { asker, hooks: Compiled::of::<ValidatingWebhookConfiguration>(caches) }
    }

    async fn judge(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let configurations = self.hooks.all(Hook::validating);
        if configurations.is_empty() || Subject::is_of_judges(attributes) {
            return Ok(Vec::new());
        }
        let namespace = Subject::find_namespace(attributes, &self.asker.caches);
        let subject = Subject::new(attributes, object, namespace);
        let hooks = configurations.iter().flat_map(|hooks| hooks.iter());
        let meant: Vec<_> = hooks.filter_map(|hook| Some((hook, hook.matcher.version(&subject)?))).collect();
        let (mut views, mut access) = (Views::default(), Access::new());
        let mut asked = Vec::with_capacity(meant.len());
        for (hook, version) in meant {
            let view = views.of(&subject, version).await?;
            if self.asker.is_meant(hook, &subject, view, &mut access).await? {
                asked.push((hook, version));
            }
        }
        let views = &views;
        let answers = asked.iter().enumerate().map(|(index, (hook, version))| async move {
            let turn = Turn { mutating: false, again: false, index };
            match views.get(*version) {
                Some(view) => self.asker.ask(hook, attributes, view, turn).await,
                None => Ok(None),
            }
        });
        let answers = join_all(answers).await;
        let (mut warnings, mut refused) = (Vec::new(), None);
        for ((hook, _), answer) in asked.iter().zip(answers) {
            match answer {
                Ok(Some(answer)) => {
                    warnings.extend(answer.warnings);
                    let said = answer.refused.map(|said| refusal(&hook.name, &said));
                    refused = refused.or(said);
                }
                Ok(None) => {}
                Err(status) => refused = refused.or(Some(status)),
            }
        }
        match refused {
            Some(status) => Err(status.warned(&warnings)),
            None => Ok(warnings),
        }
    }
}

#[async_trait]
impl Admission for ValidatingWebhooks {
    fn concerns(&self, _kind: &Resource) -> bool {
        !self.hooks.all(Hook::validating).is_empty()
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        // What is sent was judged, and not what comes of it.
        if attributes.body.is_some() {
            return Ok(Vec::new());
        }
        self.judge(attributes, object).await
    }

    async fn review_body(
        &self,
        attributes: &Attributes<'_>,
        body: &mut Value,
    ) -> Result<Vec<String>, Status> {
        self.judge(attributes, Some(body)).await
    }

    async fn connect(&self, attributes: &Attributes<'_>, options: &Value) -> Result<Vec<String>, Status> {
        self.judge(attributes, Some(options)).await
    }
}
