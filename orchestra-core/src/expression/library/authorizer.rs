//! What a user may do, asked within an expression.
//!
//! An expression is evaluated at once, and an authorizer may take its time. So each check looks at what is known
//! already: one that is not known ends the evaluation with [`EvalError::Unknown`], which says what to ask. Whoever
//! evaluates asks, and evaluates anew.

use std::rc::Rc;

use super::P::{Bool, Of, Text};
use super::{Function, mismatch, text_at};
use crate::expression::cost::Price;
use crate::expression::error::EvalError;
use crate::expression::special::{Access, AccessCheck, AccessDecision, KnownDecisions};
use crate::expression::types::Opaque;
use crate::expression::value::{Special, Val};

type Outcome<'v> = Result<Val<'v>, EvalError>;

/// What a check costs, as in Kubernetes.
const CHECK: u64 = 350_000;

const AUTHORIZER: super::P = Of(Opaque::Authorizer);
const PATH: super::P = Of(Opaque::PathCheck);
const GROUP: super::P = Of(Opaque::GroupCheck);
const RESOURCE: super::P = Of(Opaque::ResourceCheck);
const DECISION: super::P = Of(Opaque::Decision);

impl Val<'_> {
    /// The variable `authorizer`, given what is known.
    pub fn authorizer(known: &KnownDecisions) -> Self {
        asking(Opaque::Authorizer, known, AccessCheck::default())
    }

    /// The variable `authorizer.requestResource`: a question about what the request is about.
    pub fn request_resource(known: &KnownDecisions, check: AccessCheck) -> Self {
        asking(Opaque::ResourceCheck, known, check)
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("path", &[(&[AUTHORIZER, Text], PATH)], |args| {
        further(args, Opaque::Authorizer, Opaque::PathCheck, |check, path| check.path = Some(path))
    }),
    Function::member("group", &[(&[AUTHORIZER, Text], GROUP)], |args| {
        further(args, Opaque::Authorizer, Opaque::GroupCheck, |check, group| check.group = group)
    }),
    Function::member("serviceAccount", &[(&[AUTHORIZER, Text, Text], AUTHORIZER)], |args| {
        let name = text_at(args, 2)?.to_owned();
        further(args, Opaque::Authorizer, Opaque::Authorizer, |check, namespace| {
            check.service_account = Some((namespace, name));
        })
    }),
    Function::member("resource", &[(&[GROUP, Text], RESOURCE)], |args| {
        further(args, Opaque::GroupCheck, Opaque::ResourceCheck, |check, resource| check.resource = resource)
    }),
    Function::member("subresource", &[(&[RESOURCE, Text], RESOURCE)], |args| {
        of_resource(args, |check, part| check.subresource = part)
    }),
    Function::member("namespace", &[(&[RESOURCE, Text], RESOURCE)], |args| {
        of_resource(args, |check, namespace| check.namespace = namespace)
    }),
    Function::member("name", &[(&[RESOURCE, Text], RESOURCE)], |args| {
        of_resource(args, |check, name| check.name = name)
    }),
    Function::member("fieldSelector", &[(&[RESOURCE, Text], RESOURCE)], |args| {
        of_resource(args, |check, selector| check.field_selector = selector)
    }),
    Function::member("labelSelector", &[(&[RESOURCE, Text], RESOURCE)], |args| {
        of_resource(args, |check, selector| check.label_selector = selector)
    }),
    Function::member("check", &[(&[PATH, Text], DECISION), (&[RESOURCE, Text], DECISION)], check)
        .price(Price::Units(CHECK)),
    Function::member("allowed", &[(&[DECISION], Bool)], |args| {
        decision(args).map(|decision| Val::Bool(decision.allowed))
    }),
    Function::member("reason", &[(&[DECISION], Text)], |args| {
        decision(args).map(|decision| Val::text(&*decision.reason))
    }),
    // An authorizer here always has an answer.
    Function::member("errored", &[(&[DECISION], Bool)], |args| decision(args).map(|_| Val::Bool(false))),
    Function::member("error", &[(&[DECISION], Text)], |args| decision(args).map(|_| Val::text(""))),
];

fn asking<'v>(kind: Opaque, known: &KnownDecisions, check: AccessCheck) -> Val<'v> {
    Val::special(Special::Access(Access::Asking(kind, Rc::clone(known), Box::new(check))))
}

/// A question that has come one step further.
fn further<'v>(
    args: &[Val<'v>],
    from: Opaque,
    to: Opaque,
    set: impl FnOnce(&mut AccessCheck, String),
) -> Outcome<'v> {
    let text = text_at(args, 1)?.to_owned();
    match &args[0] {
        Val::Opaque(special) => match &**special {
            Special::Access(Access::Asking(kind, known, check)) if *kind == from => {
                let mut check = (**check).clone();
                set(&mut check, text);
                Ok(asking(to, known, check))
            }
            _ => mismatch(),
        },
        _ => mismatch(),
    }
}

fn of_resource<'v>(args: &[Val<'v>], set: impl FnOnce(&mut AccessCheck, String)) -> Outcome<'v> {
    further(args, Opaque::ResourceCheck, Opaque::ResourceCheck, set)
}

fn check<'v>(args: &[Val<'v>]) -> Outcome<'v> {
    let verb = text_at(args, 1)?;
    let Val::Opaque(special) = &args[0] else { return mismatch() };
    let Special::Access(Access::Asking(Opaque::PathCheck | Opaque::ResourceCheck, known, check)) = &**special
    else {
        return mismatch();
    };
    let check = AccessCheck { verb: verb.to_owned(), ..(**check).clone() };
    match known.borrow().get(&check) {
        Some(decision) => Ok(Val::special(Special::Access(Access::Decided(decision.clone())))),
        None => Err(EvalError::Unknown(Box::new(check))),
    }
}

fn decision<'a>(args: &'a [Val<'_>]) -> Result<&'a AccessDecision, EvalError> {
    match &args[0] {
        Val::Opaque(special) => match &**special {
            Special::Access(Access::Decided(decision)) => Ok(decision),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}
