//! Pages for people. What they read and write are requests like any other, of the same sender.

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use orchestra_core::api::User;
use orchestra_dashboard::{Api, Dashboard};
use tokio_util::sync::CancellationToken;

use super::{Frontend, Sender};
use crate::body::{Bounds, Payload};
use crate::reply::{self, Body};

/// The API, as whoever sent the request for a page.
struct Asked<'f> {
    frontend: &'f Frontend,
    sender: Sender<'f>,
    closing: &'f CancellationToken,
}

#[async_trait]
impl Api for Asked<'_> {
    async fn send(&self, request: Request<Bytes>) -> Response<Body> {
        self.frontend.answer_to(self.sender, request.map(Full::new), self.closing).await
    }
}

impl Frontend {
    /// Answers a request for a page.
    pub(super) async fn page<B>(
        &self,
        dashboard: &Dashboard,
        sender: Sender<'_>,
        head: Parts,
        payload: &mut Payload<B>,
        closing: &CancellationToken,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (id, version) = (reply::audit_id(&head.headers), head.version);
        // Strangers may send what a login takes, and no more.
        let credentials = dashboard.credentials(head.uri.path(), &head.headers);
        let known = self.user(sender, &credentials, head.uri.path()).await;
        let is_known = known.is_ok_and(|user| user.name != User::anonymous().name);
        let bounds = if is_known { Bounds::API } else { Bounds::STRANGER };
        let mut answer = match payload.read(bounds).await {
            Ok(body) => {
                let asked = Asked { frontend: self, sender, closing };
                dashboard.answer(Request::from_parts(head, body), &asked).await
            }
            Err(status) => reply::failed(&status),
        };
        payload.settle(version, &mut answer).await;
        reply::finish(&mut answer, id);
        answer
    }
}
