//! Whose fields are which after a write that is no application of a configuration.

use serde_json::Value;

use super::at_rest;
use super::compare::{Comparison, compare};
use super::fault::Faults;
use super::kind::{Author, Kind};
use super::managers::{self, Held, Manager};
use super::owners::Owners;
use super::set::FieldSet;

/// Who owns what of an object after it was created, replaced or patched. `live` is the object that there was, if there
/// was one, and `new` what the request makes of it, before anyone else has a say; both are in the request's version and
/// without `managedFields`, of which `held` are those that were there and `given` those of the request.
///
/// Of an object that is there and whose fields nobody owns, nothing is noted: only a configuration that is applied to it
/// begins that.
pub fn update(
    kind: &Kind<'_>,
    live: Option<&Value>,
    new: &Value,
    (held, given): (Held<'_>, &Value),
    author: Author<'_>,
) -> Owners {
    let own = author.subresource.is_empty();
    if own && managers::is_reset(given) {
        return match live {
            Some(_) => Owners::Are(None),
            None => noted(kind, live, new, author, Vec::new(), false),
        };
    }
    let is_told = own && !given.is_null();
    if let (Held::Text(text), Some(live), false) = (held, live, is_told)
        && let Some(owners) = at_rest::noted(kind, (live, new), text, author)
    {
        return owners;
    }
    // Who writes may say who owns what, if that can be read.
    let told = (is_told && *given != *held.value()).then(|| kind.managers(Held::Value(given)).ok()).flatten();
    if let Some(told) = told.filter(|told| !told.is_empty()) {
        return noted(kind, live, new, author, told, false);
    }
    match kind.managers(held) {
        Ok(held) if held.is_empty() && live.is_some() => Owners::Kept,
        Ok(held) => noted(kind, live, new, author, held, true),
        Err(_) => Owners::Are(None),
    }
}

/// `kept` says that the managers are those of the object that is there.
fn noted(
    kind: &Kind<'_>,
    live: Option<&Value>,
    new: &Value,
    author: Author<'_>,
    managers: Vec<Manager<'_>>,
    kept: bool,
) -> Owners {
    let old = live.unwrap_or(kind.empty);
    let Some(changes) = kind.changes(old, new) else { return Owners::Are(None) };
    if kept && changes.is_empty() {
        return Owners::Kept;
    }
    let mut managers = managers;
    let others = Other::of(kind, old, new, &managers);
    let mut author = author.owning(kind, FieldSet::default());
    let mut is_new = !kept;
    if managers.is_empty() {
        // As of every new object.
        author.fields = changes.modified.or(changes.added);
    } else {
        author.fields = changes.modified.union(&changes.added);
        let Ok(changes) = Changes::of(kind, changes, &others) else { return Owners::Are(None) };
        managers.retain_mut(|manager| {
            let had = manager.fields.len();
            // What it writes anew is its own still.
            let stays = if manager.is(&author) { changes.take_gone(manager) } else { changes.take(manager) };
            is_new |= manager.fields.len() != had;
            stays
        });
    }
    if !author.fields.is_empty() {
        is_new |= add(&mut managers, author);
    }
    managers::cap(&mut managers);
    managers::write_text(managers).map_or(Owners::Are(None), |text| Owners::Text { text, is_new })
}

/// Notes that a manager owns fields now, beside those that it had. Answers whether it did not own all of them.
pub(super) fn add<'a>(managers: &mut Vec<Manager<'a>>, author: Manager<'a>) -> bool {
    let Some(held) = managers.iter_mut().find(|held| held.is(&author)) else {
        managers.push(author);
        return true;
    };
    let had = held.fields.len();
    held.fields = std::mem::take(&mut held.fields).or(author.fields);
    held.time = author.time;
    held.fields.len() != had
}

/// Both states of an object in another version than the request's.
pub(super) struct Other {
    api_version: String,
    /// None, if the version is not served any more: who owned fields in it owns nothing.
    states: Option<(Value, Value)>,
}

impl Other {
    /// The versions in which managers own fields, beside the request's.
    pub(super) fn of(kind: &Kind<'_>, old: &Value, new: &Value, managers: &[Manager<'_>]) -> Vec<Self> {
        let mut others: Vec<Self> = Vec::new();
        for manager in managers {
            let version = &*manager.api_version;
            if version == kind.api_version || others.iter().any(|other| other.api_version == version) {
                continue;
            }
            let both = || Some((kind.versions.convert(old, version)?, kind.versions.convert(new, version)?));
            others.push(Self { api_version: version.to_owned(), states: both() });
        }
        others
    }
}

/// What a write changes, in each version in which someone owns fields.
pub(super) struct Changes<'a> {
    of: Vec<(&'a str, Comparison<'a>, FieldSet<'a>)>,
}

impl<'a> Changes<'a> {
    pub(super) fn of(
        kind: &'a Kind<'_>,
        changes: Comparison<'a>,
        others: &'a [Other],
    ) -> Result<Self, Faults> {
        let with_set = |version, changes: Comparison<'a>| {
            let set = changes.modified.union(&changes.added);
            (version, changes, set)
        };
        let mut of = vec![with_set(kind.api_version, changes)];
        for other in others {
            let Some((old, new)) = &other.states else { continue };
            let (schema, node) = kind.schema_of(&other.api_version);
            let changes = kind.ignored.filter_changes(compare(schema, node, old, new)?);
            of.push(with_set(&other.api_version, changes));
        }
        Ok(Self { of })
    }

    fn at(&self, version: &str) -> Option<&(&'a str, Comparison<'a>, FieldSet<'a>)> {
        self.of.iter().find(|(held, ..)| *held == version)
    }

    /// What of a manager's fields has another value now; `None` if its version is not served.
    pub(super) fn touched(&self, manager: &Manager<'a>) -> Option<FieldSet<'a>> {
        self.at(&manager.api_version).map(|(_, _, changed)| manager.fields.intersection(changed))
    }

    /// Takes from a manager what has another value now or is gone. Answers whether it owns anything still.
    pub(super) fn take(&self, manager: &mut Manager<'a>) -> bool {
        if let Some((_, _, changed)) = self.at(&manager.api_version) {
            manager.fields = std::mem::take(&mut manager.fields).minus(changed);
        }
        self.take_gone(manager)
    }

    /// Takes from a manager what is gone. Answers whether it owns anything still.
    fn take_gone(&self, manager: &mut Manager<'a>) -> bool {
        let Some((_, changes, _)) = self.at(&manager.api_version) else { return false };
        manager.fields = std::mem::take(&mut manager.fields).minus(&changes.removed);
        !manager.fields.is_empty()
    }
}
