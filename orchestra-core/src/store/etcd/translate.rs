//! Between etcd's words and ours.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{Error, KeyValue, ResponseHeader};

use crate::meta::Revision;
use crate::store::{Key, KeyRange, Record, StoreError};

/// Codes of gRPC. etcd says `OUT_OF_RANGE` of a revision that is compacted or in the future, and
/// `RESOURCE_EXHAUSTED` when it is full or has too much to do.
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

fn code(error: &Error) -> Option<i32> {
    match error {
        Error::GRpcStatus(status) => Some(status.code().into()),
        _ => None,
    }
}

pub(super) fn is_out_of_range(error: &Error) -> bool {
    code(error) == Some(OUT_OF_RANGE)
}

pub(super) fn is_exhausted(error: &Error) -> bool {
    code(error) == Some(RESOURCE_EXHAUSTED)
}

/// Whether a write was refused before it was done, and would be again.
pub(super) fn is_refusal(error: &Error) -> bool {
    is_exhausted(error) || !may_pass(error)
}

/// Whether the same call may succeed with another member or a little later.
pub(super) fn may_pass(error: &Error) -> bool {
    let settled = [INVALID_ARGUMENT, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNAUTHENTICATED];
    match error {
        Error::GRpcStatus(_) => code(error).is_none_or(|code| !settled.contains(&code)),
        Error::IoError(_) | Error::TransportError(_) | Error::WatchError(_) | Error::EndpointError(_) => true,
        _ => false,
    }
}

pub(super) fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn header(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let found = header.map(|header| revision(header.revision()));
    found.ok_or_else(|| StoreError::Damaged("etcd gave no revision".into()))
}

/// How keys are called in etcd.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// A slash ends the prefix, so that none is the beginning of another.
    pub(super) fn new(mut prefix: String) -> Self {
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { prefix: prefix.into() }
    }

    pub(super) fn encode(&self, key: &Key) -> Vec<u8> {
        let key = [self.prefix.as_bytes(), key.as_str().as_bytes()].concat();
        // etcd knows no empty key; nothing comes before this one.
        if key.is_empty() { vec![0] } else { key }
    }

    /// The start of a range, after the slots of writes.
    pub(super) fn encode_start(&self, range: &KeyRange) -> Vec<u8> {
        self.encode(&range.start).max(self.slots_end())
    }

    /// The key of a slot. Those of the store's keys that begin with this character are not found by ranges.
    pub(super) fn slot(&self, name: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), b"\x01", name.as_bytes()].concat()
    }

    /// The end of all slots.
    pub(super) fn slots_end(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), b"\x02"].concat()
    }

    /// The end of a range: etcd's word for none is a zero byte.
    pub(super) fn encode_end(&self, range: &KeyRange) -> Vec<u8> {
        match (&range.end, KeyRange::prefix(&self.prefix).end) {
            (Some(end), _) => self.encode(end),
            (None, Some(end)) => end.as_str().as_bytes().to_vec(),
            (None, None) => vec![0],
        }
    }

    pub(super) fn record(&self, kv: KeyValue) -> Result<Record, StoreError> {
        let (created, modified) = (revision(kv.create_revision()), revision(kv.mod_revision()));
        let (key, value) = kv.into_key_value();
        Ok(Record { key: self.decode(&key)?, value: Bytes::from(value), created, modified })
    }

    pub(super) fn decode(&self, key: &[u8]) -> Result<Key, StoreError> {
        let text = key.strip_prefix(self.prefix.as_bytes()).and_then(|key| std::str::from_utf8(key).ok());
        let foreign = || StoreError::Damaged(format!("the key {key:?} in etcd is not ours"));
        Ok(Key::new(text.ok_or_else(foreign)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_end_stays_within_the_prefix() {
        let keys = Keys::new("/orchestra".into());
        let range = KeyRange::all();
        assert_eq!(keys.encode_start(&range), b"/orchestra/\x02");
        assert!(keys.slot("a") < keys.encode_start(&range) && keys.slot("a") >= keys.encode(&range.start));
        assert_eq!(keys.encode_start(&KeyRange::prefix("/a")), b"/orchestra//a");
        assert_eq!(keys.encode_end(&range), b"/orchestra0");
        let bare = Keys::new(String::new());
        assert_eq!((bare.encode_start(&range), bare.encode_end(&range)), (vec![2], vec![0]));
        assert_eq!(keys.decode(b"/orchestra//pods/a").unwrap(), Key::new("/pods/a"));
        assert!(keys.decode(b"/orchestra-other//pods/a").is_err());
    }
}
