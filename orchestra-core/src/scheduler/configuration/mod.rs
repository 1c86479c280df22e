//! A `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`): which profiles a scheduler has.
//!
//! [`Configuration::parse`] goes from a text to [`Profile`]s in steps, each of which is pure and has a file:
//! `decode` reads it strictly, `file` and `args` hold its fields, `defaults` adds what is left out, `merge` lays
//! what is said of plugins over Kubernetes' defaults, `validate` and `validate_args` say what Kubernetes would say is wrong, `expand`
//! finds which plugins (`plugins`) stand at which extension point, and `compile` makes profiles of them. What Kubernetes can
//! and this scheduler cannot is refused there, with its path; what makes no difference here is listed in
//! [`Configuration::without_effect`].

mod args;
mod compile;
mod decode;
mod defaults;
mod expand;
mod file;
mod merge;
mod plugins;
#[cfg(test)]
mod tests;
mod validate;
mod validate_args;

use std::fmt;
use std::sync::Arc;

use super::plugin::Plugin;
use super::profile::Profile;
use crate::api::field::Errors;
use crate::supervise::Backoff;

/// The version of the files that are read.
pub(super) const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";

/// What a file makes of a scheduler.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its profiles, at least one.
    pub profiles: Vec<Profile>,
    /// How long pods that could not be placed wait.
    pub backoff: Backoff,
    /// What the file says that makes no difference here, as sentences for people.
    pub without_effect: Vec<String>,
}

/// Why a file configures no scheduler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It cannot be read, or is none.
    #[error("{0}")]
    Unreadable(String),
    /// It has fields that there are not, or that stand there twice.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// Values are not such as they may be.
    #[error("{}", Listed(.0))]
    Invalid(Errors),
    /// No scheduler can be put together of what it says.
    #[error("initializing profiles: creating profile for scheduler name {profile}: {why}")]
    Profile {
        /// The `schedulerName` of the profile that is wrong.
        profile: String,
        /// What is wrong with it.
        why: String,
    },
    /// Kubernetes' scheduler could do what it says, and this one cannot.
    #[error("this scheduler cannot do what the file asks for: {}", Listed(.0))]
    Unsupported(Errors),
}

impl Configuration {
    /// Reads a file: one document in YAML or JSON.
    ///
    /// # Errors
    /// When it is none, or asks for what cannot be.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigurationError> {
        Self::parse_with(text, &[])
    }

    /// The same for a scheduler that has plugins of its own, which the file can enable at `filter`, `score` and `multiPoint`
    /// by their names.
    ///
    /// # Errors
    /// As [`Configuration::parse`].
    pub fn parse_with(text: &[u8], own: &[Arc<dyn Plugin>]) -> Result<Self, ConfigurationError> {
        let mut file = decode::decode(text)?;
        file.complete();
        let errors = validate::validate(&file);
        if !errors.is_empty() {
            return Err(ConfigurationError::Invalid(errors));
        }
        compile::compile(&file, own)
    }
}

/// What is wrong, as Kubernetes lists it.
struct Listed<'e>(&'e Errors);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = Vec::new();
        for text in self.0.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}
