//! Where a master is, and who asks.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{AddressError, BearerError};
use crate::pki::{Issued, PkiError};

/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a program proves itself to a master with.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A bearer token.
    Token(String),
    /// The bearer token that a file has, which is read again each minute: that of a pod is given another one in time.
    TokenFile(PathBuf),
    /// A certificate of the cluster's authority, with its key.
    Certificate(Issued),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::TokenFile(_) => "TokenFile",
            Self::Certificate(_) => "Certificate",
        })
    }
}

/// Where a master is, and how it and this program know each other.
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// As `https://10.0.0.1:6443`.
    pub url: String,
    /// The certificate of the cluster's authority, in PEM form.
    pub authority: String,
    /// Who this program is.
    pub credential: Credential,
}

impl RemoteConfig {
    /// The cluster that this program is a pod of: its address as the environment says it, and the certificate and token of the
    /// pod's service account.
    ///
    /// # Errors
    /// When this program is not in a pod, or its pod has no token.
    pub fn in_cluster() -> Result<Self, ConnectError> {
        Self::of_pod(|name| std::env::var(name).ok(), Path::new(ACCOUNT))
    }

    fn of_pod(variable: impl Fn(&str) -> Option<String>, account: &Path) -> Result<Self, ConnectError> {
        let set = |name: &'static str| {
            variable(name).filter(|value| !value.is_empty()).ok_or(ConnectError::NotInCluster { name })
        };
        let (host, port) = (set("KUBERNETES_SERVICE_HOST")?, set("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let path = account.join("ca.crt");
        let authority = std::fs::read_to_string(&path);
        Ok(Self {
            url: format!("https://{host}:{port}"),
            authority: authority.map_err(|source| ConnectError::Account { path, source })?,
            credential: Credential::TokenFile(account.join("token")),
        })
    }
}

/// Why a master cannot be spoken to at all. That it is away is none of these: calls say so, and can be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The certificates are none.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] BearerError),
    /// This program is not in a pod.
    #[error("this program does not run in a pod of a cluster: {name} is not set")]
    NotInCluster {
        /// What the environment should say.
        name: &'static str,
    },
    /// The pod's service account has no certificate here.
    #[error("{} cannot be read; is automountServiceAccountToken off?", path.display())]
    Account {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_its_cluster() {
        let account = tempfile::tempdir().unwrap();
        let of_pod = |host: &str, port: &str| {
            let variable = |name: &str| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                "KUBERNETES_SERVICE_PORT" => Some(port.to_owned()),
                _ => None,
            };
            RemoteConfig::of_pod(variable, account.path())
        };
        let refused = |host, port| of_pod(host, port).unwrap_err().to_string();
        assert!(refused("", "443").contains("KUBERNETES_SERVICE_HOST is not set"));
        assert!(refused("10.96.0.1", "").contains("KUBERNETES_SERVICE_PORT is not set"));
        assert!(refused("10.96.0.1", "443").contains("ca.crt cannot be read"));
        std::fs::write(account.path().join("ca.crt"), "authority").unwrap();
        for (host, url) in [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")] {
            let config = of_pod(host, "443").unwrap();
            assert_eq!((config.url.as_str(), config.authority.as_str()), (url, "authority"));
            let token = account.path().join("token");
            assert!(matches!(config.credential, Credential::TokenFile(path) if path == token));
        }
    }
}
