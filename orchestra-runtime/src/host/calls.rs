//! Questions that programs of this machine answer by gRPC at their sockets.

use std::path::Path;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// A question.
pub(super) trait Call: Message + 'static {
    /// What it is called.
    const PATH: &'static str;
    /// The answer.
    type Answer: Message + Default + 'static;
}

macro_rules! calls {
    ($($path:literal $call:ident -> $answer:ident),* $(,)?) => {
        $(impl $crate::host::calls::Call for $call {
            const PATH: &'static str = $path;
            type Answer = $answer;
        })*
    };
}
pub(super) use calls;

/// Whoever listens at a socket, which is connected to when something is asked. `unix://` may stand before its path.
pub(super) fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = socket.to_string_lossy();
    let path = path.strip_prefix("unix://").unwrap_or(&path);
    Ok(Endpoint::from_shared(format!("unix://{path}"))?.connect_lazy())
}

/// Asks once.
pub(super) async fn ask<Q: Call>(channel: &Channel, question: Q) -> Result<Q::Answer, Status> {
    let mut grpc = ready(channel).await?;
    let path = PathAndQuery::from_static(Q::PATH);
    Ok(grpc.unary(Request::new(question), path, ProstCodec::default()).await?.into_inner())
}

/// Asks for all answers that there are to come.
#[cfg(feature = "device-plugins")]
pub(super) async fn listen<Q: Call>(
    channel: &Channel,
    question: Q,
) -> Result<tonic::Streaming<Q::Answer>, Status> {
    let mut grpc = ready(channel).await?;
    let path = PathAndQuery::from_static(Q::PATH);
    Ok(grpc.server_streaming(Request::new(question), path, ProstCodec::default()).await?.into_inner())
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}

/// What a refusal says.
pub(super) fn said(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}
