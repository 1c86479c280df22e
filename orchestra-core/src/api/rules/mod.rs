//! What a kind is beyond its name: the rules by which its objects are written and shown.
//!
//! A row of the table holds [`KindRules`], a trait by value. Who has a Rust type for the objects implements [`Rules`]
//! instead, which reads them typed; [`Typed`] carries it over. A kind that comes at run time implements [`KindRules`]
//! itself.

mod foreign;
mod kind;
mod shape;

use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::Value;

pub use self::kind::{KindRules, MetadataCheck, Typed};
pub use self::shape::{Column, Deletion, NameRule};
use super::field::Errors;
use super::request::Verb;
use super::subresource::{Relay, ScalePaths, Subresource};
use super::{Status, table};
use crate::meta::Object;
use crate::store::Durability;
use crate::watch::IndexedField;

/// The rules of a kind: what is defaulted, what is invalid, what may change, what is printed.
///
/// One implementation per kind, in `objects/<kind>.rs`. Everything has a default that fits a kind with nothing
/// special: to begin, say which [`Object`] it is about. All functions are pure. Defaulting and preparation work on
/// JSON, so that no field is lost on the way; validation reads the typed object, after defaulting.
pub trait Rules: Send + Sync + 'static {
    /// The type of the objects.
    type Object: Object;

    /// Short names, such as `po`.
    const SHORT_NAMES: &'static [&'static str] = &[];
    /// Groups of kinds that are asked for together, such as `all`.
    const CATEGORIES: &'static [&'static str] = &[];
    /// Whether the kind has a status, written through its own subresource only.
    const STATUS: bool = false;
    /// Whether an object may be created with its status, as nodes are by their agents. Otherwise it is dropped.
    const STATUS_AT_CREATION: bool = false;
    /// Whether changes of the desired state are counted in `metadata.generation`.
    const GENERATION: bool = Self::STATUS;
    /// Whether an object may be replaced by one that does not say of which version of it.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Whether its objects are kept. Those of a kind that are not are created to be answered by the
    /// [`Responder`](super::Responder) of the kind, and are gone with the answer.
    const STORED: bool = true;
    /// Where what is created of a kind is sent whose objects are not kept and that nobody answers.
    const RELAY: Option<Relay> = None;
    /// What can be done with its objects.
    const VERBS: &'static [Verb] = Verb::ALL;
    /// Whether the kind can be scaled.
    const SCALE: Option<ScalePaths> = None;
    /// Subresources beside status and scale, such as a pod's `binding`.
    const SUBRESOURCES: &'static [Subresource] = &[];
    /// Whether an object that is created without a name is given its uid for one.
    const NAME_OPTIONAL: bool = false;
    /// What names are allowed.
    const NAME: NameRule = NameRule::Subdomain;
    /// Whether finalizers may have any name, and not only those that Kubernetes knows and those of an owner.
    const ANY_FINALIZER: bool = false;
    /// Whether a forbidden change of metadata has one cause, and not two as with most kinds: one that Kubernetes finds
    /// for all kinds, and one of the kind's own.
    const METADATA_CHECKED_ONCE: bool = false;
    /// Whether the metadata of a new object are looked at only when nothing else is wrong with it. A version that has a
    /// validation of its own sees to them there.
    const METADATA_LAST: bool = false;
    /// How long a write must live.
    const DURABILITY: Durability = Durability::Durable;
    /// The fields that field selectors may ask for, beside name and namespace.
    const FIELDS: &'static [IndexedField] = &[];
    /// The columns of a table. [`Rules::cells`] gives the cells of a row, one each.
    const COLUMNS: &'static [Column] = &[Column::NAME, Column::AGE];
    /// How dependents fare when nobody says: `true` leaves them (orphans them), as very old versions did.
    const ORPHAN_BY_DEFAULT: bool = false;
    /// What to know of a deletion that does not say how dependents fare.
    const DELETION_WARNING: Option<&'static str> = None;
    /// How its objects go, and what the one who deletes them is told.
    const DELETION: Deletion = Deletion::Status;
    /// Whether an update makes the object if there is none of that name.
    const CREATED_BY_UPDATE: bool = false;
    /// What everyone is told who uses the kind, as of a version that is deprecated.
    const DEPRECATED: Option<&'static str> = None;

    /// What errors call an object of a kind whose objects are made up when they are asked for; lists of them have no
    /// revision. Objects of other kinds are kept, and called by the plural.
    const MADE_UP: Option<&'static str> = None;

    /// What is said of a field by which objects of the kind cannot be selected, with `{field}` in its place. A kind without
    /// fields of its own says so otherwise.
    const UNKNOWN_FIELD: &'static str = "field label not supported: {field}";

    /// Fills in what the user left out. Called on everything that is read from a request, and idempotent. Of a kind of
    /// Kubernetes' own, what is empty was dropped before; of any other, this is where values that have many spellings
    /// get the one that is stored.
    fn default(_object: &mut Value) {}

    /// Makes an object fit to be created: drops what only the system may set. The status, if the kind has one, is
    /// dropped already.
    fn prepare_create(_object: &mut Value) {}

    /// Makes the new state of an object fit to replace the old: takes over what this write may not change. Status
    /// and metadata are seen to already.
    fn prepare_update(_new: &mut Value, _old: &Value) {}

    /// Makes a new status fit to replace the old. What is not status is taken over already.
    fn prepare_status(_new: &mut Value, _old: &Value) {}

    /// Makes what was sent to a [part](Subresource::part) of an object fit to replace the old object: takes over all that
    /// is not of the part.
    fn prepare_part(_part: &str, new: &mut Value, old: &Value) {
        new.clone_from(old);
    }

    /// Says what is wrong with an object. Metadata is checked already.
    fn validate(_object: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with an object that is to be created, beside what [`Rules::validate`] finds.
    fn validate_create(_object: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with an object that its type does not tell: whether a field is there at all, where the type
    /// has it always.
    fn validate_json(_object: &Value, _errors: &mut Errors) {}

    /// Says what is wrong with a change, beside what [`Rules::validate`] finds in its outcome.
    fn validate_update(_new: &Self::Object, _old: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with a new status.
    fn validate_status(_new: &Self::Object, _old: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with a change that was made through a [part](Subresource::part) of the object.
    fn validate_part(_part: &str, _new: &Self::Object, _old: &Self::Object, _errors: &mut Errors) {}

    /// What a user should know of an object that is nevertheless accepted. Sent as `Warning` headers.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// What a user should know of an object that is created, beside [`Rules::warnings`].
    fn warnings_at_creation(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`Rules::warnings`] are said again when an object changes so: as a rule when what is desired changes.
    fn warns_of_change(new: &Value, old: &Value) -> bool {
        !Self::GENERATION || Self::is_new_generation(new, old)
    }

    /// Why an object may not be deleted; `None` if it may.
    fn keeps(_object: &Self::Object) -> Option<&'static str> {
        None
    }

    /// Whether a change is one of the desired state, which `metadata.generation` counts.
    fn is_new_generation(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    /// For a kind that is deleted in two steps (pods): the seconds of grace that a deletion gives, from what the
    /// request asks for. `None`: objects of this kind are deleted at once.
    fn grace_period(_object: &Self::Object, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Makes an object say that it is being deleted, beside its metadata.
    fn prepare_deletion(_object: &mut Value) {}

    /// Whether an object that is being deleted must stay for a reason of its kind, beside finalizers in its metadata.
    fn holds(_object: &Value) -> bool {
        false
    }

    /// Checks what a subresource is created with, before anything is known of the object.
    ///
    /// # Errors
    /// What the caller is told of what is wrong with it.
    fn check_body(_subresource: &str, _body: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// Changes the object as the creation of a subresource asks, such as a pod's `binding`.
    ///
    /// # Errors
    /// What the caller is told, when the object cannot be changed so.
    fn edit(_subresource: &str, _object: &mut Value, _body: &Value, _now: Timestamp) -> Result<(), Status> {
        Err(Status::method_not_allowed())
    }

    /// The cells of an object's row.
    fn cells(object: &Self::Object, now: Timestamp) -> Vec<Value> {
        let meta = object.meta();
        vec![meta.name.clone().into(), table::age(meta, now).into()]
    }
}

/// Whether two states of an object differ in what is neither metadata nor status.
pub fn desires_otherwise(new: &Value, old: &Value) -> bool {
    let (Value::Object(new), Value::Object(old)) = (new, old) else { return true };
    let desired = |key: &String| !matches!(key.as_str(), "metadata" | "status");
    let count = |fields: &serde_json::Map<String, Value>| fields.keys().filter(|key| desired(key)).count();
    count(new) != count(old) || new.iter().any(|(key, value)| desired(key) && old.get(key) != Some(value))
}

/// The rules of a kind that has none of its own.
#[derive(Debug)]
pub struct Plain<K>(PhantomData<K>);

impl<K: Object> Rules for Plain<K> {
    type Object = K;
    const STATUS: bool = true;
}
