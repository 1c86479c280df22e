//! Log files in the format of the Container Runtime Interface, as a container runtime writes them and this one's own shim does.
//!
//! A line is `<time> <stdout|stderr> <F|P> <text>`: `P` when the text goes on in the next entry of its stream, because
//! the line is long, or when nothing comes after it and it was not ended by a newline. A file that has reached its size is renamed with the time, and the oldest is dropped.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;

use crate::private;

/// When a file is put aside, as a kubelet does by default.
pub(crate) const MAX_SIZE: u64 = 10 << 20;
/// How many files there are at most, the one being written included.
pub(crate) const MAX_FILES: usize = 5;
/// How much of a line makes one entry.
const MAX_ENTRY: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Writes a log.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    pending: [Vec<u8>; 2],
}

impl Writer {
    /// Goes on writing a file, or begins one.
    pub(crate) fn open(path: &Path, max_size: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            private::folders(folder, 0o750)?;
        }
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_size, pending: Default::default() })
    }

    /// Takes what a stream gave, and writes the lines that are complete.
    pub(crate) fn take(&mut self, stream: Stream, mut bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let mut entries = Vec::new();
        let pending = &mut self.pending[stream as usize];
        while let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') {
            pending.extend_from_slice(&bytes[..newline]);
            bytes = &bytes[newline + 1..];
            append(&mut entries, stream, pending, now, Some('F'));
        }
        pending.extend_from_slice(bytes);
        append(&mut entries, stream, pending, now, None);
        self.write(&entries, now)
    }

    /// Writes what was not ended by a newline.
    pub(crate) fn finish(&mut self, now: Timestamp) -> io::Result<()> {
        let mut entries = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = &mut self.pending[stream as usize];
            if !pending.is_empty() {
                append(&mut entries, stream, pending, now, Some('P'));
            }
        }
        self.write(&entries, now)
    }

    fn write(&mut self, entries: &[u8], now: Timestamp) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + entries.len() as u64 > self.max_size {
            self.rotate(now)?;
        }
        self.file.write_all(entries)?;
        self.size += entries.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        put_aside(&self.path, now)?;
        drop_oldest(&self.path)?;
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// Renames a log with the time, and returns what it is called then.
pub(crate) fn put_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut aside = path.to_owned().into_os_string();
    // Nanoseconds, so that two of one second keep their order and none is overwritten.
    aside.push(format!(".{}", now.strftime("%Y%m%d-%H%M%S.%9f")));
    fs::rename(path, &aside)?;
    Ok(aside.into())
}

/// Removes the oldest of what was put aside of a log that is to be begun anew.
pub(crate) fn drop_oldest(path: &Path) -> io::Result<()> {
    let aside = files(path)?.into_iter().filter(|file| file != path).rev();
    for old in aside.skip(MAX_FILES - 1) {
        fs::remove_file(old)?;
    }
    Ok(())
}

/// Opens a log to be written, which nobody but its group may read: programs write secrets into their logs.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    Ok(file)
}

/// Appends what is pending as entries: all of it, the last with the tag `end`, or only what is too long to wait.
fn append(entries: &mut Vec<u8>, stream: Stream, pending: &mut Vec<u8>, now: Timestamp, end: Option<char>) {
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    let mut entry = |tag: char, text: &[u8]| {
        entries.extend_from_slice(format!("{now:.9} {name} {tag} ").as_bytes());
        entries.extend_from_slice(text);
        entries.push(b'\n');
    };
    let mut text = pending.as_slice();
    while text.len() > MAX_ENTRY {
        entry('P', &text[..MAX_ENTRY]);
        text = &text[MAX_ENTRY..];
    }
    if let Some(tag) = end {
        entry(tag, text);
        pending.clear();
    } else {
        let rest = text.len();
        let gone = pending.len() - rest;
        pending.drain(..gone);
    }
}

/// The files of a log that exist, oldest first, the one being written last.
pub(crate) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut aside = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|other| other.starts_with(&prefix)) {
            aside.push(entry.path());
        }
    }
    aside.sort();
    if path.exists() {
        aside.push(path.to_owned());
    }
    Ok(aside)
}

/// One entry of a log as the runtime gives it on: `<time> <text>`, with the newline unless the line goes on.
/// `None` for a line that is no entry, such as the half of one that a crash left.
pub(crate) fn parse(line: &[u8]) -> Option<Bytes> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, _stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let mut entry = Vec::with_capacity(time.len() + text.len() + 2);
    entry.extend_from_slice(time);
    entry.push(b' ');
    entry.extend_from_slice(text);
    if !tag.starts_with(b"P") {
        entry.push(b'\n');
    }
    Some(entry.into())
}

/// Where to begin so that the last `lines` lines are read: an index into `files`, and an offset in that file.
///
/// Files are read whole, but from the newest back, and only as many as it takes.
pub(crate) fn tail(files: &[PathBuf], lines: u64) -> io::Result<(usize, u64)> {
    let mut left = usize::try_from(lines).unwrap_or(usize::MAX);
    for (index, path) in files.iter().enumerate().rev() {
        let (starts, end) = line_starts(path)?;
        match starts.len().checked_sub(left) {
            Some(skipped) => return Ok((index, starts.get(skipped).copied().unwrap_or(end))),
            None => left -= starts.len(),
        }
    }
    Ok((0, 0))
}

/// Where the lines of a file begin (an entry begins one unless the entry before it goes on), and where it ends.
fn line_starts(path: &Path) -> io::Result<(Vec<u64>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut starts, mut at, mut goes_on) = (Vec::new(), 0, false);
    let mut entry = Vec::new();
    loop {
        entry.clear();
        let read = reader.read_until(b'\n', &mut entry)? as u64;
        if read == 0 {
            return Ok((starts, at));
        }
        if !goes_on {
            starts.push(at);
        }
        goes_on = entry.splitn(4, |byte| *byte == b' ').nth(2).is_some_and(|tag| tag.starts_with(b"P"));
        at += read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_767_225_600 + second, 5).unwrap()
    }

    #[test]
    fn lines_of_two_streams() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app/0.log");
        let mut writer = Writer::open(&path, MAX_SIZE).unwrap();
        writer.take(Stream::Stdout, b"one\ntw", at(0)).unwrap();
        writer.take(Stream::Stderr, b"oops\n", at(1)).unwrap();
        writer.take(Stream::Stdout, b"o\n\nthree", at(2)).unwrap();
        writer.finish(at(3)).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r"
        2026-01-01T00:00:00.000000005Z stdout F one
        2026-01-01T00:00:01.000000005Z stderr F oops
        2026-01-01T00:00:02.000000005Z stdout F two
        2026-01-01T00:00:02.000000005Z stdout F 
        2026-01-01T00:00:03.000000005Z stdout P three
        ");
    }

    #[test]
    fn a_long_line_is_several_entries_of_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut writer = Writer::open(&path, MAX_SIZE).unwrap();
        writer.take(Stream::Stdout, b"first\n", at(0)).unwrap();
        writer.take(Stream::Stdout, &[b'x'; 2 * MAX_ENTRY + 10], at(0)).unwrap();
        writer.take(Stream::Stdout, b"y\n", at(0)).unwrap();
        let text = fs::read(&path).unwrap();
        let entries: Vec<Bytes> =
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).filter_map(parse).collect();
        assert_eq!(entries.len(), 4);
        let ends: Vec<bool> = entries.iter().map(|entry| entry.ends_with(b"\n")).collect();
        assert_eq!(ends, [true, false, false, true]);
        let (starts, end) = line_starts(&path).unwrap();
        assert_eq!((starts.len(), end), (2, text.len() as u64));
    }

    #[test]
    fn what_ends_without_a_newline_is_read_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut writer = Writer::open(&path, MAX_SIZE).unwrap();
        writer.take(Stream::Stdout, b"one\ntwo", at(0)).unwrap();
        writer.finish(at(1)).unwrap();
        writer.finish(at(2)).unwrap();
        let text = fs::read(&path).unwrap();
        let entries: Vec<Bytes> = text.split(|byte| *byte == b'\n').filter_map(parse).collect();
        let ends: Vec<&[u8]> = entries.iter().map(|entry| &entry[entry.len() - 4..]).collect();
        assert_eq!(ends, [b"one\n".as_slice(), b" two"]);
        let (starts, end) = line_starts(&path).unwrap();
        assert_eq!((starts.len(), end), (2, text.len() as u64));
    }

    #[test]
    fn rotation_keeps_the_newest_and_tail_reads_across_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut writer = Writer::open(&path, 100).unwrap();
        for n in 0..20 {
            writer.take(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n)).unwrap();
        }
        let files = files(&path).unwrap();
        assert_eq!(files.len(), MAX_FILES);
        assert_eq!(files.last(), Some(&path));
        let all: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert_eq!(all.lines().count(), 10, "{all}");
        assert!(all.ends_with("line 19\n"), "{all}");
        for (lines, index) in [(0, 4), (1, 4), (2, 4), (3, 3), (10, 0), (99, 0)] {
            let (file, offset) = tail(&files, lines).unwrap();
            let read: String = files[file..].iter().map(|file| fs::read_to_string(file).unwrap()).collect();
            let count = read[offset as usize..].lines().count() as u64;
            assert_eq!((file, count), (index, lines.min(10)), "tail {lines}");
        }
    }

    #[test]
    fn half_an_entry_is_none() {
        assert_eq!(parse(b"2026-01-01T00:00:00Z stdo"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"t stdout F a b").as_deref(), Some(b"t a b\n".as_slice()));
    }
}
