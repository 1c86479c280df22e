//! Events in a file, one a line. A thread of its own writes them: a disk that hangs holds up nobody else.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use time::OffsetDateTime;
use time::macros::format_description;

use super::AuditSink;
use super::queue::Queue;

/// How many events are written at once.
const AT_ONCE: usize = 1_000;
/// How long the end of the log may take once the server ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// When a file is begun anew, and which of the old ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file is begun anew before it is larger than this.
    pub bytes: u64,
    /// How long old files are kept; for ever without a bound.
    pub age: Option<Duration>,
    /// How many old files are kept; all without a bound.
    pub backups: Option<usize>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 100 * 1024 * 1024, age: None, backups: None }
    }
}

/// Writes events to a file, or to the standard output.
#[derive(Debug)]
pub struct FileSink {
    queue: Arc<Queue>,
    ended: std::sync::Mutex<Receiver<()>>,
}

impl FileSink {
    /// Adds to a file, which is made if it is not there, readable by its owner only. `-` is the standard output.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::over(Output::Standard);
        }
        Self::over(Output::File(Log::open(path, rotation)?))
    }

    fn over(mut output: Output) -> io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let (end, ended) = channel();
        let taken = Arc::clone(&queue);
        thread::Builder::new().name("audit-log".to_owned()).spawn(move || {
            while let Some(events) = taken.wait(AT_ONCE) {
                let written = output.write(&events);
                if let Err((error, lost)) = written {
                    tracing::debug!(%error, "audit events cannot be written");
                    taken.lost(lost);
                }
            }
            let _ = end.send(());
        })?;
        Ok(Self { queue, ended: ended.into() })
    }
}

impl AuditSink for FileSink {
    fn take(&self, event: &Bytes) {
        self.queue.offer(event);
    }

    fn name(&self) -> &'static str {
        "log"
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        self.queue.close();
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_WORDS);
    }
}

enum Output {
    Standard,
    File(Log),
}

impl Output {
    /// Writes events, and says how many it could not.
    fn write(&mut self, events: &[Bytes]) -> Result<(), (io::Error, usize)> {
        let mut left = events;
        while !left.is_empty() {
            let (count, written) = match self {
                Self::Standard => (left.len(), io::stdout().lock().write_all(&lines(left))),
                Self::File(log) => {
                    let count = log.fitting(left);
                    (count, log.write(&left[..count]))
                }
            };
            written.map_err(|error| (error, left.len()))?;
            left = &left[count..];
        }
        Ok(())
    }
}

fn lines(events: &[Bytes]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(event);
        lines.push(b'\n');
    }
    lines
}

/// A file, and how much is in it.
struct Log {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), rotation, file, size })
    }

    /// How many of these events go into the file as it is; one at least.
    fn fitting(&self, events: &[Bytes]) -> usize {
        let mut size = self.size;
        let fits = |event: &&Bytes| {
            size += event.len() as u64 + 1;
            size <= self.rotation.bytes
        };
        events.iter().take_while(fits).count().max(1)
    }

    fn write(&mut self, events: &[Bytes]) -> io::Result<()> {
        let lines = lines(events);
        if self.size > 0 && self.size + lines.len() as u64 > self.rotation.bytes {
            self.begin_anew()?;
        }
        self.file.write_all(&lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        let format =
            format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:6]");
        let stamp = now.format(&format).map_err(io::Error::other)?;
        let (stem, extension) = parts(&self.path);
        fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{stamp}{extension}")))?;
        self.file = append(&self.path)?;
        self.size = 0;
        // What is too old and stays does no harm but the room it takes.
        self.sweep().or_else(|error| {
            tracing::warn!(%error, "old audit logs cannot be removed");
            Ok(())
        })
    }

    /// Removes the old files that are too many or too old.
    fn sweep(&self) -> io::Result<()> {
        let Rotation { age, backups, .. } = self.rotation;
        let oldest = age.and_then(|age| SystemTime::now().checked_sub(age));
        for (number, path) in self.backups()?.into_iter().enumerate() {
            let too_many = backups.is_some_and(|most| number >= most);
            let modified = || fs::metadata(&path).and_then(|found| found.modified());
            let too_old = oldest.is_some_and(|oldest| modified().is_ok_and(|time| time < oldest));
            if too_many || too_old {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The old files, the latest first.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, extension) = parts(&self.path);
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut found = Vec::new();
        for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stamp = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
            // As in 2026-11-28T05-31-46.123456: what is named otherwise is not ours.
            if stamp.is_some_and(|stamp| stamp.len() == 26 && stamp.as_bytes()[10] == b'T') {
                found.push(path);
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

/// The name of a file before its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}"));
    (text(path.file_stem()).unwrap_or_default(), extension.unwrap_or_default())
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
