//! How the JSON of an object is kept: what [`Entry`](super::Entry) has of it, written and found.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;
use serde::de::Error as _;
use serde_json::Value;

pub(super) const METADATA: &[u8] = b"\"metadata\":{";
const MANAGED_FIELDS: &str = "managedFields";
pub(super) const MANAGED_KEY: &str = "\"managedFields\":";

thread_local! {
    /// Where objects are written before their length is known. What is kept of them for as long as they are has no room
    /// to grow, and to take it from what has costs more than to copy it.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many bytes of it are kept.
const MOST_SCRATCH: usize = 64 * 1024;

/// Does something with this thread's scratch, emptied.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // Taken rather than borrowed: what reads out of it may come here again.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let outcome = work(&mut scratch);
    scratch.shrink_to(MOST_SCRATCH);
    SCRATCH.set(scratch);
    outcome
}

/// Where `managedFields` is in an object whose text has them in these very bytes, with the comma that parts them from another
/// field.
pub(super) fn around(bytes: &[u8], text: &str) -> Range<usize> {
    let Some(value) = (text.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize) else { return 0..0 };
    let end = value + text.len();
    match bytes.get(..value).and_then(|before| before.strip_suffix(MANAGED_KEY.as_bytes())) {
        Some(before) => with_comma(bytes, before.len()..end),
        None => 0..0,
    }
}

/// A field of an object, with the comma before it, or after it if it is the first.
fn with_comma(bytes: &[u8], field: Range<usize>) -> Range<usize> {
    match (bytes[..field.start].last(), bytes.get(field.end)) {
        (Some(b','), _) => field.start - 1..field.end,
        (_, Some(b',')) => field.start..field.end + 1,
        _ => field,
    }
}

/// The bytes of an object, and where in them its `managedFields` are.
pub(super) fn encode(
    object: &Value,
    managed_fields: Option<&str>,
) -> Result<(Bytes, Range<usize>), serde_json::Error> {
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .ok_or_else(|| serde_json::Error::custom("an object without metadata"))?;
    with_scratch(|out| {
        let managed = write_object(out, object, metadata, managed_fields)?;
        Ok((Bytes::copy_from_slice(out), managed))
    })
}

fn write_object(
    out: &mut Vec<u8>,
    object: &Value,
    metadata: &serde_json::Map<String, Value>,
    managed_fields: Option<&str>,
) -> Result<Range<usize>, serde_json::Error> {
    out.extend_from_slice(b"{\"kind\":");
    serde_json::to_writer(&mut *out, &object["kind"])?;
    out.extend_from_slice(b",\"apiVersion\":");
    serde_json::to_writer(&mut *out, &object["apiVersion"])?;
    out.extend_from_slice(b",\"metadata\":{");
    let meta = metadata.iter().filter(|(key, _)| *key != "resourceVersion");
    let comes_before = |(key, _): &(&String, &Value)| key.as_str() < MANAGED_FIELDS;
    write_fields(out, meta.clone().take_while(comes_before))?;
    let (mut meta, start) = (meta.skip_while(comes_before).peekable(), out.len());
    if let Some(text) = managed_fields {
        write_key(out, MANAGED_FIELDS)?;
        out.extend_from_slice(text.as_bytes());
    } else if let Some(managed) = meta.next_if(|(key, _)| *key == MANAGED_FIELDS) {
        write_fields(out, std::iter::once(managed))?;
    }
    let end = out.len();
    write_fields(out, meta)?;
    out.push(b'}');
    let rest = object.as_object().into_iter().flatten();
    let rest = rest.filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"));
    write_fields(out, rest)?;
    out.push(b'}');
    Ok(match start < end {
        true => with_comma(out, start + usize::from(out[start] == b',')..end),
        false => 0..0,
    })
}

fn write_fields<'v>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'v String, &'v Value)>,
) -> Result<(), serde_json::Error> {
    for (key, value) in fields {
        write_key(out, key)?;
        serde_json::to_writer(&mut *out, value)?;
    }
    Ok(())
}

/// Begins a field of the object that is being written.
fn write_key(out: &mut Vec<u8>, key: &str) -> Result<(), serde_json::Error> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key)?;
    out.push(b':');
    Ok(())
}
