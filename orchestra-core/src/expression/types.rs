//! What values may be, as far as it is known before there are any.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything: it shows when there is a value.
    Dyn,
    /// Null.
    Null,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A whole number that is not below zero.
    Uint,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A length of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A type.
    Type,
    /// A list.
    List(Arc<Self>),
    /// A map.
    Map(Arc<Self>, Arc<Self>),
    /// An object with declared fields.
    Object(Arc<Declared>),
    /// A value, or none.
    Optional(Arc<Self>),
    /// A type of a library, such as a quantity.
    Opaque(Opaque),
    /// An object that an expression makes, by the name of its type, such as `Object.spec`.
    Made(Arc<str>),
}

/// The types of the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of Kubernetes' libraries")]
pub enum Opaque {
    Quantity,
    Url,
    Ip,
    Cidr,
    Format,
    Semver,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
}

impl Opaque {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quantity => "kubernetes.Quantity",
            Self::Url => "kubernetes.URL",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Format => "kubernetes.NamedFormat",
            Self::Semver => "kubernetes.Semver",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::Type => f.write_str("type"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(_) => f.write_str("object"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Opaque(of) => f.write_str(of.name()),
            Self::Made(name) => f.write_str(name),
        }
    }
}

impl Type {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub(super) fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub(super) fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// Whether it is one of objects, of which there may be none.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Made(_) | Self::Timestamp | Self::Duration | Self::Opaque(_))
    }

    /// Whether both are the same, as far as is known: of an empty list it is not known what its elements are.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let open = |one: &Self, other: &Self| *one == Self::Dyn || *other == Self::Dyn || one.is_like(other);
        match (self, other) {
            (Self::List(one), Self::List(other)) => open(one, other),
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                open(key, other_key) && open(value, other_value)
            }
            (one, other) => one == other,
        }
    }

    /// Whether a value of one type may be one of the other.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(one), Self::List(other)) | (Self::Optional(one), Self::Optional(other)) => {
                one.agrees(other)
            }
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                key.agrees(other_key) && value.agrees(other_value)
            }
            (Self::Object(one), Self::Object(other)) => Arc::ptr_eq(one, other) || one == other,
            (Self::Null, Self::Object(_) | Self::Timestamp | Self::Duration | Self::Opaque(_))
            | (Self::Object(_) | Self::Timestamp | Self::Duration | Self::Opaque(_), Self::Null) => true,
            _ => self == other,
        }
    }

    /// The type that has the values of both.
    pub(super) fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::List(one), Self::List(other)) if one.agrees(other) => Self::list(one.join(other)),
            (one, other) if one == other => one.clone(),
            _ => Self::Dyn,
        }
    }
}

/// A type that expressions can make objects of.
#[derive(Clone, Debug, PartialEq)]
pub enum MadeType {
    /// One whose objects have any fields. Objects within it have types that are named by the way to them: what the field
    /// `spec` of `Object` holds is of the type `Object.spec`.
    Open(Arc<str>),
    /// One with these fields.
    Closed(Arc<str>, Vec<(Arc<str>, Type)>),
}

impl MadeType {
    /// Whether a name is that of the type, or of one within it.
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Self::Open(root) => {
                name.strip_prefix(&**root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            Self::Closed(root, _) => name == &**root,
        }
    }

    /// Whether its objects have any fields.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// What a field of the type may be; `None` if there is no such field.
    pub(super) fn field(&self, field: &str) -> Option<Type> {
        match self {
            Self::Open(_) => Some(Type::Dyn),
            Self::Closed(_, fields) => {
                fields.iter().find(|(name, _)| **name == *field).map(|(_, ty)| ty.clone())
            }
        }
    }
}

/// How the elements of a list are compared with those of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Elements {
    /// One by one.
    #[default]
    InOrder,
    /// Each stands for itself, in any order.
    Set,
    /// By these fields, in any order.
    ByKeys(Vec<Arc<str>>),
}

/// What is declared of the values at a place: their type, and how large they may be, by which costs are estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The type.
    pub kind: DeclaredKind,
    /// How many elements, entries or bytes there may be.
    pub most: u64,
    /// The least bytes that such a value takes in JSON.
    pub least_bytes: u64,
}

/// The type of declared values.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as in `Type`")]
pub enum DeclaredKind {
    Dyn,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Declared>, Elements),
    Map(Arc<Declared>),
    Object(BTreeMap<Arc<str>, DeclaredField>),
}

/// A field of a declared object.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredField {
    /// Its name in JSON.
    pub name: Arc<str>,
    /// What is there.
    pub of: Arc<Declared>,
}

impl Declared {
    /// The type of its values.
    pub(super) fn as_type(self: &Arc<Self>) -> Type {
        match &self.kind {
            DeclaredKind::Dyn => Type::Dyn,
            DeclaredKind::Bool => Type::Bool,
            DeclaredKind::Int => Type::Int,
            DeclaredKind::Double => Type::Double,
            DeclaredKind::String => Type::String,
            DeclaredKind::Bytes => Type::Bytes,
            DeclaredKind::Duration => Type::Duration,
            DeclaredKind::Timestamp => Type::Timestamp,
            DeclaredKind::List(of, _) => Type::list(of.as_type()),
            DeclaredKind::Map(of) => Type::map(Type::String, of.as_type()),
            DeclaredKind::Object(_) => Type::Object(Arc::clone(self)),
        }
    }

    /// What is declared of the elements of a list or the values of a map.
    pub(super) fn element(&self) -> Option<&Arc<Self>> {
        match &self.kind {
            DeclaredKind::List(of, _) | DeclaredKind::Map(of) => Some(of),
            _ => None,
        }
    }
}

/// Words that cannot be names in expressions.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a word cannot be a name in expressions.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// The name under which expressions know a field; `None` if it can have none.
pub fn escape(field: &str) -> Option<String> {
    let first = field.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if is_reserved(field) {
        return Some(format!("__{field}__"));
    }
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(c) = rest.chars().next() {
        let escaped = match c {
            '_' if rest.starts_with("__") => "__underscores__",
            '.' => "__dot__",
            '-' => "__dash__",
            '/' => "__slash__",
            c if c.is_ascii_alphanumeric() || c == '_' => {
                out.push(c);
                rest = &rest[1..];
                continue;
            }
            _ => return None,
        };
        out.push_str(escaped);
        rest = &rest[if c == '_' { 2 } else { 1 }..];
    }
    Some(out)
}
