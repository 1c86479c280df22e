use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use orchestra_core::access::audit::Policy;
use orchestra_core::clock::parse_duration;

use super::{OptionsError, read};
use crate::audit::{Audit, Batches, FileSink, Rotation, WebhookSink};
use crate::endpoint::Endpoint;

/// What is written down of who did what, and where.
#[derive(Args, Clone, Debug)]
pub struct AuditOptions {
    /// A Policy of audit.k8s.io/v1 that says what is written down of which requests
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Write audit events to a file, one a line; - is the standard output
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,
    /// Begin the file anew before it has more megabytes
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub audit_log_maxsize: u64,
    /// Keep old files for so many days; 0 is for ever
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Keep so many old files; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Send audit events to the server that this file names, in the form of a kubeconfig
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// How many events wait for that server; more are dropped
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,
    /// How many events are sent at once
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,
    /// How long events wait for others to be sent with
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub audit_webhook_batch_max_wait: Duration,
    /// How long after a failure they are sent again
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub audit_webhook_initial_backoff: Duration,
}

impl AuditOptions {
    pub(super) fn audit(&self) -> Result<Option<Audit>, OptionsError> {
        let Some(path) = &self.audit_policy_file else { return Ok(None) };
        let mut audit = Audit::new(Policy::parse(&read(path)?)?);
        if let Some(path) = &self.audit_log_path {
            let sink = FileSink::open(path, self.rotation());
            audit = audit.to(sink.map_err(|source| OptionsError::File { path: path.clone(), source })?);
        }
        if let Some(path) = &self.audit_webhook_config_file {
            audit = audit.to(WebhookSink::new(Endpoint::read(path)?, self.batches()));
        }
        Ok(Some(audit))
    }

    fn rotation(&self) -> Rotation {
        let days = |days: u64| Duration::from_secs(days.saturating_mul(24 * 60 * 60));
        let bytes = match self.audit_log_maxsize {
            0 => Rotation::default().bytes,
            megabytes => megabytes.saturating_mul(1024 * 1024),
        };
        Rotation {
            bytes,
            age: Some(days(self.audit_log_maxage)).filter(|age| !age.is_zero()),
            backups: Some(self.audit_log_maxbackup).filter(|backups| *backups > 0),
        }
    }

    fn batches(&self) -> Batches {
        Batches {
            buffer: self.audit_webhook_batch_buffer_size,
            size: self.audit_webhook_batch_max_size.max(1),
            wait: self.audit_webhook_batch_max_wait,
            backoff: self.audit_webhook_initial_backoff,
        }
    }
}
