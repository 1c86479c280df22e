//! Values while an expression is evaluated. What comes from JSON is looked at where it stands, and not copied.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::error::EvalError;
use super::special::{self, Access, Semver, Url};
use super::types::{Declared, DeclaredKind, Elements, Opaque};
use crate::quantity::Quantity;

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'v> {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not below zero.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text that stands somewhere.
    Text(&'v str),
    /// Text that was made.
    Made(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// A point in time.
    Time(Timestamp),
    /// The name of a type.
    Type(&'static str),
    /// A list that stands in JSON.
    JsonList(&'v [Json], Option<&'v Declared>),
    /// A list that was made.
    List(Rc<Vec<Self>>),
    /// A map or an object that stands in JSON.
    JsonMap(&'v serde_json::Map<String, Json>, Option<&'v Declared>),
    /// A map that was made.
    Map(Rc<BTreeMap<Key, Self>>),
    /// A value, or none.
    Optional(Option<Rc<Self>>),
    /// A value of a library.
    Opaque(Rc<Special>),
}

/// A value of a library.
#[derive(Clone, Debug, PartialEq)]
pub enum Special {
    /// An amount.
    Quantity(Quantity),
    /// A URL.
    Url(Url),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses.
    Cidr(IpAddr, u8),
    /// A format of text, by its name.
    Format(&'static str),
    /// A version.
    Semver(Semver),
    /// A question about what somebody may do, or the answer.
    Access(Access),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Text.
    Text(Rc<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'v> Val<'v> {
    /// A value of JSON as it stands, of which nothing is declared.
    pub fn json(value: &'v Json) -> Self {
        Self::declared(value, None)
    }

    /// A value of JSON, read as it is declared.
    pub fn declared(value: &'v Json, declared: Option<&'v Declared>) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match declared.map(|declared| &declared.kind) {
                Some(DeclaredKind::Double) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                Some(DeclaredKind::Int) if number.is_f64() => {
                    number.as_f64().map_or(Self::Null, |float| Self::Int(float as i64))
                }
                _ => match (number.as_i64(), number.as_u64()) {
                    (Some(value), _) => Self::Int(value),
                    (None, Some(value)) => Self::Uint(value),
                    _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                },
            },
            Json::String(text) => Self::text_of(text, declared),
            Json::Array(items) => Self::JsonList(items, declared),
            Json::Object(fields) => Self::JsonMap(fields, declared),
        }
    }

    fn text_of(text: &'v str, declared: Option<&'v Declared>) -> Self {
        let read = match declared.map(|declared| &declared.kind) {
            Some(DeclaredKind::Bytes) => STANDARD.decode(text).ok().map(|bytes| Self::Bytes(bytes.into())),
            Some(DeclaredKind::Duration) => special::parse_duration(text).map(Self::Duration),
            Some(DeclaredKind::Timestamp) => {
                let time = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
                time.ok().map(Self::Time)
            }
            _ => None,
        };
        read.unwrap_or(Self::Text(text))
    }

    /// Text that is made.
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Made(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    pub(super) fn special(value: Special) -> Self {
        Self::Opaque(Rc::new(value))
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Made(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is true, if it is true or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) | Self::Made(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
            Self::JsonList(..) | Self::List(_) => "list",
            Self::JsonMap(..) | Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Opaque(special) => special.name(),
        }
    }

    /// The size of a text, list or map.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(_) | Self::Made(_) => self.as_str().map(|text| text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::JsonList(items, _) => Some(items.len()),
            Self::List(items) => Some(items.len()),
            Self::JsonMap(fields, _) => Some(fields.len()),
            Self::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// How much work it is to go through it once.
    pub(super) fn weight(&self) -> u64 {
        let size = match self {
            Self::Text(_) | Self::Made(_) => self.as_str().map_or(1, str::len),
            _ => self.size().unwrap_or(1),
        };
        u64::try_from(size).unwrap_or(u64::MAX)
    }

    /// An element of a list.
    pub(super) fn element(&self, index: usize) -> Option<Self> {
        match self {
            Self::JsonList(items, declared) => {
                let of = declared.and_then(|declared| declared.element()).map(|of| &**of);
                items.get(index).map(|item| Self::declared(item, of))
            }
            Self::List(items) => items.get(index).cloned(),
            _ => None,
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Option<impl Iterator<Item = Self> + use<'_, 'v>> {
        let length = match self {
            Self::JsonList(items, _) => items.len(),
            Self::List(items) => items.len(),
            _ => return None,
        };
        Some((0..length).filter_map(|index| self.element(index)))
    }

    /// The value of a field or an entry; `None` if it is not there.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::JsonMap(fields, declared) => {
                let Some(declared) = declared else { return fields.get(name).map(Self::json) };
                match &declared.kind {
                    DeclaredKind::Object(known) => {
                        let field = known.get(name)?;
                        fields.get(&*field.name).map(|value| Self::declared(value, Some(&field.of)))
                    }
                    DeclaredKind::Map(of) => fields.get(name).map(|value| Self::declared(value, Some(of))),
                    _ => fields.get(name).map(Self::json),
                }
            }
            Self::Map(entries) => entries.get(&Key::Text(name.into())).cloned(),
            _ => None,
        }
    }

    /// The value of an entry by its key.
    pub(super) fn entry(&self, key: &Self) -> Option<Self> {
        match self {
            Self::Map(entries) => entries.get(&key.to_key()?).cloned(),
            _ => self.field(key.as_str()?),
        }
    }

    /// The keys of a map.
    pub(super) fn keys(&self) -> Option<Vec<Self>> {
        match self {
            Self::JsonMap(fields, declared) => {
                let object = declared.map(|declared| &declared.kind);
                if let Some(DeclaredKind::Object(known)) = object {
                    let there = known.iter().filter(|(_, field)| fields.contains_key(&*field.name));
                    return Some(there.map(|(name, _)| Self::text(&**name)).collect());
                }
                Some(fields.keys().map(|name| Self::Text(name)).collect())
            }
            Self::Map(entries) => Some(entries.keys().map(Key::to_value).collect()),
            _ => None,
        }
    }

    pub(super) fn to_key(&self) -> Option<Key> {
        match self {
            Self::Bool(value) => Some(Key::Bool(*value)),
            Self::Int(value) => Some(Key::Int((*value).into())),
            Self::Uint(value) => Some(Key::Int((*value).into())),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 1e18 => {
                Some(Key::Int(*value as i128))
            }
            _ => self.as_str().map(|text| Key::Text(text.into())),
        }
    }

    /// Whether two values are equal. Values of different types are not, but for numbers.
    pub(super) fn equals(&self, other: &Self) -> bool {
        if let (Some(one), Some(other)) = (self.as_str(), other.as_str()) {
            return one == other;
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Duration(one), Self::Duration(other)) => one == other,
            (Self::Time(one), Self::Time(other)) => one == other,
            (Self::Type(one), Self::Type(other)) => one == other,
            (Self::Opaque(one), Self::Opaque(other)) => one == other,
            (Self::Optional(one), Self::Optional(other)) => match (one, other) {
                (Some(one), Some(other)) => one.equals(other),
                (one, other) => one.is_none() && other.is_none(),
            },
            (Self::JsonList(..) | Self::List(_), Self::JsonList(..) | Self::List(_)) => self.same_list(other),
            (Self::JsonMap(..) | Self::Map(_), Self::JsonMap(..) | Self::Map(_)) => self.same_map(other),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    fn same_list(&self, other: &Self) -> bool {
        let declared = |value: &Self| match value {
            Self::JsonList(_, declared) => *declared,
            _ => None,
        };
        let elements = declared(self).or(declared(other)).map(|declared| &declared.kind);
        if self.size() != other.size() {
            return false;
        }
        let (Some(mut ours), Some(theirs)) = (self.elements(), other.elements()) else { return false };
        match elements {
            Some(DeclaredKind::List(_, Elements::Set)) => {
                let theirs: Vec<Self> = theirs.collect();
                ours.all(|one| theirs.iter().any(|other| one.equals(other)))
            }
            Some(DeclaredKind::List(_, Elements::ByKeys(keys))) => {
                let theirs: Vec<Self> = theirs.collect();
                let same_keys = |one: &Self, other: &Self| {
                    keys.iter().all(|key| match (one.field(key), other.field(key)) {
                        (Some(one), Some(other)) => one.equals(&other),
                        (one, other) => one.is_none() && other.is_none(),
                    })
                };
                ours.all(|one| theirs.iter().any(|other| same_keys(&one, other) && one.equals(other)))
            }
            _ => ours.zip(theirs).all(|(one, other)| one.equals(&other)),
        }
    }

    fn same_map(&self, other: &Self) -> bool {
        if self.size() != other.size() {
            return false;
        }
        let same = |key: &Self| match (self.entry(key), other.entry(key)) {
            (Some(one), Some(other)) => one.equals(&other),
            _ => false,
        };
        self.keys().is_some_and(|keys| keys.iter().all(same))
    }

    /// The order of two values, if they have one.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        if let (Some(one), Some(other)) = (self.as_str(), other.as_str()) {
            return Some(one.cmp(other));
        }
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Int(other)) | (Self::Duration(one), Self::Duration(other)) => {
                Some(one.cmp(other))
            }
            (Self::Uint(one), Self::Uint(other)) => Some(one.cmp(other)),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other),
            (Self::Int(one), Self::Uint(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
            (Self::Uint(one), Self::Int(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
            (Self::Double(one), Self::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Int(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Double(one), Self::Uint(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Uint(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            (Self::Time(one), Self::Time(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// When it is nothing that JSON has.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::Text(_) | Self::Made(_) => self.as_str().into(),
            Self::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Self::Duration(nanos) => special::duration_text(*nanos).into(),
            Self::Time(time) => time.to_string().into(),
            Self::JsonList(items, _) => Json::Array(items.to_vec()),
            Self::JsonMap(fields, _) => Json::Object((*fields).clone()),
            Self::List(items) => items.iter().map(Self::to_json).collect::<Result<Vec<_>, _>>()?.into(),
            Self::Map(entries) => {
                let each = entries.iter().map(|(key, value)| Ok((key.to_string(), value.to_json()?)));
                Json::Object(each.collect::<Result<_, EvalError>>()?)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Optional(None) | Self::Type(_) | Self::Opaque(_) => {
                return Err(EvalError::Failed(format!("{} is not JSON", self.type_name())));
            }
        })
    }
}

impl Key {
    pub(super) fn to_value<'v>(&self) -> Val<'v> {
        match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => i64::try_from(*value).map_or_else(|_| Val::Uint(*value as u64), Val::Int),
            Self::Text(text) => Val::Made(Rc::clone(text)),
        }
    }
}

impl Special {
    pub(super) fn kind(&self) -> Opaque {
        match self {
            Self::Quantity(_) => Opaque::Quantity,
            Self::Url(_) => Opaque::Url,
            Self::Ip(_) => Opaque::Ip,
            Self::Cidr(..) => Opaque::Cidr,
            Self::Format(_) => Opaque::Format,
            Self::Semver(_) => Opaque::Semver,
            Self::Access(access) => access.kind(),
        }
    }

    fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// What a name in an expression stands for: shared, as programs are.
pub(super) type Name = Arc<str>;
