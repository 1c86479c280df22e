use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};

use super::super::review::{Conditions, Matcher, Rule, RuleSet};
use crate::objects::admission_registration::expressions::{Compiler, Whose};
use crate::objects::admission_registration::plain;
use crate::watch::Entry;
use crate::webhook::{ClientConfig, ServiceReference};

/// How long a webhook may take that does not say.
const PATIENCE: i32 = 10;

/// A webhook, made ready.
#[derive(Debug)]
pub(super) struct Hook {
    /// The configuration that it is of.
    pub(super) configuration: String,
    pub(super) name: String,
    pub(super) client: ClientConfig,
    pub(super) matcher: Matcher,
    pub(super) conditions: Conditions,
    /// Whether a request is refused when the webhook has no answer.
    pub(super) fails: bool,
    /// Whether it may be asked when nothing will be written.
    pub(super) dry_runs: bool,
    pub(super) timeout: Duration,
    /// The version of the review that it is sent: the first of its list that is known.
    pub(super) review: Option<&'static str>,
    /// Whether it is asked again when others have changed the object after it.
    pub(super) again: bool,
}

/// Which webhook: its configuration and its name.
pub(super) type Key<'h> = (&'h str, &'h str);

impl Hook {
    /// Which webhook it is.
    pub(super) fn key(&self) -> Key<'_> {
        (&self.configuration, &self.name)
    }

    fn of(configuration: &str, hook: &ValidatingWebhook, again: bool) -> Self {
        let rules = hook.rules.iter().flatten().map(Rule::from).collect();
        let rules = RuleSet::new(rules, hook.match_policy.as_deref());
        let (namespaces, objects) = (hook.namespace_selector.as_ref(), hook.object_selector.as_ref());
        let compiler = Compiler::new(Whose::Webhook);
        let conditions = hook.match_conditions.iter().flatten();
        let seconds = hook.timeout_seconds.unwrap_or(PATIENCE);
        let known = |version: &String| ["v1", "v1beta1"].into_iter().find(|known| known == version);
        Self {
            configuration: configuration.to_owned(),
            name: hook.name.clone(),
            client: client(&hook.client_config),
            matcher: Matcher::new(rules, namespaces, objects),
            conditions: Conditions::new(&compiler, conditions.map(|condition| condition.expression.as_str())),
            fails: hook.failure_policy.as_deref() != Some("Ignore"),
            dry_runs: matches!(&*hook.side_effects, "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or_default().clamp(1, 30)),
            review: hook.admission_review_versions.iter().find_map(known),
            again,
        }
    }

    /// The webhooks of a configuration of those that judge.
    pub(super) fn validating(entry: &Entry) -> Option<Vec<Self>> {
        let object = entry.decode_bare::<ValidatingWebhookConfiguration>().ok()?;
        let hooks = object.webhooks.unwrap_or_default();
        Some(hooks.iter().map(|hook| Self::of(entry.name().name(), hook, false)).collect())
    }

    /// The webhooks of a configuration of those that change.
    pub(super) fn mutating(entry: &Entry) -> Option<Vec<Self>> {
        let object = entry.decode_bare::<MutatingWebhookConfiguration>().ok()?;
        let hooks = object.webhooks.unwrap_or_default().into_iter().map(|hook| {
            let again = hook.reinvocation_policy.as_deref() == Some("IfNeeded");
            Self::of(entry.name().name(), &plain(&hook), again)
        });
        Some(hooks.collect())
    }
}

fn client(config: &WebhookClientConfig) -> ClientConfig {
    let service = config.service.as_ref().map(|service| ServiceReference {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        path: service.path.clone(),
        port: service.port.and_then(|port| u16::try_from(port).ok()),
    });
    ClientConfig { url: config.url.clone(), service, ca_bundle: config.ca_bundle.clone() }
}
