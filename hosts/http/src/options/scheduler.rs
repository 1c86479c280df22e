//! The file that configures a scheduler.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use orchestra_core::scheduler::Configuration;
use tracing::warn;

use super::OptionsError;

/// How a scheduler places pods.
#[derive(Args, Clone, Debug, Default)]
pub struct SchedulerOptions {
    /// A KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1: the profiles of the scheduler, with their plugins,
    /// weights and arguments
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
}

impl SchedulerOptions {
    /// What the file says, if one is named. What of it makes no difference is logged.
    ///
    /// # Errors
    /// When it cannot be read, or asks for what cannot be.
    pub fn configuration(&self) -> Result<Option<Configuration>, OptionsError> {
        let Some(path) = &self.scheduler_config else { return Ok(None) };
        let text = fs::read(path).map_err(|source| OptionsError::File { path: path.clone(), source })?;
        let invalid = |why| OptionsError::Invalid {
            option: "--scheduler-config",
            why: format!("{}: {why}", path.display()),
        };
        let configuration = Configuration::parse(&text).map_err(invalid)?;
        for told in &configuration.without_effect {
            warn!(file = %path.display(), "{told}");
        }
        Ok(Some(configuration))
    }
}
