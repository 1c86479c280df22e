//! What an expression is once it is read.

use std::sync::Arc;

/// A part of an expression, and where in the text it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    /// The byte at which errors about it point.
    pub(super) at: usize,
    pub(super) node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A name. Which variable it is, is found when it is checked.
    Name(Arc<str>),
    Select {
        of: Box<Expr>,
        field: Arc<str>,
        how: Access,
    },
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    Call {
        name: Arc<str>,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    /// Elements; those that are optional are left out when they are not there.
    List(Vec<(Expr, bool)>),
    /// Keys with their values.
    Map(Vec<(Expr, Expr, bool)>),
    /// An object of a type, such as `Object.spec{replicas: 1}`.
    Object {
        ty: Arc<str>,
        fields: Vec<Field>,
    },
    /// `&&`, `||` and `?:`, which need not look at all of their parts.
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// A loop over a list or a map.
    Loop(Box<Loop>),
    /// A name for a value within an expression.
    Bind {
        name: Arc<str>,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// What becomes of the value of an optional, if there is one.
    OptMap {
        of: Box<Expr>,
        name: Arc<str>,
        body: Box<Expr>,
        flat: bool,
    },
}

/// A field of an object that is made: its name, where that stands, its value, and whether it may be left out.
pub(super) type Field = (Arc<str>, usize, Expr, bool);

/// How a field is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Its value.
    Plain,
    /// Whether it is there: `has(a.b)`.
    Test,
    /// Its value, if it is there: `a.?b`.
    Optional,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Expr,
    /// The element; of two, the index or key and the element.
    pub(super) names: Vec<Arc<str>>,
    /// What an element must be like, where the loop has a condition.
    pub(super) when: Option<Expr>,
    /// What becomes of an element, where the loop makes something.
    pub(super) make: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// A list of what is made; with two names, `transformList`.
    Map,
    /// `transformMap`: a map with what is made of each value.
    TransformMap,
    /// `sortBy`: the elements in the order of what is made of them.
    SortBy,
}
