//! The file: opening it, checking that it is ours and whole, locking it, and opening it again after it failed.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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

    /// Whether it may be that the last who had it open did not close it in good order. Then every page is checked.
    fn was_left_open(&self) -> bool {
        false
    }

    /// Notes that it was closed in good order.
    fn closed(&self) {}

    /// The name of it, for messages.
    fn path(&self) -> PathBuf;
}

/// A directory with the file and its lock.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held while the store is open. It names the process that has it, and is emptied when the store is closed.
    lock: File,
    was_left_open: bool,
}

impl Directory {
    /// Makes the directory if need be and takes its lock. Whatever the umask, nobody else reads what is made here.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        make_private(path).map_err(failed(path))?;
        let name = path.join("store.lock");
        let mut lock = private().truncate(false).open(&name).map_err(failed(&name))?;
        let locked = lock.try_lock();
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder).and_then(|_| lock.rewind());
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.to_owned(), holder: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&name)(source)),
        }
        // Who holds it is a courtesy to whoever meets the lock; a full disk must not keep the store from opening.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let was_left_open = !holder.trim().is_empty();
        Ok(Self { path: path.to_owned(), lock, was_left_open })
    }

    /// Makes the file whole under another name first, so that a half-made one is never met.
    fn make(&self, builder: &Builder, path: &Path) -> Result<(), DatabaseError> {
        let new = self.path.join("store.redb.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
            _ => {}
        }
        private().create_new(true).open(&new).map_err(io_error)?;
        // An empty file is a new database to redb.
        builder.create(&new)?.close()?;
        fs::rename(&new, path).and_then(|()| File::open(&self.path)?.sync_all()).map_err(io_error)
    }
}

/// How files are opened that only their owner may read.
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// Makes a directory into which only its owner may look. One that is there stays as it is: it may hold other things.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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
            Ok(file) => close_to_others(&path, &file).map_err(io_error)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(builder, &path)?,
            Err(error) => return Err(io_error(error)),
        }
        builder.open(path)
    }

    fn was_left_open(&self) -> bool {
        self.was_left_open
    }

    fn closed(&self) {
        // If it cannot be noted, the next start checks every page, and that is all.
        let _ = self.lock.set_len(0);
    }

    fn path(&self) -> PathBuf {
        self.path.join("store.redb")
    }
}

/// A file that was made under another umask, or copied, and that others can read holds secrets all the same.
fn close_to_others(path: &Path, file: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if file.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// The open database.
#[derive(Debug)]
pub(super) struct Disk {
    medium: Box<dyn Medium>,
    /// `None` while it cannot be opened again after an error.
    database: RwLock<Option<Database>>,
    /// Whether the last write found no room.
    full: AtomicBool,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let database = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if database.is_some_and(|database| database.close().is_ok()) {
            self.medium.closed();
        }
    }
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
        // redb gives up on some kinds of damage by a panic, unless it checks every page. That takes a second or so for
        // every few hundred megabytes, and is done when the last end may have been a crash.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open(&*medium, medium.was_left_open()).map_err(|error| refuse(error, &path))?;
            check_format(&database, &path)?;
            let loaded = load(&database).map_err(|error| unreadable(error, &path))?;
            Ok((database, loaded))
        }));
        let (database, loaded) = opened.map_err(|_| damaged(CONTRADICTORY.into()))??;
        let database = RwLock::new(Some(database));
        Ok((Self { medium, database, full: AtomicBool::new(false) }, loaded))
    }

    /// Notes whether a write found room.
    pub(super) fn note_room<T>(&self, written: &Result<T, StoreError>) {
        self.full.store(matches!(written, Err(StoreError::OutOfSpace(_))), Ordering::Relaxed);
    }

    /// Fails if writes do: the database is not open, or the last one found no room.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::OutOfSpace("the last write found no room".into()));
        }
        self.with(|_| Ok(()))
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

    /// Begins a transaction after which the file opens in milliseconds, but for the time that checking its pages takes.
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
            let database = open(&*self.medium, false).map_err(translate)?;
            let state = read_state(&database.begin_read().map_err(translate)?)?;
            Ok((database, state))
        }));
        let (database, state) = reopened.map_err(|_| StoreError::Damaged(CONTRADICTORY.into()))??;
        *slot = Some(database);
        Ok(state)
    }
}

fn open(medium: &dyn Medium, check: bool) -> Result<Database, DatabaseError> {
    medium.open(Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check))
}

/// What is said of a file on which redb gave up.
const CONTRADICTORY: &str = "its parts do not fit together";

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
        // redb's words for it speak of its own code.
        DatabaseError::Storage(StorageError::Corrupted(detail)) => {
            tracing::debug!(detail, "the file is damaged");
            OpenError::Damaged { path, detail: CONTRADICTORY.into() }
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
