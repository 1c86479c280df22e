//! What logs have in common, whoever keeps them.

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use orchestra_core::runtime::{ByteStream, LogOptions};

/// From entries that each begin with their time and a blank: leaves out what is too old, and the times when they are
/// not wanted. An entry without a readable time passes as it is.
pub(crate) fn stamped(entries: ByteStream, options: LogOptions) -> ByteStream {
    entries
        .filter_map(move |entry| {
            let kept = match entry {
                Ok(entry) => keep(entry, &options).map(Ok),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(kept)
        })
        .boxed()
}

fn keep(entry: Bytes, options: &LogOptions) -> Option<Bytes> {
    let Some((at, text)) = split_time(&entry) else { return Some(entry) };
    if options.since.is_some_and(|since| at < since) {
        return None;
    }
    Some(if options.timestamps { entry } else { entry.slice(text..) })
}

/// The time an entry begins with, and where what follows it begins.
fn split_time(entry: &[u8]) -> Option<(Timestamp, usize)> {
    let blank = entry.iter().take(40).position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(entry.get(..blank)?).ok()?.parse().ok()?;
    Some((at, blank + 1))
}

/// Ends a stream after so many bytes.
pub(crate) fn limit(stream: ByteStream, bytes: Option<u64>) -> ByteStream {
    let Some(limit) = bytes else { return stream };
    stream
        .scan(limit, |left, piece| {
            let piece = match piece {
                _ if *left == 0 => None,
                Ok(mut piece) => {
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= piece.len() as u64;
                    Some(Ok(piece))
                }
                Err(error) => Some(Err(error)),
            };
            std::future::ready(piece)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, TryStreamExt, stream};

    use super::*;

    fn read(entries: &[&'static str], options: LogOptions) -> String {
        let entries: Vec<_> = entries.iter().map(|entry| Ok(Bytes::from(*entry))).collect();
        let limited = options.limit_bytes;
        let stream = limit(stamped(stream::iter(entries).boxed(), options), limited);
        let pieces: Vec<Bytes> = stream.try_collect().now_or_never().unwrap().unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    const ENTRIES: &[&str] = &[
        "2026-01-01T00:00:00.4Z one\n",
        "2026-01-01T00:00:00.5Z two\n",
        "no time\n",
        "2026-01-01T00:00:01.000000001Z  three\n",
    ];

    #[test]
    fn times_are_taken_off_and_looked_at() {
        assert_eq!(read(ENTRIES, LogOptions::default()), "one\ntwo\nno time\n three\n");
        let since = Some("2026-01-01T00:00:00.5Z".parse().unwrap());
        let options = LogOptions { since, timestamps: true, ..LogOptions::default() };
        assert_eq!(read(ENTRIES, options), ENTRIES[1..].concat());
    }

    #[test]
    fn ends_within_an_entry() {
        for (limit, text) in
            [(0, ""), (2, "on"), (4, "one\n"), (5, "one\nt"), (100, "one\ntwo\nno time\n three\n")]
        {
            let options = LogOptions { limit_bytes: Some(limit), ..LogOptions::default() };
            assert_eq!(read(ENTRIES, options), text, "{limit}");
        }
    }
}
