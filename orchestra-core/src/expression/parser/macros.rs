//! Calls, and the macros that look like them, which are read into loops.

use std::sync::Arc;

use super::call;
use crate::expression::ast::{Access, Expr, Loop, LoopKind, Node};
use crate::expression::error::Fault;

/// A call that stands by itself. `has` is a macro.
pub(super) fn global(at: usize, name: &Arc<str>, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    if &**name != "has" || args.len() != 1 {
        return Ok(call(at, name, None, args));
    }
    match args.remove(0) {
        Expr { node: Node::Select { of, field, how: Access::Plain }, .. } => {
            Ok(Expr { at, node: Node::Select { of, field, how: Access::Test } })
        }
        other => Err(Fault::new(other.at, "invalid argument to has() macro".to_owned())),
    }
}

/// A call of something, or a macro that looks like one.
pub(super) fn member(
    at: usize,
    of: Expr,
    name: &Arc<str>,
    mut args: Vec<Expr>,
    binds: bool,
) -> Result<Expr, Fault> {
    use LoopKind as Kind;
    let is_cel = matches!(&of.node, Node::Name(held) if &**held == "cel");
    if binds && is_cel && &**name == "bind" && args.len() == 3 {
        let body = Box::new(args.remove(2));
        let (name, value) = (variable(&args[0])?, Box::new(args.remove(1)));
        return Ok(Expr { at, node: Node::Bind { name, value, body } });
    }
    let (kind, with_condition, makes, two) = match (&**name, args.len()) {
        ("all", 2) => (Kind::All, true, false, false),
        ("all", 3) => (Kind::All, true, false, true),
        ("exists", 2) => (Kind::Exists, true, false, false),
        ("exists", 3) => (Kind::Exists, true, false, true),
        ("exists_one" | "existsOne", 2) => (Kind::ExistsOne, true, false, false),
        ("exists_one" | "existsOne", 3) => (Kind::ExistsOne, true, false, true),
        ("filter", 2) => (Kind::Filter, true, false, false),
        ("map", 2) => (Kind::Map, false, true, false),
        ("map", 3) => (Kind::Map, true, true, false),
        ("transformList", 3) => (Kind::Map, false, true, true),
        ("transformList", 4) => (Kind::Map, true, true, true),
        ("transformMap", 3) => (Kind::TransformMap, false, true, true),
        ("transformMap", 4) => (Kind::TransformMap, true, true, true),
        ("sortBy", 2) => (Kind::SortBy, false, true, false),
        ("optMap" | "optFlatMap", 2) => {
            let flat = &**name == "optFlatMap";
            let body = Box::new(args.remove(1));
            let name = variable(&args[0])?;
            return Ok(Expr { at, node: Node::OptMap { of: Box::new(of), name, body, flat } });
        }
        _ => return Ok(call(at, name, Some(of), args)),
    };
    let names = args[..1 + usize::from(two)].iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    let mut rest = args.into_iter().skip(names.len());
    let when = if with_condition { rest.next() } else { None };
    let make = if makes { rest.next() } else { None };
    Ok(Expr { at, node: Node::Loop(Box::new(Loop { kind, over: of, names, when, make })) })
}

fn variable(expr: &Expr) -> Result<Arc<str>, Fault> {
    match &expr.node {
        Node::Name(name) => Ok(Arc::clone(name)),
        _ => Err(Fault::new(expr.at, "argument must be a simple name".to_owned())),
    }
}
