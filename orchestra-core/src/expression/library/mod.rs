//! The functions of expressions: those of the language, and those of Kubernetes' libraries.
//!
//! Each is a row: its name, what it may be called with, what it costs, and what it does. What is known of arguments
//! before there are any is checked by the rows; the functions look at the values themselves again, since of some
//! nothing is known before.

mod amounts;
mod authorizer;
mod formats;
mod lists;
mod net;
pub mod pattern;
mod standard;
mod text;
mod time;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

pub(super) use self::pattern::compile as compile_pattern;
use self::standard::to_text;
use super::cost::{Price, Size};
use super::error::EvalError;
use super::types::{Opaque, Type};
use super::value::Val;

/// What a function does.
pub(super) type Native = for<'v> fn(&[Val<'v>]) -> Result<Val<'v>, EvalError>;

/// A function, or one that is called of a value: then that is its first argument.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) member: bool,
    overloads: &'static [(&'static [P], P)],
    pub(super) price: Price,
    pub(super) size: Size,
    pub(super) native: Native,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A type in the row of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum P {
    Any,
    /// The same type wherever it stands.
    A,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Time,
    Kind,
    /// A list, of the type `A`.
    ListA,
    ListText,
    ListInt,
    /// A list of anything.
    List,
    /// A list of what can be added up, of the type `A`.
    ListSummed,
    /// A list of what has an order, of the type `A`.
    ListOrdered,
    /// A list of lists of the type `A`.
    ListListA,
    /// A map from the type `A`.
    MapA,
    Map,
    OptionalA,
    OptionalListText,
    OptionalFormat,
    Of(Opaque),
    /// A map from text to lists of text.
    MapTextLists,
}

/// How a function fits its arguments.
pub(super) struct Bound {
    pub(super) result: Type,
}

impl Function {
    const fn of(name: &'static str, overloads: &'static [(&'static [P], P)], native: Native) -> Self {
        Self { name, member: false, overloads, price: Price::One, size: Size::Unknown, native }
    }

    /// One that is called of its first argument.
    const fn member(name: &'static str, overloads: &'static [(&'static [P], P)], native: Native) -> Self {
        Self { member: true, ..Self::of(name, overloads, native) }
    }

    const fn price(self, price: Price) -> Self {
        Self { price, ..self }
    }

    const fn size(self, size: Size) -> Self {
        Self { size, ..self }
    }

    /// The type of its result for arguments of these types; `None` if it cannot be called with them.
    pub(super) fn bind(&self, types: &[Type]) -> Option<Bound> {
        let results: Vec<Type> =
            self.overloads.iter().filter_map(|(params, result)| fit(params, *result, types)).collect();
        let (first, others) = results.split_first()?;
        // Where several may be meant, what comes of it shows when there are values.
        let same = others.iter().all(|other| other == first);
        Some(Bound { result: if same { first.clone() } else { Type::Dyn } })
    }
}

fn fit(params: &[P], result: P, types: &[Type]) -> Option<Type> {
    if params.len() != types.len() {
        return None;
    }
    let mut a = None;
    let fits = params.iter().zip(types).all(|(param, ty)| fits(*param, ty, &mut a));
    fits.then(|| type_of(result, a))
}

fn fits(param: P, ty: &Type, a: &mut Option<Type>) -> bool {
    let mut unify = |ty: &Type| match a {
        Some(held) if *held == Type::Dyn => {
            *a = Some(ty.clone());
            true
        }
        Some(held) => held.agrees(ty),
        None => {
            *a = Some(ty.clone());
            true
        }
    };
    if *ty == Type::Dyn {
        return match param {
            P::A | P::ListA | P::OptionalA | P::ListSummed | P::ListOrdered | P::ListListA => {
                unify(&Type::Dyn)
            }
            _ => true,
        };
    }
    match (param, ty) {
        (P::Any, _) => true,
        (P::A, ty) => unify(ty),
        (P::Bool, Type::Bool)
        | (P::Int, Type::Int)
        | (P::Uint, Type::Uint)
        | (P::Double, Type::Double)
        | (P::Text, Type::String)
        | (P::Bytes, Type::Bytes)
        | (P::Duration, Type::Duration)
        | (P::Time, Type::Timestamp)
        | (P::Kind, Type::Type)
        | (P::List, Type::List(_))
        | (P::Map | P::MapTextLists, Type::Map(..)) => true,
        (P::ListA, Type::List(of)) | (P::OptionalA, Type::Optional(of)) => unify(of),
        (P::ListSummed, Type::List(of)) => is_summed(of) && unify(of),
        (P::ListOrdered, Type::List(of)) => (is_summed(of) || is_ordered(of)) && unify(of),
        (P::ListListA, Type::List(of)) => match &**of {
            Type::List(of) => unify(of),
            other => *other == Type::Dyn && unify(&Type::Dyn),
        },
        (P::ListText, Type::List(of)) => of.agrees(&Type::String),
        (P::ListInt, Type::List(of)) => of.agrees(&Type::Int),
        (P::MapA, Type::Map(key, _)) => unify(key),
        (P::OptionalListText | P::OptionalFormat, Type::Optional(_)) => true,
        (P::Of(wanted), Type::Opaque(held)) => wanted == *held,
        _ => false,
    }
}

fn is_summed(ty: &Type) -> bool {
    matches!(ty, Type::Dyn | Type::Int | Type::Uint | Type::Double | Type::Duration)
}

fn is_ordered(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::String | Type::Bytes | Type::Timestamp)
}

fn type_of(result: P, a: Option<Type>) -> Type {
    let a = || a.clone().unwrap_or(Type::Dyn);
    match result {
        P::Any => Type::Dyn,
        P::A => a(),
        P::Bool => Type::Bool,
        P::Int => Type::Int,
        P::Uint => Type::Uint,
        P::Double => Type::Double,
        P::Text => Type::String,
        P::Bytes => Type::Bytes,
        P::Duration => Type::Duration,
        P::Time => Type::Timestamp,
        P::Kind => Type::Type,
        P::ListA | P::ListSummed | P::ListOrdered => Type::list(a()),
        P::ListListA => Type::list(Type::list(a())),
        P::ListText => Type::list(Type::String),
        P::ListInt => Type::list(Type::Int),
        P::List => Type::list(Type::Dyn),
        P::MapA => Type::map(a(), Type::Dyn),
        P::Map => Type::map(Type::Dyn, Type::Dyn),
        P::OptionalA => Type::optional(a()),
        P::OptionalListText => Type::optional(Type::list(Type::String)),
        P::OptionalFormat => Type::optional(Type::Opaque(Opaque::Format)),
        P::Of(held) => Type::Opaque(held),
        P::MapTextLists => Type::map(Type::String, Type::list(Type::String)),
    }
}

static FUNCTIONS: LazyLock<HashMap<(&'static str, bool), &'static Function>> = LazyLock::new(|| {
    let all = [
        standard::FUNCTIONS,
        text::FUNCTIONS,
        lists::FUNCTIONS,
        time::FUNCTIONS,
        net::FUNCTIONS,
        amounts::FUNCTIONS,
        formats::FUNCTIONS,
        authorizer::FUNCTIONS,
    ];
    all.into_iter().flatten().map(|function| ((function.name, function.member), function)).collect()
});

/// The function of that name.
pub(super) fn find(name: &str, member: bool) -> Option<&'static Function> {
    FUNCTIONS.get(&(name, member)).copied()
}

/// Every function's name, for tests.
#[cfg(test)]
pub(super) fn names() -> Vec<(&'static str, bool)> {
    FUNCTIONS.keys().copied().collect()
}

/// What a function says of arguments that it has no use for.
fn mismatch<'v>() -> Result<Val<'v>, EvalError> {
    Err(EvalError::no_overload())
}

/// The text of an argument.
fn text_at<'a>(args: &'a [Val<'_>], index: usize) -> Result<&'a str, EvalError> {
    args.get(index).and_then(Val::as_str).ok_or_else(EvalError::no_overload)
}

/// The whole number of an argument.
fn int_at(args: &[Val<'_>], index: usize) -> Result<i64, EvalError> {
    match args.get(index) {
        Some(Val::Int(value)) => Ok(*value),
        _ => Err(EvalError::no_overload()),
    }
}

fn failed<T>(why: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Failed(why.into()))
}
