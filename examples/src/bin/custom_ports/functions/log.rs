//! What functions write, and how it is read: all of it, a part, or as it comes.

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use orchestra_core::clock::SharedClock;
use orchestra_core::runtime::{ByteStream, LogOptions};
use tokio::sync::watch;

/// What one run of a function has written, and whether it is over.
#[derive(Debug)]
pub(super) struct Log {
    clock: SharedClock,
    written: watch::Sender<Written>,
}

#[derive(Debug, Default)]
struct Written {
    lines: Vec<(Timestamp, String)>,
    ended: bool,
}

impl Log {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, written: watch::Sender::default() }
    }

    pub(super) fn line(&self, text: String) {
        let now = self.clock.now();
        self.written.send_modify(|written| written.lines.push((now, text)));
    }

    /// Says that nothing more will come.
    pub(super) fn end(&self) {
        self.written.send_modify(|written| written.ended = true);
    }

    /// Resolves once nothing more will come.
    pub(super) async fn ended(&self) {
        // It cannot fail: the sender is here.
        let _ = self.written.subscribe().wait_for(|written| written.ended).await;
    }

    /// All that was written.
    pub(super) fn text(&self) -> String {
        self.written.borrow().lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    pub(super) fn read(&self, options: LogOptions) -> ByteStream {
        let receiver = self.written.subscribe();
        let seen = {
            let lines = &receiver.borrow().lines;
            let old = |(at, _): &&(Timestamp, String)| options.since.is_some_and(|since| *at < since);
            let tail = options.tail_lines.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            lines.iter().filter(old).count().max(lines.len().saturating_sub(tail))
        };
        let left = options.limit_bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let reader = Reader { receiver, options, seen, left };
        let chunks = |mut reader: Reader| async move { Some((Ok(reader.next().await?), reader)) };
        futures::stream::unfold(reader, chunks).boxed()
    }
}

struct Reader {
    receiver: watch::Receiver<Written>,
    options: LogOptions,
    /// How many lines are behind it.
    seen: usize,
    /// How many bytes it may still give.
    left: usize,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let (seen, follow) = (self.seen, self.options.follow);
        let news = |written: &Written| !follow || written.ended || written.lines.len() > seen;
        let mut text = String::new();
        {
            let written = self.receiver.wait_for(news).await.ok()?;
            for (at, line) in written.lines.iter().skip(seen) {
                if self.options.timestamps {
                    text.push_str(&format!("{at:.9} "));
                }
                text.extend([line, "\n"]);
            }
            self.seen = written.lines.len();
        }
        let mut bytes = Bytes::from(text);
        bytes.truncate(self.left);
        self.left -= bytes.len();
        // No news although it did not wait for any, or because there will be none.
        (!bytes.is_empty()).then_some(bytes)
    }
}
