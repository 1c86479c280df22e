//! The small parts of a kind that [`Rules`](super::Rules) has as constants and a row of the table owns.
//!
//! Their text is `&'static str` in a constant and `Arc<str>` in a row, so that a row can be made while the program runs.

use std::sync::Arc;

/// What names objects of a kind may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS subdomain (RFC 1123): at most 253 characters, labels joined by dots. What most kinds have.
    Subdomain,
    /// The same, of which Kubernetes 1.36 says in newer words what is wrong, and not before the name is whole:
    /// ReplicationControllers and DeviceClasses.
    LongName,
    /// A DNS label (RFC 1123): at most 63 characters, no dots.
    Label,
    /// A DNS label of the older form (RFC 1035), which does not begin with a digit: Services.
    Label1035,
    /// Anything that can be one step of a URL's path.
    PathSegment,
    /// An IP address in its canonical form.
    Address,
}

/// How objects of a kind go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// What is gone is answered with a `Status`. What most kinds have.
    #[default]
    Status,
    /// What is gone is answered as it was last.
    Object,
    /// An object is first marked, and goes once its controller has seen to what hangs on it; it never has seconds of
    /// grace. Namespaces go so. What is gone is answered as it was last.
    Terminating,
}

/// A column of a table, as `kubectl get` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<S = &'static str> {
    /// The heading.
    pub name: S,
    /// The OpenAPI type: `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: S,
    /// The OpenAPI format, such as `name` for the column with the object's name; usually empty.
    pub format: S,
    /// What it shows.
    pub description: S,
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

    /// The column of times of creation, which kinds have that nothing else is printed of.
    pub const CREATED_AT: Self =
        Self { kind: "date", ..Self::new("Created At", "When the object was created.") };

    /// The column of ages.
    pub const AGE: Self = Self::new("Age", "How long ago the object was created.");
}

impl From<&Column> for Column<Arc<str>> {
    fn from(column: &Column) -> Self {
        let Column { name, kind, format, description, priority } = *column;
        Self {
            name: name.into(),
            kind: kind.into(),
            format: format.into(),
            description: description.into(),
            priority,
        }
    }
}
