//! The file: opening it, checking that it is ours and whole, locking it, and opening it again after it failed.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    WriteTransaction,
};

use super::error::{OpenError, storage, translate};
use super::format::{CHANGES, FORMAT, HISTORY, META, RECORDS, State, VOLATILE, decode_record};
use crate::store::StoreError;
use crate::store::ledger::Records;

/// redb's own cache. Records are read from memory, so it need only hold the branches that a commit walks.
const CACHE_BYTES: usize = 8 << 20;

/// What the bytes of a [`RedbStore`](super::RedbStore) are kept on: a directory, or what a test puts in its place.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Opens the database, making it if there is none. Called again after an error of a write, when the database
    /// that was opened before is closed.
    ///
    /// # Errors
    /// Those of redb.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// The name of it, for messages.
    fn path(&self) -> PathBuf;
}

/// A directory with the file and its lock.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be and takes its lock.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let name = path.join("store.lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
        let mut lock = open.map_err(failed(&name))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = lock.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(OpenError::Locked { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&name)(source)),
        }
        // Who holds it is a courtesy to whoever meets the lock; a full disk must not keep the store from opening.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Makes the file whole under another name first, so that a half-made one is never met.
    fn make(&self, builder: &Builder, path: &Path) -> Result<(), DatabaseError> {
        let new = self.path.join("store.redb.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
            _ => {}
        }
        builder.create(&new)?.close()?;
        fs::rename(&new, path).and_then(|()| File::open(&self.path)?.sync_all()).map_err(io_error)
    }
}

fn io_error(error: io::Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}

impl Medium for Directory {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let path = self.path();
        match fs::metadata(&path) {
            // redb would take an empty file for a new one.
            Ok(file) if file.len() == 0 => {
                return Err(DatabaseError::Storage(StorageError::Corrupted("it is empty".into())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(builder, &path)?,
            Err(error) => return Err(io_error(error)),
        }
        builder.open(path)
    }

    fn path(&self) -> PathBuf {
        self.path.join("store.redb")
    }
}

/// The open database.
#[derive(Debug)]
pub(super) struct Disk {
    medium: Box<dyn Medium>,
    /// `None` while it cannot be opened again after an error.
    database: RwLock<Option<Database>>,
}

/// What a file held when it was opened.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) records: Records,
    pub(super) volatile: Vec<String>,
}

impl Disk {
    /// Opens the database and reads all that must be in memory.
    pub(super) fn open(medium: Box<dyn Medium>) -> Result<(Self, Loaded), OpenError> {
        let path = medium.path();
        let damaged = |detail: String| OpenError::Damaged { path: path.clone(), detail };
        // redb gives up on some kinds of damage by a panic.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open(&*medium).map_err(|error| refuse(error, &path))?;
            check_format(&database, &path)?;
            let loaded = load(&database).map_err(|error| unreadable(error, &path))?;
            Ok((database, loaded))
        }));
        let (database, loaded) = opened.map_err(|panic| damaged(panic_text(&*panic)))??;
        Ok((Self { medium, database: RwLock::new(Some(database)) }, loaded))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.medium.path()
    }

    fn with<T>(&self, begin: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::Unavailable("it failed and could not be opened again".into());
        begin(database.as_ref().ok_or_else(closed)?)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.with(|database| database.begin_read().map_err(translate))
    }

    /// Begins a transaction after which the file opens in milliseconds, whatever happens.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let mut txn = self.with(|database| database.begin_write().map_err(translate))?;
        txn.set_quick_repair(true);
        Ok(txn)
    }

    /// Closes the database and opens it again, which redb asks for after an error, and tells where it stands.
    pub(super) fn reopen(&self) -> Result<State, StoreError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        let reopened = catch_unwind(AssertUnwindSafe(|| {
            let database = open(&*self.medium).map_err(translate)?;
            let state = read_state(&database.begin_read().map_err(translate)?)?;
            Ok((database, state))
        }));
        let (database, state) = reopened.map_err(|panic| StoreError::Damaged(panic_text(&*panic)))??;
        *slot = Some(database);
        Ok(state)
    }
}

fn open(medium: &dyn Medium) -> Result<Database, DatabaseError> {
    medium.open(Builder::new().set_cache_size(CACHE_BYTES))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it cannot be read").to_owned()
}

fn refuse(error: DatabaseError, path: &Path) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path, holder: None },
        DatabaseError::UpgradeRequired(found) => {
            OpenError::OtherVersion { path, found: found.into(), supported: FORMAT }
        }
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path, source }
        }
        other => OpenError::Damaged { path, detail: other.to_string() },
    }
}

fn unreadable(error: StoreError, path: &Path) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Unavailable(source) => OpenError::Io { path, source: io::Error::other(source) },
        StoreError::Damaged(detail) => OpenError::Damaged { path, detail },
        other => OpenError::Damaged { path, detail: other.to_string() },
    }
}

/// Writes the tables into a new database; refuses one of another layout.
fn check_format(database: &Database, path: &Path) -> Result<(), OpenError> {
    let look = || -> Result<Option<u64>, redb::Error> {
        let txn = database.begin_read()?;
        if txn.list_tables()?.next().is_none() {
            drop(txn);
            return initialize(database).map(|()| Some(FORMAT));
        }
        let format = txn.open_table(META)?.get("format")?;
        Ok(format.and_then(|format| format.value().try_into().ok()).map(u64::from_le_bytes))
    };
    match look() {
        Ok(Some(FORMAT)) => Ok(()),
        Ok(Some(found)) => Err(OpenError::OtherVersion { path: path.to_owned(), found, supported: FORMAT }),
        Ok(None) => Err(OpenError::Damaged { path: path.to_owned(), detail: "it names no format".into() }),
        Err(redb::Error::Io(source)) => Err(OpenError::Io { path: path.to_owned(), source }),
        Err(error) => Err(OpenError::Damaged { path: path.to_owned(), detail: error.to_string() }),
    }
}

fn initialize(database: &Database) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    txn.open_table(RECORDS)?;
    txn.open_table(HISTORY)?;
    txn.open_table(CHANGES)?;
    txn.open_table(VOLATILE)?;
    let mut meta = txn.open_table(META)?;
    meta.insert("format", &FORMAT.to_le_bytes()[..])?;
    meta.insert("state", &State::default().encode()[..])?;
    drop(meta);
    Ok(txn.commit()?)
}

/// The counters as a transaction sees them.
pub(super) fn read_state(txn: &ReadTransaction) -> Result<State, StoreError> {
    let meta = txn.open_table(META).map_err(translate)?;
    let state = meta.get("state").map_err(storage)?;
    let state = state.and_then(|state| State::decode(state.value()));
    state.ok_or_else(|| StoreError::Damaged("its counters cannot be read".into()))
}

fn load(database: &Database) -> Result<Loaded, StoreError> {
    let txn = database.begin_read().map_err(translate)?;
    let state = read_state(&txn)?;
    let table = txn.open_table(RECORDS).map_err(translate)?;
    let mut records = Records::new();
    for entry in table.iter().map_err(storage)? {
        let (key, value) = entry.map_err(storage)?;
        let record = decode_record(key.value(), value.value())?;
        records.insert(record.key.clone(), record);
    }
    let table = txn.open_table(VOLATILE).map_err(translate)?;
    let prefixes = table.iter().map_err(storage)?;
    let volatile = prefixes.map(|entry| Ok(entry.map_err(storage)?.0.value().to_owned()));
    Ok(Loaded { state, records, volatile: volatile.collect::<Result<_, StoreError>>()? })
}
