//! The standard health check of gRPC servers, `grpc.health.v1.Health/Check`: one request with one string, one answer
//! with one number; too little to generate code for.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, TE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra_core::node::ProbeError;
use tokio::net::TcpStream;

use super::failure::protocol;

/// The answer's number for "serves".
const SERVING: u64 = 1;

/// Asks over a connection whether a service (or the server, when it has no name) serves.
pub(super) async fn check(stream: TcpStream, address: SocketAddr, service: &str) -> Result<bool, ProbeError> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(protocol)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(question(service)))
        .map_err(protocol)?;
    let answer = sender.send_request(request).await.map_err(protocol)?;
    let early = status(answer.headers());
    let collected = answer.into_body().collect().await.map_err(protocol)?;
    connection.abort();
    let late = collected.trailers().and_then(status);
    match early.or(late) {
        Some(0) | None => {
            serving(&collected.to_bytes()).ok_or_else(|| protocol("the health answer is malformed"))
        }
        // It knows of no such service, or of no health checks.
        Some(code) => Err(protocol(format!("rpc error: code = {code}"))),
    }
}

fn status(headers: &hyper::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `HealthCheckRequest { service = 1 }`, in gRPC's frame: no compression, and the length.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// `HealthCheckResponse { status = 1 }`. An absent field is 0, "unknown".
fn serving(framed: &[u8]) -> Option<bool> {
    let (frame, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(frame[1..].try_into().ok()?) as usize;
    match message.get(..length)? {
        [] => Some(false),
        [0x08, value] => Some(u64::from(*value) == SERVING),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(true));
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 2]), Some(false));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(false));
        for bad in [&[][..], &[0, 0, 0], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 8]] {
            assert_eq!(serving(bad), None, "{bad:?}");
        }
    }
}
