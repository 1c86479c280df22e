//! Whose fields are which after a write, of `managedFields` as they are stored: only what a write touches is read.
//!
//! Most writes are made again and again: a node renews its lease, a status is reported anew. Who writes then owns all that
//! changes already, nobody else owns any of it, and the text that is there says what it is to say but for a time. That is
//! seen in the text itself, which is read only where the changes lead; the sets of managers whose fields are touched are read
//! and written as [`update`](super::update()) does.

use serde_json::Value;
use serde_json::value::RawValue;

use super::compare::Comparison;
use super::kind::{Author, Kind};
use super::managers::{self, Manager, ManagersError};
use super::owners::Owners;
use super::set::FieldSet;

/// What a manager owns.
enum Fields<'a> {
    /// As it is stored.
    Text(&'a str),
    /// Changed.
    Set(FieldSet<'a>),
}

impl Fields<'_> {
    fn write_into(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Set(set) => set.write_into(out),
        }
    }
}

/// Who owns what after an object became another; `None` where [`update`](super::update()) has to find out: when fields are
/// named in several versions, a schema has changed, or the text is not as it is written here.
pub(super) fn noted(
    kind: &Kind<'_>,
    (old, new): (&Value, &Value),
    text: &str,
    author: Author<'_>,
) -> Option<Owners> {
    let managers = read(kind, text)?;
    let changes = kind.changes(old, new)?;
    if changes.is_empty() {
        return Some(Owners::Kept);
    }
    let Comparison { removed, modified, added } = changes;
    let changed = modified.or(added);
    let author = author.owning(kind, ());
    let (mut is_new, mut is_noted) = (false, false);
    let mut kept = Vec::with_capacity(managers.len() + 1);
    for mut held in managers {
        let (has, loses) = (changed.count_in(held.fields).ok()?, removed.count_in(held.fields).ok()?);
        let writes = held.is(&author) && !changed.is_empty();
        if writes {
            is_noted = true;
            held.time.clone_from(&author.time);
        }
        let stays = if writes { has == changed.len() } else { has == 0 };
        if loses == 0 && stays {
            kept.push(with(held, Fields::Text));
            continue;
        }
        is_new = true;
        let mut set: FieldSet<'_> = serde_json::from_str(held.fields).ok()?;
        set = set.minus(&removed);
        set = if writes { set.or(changed.clone()) } else { set.minus(&changed) };
        if !set.is_empty() {
            kept.push(with(held, |_| Fields::Set(set)));
        }
    }
    if !changed.is_empty() && !is_noted {
        is_new = true;
        kept.push(with(author, |()| Fields::Set(changed)));
    }
    if managers::are_too_many(&kept) {
        return None;
    }
    let text = managers::write_entries(kept, Fields::write_into);
    Some(text.map_or(Owners::Are(None), |text| Owners::Text { text, is_new }))
}

/// The managers, each with its fields as a text, if all name them in the kind's version and in one entry.
fn read<'a>(kind: &Kind<'_>, text: &'a str) -> Option<Vec<Manager<'a, &'a str>>> {
    if kind.schema.changes() {
        return None;
    }
    let entries = managers::entries::<Option<&RawValue>>(text).ok()?;
    let entries: Result<Vec<Manager<'_, Option<&RawValue>>>, ManagersError> = entries.collect();
    let entries = entries.ok()?;
    let is_plain = |(place, entry): (usize, &Manager<'_, Option<&RawValue>>)| {
        *entry.api_version == *kind.api_version && !entries[..place].iter().any(|other| other.is(entry))
    };
    if entries.is_empty() || !entries.iter().enumerate().all(is_plain) {
        return None;
    }
    let own = |entry: Manager<'a, Option<&'a RawValue>>| {
        let fields = entry.fields.map(RawValue::get).filter(|fields| fields.starts_with("{\""))?;
        Some(with(entry, |_| fields))
    };
    entries.into_iter().map(own).collect()
}

fn with<'a, F, G>(manager: Manager<'a, F>, fields: impl FnOnce(F) -> G) -> Manager<'a, G> {
    let Manager { name, operation, api_version, subresource, time, fields: had } = manager;
    Manager { name, operation, api_version, subresource, time, fields: fields(had) }
}
