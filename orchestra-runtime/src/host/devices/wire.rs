//! As much of HTTP/2 as a gRPC server of one method needs.
//!
//! It is not hyper's, because plugins in Go name the path of the socket as their authority, which hyper refuses as malformed. With
//! one method there is nothing to learn from headers, so none are read here: what a request holds is all that counts.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest frame, as nothing else was agreed on.
const LONGEST_FRAME: usize = 16 << 10;
/// The longest request that is read.
const LONGEST: usize = 64 << 10;
/// Most requests at a time on a connection.
const REQUESTS: usize = 16;

/// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// What is said of frames.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// `:status: 200` and `content-type: application/grpc`, by the numbers that the names have.
const RESPONSE: &[u8] = b"\x88\x0f\x10\x10application/grpc";

/// The code of gRPC for what is refused.
pub(super) const UNKNOWN: u8 = 2;

/// A code of gRPC with what it says.
pub(super) type Refusal = (u8, String);

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// Answers the requests of a connection, each of which holds a message and is answered by an empty one, until it ends.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(&[u8]) -> Result<(), Refusal>,
) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if preface != *PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
    }
    let mut out = Vec::new();
    put(&mut out, SETTINGS, 0, 0, &[]);
    let mut requests: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    loop {
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        let Some(frame) = read(&mut stream).await? else { return Ok(()) };
        let of = frame.stream;
        match frame.kind {
            HEADERS => {
                requests.entry(of).or_default();
            }
            DATA => {
                let length = (frame.payload.len() as u32).to_be_bytes();
                if length != [0; 4] {
                    put(&mut out, WINDOW_UPDATE, 0, 0, &length);
                }
                if let Some(body) = requests.get_mut(&of) {
                    body.extend_from_slice(unpadded(&frame)?);
                }
            }
            RST_STREAM => {
                requests.remove(&of);
            }
            SETTINGS if frame.flags & ACK == 0 => put(&mut out, SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => put(&mut out, PING, ACK, 0, &frame.payload),
            _ => {}
        }
        if requests.len() > REQUESTS || requests.values().any(|body| body.len() > LONGEST) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it asks for too much at a time"));
        }
        if matches!(frame.kind, HEADERS | DATA)
            && frame.flags & END_STREAM != 0
            && let Some(body) = requests.remove(&of)
        {
            reply(&mut out, of, message(&body).and_then(&answer));
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 9];
    match stream.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    if length > LONGEST_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok(Some(Frame { kind: head[3], flags: head[4], stream: number, payload }))
}

/// What a frame holds besides what fills it up.
fn unpadded(frame: &Frame) -> io::Result<&[u8]> {
    if frame.flags & PADDED == 0 {
        return Ok(&frame.payload);
    }
    let held = frame.payload.split_first().and_then(|(pad, rest)| {
        let length = rest.len().checked_sub(usize::from(*pad))?;
        rest.get(..length)
    });
    held.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame is filled up beyond its end"))
}

/// The message of a request; before it stands whether it is compressed, and its length.
fn message(body: &[u8]) -> Result<&[u8], Refusal> {
    let refused = || (UNKNOWN, "the request holds no message that is not compressed".to_owned());
    let (head, rest) = body.split_at_checked(5).ok_or_else(refused)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    rest.get(..length).filter(|_| head[0] == 0).ok_or_else(refused)
}

fn reply(out: &mut Vec<u8>, stream: u32, outcome: Result<(), Refusal>) {
    put(out, HEADERS, END_HEADERS, stream, RESPONSE);
    let mut trailers = Vec::new();
    match outcome {
        Ok(()) => {
            put(out, DATA, 0, stream, &[0; 5]);
            header(&mut trailers, "grpc-status", "0");
        }
        Err((code, why)) => {
            let plain = |c: char| if matches!(c, ' '..='~') && c != '%' { c } else { '?' };
            header(&mut trailers, "grpc-status", &code.to_string());
            header(&mut trailers, "grpc-message", &why.chars().take(1024).map(plain).collect::<String>());
        }
    }
    put(out, HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A header by its name, which nobody need remember.
fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        // Lengths have seven bits, and more bytes where these are not enough.
        match text.len().checked_sub(127) {
            None => out.push(text.len() as u8),
            Some(mut rest) => {
                out.push(127);
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to some frames.
    async fn answered(frames: &[u8], outcome: Result<(), Refusal>) -> io::Result<Vec<u8>> {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(frames).await.unwrap();
        client.shutdown().await.unwrap();
        let served = serve(server, |message| {
            assert_eq!(message, b"ab");
            outcome.clone()
        });
        served.await?;
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        Ok(said)
    }

    #[tokio::test]
    async fn requests_are_answered_whatever_their_headers_say() {
        let mut frames = PREFACE.to_vec();
        put(&mut frames, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]);
        put(&mut frames, HEADERS, END_HEADERS, 1, b"no headers at all: %2Fvar%2Flib");
        put(&mut frames, PING, 0, 0, b"12345678");
        put(&mut frames, DATA, PADDED, 1, b"\x02\0\0\0\0--");
        put(&mut frames, DATA, END_STREAM, 1, b"\x02ab");
        let said = answered(&frames, Ok(())).await.unwrap();
        let mut expected = Vec::new();
        put(&mut expected, SETTINGS, 0, 0, &[]);
        put(&mut expected, SETTINGS, ACK, 0, &[]);
        put(&mut expected, PING, ACK, 0, b"12345678");
        put(&mut expected, WINDOW_UPDATE, 0, 0, &[0, 0, 0, 7]);
        put(&mut expected, WINDOW_UPDATE, 0, 0, &[0, 0, 0, 3]);
        put(&mut expected, HEADERS, END_HEADERS, 1, RESPONSE);
        put(&mut expected, DATA, 0, 1, &[0; 5]);
        put(&mut expected, HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x0bgrpc-status\x010");
        assert_eq!(said, expected);
        let long = "x".repeat(300);
        let said = answered(&frames, Err((2, long.clone()))).await.unwrap();
        let tail =
            [b"\0\x0bgrpc-status\x012\0\x0cgrpc-message\x7f\xad\x01".as_slice(), long.as_bytes()].concat();
        assert!(said.ends_with(&tail), "{said:?}");
    }

    #[tokio::test]
    async fn what_is_no_request_ends_the_connection() {
        let mut long = PREFACE.to_vec();
        long.extend([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
        let mut padded = PREFACE.to_vec();
        put(&mut padded, HEADERS, END_HEADERS, 1, b"");
        put(&mut padded, DATA, PADDED, 1, b"\x09a");
        let mut many = PREFACE.to_vec();
        (0..=REQUESTS as u32).for_each(|n| put(&mut many, HEADERS, END_HEADERS, 2 * n + 1, b""));
        for frames in [long, padded, many, b"GET / HTTP/1.1\r\n\r\n      ".to_vec()] {
            assert!(answered(&frames, Ok(())).await.is_err(), "{frames:?}");
        }
    }
}
