//! A watch: lines of JSON, as they come.

use bytes::BytesMut;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use orchestra_core::api::{Status, WatchEvent, WatchStream};

use super::answer::{Reader, unreadable};
use super::channel::Channel;

/// The longest line that is read. No object is longer than the 3 MiB that a request may have, but for what escapes add.
const LONGEST: usize = 32 * 1024 * 1024;

/// The events in the body of an answer.
pub(super) fn events(channel: Channel, body: Incoming, reader: Reader) -> WatchStream {
    let lines = Lines { channel, body, reader, held: BytesMut::new(), looked: 0 };
    stream::unfold(Some(lines), Lines::step).boxed()
}

struct Lines {
    channel: Channel,
    body: Incoming,
    reader: Reader,
    held: BytesMut,
    /// How much of `held` has no end of a line.
    looked: usize,
}

impl Lines {
    /// One item of the stream; an error is the last.
    async fn step(lines: Option<Self>) -> Option<(Result<WatchEvent, Status>, Option<Self>)> {
        let mut lines = lines?;
        match lines.next().await? {
            Ok(event) => Some((Ok(event), Some(lines))),
            Err(status) => Some((Err(status), None)),
        }
    }

    async fn next(&mut self) -> Option<Result<WatchEvent, Status>> {
        loop {
            if let Some(end) = self.held[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(self.looked + end + 1);
                self.looked = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Some(self.reader.event(&line));
            }
            self.looked = self.held.len();
            if self.looked > LONGEST {
                return Some(Err(unreadable("an event has no end")));
            }
            match self.body.frame().await? {
                Ok(frame) => self.held.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => return Some(Err(self.channel.unreachable(&error))),
            }
        }
    }
}
