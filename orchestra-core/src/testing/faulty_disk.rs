//! A disk for [`RedbStore`](crate::store::redb::RedbStore) that fails as disks do.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::clock::{SharedClock, TokioClock};
use crate::store::redb::Medium;

/// The smallest part of a write that a disk does as a whole.
const SECTOR: usize = 512;

/// A disk in memory that keeps apart what has been synced and what has only been written, and that can be told to
/// fail. A clone is the same disk.
///
/// ```
/// # use orchestra_core::{store::redb::RedbStore, testing::FaultyDisk};
/// let disk = FaultyDisk::new(42);
/// let store = RedbStore::open_on(disk.clone(), Default::default()).expect("a healthy disk");
/// disk.fail_at_call(100, std::io::ErrorKind::Other);
/// // Write until it fails, then:
/// drop(store);
/// disk.lose_power();
/// let store = RedbStore::open_on(disk, Default::default()).expect("what was acknowledged");
/// ```
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    image: Arc<Mutex<Image>>,
}

#[derive(Debug)]
struct Image {
    /// What a power cut cannot take.
    synced: Vec<u8>,
    /// What a reader sees.
    current: Vec<u8>,
    /// What was done since the last sync.
    pending: Vec<Pending>,
    calls: u64,
    fails: Option<(u64, io::ErrorKind)>,
    capacity: u64,
    chance: SharedClock,
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl FaultyDisk {
    /// An empty disk that works. What a power cut leaves follows from the seed.
    pub fn new(seed: u64) -> Self {
        let image = Image {
            synced: Vec::new(),
            current: Vec::new(),
            pending: Vec::new(),
            calls: 0,
            fails: None,
            capacity: u64::MAX,
            chance: TokioClock::simulated(seed),
        };
        Self { image: Arc::new(Mutex::new(image)) }
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many reads, writes, syncs and changes of length there have been.
    pub fn calls(&self) -> u64 {
        self.image().calls
    }

    /// Lets the call of that number, counted from the first ever, and all after it fail, until
    /// [`heal`](Self::heal)ed.
    pub fn fail_at_call(&self, number: u64, kind: io::ErrorKind) {
        self.image().fails = Some((number, kind));
    }

    /// Lets calls succeed again.
    pub fn heal(&self) {
        self.image().fails = None;
    }

    /// Lets the file grow to so many bytes and no further.
    pub fn set_capacity(&self, bytes: u64) {
        self.image().capacity = bytes;
    }

    /// How long the file is.
    pub fn length(&self) -> u64 {
        self.image().current.len() as u64
    }

    /// Cuts the power: of each write since the last sync nothing, a part in whole sectors, or all remains. Heals.
    pub fn lose_power(&self) {
        let mut image = self.image();
        image.fails = None;
        let mut left = std::mem::take(&mut image.synced);
        for pending in std::mem::take(&mut image.pending) {
            match pending {
                Pending::Length(length) if image.chance.random().is_multiple_of(2) => left.resize(length, 0),
                Pending::Length(_) => {}
                Pending::Write(at, data) => {
                    let whole = image.chance.random() % 3;
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        let kept = whole == 2 || whole == 1 && image.chance.random().is_multiple_of(2);
                        if kept {
                            let at = at + number * SECTOR;
                            let end = at + sector.len();
                            left.resize(left.len().max(end), 0);
                            left[at..end].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        image.synced.clone_from(&left);
        image.current = left;
    }
}

impl Medium for FaultyDisk {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("(a faulty disk)")
    }
}

impl Image {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fails {
            Some((number, kind)) if self.calls >= number => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn room(&self, length: u64) -> io::Result<usize> {
        if length > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        usize::try_from(length).map_err(io::Error::other)
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut image = self.image();
        image.call()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = start.checked_add(out.len()).and_then(|end| image.current.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut image = self.image();
        image.call()?;
        let length = image.room(len)?;
        image.current.resize(length, 0);
        image.pending.push(Pending::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image();
        image.call()?;
        image.pending.clear();
        let current = std::mem::take(&mut image.current);
        image.synced.clone_from(&current);
        image.current = current;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.image();
        image.call()?;
        let end = image.room(offset + data.len() as u64)?;
        let start = end - data.len();
        if image.current.len() < end {
            image.current.resize(end, 0);
        }
        image.current[start..end].copy_from_slice(data);
        image.pending.push(Pending::Write(start, data.to_vec()));
        Ok(())
    }
}
