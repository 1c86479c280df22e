//! Reading logs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bytes::Bytes;

use super::file;

/// How many entries are read at a time.
const BATCH: usize = 512;

/// Reads the files of a log one after the other, also while they are written and put aside.
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    entry: Vec<u8>,
}

impl Reader {
    /// Begins with the last so many lines of what is there, or with all.
    pub(crate) fn open(path: PathBuf, tail: Option<u64>) -> io::Result<Self> {
        let files = match file::files(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let (index, offset) = tail.map_or(Ok((0, 0)), |lines| file::tail(&files, lines))?;
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
    pub(crate) fn batch(&mut self) -> io::Result<Vec<Bytes>> {
        let mut entries = Vec::new();
        while entries.len() < BATCH {
            let read = match &mut self.file {
                Some(file) => file.read_until(b'\n', &mut self.entry)?,
                None => 0,
            };
            if read > 0 {
                if self.entry.pop_if(|last| *last == b'\n').is_some() {
                    entries.extend(file::parse(&self.entry));
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
        let files = match file::files(&self.path) {
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
