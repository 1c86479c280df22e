use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use orchestra_core::clock::{SharedClock, parse_duration};

use super::{OptionsError, read};
use crate::authz::{AuthorizationFile, Authorizers, Remembered};
use crate::endpoint::Endpoint;

/// Who is asked who may do what, beside the roles of the cluster.
#[derive(Args, Clone, Debug)]
pub struct AuthorizationOptions {
    /// An AuthorizationConfiguration of apiserver.config.k8s.io/v1 that says which servers are asked who may do what
    #[arg(long, value_name = "FILE", conflicts_with = "authorization_webhook_config_file")]
    pub authorization_config: Option<PathBuf>,
    /// The server that is asked who may do what that no role allows, in the form of a kubeconfig
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// How long it is remembered that it allowed something
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long it is remembered that it did not
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl AuthorizationOptions {
    pub(super) fn authorizers(&self, clock: &SharedClock) -> Result<Authorizers, OptionsError> {
        let file = if let Some(path) = &self.authorization_config {
            AuthorizationFile::parse(&read(path)?)?
        } else if let Some(path) = &self.authorization_webhook_config_file {
            let remembered = Remembered {
                allowed: self.authorization_webhook_cache_authorized_ttl,
                refused: self.authorization_webhook_cache_unauthorized_ttl,
            };
            AuthorizationFile::after(Endpoint::read(path)?, remembered)
        } else {
            AuthorizationFile::default()
        };
        Ok(file.authorizers(clock))
    }
}
