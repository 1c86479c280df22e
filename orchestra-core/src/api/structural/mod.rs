//! Structural schemas: what a custom kind's objects may be, read once from `openAPIV3Schema` and then applied to values.
//!
//! All of it is pure: a [`Schema`] and JSON values in, answers out. Order, words and limits are those of Kubernetes'
//! API extensions server.
//!
//! | file | what |
//! | --- | --- |
//! | `read` | from a document to a [`Schema`] |
//! | `validate`, `number`, `format`, `pattern`, `outcome` | whether a value fits, and what is said if not |
//! | `prune`, `fill`, `embedded` | what is done to a value as it is read |
//! | `lists` | sets and maps in lists: each element once |
//! | `complete`, `properties`, `defaults` | what is wrong with a schema itself |
//! | `place` | paths into a schema, as selectable fields and rules name them |
//! | `declare`, `rules`, `rule_check` | rules in CEL: what they know of values, how they are applied, what is wrong with them |

mod complete;
mod declare;
mod defaults;
mod embedded;
mod fill;
mod format;
mod lists;
mod number;
mod outcome;
mod pattern;
mod place;
mod properties;
mod prune;
mod read;
mod rule_check;
mod rules;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub(crate) use self::complete::below;
pub use self::complete::check_structure;
pub use self::defaults::check_defaults;
pub use self::format::unrecognized as unrecognized_formats;
pub use self::lists::check_lists;
pub use self::outcome::Outcome;
pub use self::pattern::Pattern;
pub use self::place::{Place, find as find_place};
pub use self::properties::{Checked, check_properties};
pub use self::read::{MAX_DEPTH, Unreadable};
pub use self::rule_check::check_rules;
pub use self::rules::RuleSet;
pub use super::spot::Spot;

/// The JSON type that a schema asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A list.
    Array,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// An object or a map.
    Object,
    /// Text.
    String,
    /// A type that there is not. Such a schema is refused, but its default is checked before.
    Other(Box<str>),
}

impl Type {
    fn named(name: &str) -> Self {
        match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            other => Self::Other(other.into()),
        }
    }

    /// The type's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
            Self::Other(name) => name,
        }
    }
}

/// How a list behaves when two writers meet in it, and what may be in it (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each element stands for itself and at most once.
    Set,
    /// Elements are told apart by the fields of [`Schema::list_keys`].
    Map,
}

/// What is allowed beside the properties of an object.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Nothing is said: other fields are unknown.
    #[default]
    Unsaid,
    /// No other field.
    Forbidden,
    /// Any other field.
    Any,
    /// Other fields with values of this schema: a map.
    Of(Box<Schema>),
}

/// A rule in CEL (`x-kubernetes-validations`), as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What must be true.
    pub rule: String,
    /// What is said when it is not.
    pub message: String,
    /// What computes what is said.
    pub message_expression: String,
    /// The reason of the error: `FieldValueInvalid` unless another is given.
    pub reason: Option<String>,
    /// The field that the error names, below the one that has the rule.
    pub field_path: String,
    /// Whether `oldSelf` is optional, so that the rule also holds for what is new.
    pub optional_old_self: Option<bool>,
}

/// A schema, ready to be applied.
#[derive(Clone, Default)]
pub struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) int_or_string: bool,
    pub(crate) nullable: bool,
    /// Whether fields that are not declared are kept.
    pub(crate) preserve: bool,
    /// Whether the value is an object of a kind, with metadata.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<Box<str>, Self>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListType,
    pub(crate) list_keys: Box<[Box<str>]>,
    pub(crate) atomic_map: bool,
    pub(crate) values: Option<Box<Values>>,
    pub(crate) rules: Box<[Rule]>,
    /// Whether there is a default here or below.
    pub(crate) has_defaults: bool,
}

/// What a schema says of values beyond their type.
#[derive(Clone, Default)]
pub(crate) struct Values {
    pub(crate) format: Option<Box<str>>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_ref().map_or("any", Type::as_str);
        f.debug_struct("Schema").field("type", &kind).field("fields", &self.properties.len()).finish()
    }
}

impl Schema {
    /// The type, if one is declared.
    pub fn kind(&self) -> Option<&Type> {
        self.kind.as_ref()
    }

    /// Whether a whole number or text may stand here.
    pub fn is_int_or_string(&self) -> bool {
        self.int_or_string
    }

    /// Whether null may stand here.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// Whether fields that are not declared are kept.
    pub fn preserves_unknown_fields(&self) -> bool {
        self.preserve
    }

    /// The declared fields.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.properties.iter().map(|(name, schema)| (&**name, schema))
    }

    /// The schema of the elements of a list.
    pub fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// The schema of the values of a map.
    pub fn map_values(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Of(schema) => Some(schema),
            _ => None,
        }
    }

    /// The schema of a field of an object, or of a value of a map; `None` if nothing is known of it.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or_else(|| self.map_values())
    }

    /// How lists behave here.
    pub fn list_type(&self) -> ListType {
        self.list
    }

    /// The fields by which the elements of a list are told apart.
    pub fn list_keys(&self) -> impl Iterator<Item = &str> {
        self.list_keys.iter().map(|key| &**key)
    }

    /// Whether a map or an object is one value to its writers.
    pub fn is_atomic_map(&self) -> bool {
        self.atomic_map
    }

    /// The value of a field that is missing.
    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Whether there is a default here or below.
    pub fn has_defaults(&self) -> bool {
        self.has_defaults
    }

    /// The rules that hold here.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The fields that must be there.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(|name| &**name)
    }

    pub(crate) fn values(&self) -> &Values {
        static NONE: Values = Values::NONE;
        self.values.as_deref().unwrap_or(&NONE)
    }
}
