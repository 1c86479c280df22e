//! Applies a configuration: merges it into an object, takes out what its manager no longer wants, and says who owns
//! what then.

use std::borrow::Cow;

use serde_json::Value;

use super::compare::compare;
use super::conflict::Conflicts;
use super::element::same;
use super::fault::Faults;
use super::kind::{Author, Kind, unowned};
use super::last_applied;
use super::managers::{self, Held, Manager, ManagersError, Operation};
use super::merge::merge;
use super::owners::Owners;
use super::prune::prune;
use super::set::FieldSet;
use super::update::{Changes, Other, add};
use super::walk::{Repeated, check, field_set};

/// Who owns what nobody was noted to own, when a configuration is first applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What an applied configuration makes of an object.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object, in the request's version; `None` if it stays as it is.
    pub object: Option<Value>,
    /// Who owns its fields.
    pub owners: Owners,
}

/// Why a configuration was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Others own what it sets otherwise.
    #[error(transparent)]
    Conflicts(#[from] Conflicts),
    /// It does not fit the schema.
    #[error("failed to create typed patch object ({0}): {1}")]
    Configuration(String, Faults),
    /// The object does not fit the schema.
    #[error("failed to create typed live object ({0}): {1}")]
    Live(String, Faults),
    /// Who owns the object's fields cannot be read.
    #[error("failed to decode managed fields: {0}")]
    Managers(#[from] ManagersError),
}

/// Applies a configuration to an object, or to none. Both are in the request's version and without `managedFields`; those
/// of the object are `held`. With `force`, what others own and the configuration sets otherwise is taken from them.
///
/// # Errors
/// When others own such fields and there is no `force`, or the configuration does not fit the schema.
pub fn apply(
    kind: &Kind<'_>,
    (live, held): (Option<&Value>, &Value),
    config: &Value,
    author: Author<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    let refused = |faults| ApplyError::Configuration(described(config), faults);
    check(kind.schema, kind.node, config, Repeated::Refused).map_err(refused)?;
    let old = live.unwrap_or(kind.empty);
    let faulty = |faults| ApplyError::Live(described(old), faults);
    let mut managers = kind.managers(Held::Value(held))?;
    if managers.is_empty() && live.is_some() {
        begin(kind, old, author, &mut managers).map_err(faulty)?;
    }
    let own = Manager {
        name: Cow::Borrowed(author.manager),
        operation: Operation::Apply,
        api_version: kind.api_version.into(),
        subresource: author.subresource.into(),
        time: None,
        fields: kind.ignored.filter(field_set(kind.schema, kind.node, config)),
    };
    let last = managers.iter().position(|held| held.is(&own)).map(|place| managers.remove(place));
    let mut new = merge(kind.schema, kind.node, old.clone(), config);
    if let Some(last) = last.as_ref().filter(|last| gives_up(last, &own)) {
        new = prune(kind, new, last, &own, &managers);
    }
    let changes = compare(kind.schema, kind.node, old, &new).map_err(faulty)?;
    let changed = !changes.is_empty();
    if !changed && last.as_ref().is_some_and(|last| same_but_unowned(last, &own)) {
        return Ok(Applied { object: None, owners: Owners::Kept });
    }
    let others = Other::of(kind, old, &new, &managers);
    let changes = Changes::of(kind, kind.ignored.filter_changes(changes), &others).map_err(faulty)?;
    if !force {
        let conflicts = conflicts(&changes, &managers);
        if !conflicts.is_empty() {
            let allowed = last_applied::unchanged(kind, old, author.manager);
            refuse(&managers, conflicts, allowed.as_ref())?;
        }
    }
    managers.retain_mut(|manager| changes.take(manager));
    // Compared as Kubernetes does: what is one value may have changed within.
    let changed = changed && !same(old, &new);
    let time = if changed { Some(author.now.into()) } else { last.and_then(|last| last.time) };
    managers.push(Manager { time, fields: own.fields.difference(unowned()), ..own });
    let owners = Owners::Are(managers::write(managers));
    drop(changes);
    let object = changed.then_some(new);
    Ok(Applied { object: last_applied::renewed(old, object, config, author.manager), owners })
}

/// Notes whose the fields of an object are to which a configuration is applied for the first time.
fn begin<'a>(
    kind: &'a Kind<'_>,
    old: &'a Value,
    author: Author<'a>,
    managers: &mut Vec<Manager<'a>>,
) -> Result<(), Faults> {
    let changes = kind.ignored.filter_changes(compare(kind.schema, kind.node, kind.empty, old)?);
    let fields = changes.modified.union(&changes.added).difference(unowned());
    if !fields.is_empty() {
        let before = Manager {
            name: BEFORE_FIRST_APPLY.into(),
            operation: Operation::Update,
            api_version: kind.api_version.into(),
            subresource: author.subresource.into(),
            time: Some(author.now.into()),
            fields,
        };
        add(managers, before);
    }
    Ok(())
}

/// Whether a manager owned something that it does not apply any more.
fn gives_up(last: &Manager<'_>, own: &Manager<'_>) -> bool {
    last.api_version != own.api_version || !last.fields.difference(&own.fields).is_empty()
}

/// Whether a manager owns what it owned before.
fn same_but_unowned(last: &Manager<'_>, own: &Manager<'_>) -> bool {
    last.api_version == own.api_version && own.fields.difference(unowned()) == last.fields
}

/// What of each manager's fields has another value now.
fn conflicts<'a>(changes: &Changes<'a>, managers: &[Manager<'a>]) -> Vec<(usize, FieldSet<'a>)> {
    let touched = managers.iter().enumerate().map(|(place, manager)| (place, changes.touched(manager)));
    touched.filter_map(|(place, set)| Some((place, set?))).filter(|(_, set)| !set.is_empty()).collect()
}

/// Refuses a configuration that conflicts with what others own, but for what may be taken from them.
fn refuse(
    managers: &[Manager<'_>],
    conflicts: Vec<(usize, FieldSet<'_>)>,
    allowed: Option<&Value>,
) -> Result<(), Conflicts> {
    let allowed = allowed.and_then(|allowed| FieldSet::read(allowed).ok()).unwrap_or_default();
    let left = conflicts.iter().map(|(place, set)| (&managers[*place], set.difference(&allowed).paths()));
    let left: Vec<_> = left.filter(|(_, fields)| !fields.is_empty()).collect();
    if left.is_empty() { Ok(()) } else { Err(Conflicts::of(left)) }
}

/// An object as errors name it.
fn described(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    let version = text(&object["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    format!(
        "{}/{}; {group}/{version}, Kind={}",
        text(&meta["namespace"]),
        text(&meta["name"]),
        text(&object["kind"])
    )
}
