//! What a program is told of its API on the command line, under the names that Kubernetes' API server has for it.

mod audit;
mod authn;
mod authz;
mod scheduler;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use orchestra_core::access::audit::PolicyError;
use orchestra_core::clock::SharedClock;

pub use audit::AuditOptions;
pub use authn::AuthenticationOptions;
pub use authz::AuthorizationOptions;
pub use scheduler::SchedulerOptions;

use crate::authn::{FrontProxy, OidcError};
use crate::authz::{AuthorizationError, Authorizers};
use crate::endpoint::EndpointError;
use crate::frontend::Frontend;
use crate::pki::PkiError;

/// Options of an API server.
#[derive(Args, Clone, Debug)]
pub struct ApiOptions {
    /// How many requests that read are looked at at a time; those that change something count towards the same sum
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub max_requests_inflight: u32,
    /// How many requests that change something are looked at at a time; 0 for both lets in all
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_mutating_requests_inflight: u32,
    /// Who is known
    #[command(flatten)]
    pub authentication: AuthenticationOptions,
    /// Who is asked who may do what
    #[command(flatten)]
    pub authorization: AuthorizationOptions,
    /// What is written down
    #[command(flatten)]
    pub audit: AuditOptions,
}

/// Why an API cannot be as it was told to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A file cannot be read or written.
    #[error("{} cannot be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// An option says what cannot be.
    #[error("{option}: {why}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The audit policy is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The configuration of authentication is none.
    #[error(transparent)]
    Authentication(#[from] OidcError),
    /// The configuration of authorization is none.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// It is not known how to reach a server.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A certificate is none.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl ApiOptions {
    /// The proxies that are believed, if there are such: the server must take their certificates.
    ///
    /// # Errors
    /// When the file with the certificate of their authority cannot be read.
    pub fn proxy(&self) -> Result<Option<FrontProxy>, OptionsError> {
        self.authentication.proxy()
    }

    /// Those who are asked who may do what, beside the roles of the cluster.
    ///
    /// # Errors
    /// When a file cannot be read, or does not say what it should.
    pub fn authorizers(&self, clock: &SharedClock) -> Result<Authorizers, OptionsError> {
        self.authorization.authorizers(clock)
    }

    /// An API that is as these options say. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a file that they name cannot be read, or does not say what it should.
    pub fn apply(&self, frontend: Frontend) -> Result<Frontend, OptionsError> {
        let seats = self.max_requests_inflight.saturating_add(self.max_mutating_requests_inflight);
        let frontend = if seats > 0 { frontend.flow_control(seats) } else { frontend };
        let frontend = self.authentication.apply(frontend)?;
        Ok(match self.audit.audit()? {
            Some(audit) => frontend.audit(audit),
            None => frontend,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OptionsError> {
    fs::read(path).map_err(|source| OptionsError::File { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<String, OptionsError> {
    fs::read_to_string(path).map_err(|source| OptionsError::File { path: path.to_owned(), source })
}
