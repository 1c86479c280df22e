//! What was compressed by Zstandard: frames one after the other, and between them some that are passed over, as in layers of
//! which parts can be fetched.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What such a stream begins with.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What a frame that is passed over begins with, but for the first byte's low half.
const PASSED_OVER: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Whether a stream that begins so is one.
pub(super) fn begins(first: &[u8]) -> bool {
    first.starts_with(&MAGIC)
        || (first.first().is_some_and(|byte| byte & 0xf0 == 0x50) && first.get(1..4) == Some(&PASSED_OVER))
}

/// Reads what is in the frames of a stream. No frame may look back further than 128 MiB, for which memory is taken.
pub(super) struct Frames<R> {
    stream: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, decoder: FrameDecoder::new(), within: false }
    }

    /// Goes on to the next frame. `false` when there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.stream.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.stream) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                self.within = self.begin()?;
                if !self.within {
                    return Ok(0);
                }
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.stream, one).map_err(|error| broken(&error))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.within = !self.decoder.is_finished();
        }
    }
}

fn broken(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what is compressed by zstd is broken: {error}"))
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        Frames::new(stream).read_to_end(&mut found).map(|_| found)
    }

    #[test]
    fn frames_are_read_one_after_the_other() {
        let text = b"0123456789abcdef".repeat(40_000);
        let packed = compress_to_vec(text.as_slice(), CompressionLevel::Fastest);
        let skipped = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert!(begins(&packed) && begins(&skipped) && !begins(&text) && !begins(&[0x28]));
        for (stream, times) in [
            (packed.clone(), 1),
            ([&packed[..], &packed].concat(), 2),
            ([&skipped[..], &packed, &skipped, &packed, &skipped].concat(), 2),
            (skipped.clone(), 0),
            (Vec::new(), 0),
        ] {
            assert!(read(&stream).unwrap() == text.repeat(times), "{times}");
        }
    }

    #[test]
    fn what_is_cut_off_or_none_is_an_error() {
        let packed = compress_to_vec(&b"0123456789abcdef"[..], CompressionLevel::Fastest);
        for end in 1..packed.len() {
            assert!(read(&packed[..end]).is_err(), "{end}");
        }
        assert!(read(b"nothing").is_err());
        assert!(read(&[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]).is_err());
        // It would look back two terabytes.
        assert!(read(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00]).is_err());
    }
}
