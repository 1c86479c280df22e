//! Logs of fake containers: from the script and from what a test wrote, in virtual time.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;

use super::Inner;
use crate::runtime::{ByteStream, ContainerId, LogOptions, Result};

struct Reader {
    inner: Arc<Inner>,
    id: ContainerId,
    options: LogOptions,
    /// How many lines were read already.
    seen: usize,
    left: Option<u64>,
    done: bool,
}

pub(super) fn read(inner: Arc<Inner>, id: ContainerId, options: LogOptions) -> Result<ByteStream> {
    let now = inner.clock.now();
    let lines = inner.lock().container(&id)?.lines(now);
    let wanted = |at: &Timestamp| options.since.is_none_or(|since| *at >= since);
    let old = lines.iter().filter(|(at, _)| !wanted(at)).count();
    let tail = options.tail_lines.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let seen = old.max(lines.len().saturating_sub(tail));
    let left = options.limit_bytes;
    let reader = Reader { inner, id, options, seen, left, done: false };
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((Ok(chunk), reader))
    })))
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        let inner = self.inner.clone();
        while !self.done {
            let changed = inner.changed.notified();
            let now = inner.clock.now();
            let (lines, next, running) = {
                let mut state = inner.lock();
                let container = state.container(&self.id).ok()?;
                (container.lines(now), container.next_line(now), container.state.is_running())
            };
            let fresh = lines.get(self.seen..).unwrap_or_default();
            if !fresh.is_empty() {
                let text = self.render(fresh);
                self.seen = lines.len();
                self.done = self.left == Some(0);
                return Some(text);
            }
            if !self.options.follow || !running {
                return None;
            }
            let wait = next.map(|at| inner.clock.sleep(super::until(now, at)));
            match wait {
                Some(sleep) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep => {}
                },
                None => changed.await,
            }
        }
        None
    }

    fn render(&mut self, lines: &[(Timestamp, String)]) -> Bytes {
        let mut text = String::new();
        for (at, line) in lines {
            if self.options.timestamps {
                text.push_str(&format!("{at:.9} "));
            }
            text.push_str(line);
            text.push('\n');
        }
        let mut bytes = text.into_bytes();
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        bytes.into()
    }
}
