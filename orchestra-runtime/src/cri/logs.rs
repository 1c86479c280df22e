//! What containers wrote, from the files that the runtime keeps.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use orchestra_core::runtime::{ByteStream, ContainerId, LogOptions, Result, RuntimeError};

use super::CriRuntime;
use super::error::{self, About};
use super::proto::ReopenContainerLogRequest;
use crate::cri_log::{self, Reader};
use crate::logs;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl CriRuntime {
    pub(super) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        let shown = self.container_status(id.as_str()).await?;
        let (path, tail) = (PathBuf::from(shown.log_path), options.tail_lines);
        let reader = blocking(move || Reader::open(path, tail)).await?;
        let ended = !options.follow || shown.finished_at != 0;
        let state = Following { runtime: self.clone(), id: id.clone(), reader: Some(reader), ended };
        let batches = stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|batch| (batch, state)))
        });
        let entries = batches.map_ok(|batch| stream::iter(batch.into_iter().map(Ok))).try_flatten().boxed();
        Ok(logs::limit(logs::stamped(entries, options.clone()), options.limit_bytes))
    }
}

impl CriRuntime {
    /// Puts the log of a running container aside if it has become long, and has the runtime begin another.
    pub(super) async fn rotate(&self, id: &ContainerId, path: &Path) -> Result<()> {
        let log = path.to_owned();
        let aside = blocking(move || {
            let long = std::fs::metadata(&log).is_ok_and(|found| found.len() > cri_log::MAX_SIZE);
            long.then(|| cri_log::put_aside(&log, Timestamp::now())).transpose()
        });
        let Some(aside) = aside.await? else { return Ok(()) };
        let request = ReopenContainerLogRequest { container_id: id.to_string() };
        let reopened = self.ask(request).await;
        let log = path.to_owned();
        if let Err(status) = reopened {
            // It still writes into the same file.
            blocking(move || if log.exists() { Ok(()) } else { std::fs::rename(aside, log) }).await?;
            return Err(error::of(About::Container(id.as_str()), status));
        }
        blocking(move || cri_log::drop_oldest(&log)).await
    }
}

struct Following {
    runtime: CriRuntime,
    id: ContainerId,
    reader: Option<Reader>,
    /// Nothing is written any more, so the end of the file is the end.
    ended: bool,
}

impl Following {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        while let Some(mut reader) = self.reader.take() {
            let (reader, batch) = blocking(move || {
                let batch = reader.batch()?;
                Ok((reader, batch))
            })
            .await?;
            if batch.is_empty() && self.ended {
                return Ok(None);
            }
            self.reader = Some(reader);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            // What it wrote last is in the file before it is said to have ended, and is read in one more round.
            self.ended = match self.runtime.container_status(self.id.as_str()).await {
                Ok(shown) => shown.finished_at != 0,
                Err(error) if error.is_not_found() => true,
                // A runtime that is restarted takes no container with it.
                Err(error) if error.is_unavailable() => false,
                Err(error) => return Err(error),
            };
            if !self.ended {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(None)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| RuntimeError::Failed { message: format!("a log cannot be read: {error}") })
}
