//! What an agent tells whoever may read from it.

use futures::{StreamExt as _, future};
use http::{Method, Response};
use orchestra_core::api::{Reason, Status};
use orchestra_core::node::{LogRequest, NodeService};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{figures, logs};
use crate::reply::{self, Body};

/// The answer of a node to a request, of a method and a query, for one of its paths. What goes on ends when `closing` is cancelled.
///
/// # Errors
/// 404 for a path that is none, and what the node says.
pub(crate) async fn read(
    node: &dyn NodeService,
    asked: (&Method, Option<&str>),
    path: &str,
    closing: &CancellationToken,
) -> Result<Response<Body>, Status> {
    let (method, query) = asked;
    if *method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    if path == "/healthz" {
        return Ok(reply::text(200, "ok"));
    }
    if let Some(wanted) = logs::read(path, query) {
        return written(node, &wanted?, closing).await;
    }
    match figures::answer(node, path).await {
        Some(answer) => answer,
        None => Err(Status::new(Reason::NotFound, "the agent of a node does not serve this path")),
    }
}

async fn written(
    node: &dyn NodeService,
    wanted: &LogRequest,
    closing: &CancellationToken,
) -> Result<Response<Body>, Status> {
    let chunks = node.logs(wanted).await?.filter_map(|chunk| {
        // The head has been sent: all that is left to say of an error is the end.
        future::ready(chunk.inspect_err(|error| debug!(%error, "logs ended early")).ok())
    });
    Ok(reply::streamed("text/plain", chunks.take_until(closing.clone().cancelled_owned())))
}
