//! Lists and maps that are written out, whose elements are of one type.

use super::{Checker, sum};
use crate::expression::ast::{Expr, Node};
use crate::expression::code::{Checked, Code};
use crate::expression::cost::{Estimate, LIST, MAP, UNKNOWN};
use crate::expression::error::Fault;
use crate::expression::types::Type;

impl Checker {
    pub(super) fn list(&mut self, items: &[(Expr, bool)]) -> Checked {
        self.list_and_types(items).0
    }

    /// A list, and the types of its elements.
    fn list_and_types(&mut self, items: &[(Expr, bool)]) -> (Checked, Vec<Type>) {
        let (mut codes, mut of, mut cost) = (Vec::with_capacity(items.len()), None::<Type>, LIST);
        // Elements of a list that is written out are of one type.
        let (mut types, mut mixed) = (Vec::<Type>::with_capacity(items.len()), false);
        for (item, optional) in items {
            let (at, item) = (item.at, self.expr(item));
            let ty = match (&item.ty, optional) {
                (Type::Optional(inner), true) => (**inner).clone(),
                (other, _) => other.clone(),
            };
            if !mixed && let Some(first) = types.first().filter(|first| !first.is_like(&ty)) {
                mixed = true;
                self.late.push(Fault::new(at, format!("expected type '{first}' but found '{ty}'")));
            }
            of = Some(of.map_or(ty.clone(), |of| of.join(&ty)));
            types.push(ty);
            cost = cost.saturating_add(item.estimate.cost);
            codes.push((item.code, *optional));
        }
        let size = u64::try_from(items.len()).unwrap_or(UNKNOWN);
        let ty = Type::list(of.unwrap_or(Type::Dyn));
        let estimate = Estimate { cost, size, declared: None };
        (Checked { code: Code::List(codes), ty, estimate }, types)
    }

    pub(super) fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Checked {
        let (mut codes, mut of, mut cost) = (Vec::with_capacity(entries.len()), None::<(Type, Type)>, MAP);
        let mut first = None::<(Type, Type)>;
        for (key, value, optional) in entries {
            let places = (key.at, value.at);
            let (key, value) = (self.expr(key), self.expr(value));
            let ty = match (&value.ty, optional) {
                (Type::Optional(inner), true) => (**inner).clone(),
                (other, _) => other.clone(),
            };
            let (wanted_key, wanted_value) = first.get_or_insert_with(|| (key.ty.clone(), ty.clone()));
            for (at, wanted, found) in [(places.0, wanted_key, &key.ty), (places.1, wanted_value, &ty)] {
                if !wanted.is_like(found) {
                    self.late.push(Fault::new(at, format!("expected type '{wanted}' but found '{found}'")));
                }
            }
            of = Some(match of {
                Some((keys, values)) => (keys.join(&key.ty), values.join(&ty)),
                None => (key.ty.clone(), ty),
            });
            cost = sum([cost, key.estimate.cost, value.estimate.cost]);
            codes.push((key.code, value.code, *optional));
        }
        let (key, value) = of.unwrap_or((Type::Dyn, Type::Dyn));
        let size = u64::try_from(entries.len()).unwrap_or(UNKNOWN);
        let estimate = Estimate { cost, size, declared: None };
        Checked { code: Code::Map(codes), ty: Type::map(key, value), estimate }
    }

    /// What a text that is a format is made of. What is put into it may be of any types, but numbers have to stand where it
    /// has places for them, if it is written out.
    pub(super) fn format(&mut self, format: &Expr, items: &[(Expr, bool)]) -> Vec<Checked> {
        let late = self.late.len();
        let text = self.expr(format);
        let (list, types) = self.list_and_types(items);
        self.late.truncate(late);
        if let Node::Text(format) = &format.node {
            let clauses = format.replace("%%", "");
            for ((clause, (item, _)), found) in clauses.split('%').skip(1).zip(items).zip(types) {
                if clause.starts_with('d') && !matches!(found, Type::Int | Type::Uint | Type::Dyn) {
                    let message = format!(
                        "error during formatting: decimal clause can only be used on integers, was given {found}"
                    );
                    self.late.push(Fault::new(item.at, message));
                }
            }
        }
        vec![text, list]
    }
}
