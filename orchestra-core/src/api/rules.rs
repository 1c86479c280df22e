use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::Value;

use super::Status;
use super::field::Errors;
use super::mistyped::{self, Refusal, Step};
use crate::meta::Object;
use crate::quantity::ParseQuantityError;
use crate::store::Durability;
use crate::watch::IndexedField;

/// What names objects of a kind may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS subdomain (RFC 1123): at most 253 characters, labels joined by dots. What most kinds have.
    Subdomain,
    /// A DNS label (RFC 1123): at most 63 characters, no dots.
    Label,
    /// A DNS label of the older form (RFC 1035), which does not begin with a digit: Services.
    Label1035,
    /// Anything that can be one step of a URL's path.
    PathSegment,
}

/// Where a kind keeps what the `scale` subresource shows. Paths are dotted, from the object's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// How many replicas are wanted.
    pub spec_replicas: &'static str,
    /// How many there are.
    pub status_replicas: &'static str,
    /// The selector of the replicas: a label selector object or a plain map.
    pub selector: &'static str,
}

/// A column of a table, as `kubectl get` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The OpenAPI type: `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// The OpenAPI format, such as `name` for the column with the object's name; usually empty.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0 for a column that is always shown, 1 for one of `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A column of text that is always shown.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, kind: "string", format: "", description, priority: 0 }
    }

    /// A column of whole numbers.
    #[must_use]
    pub const fn integer(self) -> Self {
        Self { kind: "integer", ..self }
    }

    /// A column that only `-o wide` shows.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The column of names, first in every table.
    pub const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        description: "Name must be unique within a namespace.",
        priority: 0,
    };

    /// The column of ages.
    pub const AGE: Self = Self::new("Age", "How long ago the object was created.");
}

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
    /// Whether the kind can be scaled.
    const SCALE: Option<ScalePaths> = None;
    /// Further subresources, such as `binding`, which discovery lists.
    const SUBRESOURCES: &'static [&'static str] = &[];
    /// What names are allowed.
    const NAME: NameRule = NameRule::Subdomain;
    /// How long a write must live.
    const DURABILITY: Durability = Durability::Durable;
    /// The fields that field selectors may ask for, beside name and namespace.
    const FIELDS: &'static [IndexedField] = &[];
    /// The columns of a table. [`Rules::cells`] gives the cells of a row, one each.
    const COLUMNS: &'static [Column] = &[Column::NAME, Column::AGE];
    /// How dependents fare when nobody says: `true` leaves them (orphans them), as very old versions did.
    const ORPHAN_BY_DEFAULT: bool = false;

    /// Brings values that have many spellings into the one that is stored: quantities, which may be numbers too.
    /// Called before anything else looks at an object, whose fields may yet be of any type.
    ///
    /// # Errors
    /// A text that is to be a quantity and is none.
    fn canonicalize(_object: &mut Value) -> Result<(), ParseQuantityError> {
        Ok(())
    }

    /// Fills in what the user left out. Called on everything that is read from a request, and idempotent.
    fn default(_object: &mut Value) {}

    /// Makes an object fit to be created: drops what only the system may set. The status, if the kind has one, is
    /// dropped already.
    fn prepare_create(_object: &mut Value) {}

    /// Makes the new state of an object fit to replace the old: takes over what this write may not change. Status
    /// and metadata are seen to already.
    fn prepare_update(_new: &mut Value, _old: &Value) {}

    /// Makes a new status fit to replace the old. What is not status is taken over already.
    fn prepare_status(_new: &mut Value, _old: &Value) {}

    /// Says what is wrong with an object. Metadata is checked already.
    fn validate(_object: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with a change, beside what [`Rules::validate`] finds in its outcome.
    fn validate_update(_new: &Self::Object, _old: &Self::Object, _errors: &mut Errors) {}

    /// Says what is wrong with a new status.
    fn validate_status(_new: &Self::Object, _old: &Self::Object, _errors: &mut Errors) {}

    /// What a user should know of an object that is nevertheless accepted. Sent as `Warning` headers.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
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
        vec![meta.name.clone().into(), super::table::age(meta, now).into()]
    }
}

/// The rules of a kind that has none of its own.
#[derive(Debug)]
pub struct Plain<K>(PhantomData<K>);

impl<K: Object> Rules for Plain<K> {
    type Object = K;
    const STATUS: bool = true;
}

/// [`Rules`] without the type, as the verbs call them.
pub(crate) trait ErasedRules: Send + Sync {
    fn canonicalize(&self, object: &mut Value) -> Result<(), ParseQuantityError>;
    fn default(&self, object: &mut Value);
    fn prepare_create(&self, object: &mut Value);
    fn prepare_update(&self, new: &mut Value, old: &Value);
    fn prepare_status(&self, new: &mut Value, old: &Value);
    /// Decodes the object to its type, only to see that it can be; names the unknown fields, or says what is mistyped.
    fn check(&self, object: &Value) -> Result<Vec<String>, String>;
    fn prepare_deletion(&self, object: &mut Value);
    fn holds(&self, object: &Value) -> bool;
    fn edit(&self, subresource: &str, object: &mut Value, body: &Value, now: Timestamp)
    -> Result<(), Status>;
    fn validate(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error>;
    fn validate_update(&self, new: &Value, old: &Value, errors: &mut Errors)
    -> Result<(), serde_json::Error>;
    fn validate_status(&self, new: &Value, old: &Value, errors: &mut Errors)
    -> Result<(), serde_json::Error>;
    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64>;
    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error>;
    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema>;
}

/// Carries [`Rules`] into a trait object.
pub(crate) struct Erased<R>(pub(crate) PhantomData<R>);

fn typed<K: Object>(object: &Value) -> Result<K, serde_json::Error> {
    K::deserialize(object)
}

/// Where and why a document is not an object of the type; `None` if it is one.
fn refusal<K: Object>(document: &Value) -> Option<Refusal> {
    use serde_path_to_error::Segment;
    let error = serde_path_to_error::deserialize::<_, K>(document).err()?;
    let steps = error.path().iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    Some((steps.collect(), error.inner().to_string()))
}

impl<R: Rules> ErasedRules for Erased<R> {
    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema> {
        R::Object::schema(generator)
    }

    fn canonicalize(&self, object: &mut Value) -> Result<(), ParseQuantityError> {
        R::canonicalize(object)
    }

    fn default(&self, object: &mut Value) {
        R::default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        R::prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        R::prepare_update(new, old);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        R::prepare_status(new, old);
    }

    fn check(&self, object: &Value) -> Result<Vec<String>, String> {
        let mut unknown = Vec::new();
        let decoded: Result<R::Object, _> = serde_ignored::deserialize(object, |path| {
            let path = path.to_string();
            // Every object has these, also of a type that has no fields for them.
            if !matches!(path.as_str(), "apiVersion" | "kind") {
                unknown.push(path);
            }
        });
        match decoded {
            Ok(_) => Ok(unknown),
            // Following the path costs time, so it is followed only when something is wrong.
            Err(error) => Err(match refusal::<R::Object>(object) {
                Some(refused) => mistyped::explain(R::Object::KIND, object, refused, &refusal::<R::Object>),
                None => error.to_string(),
            }),
        }
    }

    fn prepare_deletion(&self, object: &mut Value) {
        R::prepare_deletion(object);
    }

    fn holds(&self, object: &Value) -> bool {
        R::holds(object)
    }

    fn edit(
        &self,
        subresource: &str,
        object: &mut Value,
        body: &Value,
        now: Timestamp,
    ) -> Result<(), Status> {
        R::edit(subresource, object, body, now)
    }

    fn validate(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        let object = typed::<R::Object>(object)?;
        R::validate(&object, errors);
        Ok(R::warnings(&object))
    }

    fn validate_update(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        R::validate_update(&typed(new)?, &typed(old)?, errors);
        Ok(())
    }

    fn validate_status(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        R::validate_status(&typed(new)?, &typed(old)?, errors);
        Ok(())
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        R::grace_period(&typed(object).ok()?, requested)
    }

    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error> {
        Ok(R::cells(&serde_json::from_slice(json)?, now))
    }
}
