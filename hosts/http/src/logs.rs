//! `pods/log`: what a container wrote, as text, as it comes.

use futures::{StreamExt as _, future};
use http::request::Parts;
use http::{Method, Response};
use orchestra_core::api::{Action, Client, LogQuery, Resource, Status, Stream as Connection, Target};
use orchestra_core::node::Directory;
use orchestra_core::runtime::LogOptions;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::query::QueryString;
use crate::reply::{self, Body};
use crate::streams::channels::websocket;
use crate::streams::handshake::Handshake;
use crate::streams::messages::{self, Messages};
use crate::streams::upgrade::Upgrade;

/// Whether a request is for logs.
pub(crate) fn is_asked_for(method: &Method, resource: &Resource, target: &Target) -> bool {
    let part = target.subresource.as_deref().and_then(|name| resource.subresource(name));
    *method == Method::GET && part.is_some_and(|part| part.action == Action::Connect(Connection::Log))
}

pub(crate) async fn answer(
    directory: &Directory,
    client: &Client,
    target: &Target,
    (head, query): (&Parts, &QueryString),
    closing: &CancellationToken,
) -> Result<Response<Body>, Status> {
    let handshake = Handshake::<Messages, ()>::of_socket(&head.headers, &Messages::SERVED)?;
    let upgrade = handshake.is_some().then(|| Upgrade::of(&head.extensions)).transpose()?;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    let wanted = read(client, query)?;
    let logs = directory.logs(client, namespace, name, wanted).await?;
    let chunks = logs.filter_map(|chunk| {
        // The status has been sent: all that is left to say of an error is the end.
        future::ready(chunk.inspect_err(|error| debug!(%error, "logs ended early")).ok())
    });
    let chunks = chunks.take_until(closing.clone().cancelled_owned());
    let (Some(handshake), Some(upgrade)) = (handshake, upgrade) else {
        return Ok(reply::streamed("text/plain", chunks));
    };
    if let Handshake::WebSocket { protocol, .. } = &handshake {
        let protocol = *protocol;
        upgrade.then(move |connection| async move {
            messages::send(websocket(connection, Role::Server).await, protocol, chunks.boxed()).await;
        });
    }
    Ok(handshake.answer(Messages::name, |()| ""))
}

fn read(client: &Client, query: &QueryString) -> Result<LogQuery, Status> {
    let seconds: Option<i64> = query.number("sinceSeconds")?;
    let time = query.get("sinceTime");
    let since = match (seconds, time) {
        (Some(_), Some(_)) => {
            return Err(Status::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(seconds), None) if seconds < 1 => {
            return Err(Status::bad_request("sinceSeconds: Invalid value: must be greater than 0"));
        }
        (Some(seconds), None) => {
            let ago = std::time::Duration::from_secs(seconds.unsigned_abs());
            client.clock().now().checked_sub(ago).ok()
        }
        (None, Some(text)) => Some(text.parse().map_err(|_| {
            Status::bad_request(format!(
                "sinceTime: Invalid value: {text:?}: must be a time such as 2026-01-02T15:04:05Z"
            ))
        })?),
        (None, None) => None,
    };
    let tail: Option<i64> = query.number("tailLines")?;
    let tail_lines = match tail {
        Some(tail) if tail < 0 => {
            return Err(Status::bad_request("tailLines: Invalid value: must be greater than or equal to 0"));
        }
        tail => tail.map(i64::unsigned_abs),
    };
    Ok(LogQuery {
        container: query.get("container").map(str::to_owned),
        previous: query.is_set("previous"),
        options: LogOptions {
            follow: query.is_set("follow"),
            tail_lines,
            since,
            timestamps: query.is_set("timestamps"),
            limit_bytes: query.number("limitBytes")?,
        },
    })
}
