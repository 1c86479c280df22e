//! A connection to the server under test, kept open from one request to the next.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::scenario::Watch;
use crate::support::{Served, TOKEN};

pub struct Client<'s> {
    served: &'s Served,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl<'s> Client<'s> {
    pub fn new(served: &'s Served) -> Self {
        Self { served, connection: None }
    }

    /// Sends a request as the administrator. A header that is given replaces what would be sent, an empty one removes
    /// it.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<String>,
        watch: Option<&Watch>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
        for (name, value) in [
            ("host", "localhost"),
            ("accept", "application/json"),
            ("user-agent", "replay/1"),
            ("authorization", TOKEN),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        if let Some(body) = body {
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            *request.body_mut() = Full::new(body.into());
        }
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().remove(&name);
            if !value.is_empty() {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        let mut connection = self.open().await;
        let response =
            connection.send_request(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let (head, body) = response.into_parts();
        let body = match watch {
            // A watch does not end by itself, and its connection with it.
            Some(watch) if head.status == 200 => events(body, watch).await.into(),
            _ => {
                let text = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                self.connection = Some(connection);
                parsed(&text)
            }
        };
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    /// The connection as it is, if the server has not closed it.
    async fn open(&mut self) -> SendRequest<Full<Bytes>> {
        if let Some(mut open) = self.connection.take()
            && open.ready().await.is_ok()
        {
            return open;
        }
        self.connect().await
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.served.connect().await);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// So many events of a watch, or those that come in its time.
async fn events(mut body: hyper::body::Incoming, watch: &Watch) -> Vec<Value> {
    let mut read = Vec::new();
    let mut rest = Vec::new();
    let reading = async {
        while read.len() < watch.events {
            let Some(Ok(frame)) = body.frame().await else { break };
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !line.trim_ascii().is_empty() && read.len() < watch.events {
                    read.push(parsed(line.trim_ascii_end()));
                }
            }
        }
    };
    let _ended = tokio::time::timeout(Duration::from_secs_f64(watch.seconds), reading).await;
    read
}

/// JSON, or the beginning of what is none.
fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text)
        .unwrap_or_else(|_| String::from_utf8_lossy(text).chars().take(4000).collect::<String>().into())
}
