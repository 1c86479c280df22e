use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use super::is_secret;
use super::terms::{Level, Stage};
use crate::api::access::AccessRequest;
use crate::api::{User, yaml};

/// What is recorded of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// How much.
    pub level: Level,
    /// The stages of which nothing is.
    pub omitted: BTreeSet<Stage>,
    /// Whether objects are recorded without their `managedFields`.
    pub omits_managed_fields: bool,
}

/// Why a policy is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text cannot be read.
    #[error("the audit policy cannot be read: {0}")]
    Unreadable(String),
    /// It is of another kind.
    #[error("the audit policy must be a Policy of audit.k8s.io/v1, and is {0}")]
    Kind(String),
    /// It says something that cannot be.
    #[error("the audit policy is not valid: {0}")]
    Invalid(String),
}

/// What is recorded of which request: the first rule that matches says it, and of what no rule matches nothing is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy: one document in YAML or JSON.
    ///
    /// # Errors
    /// When it is none, or says what cannot be: a misspelt rule would record less than was meant.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let unreadable = |error: &dyn fmt::Display| PolicyError::Unreadable(error.to_string());
        let documents = yaml::read(text).map_err(|error| unreadable(&error))?;
        let document = documents.into_iter().next().unwrap_or_default();
        let (version, kind) = (document["apiVersion"].as_str(), document["kind"].as_str());
        if (version, kind) != (Some("audit.k8s.io/v1"), Some("Policy")) {
            let (version, kind) = (version.unwrap_or_default(), kind.unwrap_or_default());
            return Err(PolicyError::Kind(format!("{kind:?} of {version:?}")));
        }
        let policy = Self::deserialize(&document).map_err(|error| unreadable(&error))?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let invalid = |why: String| Err(PolicyError::Invalid(why));
        if self.rules.is_empty() {
            return invalid(format!("the {} of {} has no rules", self.kind, self.api_version));
        }
        for (number, rule) in self.rules.iter().enumerate() {
            if !rule.paths.is_empty() && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                return invalid(format!("rules[{number}].nonResourceURLs: {why}"));
            }
            if let Some(path) = rule.paths.iter().find(|path| !is_pattern(path)) {
                let why = "must be '*' or begin with '/', and may have a '*' at its end only";
                return invalid(format!("rules[{number}].nonResourceURLs: {path:?}: {why}"));
            }
            let nameless = |held: &&Resources| !held.resource_names.is_empty() && held.resources.is_empty();
            if rule.resources.iter().any(|held| nameless(&held)) {
                let why = "using resourceNames requires at least one resource";
                return invalid(format!("rules[{number}].resources: {why}"));
            }
        }
        Ok(())
    }

    /// What is recorded of a request.
    pub fn decide(&self, user: &User, request: &AccessRequest<'_>) -> Recorded {
        let rule = self.rules.iter().find(|rule| rule.matches(user, request));
        let Some(rule) = rule else {
            return Recorded { omitted: self.omit_stages.clone(), ..Recorded::default() };
        };
        let level = match request {
            AccessRequest::Resource { target, .. } if is_secret(target) => rule.level.min(Level::Metadata),
            _ => rule.level,
        };
        Recorded {
            level,
            omitted: self.omit_stages.union(&rule.omit_stages).copied().collect(),
            omits_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

/// Whether a text names paths.
fn is_pattern(path: &str) -> bool {
    path == "*" || path.starts_with('/') && !path.strip_suffix('*').unwrap_or(path).contains('*')
}

impl Rule {
    fn matches(&self, user: &User, request: &AccessRequest<'_>) -> bool {
        let verb = match request {
            AccessRequest::Resource { verb, .. } | AccessRequest::Path { verb, .. } => *verb,
        };
        if !has(&self.users, &user.name) || !has(&self.verbs, verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !user.groups.iter().any(|group| self.user_groups.contains(group)) {
            return false;
        }
        match request {
            _ if !self.namespaces.is_empty() || !self.resources.is_empty() => self.is_of_resource(request),
            _ if self.paths.is_empty() => true,
            AccessRequest::Path { path, .. } => self.paths.iter().any(|held| matches_path(held, path)),
            AccessRequest::Resource { .. } => false,
        }
    }

    fn is_of_resource(&self, request: &AccessRequest<'_>) -> bool {
        let AccessRequest::Resource { target, .. } = request else { return false };
        if !has(&self.namespaces, target.namespace.as_deref().unwrap_or_default()) {
            return false;
        }
        let sub = target.subresource.as_deref();
        let name = target.name.as_deref().unwrap_or_default();
        self.resources.is_empty()
            || self.resources.iter().any(|held| {
                let named = |text: &String| covers(text, &target.resource, sub);
                held.group == *target.group
                    && (held.resources.is_empty()
                        || has(&held.resource_names, name) && held.resources.iter().any(named))
            })
    }
}

/// Whether a list has a text, or has none at all and so means every.
fn has(list: &[String], text: &str) -> bool {
    list.is_empty() || list.iter().any(|held| held == text)
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/log` or `*` means a resource.
fn covers(held: &str, resource: &str, sub: Option<&str>) -> bool {
    if held == "*" {
        return true;
    }
    match (held.split_once('/'), sub) {
        (None, sub) => sub.is_none() && held == resource,
        (Some(("*", wanted)), Some(sub)) if wanted == sub => true,
        (Some((of, "*")), _) => of == resource,
        (Some((of, wanted)), sub) => of == resource && Some(wanted) == sub,
    }
}

fn matches_path(held: &str, path: &str) -> bool {
    held == path || held.strip_suffix('*').is_some_and(|begin| path.starts_with(begin))
}
