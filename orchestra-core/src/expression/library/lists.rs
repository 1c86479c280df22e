//! Functions of lists and sets.

use super::P::{A, Bool, Int, List, ListA, ListInt, ListListA, ListOrdered, ListSummed, OptionalA};
use super::{Function, failed, int_at, mismatch};
use crate::expression::cost::{Price, Size};
use crate::expression::error::EvalError;
use crate::expression::value::Val;

type Outcome<'v> = Result<Val<'v>, EvalError>;

/// The longest list that a function makes of nothing.
const MAX_RANGE: i64 = 100_000;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("isSorted", &[(&[ListOrdered], Bool)], |args| {
        let elements = elements(&args[0])?;
        let sorted = elements.windows(2).try_fold(true, |sorted, two| match two[0].compare(&two[1]) {
            Some(order) => Ok(sorted && order.is_le()),
            None => Err(EvalError::no_overload()),
        });
        sorted.map(Val::Bool)
    })
    .price(Price::Search),
    Function::member("sum", &[(&[ListSummed], A)], sum).price(Price::Search).size(Size::One),
    Function::member("min", &[(&[ListOrdered], A)], |args| extreme(args, false)).price(Price::Search),
    Function::member("max", &[(&[ListOrdered], A)], |args| extreme(args, true)).price(Price::Search),
    Function::member("first", &[(&[ListA], OptionalA)], |args| {
        Ok(args[0].element(0).map_or(Val::Optional(None), Val::some))
    }),
    Function::member("last", &[(&[ListA], OptionalA)], |args| {
        let last = args[0].size().and_then(|size| args[0].element(size.checked_sub(1)?));
        Ok(last.map_or(Val::Optional(None), Val::some))
    }),
    Function::member("reverse", &[(&[ListA], ListA)], |args| {
        Ok(Val::list(elements(&args[0])?.into_iter().rev().collect()))
    })
    .price(Price::Copy)
    .size(Size::Like(0)),
    Function::member("distinct", &[(&[ListA], ListA)], |args| {
        let mut kept: Vec<Val<'_>> = Vec::new();
        for element in elements(&args[0])? {
            if !kept.iter().any(|held| held.equals(&element)) {
                kept.push(element);
            }
        }
        Ok(Val::list(kept))
    })
    .price(Price::Distinct)
    .size(Size::Like(0)),
    Function::member("slice", &[(&[ListA, Int, Int], ListA)], |args| {
        let (all, from, to) = (elements(&args[0])?, int_at(args, 1)?, int_at(args, 2)?);
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        match range.and_then(|(from, to)| all.get(from..to)) {
            Some(part) => Ok(Val::list(part.to_vec())),
            None => failed(format!("cannot slice({from}, {to}), list is length {}", all.len())),
        }
    })
    .price(Price::Copy)
    .size(Size::Like(0)),
    Function::member("sort", &[(&[ListOrdered], ListOrdered)], |args| {
        let mut all = elements(&args[0])?;
        if all.windows(2).any(|two| two[0].compare(&two[1]).is_none()) {
            return mismatch();
        }
        all.sort_by(|one, other| one.compare(other).unwrap_or(std::cmp::Ordering::Equal));
        Ok(Val::list(all))
    })
    .price(Price::Sort)
    .size(Size::Like(0)),
    Function::member("flatten", &[(&[ListListA], ListA), (&[List, Int], List)], |args| {
        let depth = if args.len() > 1 { int_at(args, 1)? } else { 1 };
        let mut flat = Vec::new();
        flatten(&args[0], depth.clamp(0, 32), &mut flat)?;
        Ok(Val::list(flat))
    })
    .price(Price::Copy),
    Function::of("lists.range", &[(&[Int], ListInt)], |args| {
        let count = int_at(args, 0)?;
        if !(0..=MAX_RANGE).contains(&count) {
            return failed(format!("a range may not have {count} elements"));
        }
        Ok(Val::list((0..count).map(Val::Int).collect()))
    }),
    Function::of("sets.contains", &[(&[ListA, ListA], Bool)], |args| {
        let (all, wanted) = (elements(&args[0])?, elements(&args[1])?);
        Ok(Val::Bool(is_within(&wanted, &all)))
    })
    .price(Price::Product),
    Function::of("sets.equivalent", &[(&[ListA, ListA], Bool)], |args| {
        let (one, other) = (elements(&args[0])?, elements(&args[1])?);
        Ok(Val::Bool(is_within(&one, &other) && is_within(&other, &one)))
    })
    .price(Price::Product),
    Function::of("sets.intersects", &[(&[ListA, ListA], Bool)], |args| {
        let (one, other) = (elements(&args[0])?, elements(&args[1])?);
        Ok(Val::Bool(one.iter().any(|held| other.iter().any(|wanted| wanted.equals(held)))))
    })
    .price(Price::Product),
];

fn elements<'v>(list: &Val<'v>) -> Result<Vec<Val<'v>>, EvalError> {
    Ok(list.elements().ok_or_else(EvalError::no_overload)?.collect())
}

fn is_within(some: &[Val<'_>], all: &[Val<'_>]) -> bool {
    some.iter().all(|wanted| all.iter().any(|held| held.equals(wanted)))
}

fn sum<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let all = elements(&args[0])?;
    let Some((first, others)) = all.split_first() else { return Ok(Val::Int(0)) };
    others.iter().try_fold(first.clone(), |sum, element| match (&sum, element) {
        (Val::Int(one), Val::Int(other)) => {
            one.checked_add(*other).map(Val::Int).ok_or_else(EvalError::overflow)
        }
        (Val::Uint(one), Val::Uint(other)) => {
            one.checked_add(*other).map(Val::Uint).ok_or_else(EvalError::overflow)
        }
        (Val::Double(one), Val::Double(other)) => Ok(Val::Double(one + other)),
        (Val::Duration(one), Val::Duration(other)) => {
            one.checked_add(*other).map(Val::Duration).ok_or_else(EvalError::overflow)
        }
        _ => Err(EvalError::no_overload()),
    })
}

fn extreme<'v>(args: &[Val<'v>], largest: bool) -> Outcome<'v> {
    let all = elements(&args[0])?;
    let Some((first, others)) = all.split_first() else {
        return failed(format!("{} called on empty list", if largest { "max" } else { "min" }));
    };
    others.iter().try_fold(first.clone(), |best, element| {
        let order = element.compare(&best).ok_or_else(EvalError::no_overload)?;
        Ok(if (largest && order.is_gt()) || (!largest && order.is_lt()) { element.clone() } else { best })
    })
}

fn flatten<'v>(list: &Val<'v>, depth: i64, flat: &mut Vec<Val<'v>>) -> Result<(), EvalError> {
    for element in elements(list)? {
        if depth > 0 && element.elements().is_some() {
            flatten(&element, depth - 1, flat)?;
        } else {
            flat.push(element);
        }
    }
    Ok(())
}
