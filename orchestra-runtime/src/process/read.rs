//! Reading logs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::{ByteStream, ContainerId, ContainerState, LogOptions, Result};

use super::record::{ContainerDir, failed};
use super::{ProcessRuntime, blocking, logfile};
use crate::logs;

/// How many entries are read at a time.
const BATCH: usize = 512;
/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

impl ProcessRuntime {
    pub(super) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        let (dir, record, state) = self.state(id.as_str()).await?;
        let (path, tail) = (record.launch.log, options.tail_lines);
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

/// Reads the files of a log one after the other, also while they are written and put aside.
struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    entry: Vec<u8>,
}

impl Reader {
    fn open(path: PathBuf, tail: Option<u64>) -> io::Result<Self> {
        let files = match logfile::files(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let (index, offset) = tail.map_or(Ok((0, 0)), |lines| logfile::tail(&files, lines))?;
        let file = match files.get(index) {
            Some(file) => {
                let mut file = BufReader::new(File::open(file)?);
                file.seek(SeekFrom::Start(offset))?;
                Some(file)
            }
            None => None,
        };
        Ok(Self { path, file, entry: Vec::new() })
    }

    /// The next entries; none when there are none for now.
    fn batch(&mut self) -> io::Result<Vec<Bytes>> {
        let mut entries = Vec::new();
        while entries.len() < BATCH {
            let read = match &mut self.file {
                Some(file) => file.read_until(b'\n', &mut self.entry)?,
                None => 0,
            };
            if read > 0 {
                if self.entry.pop_if(|last| *last == b'\n').is_some() {
                    entries.extend(logfile::parse(&self.entry));
                    self.entry.clear();
                } // else it is still being written
            } else if !self.next_file()? {
                break;
            }
        }
        Ok(entries)
    }

    /// Goes on to the file after this one. `false` when this is the last.
    fn next_file(&mut self) -> io::Result<bool> {
        let files = match logfile::files(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let here = match &self.file {
            Some(file) => Some(file.get_ref().metadata()?.ino()),
            None => None,
        };
        let at = files.iter().position(|file| file.metadata().is_ok_and(|meta| Some(meta.ino()) == here));
        // One that was dropped while we read it is before all that are there.
        let Some(next) = files.get(at.map_or(0, |at| at + 1)) else { return Ok(false) };
        self.file = Some(BufReader::new(File::open(next)?));
        self.entry.clear();
        Ok(true)
    }
}
