//! A connection that stops being HTTP's.

use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orchestra_core::api::Status;
use tokio::time::timeout;
use tower_service::Service as _;

use super::answer;
use super::channel::{ANSWER, Channel};
use super::request::Call;
use crate::streams::upgrade::Raw;

const NOWHERE: HeaderValue = HeaderValue::from_static("");

impl Channel {
    /// Asks for another protocol on a connection of its own, and returns what the server said and the connection.
    ///
    /// # Errors
    /// That the server cannot be reached, or what it says instead.
    pub(crate) async fn upgrade(
        &self,
        call: Call,
        protocol: &'static str,
        headers: HeaderMap,
    ) -> Result<(HeaderMap, Raw), Status> {
        let mut request = self.request(call, "*/*")?;
        request.headers_mut().extend(headers);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
        // Of a connection of its own the path is asked for, and the host is named.
        let uri = std::mem::take(request.uri_mut());
        let host = uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
        request.headers_mut().insert(HOST, host.transpose().map_err(Status::internal)?.unwrap_or(NOWHERE));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(Status::internal)?;
        let asking = async {
            let pipe = self.upgrading.clone().call(uri).await;
            let pipe = pipe.map_err(|error| self.unreachable(&error))?;
            let (mut sender, connection) =
                http1::handshake(pipe).await.map_err(|error| self.unreachable(&error))?;
            let answered = async move {
                let response =
                    sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let status = response.status();
                    return Err(answer::failure(status, &self.collect(response.into_body()).await?));
                }
                let headers = response.headers().clone();
                let upgraded = hyper::upgrade::on(response).await;
                Ok((headers, TokioIo::new(upgraded.map_err(|error| self.unreachable(&error))?)))
            };
            let (_, answered) = tokio::join!(connection.with_upgrades(), answered);
            answered
        };
        timeout(ANSWER, asking).await.unwrap_or_else(|_| Err(self.silent()))
    }
}
