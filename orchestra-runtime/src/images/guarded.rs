//! A reader of archives that gives so much and no more: the headers of an archive are read into memory.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Bytes that may stand between two files: names and attributes that are too long for a header.
const BETWEEN: u64 = 1 << 20;

/// How much may be read.
#[derive(Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    /// What a file holds may be read, whose size is counted elsewhere.
    pub(super) fn open(&self) {
        self.0.set(u64::MAX);
    }

    /// The next headers may be read.
    pub(super) fn headers(&self) {
        self.0.set(BETWEEN);
    }
}

/// Reads within a [`Budget`].
pub(super) struct Guarded<R> {
    inner: R,
    budget: Budget,
}

impl<R> Guarded<R> {
    /// The reader, which may read headers, and its budget.
    pub(super) fn new(inner: R) -> (Self, Budget) {
        let budget = Budget(Rc::new(Cell::new(BETWEEN)));
        (Self { inner, budget: budget.clone() }, budget)
    }
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a header is too long"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.budget.0.set(left - read as u64);
        Ok(read)
    }
}

impl<R: Seek> Seek for Guarded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
