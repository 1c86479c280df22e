//! What an expression is once it is checked: names are places, functions are functions.

use std::sync::Arc;

use regex::Regex;

use super::ast::{Access, LoopKind};
use super::library::Function;
use super::types::Type;
use super::value::Name;

#[derive(Clone, Debug)]
pub(super) enum Code {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A variable, or a name that is bound within the expression, by its place among them.
    Local(usize),
    Type(&'static str),
    Select {
        of: Box<Self>,
        field: Name,
        how: Access,
    },
    Index {
        of: Box<Self>,
        index: Box<Self>,
        optional: bool,
    },
    Call {
        function: &'static Function,
        args: Vec<Self>,
    },
    /// Whether a text matches a pattern that is known before.
    Matches {
        of: Box<Self>,
        pattern: Regex,
        length: u64,
    },
    List(Vec<(Self, bool)>),
    Map(Vec<(Self, Self, bool)>),
    /// What has no value, and why.
    Fail(Arc<str>),
    /// Fields with their values.
    Object(Vec<(Name, Self, bool)>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Choice(Box<Self>, Box<Self>, Box<Self>),
    Loop(Box<LoopCode>),
    Bind {
        value: Box<Self>,
        body: Box<Self>,
    },
    OptMap {
        of: Box<Self>,
        body: Box<Self>,
        flat: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct LoopCode {
    pub(super) kind: LoopKind,
    pub(super) over: Code,
    /// Whether the index or the key has a name too.
    pub(super) two: bool,
    pub(super) when: Option<Code>,
    pub(super) make: Option<Code>,
}

/// Code, with what is known of its values.
pub(super) struct Checked {
    pub(super) code: Code,
    pub(super) ty: Type,
    pub(super) estimate: super::cost::Estimate,
}
