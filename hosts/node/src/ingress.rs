//! Serving Ingresses on this node, if the command line says where.
//!
//! A node reads no Secret but those of its pods, and who serves Ingresses reads the certificates of all: so the node does that as
//! somebody else, by a token that it is given.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use orchestra_core::api::{Client, Status};
use orchestra_http::{Credential, Masters, Remote};
use orchestra_ingress::Controller;

/// Where Ingresses are served, as the command line says it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ingress {
    /// Serve Ingresses there, such as 0.0.0.0:80, of the class orchestra, which is the default one if no other is
    #[arg(long, value_name = "ADDR:PORT", requires = "ingress_token_file", conflicts_with = "standalone")]
    ingress_listen: Option<SocketAddr>,
    /// Serve Ingresses by TLS there, such as 0.0.0.0:443, with the certificates that they name
    #[arg(long, value_name = "ADDR:PORT", requires = "ingress_token_file", conflicts_with = "standalone")]
    ingress_tls_listen: Option<SocketAddr>,
    /// The token of whoever may serve Ingresses, which reads all Secrets, as a node does not: that of the service account ingress
    /// in kube-system. The file is read again each minute
    #[arg(long, value_name = "FILE")]
    ingress_token_file: Option<PathBuf>,
}

impl Ingress {
    /// At which of a node's addresses Ingresses are served; at none if they are not.
    pub(crate) fn addresses(&self, node: &[IpAddr]) -> Vec<IpAddr> {
        match self.ingress_listen.or(self.ingress_tls_listen) {
            None => Vec::new(),
            Some(listen) if listen.ip().is_unspecified() => node.to_vec(),
            Some(listen) => vec![listen.ip()],
        }
    }

    /// Listens there, if it is asked for.
    pub(crate) fn open(
        &self,
        masters: &Masters,
        authority: &str,
        node: &[IpAddr],
    ) -> anyhow::Result<Option<Serving>> {
        let addresses = self.addresses(node);
        let Some(file) = self.ingress_token_file.as_deref().filter(|_| !addresses.is_empty()) else {
            return Ok(None);
        };
        let mut controller = Controller::new(addresses);
        let cannot = |address: SocketAddr| format!("Ingresses cannot be served at {address}");
        if let Some(address) = self.ingress_listen {
            controller = controller.http(address).with_context(|| cannot(address))?;
        }
        if let Some(address) = self.ingress_tls_listen {
            controller = controller.https(address).with_context(|| cannot(address))?;
        }
        let remote = Remote::of_any(masters.clone(), authority, &Credential::TokenFile(file.to_owned()))
            .context("--ingress-token-file")?;
        Ok(Some(Serving { controller, client: remote.client(), _remote: remote }))
    }
}

/// What serves them.
pub(crate) struct Serving {
    controller: Controller,
    client: Client,
    _remote: Arc<Remote>,
}

impl Serving {
    /// Serves them until `shutdown`.
    pub(crate) async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        self.controller.run(self.client.clone(), shutdown).await
    }
}
