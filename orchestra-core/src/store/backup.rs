//! A store as one file: written from any store while it is in use, restored into any other.
//!
//! The file begins with [`MAGIC`], whose number is the version of the layout, and the revision of which it is. Each
//! record follows with the lengths of its key and value. It ends with a mark, the number of records, and a checksum
//! over all that is before, so that a file that was cut short is not taken for a whole one. Numbers are little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};

use super::{Key, KeyRange, Record, Store, StoreError, Txn};
use crate::meta::Revision;

/// How a backup begins.
const MAGIC: &[u8; 20] = b"orchestra backup 01\n";

/// Stands where the length of a key would: no more records.
const END: u32 = u32::MAX;

/// How many records are read and written at once: fewer than etcd takes in a transaction.
const CHUNK: usize = 100;

/// There while a backup is restored.
const RESTORING: &str = "/orchestra/restoring";

/// The longest key and value that are believed. etcd and the API take far less.
const LONGEST: u32 = 1 << 30;

/// What is in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The revision at which the store was.
    pub revision: Revision,
    /// How many records it held.
    pub records: u64,
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be written or read.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a backup that this version reads, or not a whole one. Nothing was restored.
    #[error("{} cannot be restored: {detail}; take another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The store holds records already. Restore into an empty one.
    #[error("the store is not empty; restore into a new data directory or another prefix")]
    NotEmpty,
    /// What is backed up is elsewhere and cannot be read, or no longer.
    #[error("what is to be backed up cannot be read")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed. What was restored until then is there.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Writes all records of a store, as they are at its latest revision, to a file. The store goes on meanwhile; the
/// file appears under its name when it is whole.
///
/// # Errors
/// [`BackupError::Io`], and [`BackupError::Store`], which is [`StoreError::Compacted`] when the store forgets its
/// past faster than it can be read: try again when there is less to do.
pub async fn backup(store: Arc<dyn Store>, to: &Path) -> Result<Summary, BackupError> {
    save(stream(store), to).await
}

/// The bytes of a backup as they are sent; what is sent before an error is no whole backup.
pub fn stream<S>(store: S) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static
where
    S: Deref<Target = dyn Store> + Send + Sync + 'static,
{
    let writing = Writing { store, file: Summed::new(Vec::new()), place: Place::Start };
    stream::try_unfold(writing, |mut writing| async move {
        let more = writing.step().await?;
        let chunk = Bytes::from(std::mem::take(&mut writing.file.inner));
        Ok(more.then_some((chunk, writing)))
    })
}

/// Writes what [`stream`] gave, here or elsewhere, to a file, which appears under its name when it was found whole.
///
/// # Errors
/// [`BackupError::Io`], [`BackupError::Damaged`] when it is not whole, and [`BackupError::Store`] with the error that
/// ended the stream.
pub async fn save<E: Into<BackupError>>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    to: &Path,
) -> Result<Summary, BackupError> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let finished = save_part(chunks, &part).await.and_then(|()| {
        let summary = Reader::open(&part)?.check()?;
        std::fs::rename(&part, to).map_err(|source| BackupError::Io { path: to.to_owned(), source })?;
        Ok(summary)
    });
    if finished.is_err() {
        // What is left of it is of no use, and in the way of nothing.
        let _ = std::fs::remove_file(&part);
    }
    finished
}

async fn save_part<E: Into<BackupError>>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    part: &Path,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io { path: part.to_owned(), source };
    let mut file = create_private(part).map_err(failed)?;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        file.write_all(&chunk.map_err(Into::into)?).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

/// A new file that only its owner may read: there are Secrets in it.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A backup on its way out, a page at a time.
struct Writing<S> {
    store: S,
    /// What has not been sent yet.
    file: Summed<Vec<u8>>,
    place: Place,
}

enum Place {
    Start,
    /// Records up to a key have been written, as they are at the revision.
    At {
        revision: Revision,
        after: Option<Key>,
        records: u64,
    },
    End,
}

impl<S: Deref<Target = dyn Store>> Writing<S> {
    /// Writes the next part. Returns whether there was one.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let unexpected = |error: io::Error| StoreError::Damaged(error.to_string());
        self.place = match std::mem::replace(&mut self.place, Place::End) {
            Place::Start => {
                let revision = self.store.revision().await?;
                let head = self.file.write_all(MAGIC);
                head.and_then(|()| self.file.write_all(&revision.0.to_le_bytes())).map_err(unexpected)?;
                Place::At { revision, after: None, records: 0 }
            }
            Place::At { revision, after, records } => {
                let page = self.store.list(&KeyRange::all(), Some(revision), after.as_ref(), CHUNK).await?;
                for record in &page.records {
                    write_record(&mut self.file, record).map_err(unexpected)?;
                }
                let records = records + page.records.len() as u64;
                if page.remaining == 0 {
                    self.end(records).map_err(unexpected)?;
                    Place::End
                } else {
                    Place::At {
                        revision,
                        after: page.records.last().map(|record| record.key.clone()),
                        records,
                    }
                }
            }
            Place::End => return Ok(false),
        };
        Ok(true)
    }

    fn end(&mut self, records: u64) -> io::Result<()> {
        self.file.write_all(&END.to_le_bytes())?;
        self.file.write_all(&records.to_le_bytes())?;
        let sum = self.file.sum.clone().finalize();
        self.file.write_all(&sum.to_le_bytes())
    }
}

fn write_record(file: &mut impl Write, record: &Record) -> io::Result<()> {
    let (key, value) = (record.key.as_str().as_bytes(), &record.value);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    file.write_all(&length(key)?.to_le_bytes())?;
    file.write_all(&length(value)?.to_le_bytes())?;
    file.write_all(key)?;
    file.write_all(value)
}

/// Puts the records of a backup into an empty store. Revisions that the store gives from then on are greater than
/// any that the backed-up store had given, so that nobody takes a new version of an object for an old one.
///
/// The whole file is checked before anything is written. A store in which a restore was cut short says so to
/// [`is_half_restored`], and a cluster does not start on it.
///
/// # Errors
/// See [`BackupError`].
pub async fn restore(store: &dyn Store, from: &Path) -> Result<Summary, BackupError> {
    let summary = Reader::open(from)?.check()?;
    if !store.list(&KeyRange::all(), None, None, 1).await?.records.is_empty() {
        return Err(BackupError::NotEmpty);
    }
    store.skip_to(summary.revision).await?;
    store.commit(Txn::new().create(Key::new(RESTORING), "")).await?;
    let mut reader = Reader::open(from)?;
    let mut txn = Txn::new();
    while let Some((key, value)) = reader.next()? {
        txn = txn.create(key, value);
        if txn.writes.len() == CHUNK {
            store.commit(std::mem::take(&mut txn)).await?;
        }
    }
    store.commit(txn.delete(Key::new(RESTORING))).await?;
    Ok(summary)
}

/// Whether a store holds a part of a backup only, because its restore was cut short. It is of no use: restore into an
/// empty one.
///
/// # Errors
/// Those of the store.
pub async fn is_half_restored(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get(&Key::new(RESTORING), None).await?.is_some())
}

struct Reader<'p> {
    file: Summed<BufReader<File>>,
    path: &'p Path,
    revision: Revision,
    records: u64,
}

impl<'p> Reader<'p> {
    fn open(path: &'p Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
        let mut reader =
            Self { file: Summed::new(BufReader::new(file)), path, revision: Revision::ZERO, records: 0 };
        if reader.take::<20>()? != *MAGIC {
            return Err(reader.damaged("it is not a backup, or one of another version"));
        }
        reader.revision = Revision(u64::from_le_bytes(reader.take()?));
        Ok(reader)
    }

    fn damaged(&self, detail: &'static str) -> BackupError {
        BackupError::Damaged { path: self.path.to_owned(), detail }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.file.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it was cut short"),
            _ => BackupError::Io { path: self.path.to_owned(), source },
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next record; at the end, after the checksum was found right, none.
    fn next(&mut self) -> Result<Option<(Key, Vec<u8>)>, BackupError> {
        let key = u32::from_le_bytes(self.take()?);
        if key == END {
            self.finish()?;
            return Ok(None);
        }
        let value = u32::from_le_bytes(self.take()?);
        if key.max(value) > LONGEST {
            return Err(self.damaged("a record is longer than any can be"));
        }
        let key = self.text(key)?;
        let value = self.bytes(value)?;
        self.records += 1;
        Ok(Some((key, value)))
    }

    fn text(&mut self, length: u32) -> Result<Key, BackupError> {
        let text = String::from_utf8(self.bytes(length)?);
        text.map(Key::new).map_err(|_| self.damaged("a key is not text"))
    }

    fn bytes(&mut self, length: u32) -> Result<Vec<u8>, BackupError> {
        // Grows with what is there: a wrong length must not ask for memory that the file does not fill.
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(u64::from(length)).read_to_end(&mut bytes);
        let read = read.map_err(|source| BackupError::Io { path: self.path.to_owned(), source })?;
        if read == length as usize { Ok(bytes) } else { Err(self.damaged("it was cut short")) }
    }

    fn finish(&mut self) -> Result<(), BackupError> {
        let records = u64::from_le_bytes(self.take()?);
        let sum = self.file.sum.clone().finalize();
        if u32::from_le_bytes(self.take()?) != sum || records != self.records {
            return Err(self.damaged("its checksum is wrong"));
        }
        Ok(())
    }

    /// Reads all of it and tells what it holds.
    fn check(mut self) -> Result<Summary, BackupError> {
        while self.next()?.is_some() {}
        Ok(Summary { revision: self.revision, records: self.records })
    }
}

/// A file with a checksum over what has passed.
struct Summed<F> {
    inner: F,
    sum: crc32fast::Hasher,
}

impl<F> Summed<F> {
    fn new(inner: F) -> Self {
        Self { inner, sum: crc32fast::Hasher::new() }
    }
}

impl<F: Write> Write for Summed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<F: Read> Read for Summed<F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.sum.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    async fn some() -> MemoryStore {
        let store = MemoryStore::new();
        for number in 0..250 {
            let txn = Txn::new().put(Key::new(format!("/pods/{:03}", number % 230)), vec![number as u8; 100]);
            store.commit(txn).await.unwrap();
        }
        store
    }

    async fn content(store: &dyn Store) -> Vec<(Key, bytes::Bytes)> {
        let page = store.list(&KeyRange::all(), None, None, 0).await.unwrap();
        page.records.into_iter().map(|record| (record.key, record.value)).collect()
    }

    async fn round_trip(into: &dyn Store) {
        let dir = tempfile::tempdir().unwrap();
        let (path, store) = (dir.path().join("backup"), some().await);
        let made = backup(Arc::new(store.clone()), &path).await.unwrap();
        assert_eq!(made, Summary { revision: Revision(250), records: 230 });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the backup is left");
        assert_eq!(restore(into, &path).await.unwrap(), made);
        assert_eq!(content(into).await, content(&store).await);
        let page = into.list(&KeyRange::all(), None, None, 1).await.unwrap();
        assert!(page.records[0].modified > made.revision, "revisions go on from those of the backup");
        assert!(!is_half_restored(into).await.unwrap());
        assert!(matches!(restore(into, &path).await, Err(BackupError::NotEmpty)));
    }

    #[tokio::test]
    async fn what_is_restored_is_what_was_there() {
        round_trip(&MemoryStore::new()).await;
    }

    #[cfg(feature = "redb")]
    #[tokio::test]
    async fn what_is_restored_into_a_file_is_there_after_opening_again() {
        use crate::store::redb::RedbStore;
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        round_trip(&store).await;
        let before = (store.revision().await.unwrap(), content(&store).await);
        drop(store);
        let store = RedbStore::open(dir.path()).unwrap();
        assert_eq!((store.revision().await.unwrap(), content(&store).await), before);
    }

    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn a_restore_that_was_cut_short_is_known_as_such() {
        use crate::testing::{Faults, FaultyStore};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        backup(Arc::new(some().await), &path).await.unwrap();
        for seed in 0..8 {
            let memory = Arc::new(MemoryStore::new());
            let into = FaultyStore::new(memory.clone(), seed);
            into.set(Faults { refused: 400, ..Faults::default() });
            let done = restore(&into, &path).await.is_ok();
            let begun = !content(&*memory).await.is_empty();
            assert_eq!(is_half_restored(&*memory).await.unwrap(), begun && !done, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn no_byte_can_be_lost_or_changed_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let store = MemoryStore::new();
        store.commit(Txn::new().put(Key::new("/a"), "one").put(Key::new("/b"), "two")).await.unwrap();
        backup(Arc::new(store.clone()), &path).await.unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            for bytes in [&changed[..], &whole[..at]] {
                std::fs::write(&path, bytes).unwrap();
                let into = MemoryStore::new();
                let refused = restore(&into, &path).await;
                assert!(matches!(refused, Err(BackupError::Damaged { .. })), "byte {at}: {refused:?}");
                assert_eq!(into.revision().await.unwrap(), Revision::ZERO, "nothing was written");
            }
        }
    }
}
