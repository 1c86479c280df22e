//! The API without a socket.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use orchestra_core::api::User;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::frontend::{Frontend, Sender};
use crate::reply::Body;

/// The HTTP API of a server in this process, as a `tower` service that answers one user. What the requests say of their
/// sender does not count. Made by [`Frontend::local`]; cheap to clone.
///
/// kube-rs takes it as it is: `kube::Client::new(frontend.local(User::admin()), "default")`.
#[derive(Clone)]
pub struct LocalService {
    frontend: Arc<Frontend>,
    user: Arc<User>,
}

impl fmt::Debug for LocalService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalService").field("user", &self.user.name).finish_non_exhaustive()
    }
}

impl Frontend {
    /// The same API as a service in this process, without a socket, as one user: for clients that speak HTTP over a
    /// `tower` service, as kube-rs does.
    pub fn local(self: &Arc<Self>, user: User) -> LocalService {
        LocalService { frontend: Arc::clone(self), user: Arc::new(user) }
    }
}

impl<B> Service<Request<B>> for LocalService
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { frontend, user } = self.clone();
        async move {
            // Watches end with their server.
            Ok(frontend.answer_to(Sender::Known(&user), request, &CancellationToken::new()).await)
        }
        .boxed()
    }
}
