//! Reading logs.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::{ByteStream, ContainerId, ContainerState, LogOptions, Result};

use super::record::{ContainerDir, failed};
use super::{ProcessRuntime, blocking};
use crate::cri_log::Reader;
use crate::logs;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

impl ProcessRuntime {
    pub(crate) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        let (dir, record, state) = self.state(id.as_str()).await?;
        let (path, tail) = (record.how.log().to_owned(), options.tail_lines);
        let reader = blocking(move || Reader::open(path, tail).map_err(failed)).await?;
        let ended = !options.follow || matches!(state, ContainerState::Exited(_));
        let state = Follow { reader: Some(reader), dir, ended };
        let batches = stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|batch| (batch, state)))
        });
        let entries = batches.map_ok(|batch| stream::iter(batch.into_iter().map(Ok))).try_flatten().boxed();
        Ok(logs::limit(logs::stamped(entries, options.clone()), options.limit_bytes))
    }
}

struct Follow {
    reader: Option<Reader>,
    dir: ContainerDir,
    /// Nothing is written any more, so the end of the file is the end.
    ended: bool,
}

impl Follow {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        while let Some(mut reader) = self.reader.take() {
            let dir = self.dir.clone();
            let (reader, batch, shim) = blocking(move || {
                let batch = reader.batch().map_err(failed)?;
                Ok((reader, batch, dir.has_shim().map_err(failed)?))
            })
            .await?;
            match (batch.is_empty(), self.ended) {
                (false, _) => {
                    self.reader = Some(reader);
                    return Ok(Some(batch));
                }
                (true, true) => return Ok(None),
                (true, false) => {
                    self.reader = Some(reader);
                    // Whatever it wrote last is there by now, and read in one more round.
                    // A container that was removed has no state any more either.
                    let begun = self.dir.state().map_err(failed)?.is_some();
                    self.ended = !shim && (begun || !self.dir.0.exists());
                    if !self.ended {
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        }
        Ok(None)
    }
}
