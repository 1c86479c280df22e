use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use orchestra_core::api::Server;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::frontend::Frontend;
use crate::join::Enrolment;
use crate::pki::ServerTls;
use crate::serve::serve;
use orchestra_core::node::Directory;

/// An API server's place on the network, that can be given up and taken again: connections are refused meanwhile, and
/// the parts of the cluster in this process are refused too, as they would be by a server that is down.
#[derive(Debug)]
pub struct ApiHost {
    server: Arc<Server>,
    directory: Directory,
    tokens: Tokens,
    enrolment: Option<Arc<Enrolment>>,
    tls: ServerTls,
    address: SocketAddr,
    serving: Mutex<Option<(CancellationToken, JoinHandle<io::Result<()>>)>>,
}

impl ApiHost {
    /// Serves an API server on a listener. Nodes may join if there is an enrolment.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(
        listener: TcpListener,
        tls: ServerTls,
        server: Arc<Server>,
        directory: Directory,
        tokens: Tokens,
        enrolment: Option<Arc<Enrolment>>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let host = Self { server, directory, tokens, enrolment, tls, address, serving: Mutex::default() };
        host.run(listener);
        Ok(host)
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
            self.server.set_serving(true);
        }
        Ok(())
    }

    /// Gives up the place on the network. Requests under way may finish.
    pub async fn stop(&self) {
        self.server.set_serving(false);
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((token, task)) = serving {
            token.cancel();
            let _ = task.await;
        }
    }

    fn run(&self, listener: TcpListener) {
        let token = CancellationToken::new();
        let frontend = Frontend::new(
            Arc::clone(&self.server),
            self.directory.clone(),
            self.tokens.clone(),
            token.clone(),
        );
        let frontend = frontend.enrolling(self.enrolment.clone());
        let task = tokio::spawn(serve(listener, self.tls.clone(), Arc::new(frontend), token.clone()));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some((token, task));
    }
}
