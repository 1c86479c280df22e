use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use orchestra_core::cluster::Cluster;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::address::reachable_address;
use crate::frontend::Frontend;
use crate::kubeconfig::Kubeconfig;
use crate::pki::{Authority, PkiError, ServerTls};
use crate::serve::accept;

/// An API server's place on the network, that can be given up and taken again: connections are refused meanwhile, and
/// the parts of the cluster in this process are refused too, as they would be by a server that is down.
#[derive(Debug)]
pub struct ApiHost {
    frontend: Arc<Frontend>,
    tls: ServerTls,
    address: SocketAddr,
    serving: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl ApiHost {
    /// Serves an API on a listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(listener: TcpListener, tls: ServerTls, frontend: Frontend) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let host = Self { frontend: Arc::new(frontend), tls, address, serving: Mutex::default() };
        host.run(listener);
        Ok(host)
    }

    /// What it serves.
    pub fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is serving.
    pub fn is_serving(&self) -> bool {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }

    /// Takes the place on the network again; nothing, if it has it.
    ///
    /// # Errors
    /// When the address is in use by another.
    pub async fn start(&self) -> io::Result<()> {
        if !self.is_serving() {
            self.run(TcpListener::bind(self.address).await?);
            self.frontend.server().set_serving(true);
        }
        Ok(())
    }

    /// Gives up the place on the network. Requests under way may finish.
    pub async fn stop(&self) {
        self.frontend.server().set_serving(false);
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((token, task)) = serving {
            token.cancel();
            let _ = task.await;
        }
    }

    fn run(&self, listener: TcpListener) {
        let (token, frontend) = (CancellationToken::new(), Arc::clone(&self.frontend));
        let limits = frontend.connection_limits();
        let task = tokio::spawn(accept(listener, self.tls.clone(), frontend, limits, token.clone()));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some((token, task));
    }
}

impl Drop for ApiHost {
    fn drop(&mut self) {
        // Requests under way may finish.
        if let Some((token, _)) = &*self.serving.lock().unwrap_or_else(PoisonError::into_inner) {
            token.cancel();
        }
    }
}

/// A cluster that is [served](serve): ended by [`Serving::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Serving {
    api: ApiHost,
    authority: Authority,
    kubeconfig: Kubeconfig,
}

impl Serving {
    /// What tells `kubectl` and others where the cluster is, as its administrator.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.kubeconfig
    }

    /// The authority that the clients' certificates come from.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What serves it.
    pub fn api(&self) -> &ApiHost {
        &self.api
    }

    /// Stops serving. Requests under way may finish; the cluster runs on.
    pub async fn stop(self) {
        self.api.stop().await;
    }
}

/// Serves the API of a cluster in this process over HTTPS, under an authority that is made for it.
///
/// ```
/// # use orchestra_core::cluster::Cluster;
/// # use tokio::net::TcpListener;
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::builder().fake_nodes(1).start().await?;
/// let serving = orchestra_http::serve(&cluster, TcpListener::bind("127.0.0.1:0").await?)?;
/// println!("{}", serving.kubeconfig().render());
/// serving.stop().await;
/// # Ok(()) }
/// ```
///
/// # Errors
/// When the listener has no address, or no certificates can be made.
pub fn serve(cluster: &Cluster, listener: TcpListener) -> Result<Serving, ServeError> {
    let address = listener.local_addr()?;
    let reached = reachable_address(address.ip());
    let authority = Authority::new()?;
    let identity = authority.issue_server(&["localhost".to_owned()], &[reached])?;
    let tls = ServerTls::new(&identity, authority.certificate())?;
    let kubeconfig = Kubeconfig {
        server: format!("https://{}", SocketAddr::new(reached, address.port())),
        authority: authority.certificate().to_owned(),
        identity: authority.issue_client("kubernetes-admin", &["system:masters"])?,
    };
    let api = ApiHost::new(listener, tls, Frontend::new(cluster))?;
    Ok(Serving { api, authority, kubeconfig })
}

/// Why a cluster is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener has no address")]
    Listener(#[from] io::Error),
    /// There are no certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
}
