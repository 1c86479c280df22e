//! The connection after the answer that ends its HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use orchestra_core::api::{Reason, Status};
use tracing::debug;

/// A connection that is no longer HTTP's.
pub(crate) type Raw = TokioIo<Upgraded>;

/// What comes after HTTP on a connection. It is put into the requests of a connection by the task that serves it, and is
/// worked on by that task: so it counts as a connection, and ends with the server.
#[derive(Clone, Default)]
pub(crate) struct After(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl After {
    /// What is to be done when HTTP has ended, if anything.
    pub(crate) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request whose connection can be taken over.
pub(crate) struct Upgrade {
    after: After,
    upgrade: OnUpgrade,
}

impl Upgrade {
    /// The way to take over the connection of a request.
    ///
    /// # Errors
    /// 400 when it came by a connection that cannot be taken over, as one of HTTP/2.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let after = extensions.get::<After>().cloned();
        let upgrade = extensions.get::<OnUpgrade>().cloned();
        after.zip(upgrade).map(|(after, upgrade)| Self { after, upgrade }).ok_or_else(|| {
            Status::new(Reason::BadRequest, "unable to upgrade: this connection has to stay one of HTTP")
        })
    }

    /// Has something done with the connection once the answer has been sent.
    pub(crate) fn then<F>(self, work: impl FnOnce(Raw) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let upgrade = self.upgrade;
        let work = Box::pin(async move {
            match upgrade.await {
                Ok(connection) => work(TokioIo::new(connection)).await,
                Err(error) => debug!(%error, "a connection was not upgraded"),
            }
        });
        *self.after.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }
}
