//! Frames of SPDY/3.1 as bytes and back; pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The version in control frames.
const VERSION: u16 = 3;
/// Set in the first bit of control frames.
const CONTROL: u32 = 1 << 31;
/// The bits of a stream's number.
const NUMBER: u32 = CONTROL - 1;
/// The length of a frame's head.
pub(super) const HEAD: usize = 8;
/// The longest frame that is taken. Its length has 24 bits, of which clients use 15.
pub(super) const LONGEST: usize = 1024 * 1024;

const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

/// A frame. Header blocks are compressed still, which is a matter of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins.
    SynStream { stream: u32, fin: bool, unidirectional: bool, priority: u8, associated: u32, block: Bytes },
    /// A stream is agreed to.
    SynReply { stream: u32, fin: bool, block: Bytes },
    /// A stream is given up, in both directions.
    Rst { stream: u32, status: u32 },
    /// How the other side would like things to be, as numbers and values.
    Settings(Vec<(u32, u32)>),
    /// Asks for the same frame.
    Ping(u32),
    /// No more streams are begun.
    GoAway { last: u32, status: u32 },
    /// More headers of a stream.
    Headers { stream: u32, fin: bool, block: Bytes },
    /// How much more may be sent on a stream.
    WindowUpdate { stream: u32, delta: u32 },
    /// Bytes of a stream.
    Data { stream: u32, fin: bool, data: Bytes },
    /// Something that need not be known.
    Unknown { kind: u16 },
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another version.
    #[error("a frame is of SPDY version {0}, not 3")]
    Version(u16),
    /// Too long.
    #[error("a frame of {0} bytes is too long; {LONGEST} are the most")]
    TooLong(usize),
    /// Shorter or longer than what is in it.
    #[error("a frame of type {kind} cannot have {length} bytes")]
    Length {
        /// The type of the frame.
        kind: u16,
        /// How long it says it is.
        length: usize,
    },
    /// Of no stream.
    #[error("a frame of type {0} has to name a stream")]
    NoStream(u16),
}

/// The next frame, taken off the front, or `None` while it has not arrived whole.
///
/// # Errors
/// When no frame begins there.
pub(super) fn decode(bytes: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(mut head) = bytes.get(..HEAD) else { return Ok(None) };
    let (first, second) = (head.get_u32(), head.get_u32());
    let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
    let kind = (first & 0xffff) as u16;
    if first & CONTROL != 0 {
        let version = ((first & NUMBER) >> 16) as u16;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
    }
    if length > LONGEST {
        return Err(FrameError::TooLong(length));
    }
    if bytes.len() < HEAD + length {
        return Ok(None);
    }
    bytes.advance(HEAD);
    let payload = bytes.split_to(length).freeze();
    match first & CONTROL {
        0 if first == 0 => Err(FrameError::NoStream(0)),
        0 => Ok(Some(Frame::Data { stream: first, fin: flags & FIN != 0, data: payload })),
        _ => control(kind, flags, payload).map(Some),
    }
}

fn control(kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, FrameError> {
    let length = payload.len();
    let fits = |fits: bool| fits.then_some(()).ok_or(FrameError::Length { kind, length });
    let named = |stream: u32| match stream & NUMBER {
        0 => Err(FrameError::NoStream(kind)),
        stream => Ok(stream),
    };
    let fin = flags & FIN != 0;
    Ok(match kind {
        1 => {
            fits(length >= 10)?;
            let stream = named(payload.get_u32())?;
            let associated = payload.get_u32() & NUMBER;
            let priority = payload.get_u8() >> 5;
            payload.advance(1);
            let unidirectional = flags & UNIDIRECTIONAL != 0;
            Frame::SynStream { stream, fin, unidirectional, priority, associated, block: payload }
        }
        2 => {
            fits(length >= 4)?;
            Frame::SynReply { stream: named(payload.get_u32())?, fin, block: payload }
        }
        3 => {
            fits(length == 8)?;
            Frame::Rst { stream: named(payload.get_u32())?, status: payload.get_u32() }
        }
        4 => {
            fits(length >= 4)?;
            let count = payload.get_u32() as usize;
            fits(count.checked_mul(8) == Some(payload.len()))?;
            let mut setting = || (payload.get_u32() & 0x00ff_ffff, payload.get_u32());
            Frame::Settings((0..count).map(|_| setting()).collect())
        }
        6 => {
            fits(length == 4)?;
            Frame::Ping(payload.get_u32())
        }
        7 => {
            fits(length == 8)?;
            Frame::GoAway { last: payload.get_u32() & NUMBER, status: payload.get_u32() }
        }
        8 => {
            fits(length >= 4)?;
            Frame::Headers { stream: named(payload.get_u32())?, fin, block: payload }
        }
        9 => {
            fits(length == 8)?;
            Frame::WindowUpdate { stream: payload.get_u32() & NUMBER, delta: payload.get_u32() & NUMBER }
        }
        kind => Frame::Unknown { kind },
    })
}

/// Writes a frame. What need not be known is written as nothing.
pub(super) fn encode(frame: &Frame, out: &mut BytesMut) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    match frame {
        Frame::SynStream { stream, fin, unidirectional, priority, associated, block } => {
            let flags = flag(*fin, FIN) | flag(*unidirectional, UNIDIRECTIONAL);
            head(out, 1, flags, 10 + block.len());
            out.put_u32(stream & NUMBER);
            out.put_u32(associated & NUMBER);
            out.put_u8(priority << 5);
            out.put_u8(0);
            out.put_slice(block);
        }
        Frame::SynReply { stream, fin, block } => {
            head(out, 2, flag(*fin, FIN), 4 + block.len());
            out.put_u32(stream & NUMBER);
            out.put_slice(block);
        }
        Frame::Rst { stream, status } => pair(out, 3, stream & NUMBER, *status),
        Frame::Settings(settings) => {
            head(out, 4, 0, 4 + 8 * settings.len());
            out.put_u32(settings.len() as u32);
            for (number, value) in settings {
                out.put_u32(number & 0x00ff_ffff);
                out.put_u32(*value);
            }
        }
        Frame::Ping(number) => {
            head(out, 6, 0, 4);
            out.put_u32(*number);
        }
        Frame::GoAway { last, status } => pair(out, 7, last & NUMBER, *status),
        Frame::Headers { stream, fin, block } => {
            head(out, 8, flag(*fin, FIN), 4 + block.len());
            out.put_u32(stream & NUMBER);
            out.put_slice(block);
        }
        Frame::WindowUpdate { stream, delta } => pair(out, 9, stream & NUMBER, delta & NUMBER),
        Frame::Data { stream, fin, data } => {
            out.put_slice(&data_head(*stream, *fin, data.len()));
            out.put_slice(data);
        }
        Frame::Unknown { .. } => {}
    }
}

/// The head of a frame of data, for data that is at its place already.
pub(super) fn data_head(stream: u32, fin: bool, length: usize) -> [u8; HEAD] {
    let flags = if fin { u32::from(FIN) << 24 } else { 0 };
    let second = flags | (length as u32 & 0x00ff_ffff);
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(stream & NUMBER).to_be_bytes());
    head[4..].copy_from_slice(&second.to_be_bytes());
    head
}

fn head(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
    out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    head(out, kind, 0, 8);
    out.put_u32(first);
    out.put_u32(second);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        decode(&mut BytesMut::from(bytes))
    }

    /// Frames as they are in the specification.
    #[test]
    fn frames_are_these_bytes() {
        let block = || Bytes::from_static(b"xy");
        for (frame, bytes) in [
            (
                Frame::SynStream {
                    stream: 5,
                    fin: true,
                    unidirectional: false,
                    priority: 3,
                    associated: 0,
                    block: block(),
                },
                &b"\x80\x03\0\x01\x01\0\0\x0c\0\0\0\x05\0\0\0\0\x60\0xy"[..],
            ),
            (
                Frame::SynReply { stream: 5, fin: false, block: block() },
                b"\x80\x03\0\x02\0\0\0\x06\0\0\0\x05xy",
            ),
            (Frame::Rst { stream: 7, status: 5 }, b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x07\0\0\0\x05"),
            (Frame::Settings(vec![(7, 65536)]), b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\0\x01\0\0"),
            (Frame::Ping(9), b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x09"),
            (Frame::GoAway { last: 3, status: 0 }, b"\x80\x03\0\x07\0\0\0\x08\0\0\0\x03\0\0\0\0"),
            (Frame::WindowUpdate { stream: 1, delta: 2 }, b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\0\x02"),
            (
                Frame::Data { stream: 1, fin: true, data: Bytes::from_static(b"hi") },
                b"\0\0\0\x01\x01\0\0\x02hi",
            ),
        ] {
            let mut out = BytesMut::new();
            encode(&frame, &mut out);
            assert_eq!(out.as_ref(), bytes, "{frame:?}");
            assert_eq!(of(bytes), Ok(Some(frame)));
            for length in 0..bytes.len() {
                assert_eq!(of(&bytes[..length]), Ok(None), "it is not whole yet");
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, error) in [
            (&b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x09"[..], FrameError::Version(2)),
            (b"\0\0\0\x01\0\xff\xff\xff", FrameError::TooLong(0x00ff_ffff)),
            (b"\x80\x03\0\x06\0\0\0\0", FrameError::Length { kind: 6, length: 0 }),
            (b"\x80\x03\0\x01\0\0\0\x02xx", FrameError::Length { kind: 1, length: 2 }),
            (b"\x80\x03\0\x04\0\0\0\x04\xff\xff\xff\xff", FrameError::Length { kind: 4, length: 4 }),
            (b"\0\0\0\0\0\0\0\0", FrameError::NoStream(0)),
            (b"\x80\x03\0\x03\0\0\0\x08\0\0\0\0\0\0\0\0", FrameError::NoStream(3)),
        ] {
            assert_eq!(of(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(of(b"\x80\x03\0\x0b\0\0\0\x01x"), Ok(Some(Frame::Unknown { kind: 11 })));
    }

    proptest! {
        /// Whatever comes, and however it is cut, it is the same frames or the same error, and each frame is written as
        /// it was read.
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..12u8) {
            let mut bytes = bytes;
            // So that more than the version is tried.
            let length = bytes.len().saturating_sub(HEAD) as u8;
            if let Some(head) = bytes.get_mut(..HEAD) {
                head.copy_from_slice(&[0x80 * u8::from(kind != 0), 3, 0, kind, head[4], 0, 0, length]);
            }
            let mut rest = BytesMut::from(bytes.as_slice());
            while let Ok(Some(frame)) = decode(&mut rest) {
                let mut out = BytesMut::new();
                encode(&frame, &mut out);
                if !matches!(frame, Frame::Unknown { .. }) {
                    prop_assert_eq!(decode(&mut out), Ok(Some(frame)));
                }
            }
        }
    }
}
