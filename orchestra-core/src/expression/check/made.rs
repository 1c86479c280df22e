//! Names of several parts, and objects that expressions make.

use std::sync::Arc;

use super::{Checker, anything};
use crate::expression::ast::{Access, Expr, Field, Node};
use crate::expression::code::{Checked, Code};
use crate::expression::cost::{Estimate, OBJECT};
use crate::expression::types::Type;
use crate::expression::value::Name;

impl Checker {
    /// A variable whose name has several parts, such as `variables.v`, if it is one.
    pub(super) fn qualified(&mut self, at: usize, of: &Expr, field: &Name, how: Access) -> Option<Checked> {
        let Node::Name(scope) = &of.node else { return None };
        let name: Name = format!("{scope}.{field}").into();
        let is_there = |name: &str| self.locals.iter().any(|local| *local.name == *name);
        if is_there(&name) {
            let found = self.name(at, &name);
            return Some(match how {
                Access::Plain => found,
                // It is there, whatever its value is.
                Access::Test => Checked { code: Code::Bool(true), ty: Type::Bool, estimate: found.estimate },
                Access::Optional => {
                    let code = Code::List(vec![(found.code, false)]);
                    let index = Box::new(Code::Int(0));
                    let code = Code::Index { of: Box::new(code), index, optional: true };
                    Checked { code, ty: Type::optional(found.ty), estimate: found.estimate }
                }
            });
        }
        if is_there(scope) || !is_there(&format!("{scope}.")) {
            return None;
        }
        self.fault(at, format!("undefined field '{field}'"));
        Some(anything(1))
    }

    /// An object that is made of fields.
    pub(super) fn object(&mut self, at: usize, ty: &Name, fields: &[Field]) -> Checked {
        let known = self.types.iter().find(|made| made.is(ty)).cloned();
        let Some(known) = known else {
            self.fault(at, format!("undeclared reference to '{ty}' (in container '')"));
            return anything(1);
        };
        let (mut codes, mut cost, mut wrong) = (Vec::with_capacity(fields.len()), OBJECT, None);
        for (name, place, value, optional) in fields {
            let value = self.expr(value);
            let held = match (&value.ty, optional) {
                (Type::Optional(inner), true) => (**inner).clone(),
                (other, _) => other.clone(),
            };
            match known.field(name) {
                None => {
                    let message =
                        format!("expected type of field '{name}' is '' but provided type is '{held}'");
                    self.fault(*place, message);
                }
                Some(Type::Dyn)
                    if known.is_open()
                        && matches!(&held, Type::Made(given) if **given != format!("{ty}.{name}")) =>
                {
                    // It compiles, and has no value.
                    wrong = Some(format!(
                        "unexpected type name \"{held}\", expected \"{ty}.{name}\", which matches field name path from root \
                         Object type"
                    ));
                }
                Some(wanted) if !wanted.agrees(&held) => {
                    let message = format!(
                        "expected type of field '{name}' is '{wanted}' but provided type is '{held}'"
                    );
                    self.fault(*place, message);
                }
                Some(_) => {}
            }
            cost = cost.saturating_add(value.estimate.cost);
            codes.push((Arc::clone(name), value.code, *optional));
        }
        let estimate = Estimate { cost, size: 1, declared: None };
        let code = wrong.map_or(Code::Object(codes), |why| Code::Fail(why.into()));
        Checked { code, ty: Type::Made(Arc::clone(ty)), estimate }
    }
}
