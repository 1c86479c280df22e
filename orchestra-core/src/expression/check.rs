//! From an expression to code, if all its parts fit together.

mod literals;
mod made;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Access, Expr, Loop, LoopKind, Node};
use super::code::{Checked, Code, LoopCode};
use super::cost::{Element, Estimate, LIST, MAP, UNKNOWN, pattern};
use super::error::Fault;
use super::library::{self, Bound};
use super::types::{Declared, DeclaredField, DeclaredKind, MadeType, Type};
use super::value::Name;

/// A variable, or a name that is bound within the expression.
#[derive(Clone, Debug)]
struct Local {
    name: Name,
    ty: Type,
    size: u64,
    declared: Option<Arc<Declared>>,
}

/// Checks an expression in the presence of variables.
pub(super) struct Checker {
    locals: Vec<Local>,
    faults: Vec<Fault>,
    used: Vec<Name>,
    /// The types that objects can be made of, and those below them.
    types: Vec<MadeType>,
    /// Faults of expressions whose parts fit together, told if there are no others.
    late: Vec<Fault>,
}

/// What was found.
pub(super) struct Found {
    pub(super) checked: Checked,
    pub(super) used: Vec<Name>,
}

impl Checker {
    pub(super) fn new() -> Self {
        Self { locals: Vec::new(), faults: Vec::new(), used: Vec::new(), types: Vec::new(), late: Vec::new() }
    }

    /// Declares a variable.
    pub(super) fn declare(&mut self, name: Name, ty: Type, declared: Option<Arc<Declared>>) {
        let size = declared.as_ref().map_or(UNKNOWN, |declared| declared.most);
        self.locals.push(Local { name, ty, size, declared });
    }

    /// Declares a variable of a type.
    pub(super) fn declare_type(&mut self, name: Name, ty: Type) {
        self.locals.push(Local { name, ty, size: UNKNOWN, declared: None });
    }

    /// Declares a type that objects can be made of.
    pub(super) fn declare_made(&mut self, made: MadeType) {
        self.types.push(made);
    }

    pub(super) fn check(mut self, expr: &Expr) -> Result<Found, Vec<Fault>> {
        let checked = self.expr(expr);
        if self.faults.is_empty() {
            self.faults.append(&mut self.late);
        }
        if self.faults.is_empty() { Ok(Found { checked, used: self.used }) } else { Err(self.faults) }
    }

    fn fault(&mut self, at: usize, message: String) {
        self.faults.push(Fault::new(at, message));
    }

    fn expr(&mut self, expr: &Expr) -> Checked {
        let constant = |code: Code, ty: Type, size: usize| {
            let size = u64::try_from(size).unwrap_or(UNKNOWN).max(1);
            Checked { code, ty, estimate: Estimate { cost: 0, size, declared: None } }
        };
        match &expr.node {
            Node::Null => constant(Code::Null, Type::Null, 1),
            Node::Bool(value) => constant(Code::Bool(*value), Type::Bool, 1),
            Node::Int(value) => constant(Code::Int(*value), Type::Int, 1),
            Node::Uint(value) => constant(Code::Uint(*value), Type::Uint, 1),
            Node::Double(value) => constant(Code::Double(*value), Type::Double, 1),
            Node::Text(text) => constant(Code::Text(Arc::clone(text)), Type::String, text.len()),
            Node::Bytes(bytes) => constant(Code::Bytes(Arc::clone(bytes)), Type::Bytes, bytes.len()),
            Node::Name(name) => self.name(expr.at, name),
            Node::Select { of, field, how } => self.select(expr.at, of, field, *how),
            Node::Index { of, index, optional } => self.index(expr.at, of, index, *optional),
            Node::Call { name, target, args } => self.call(expr.at, name, target.as_deref(), args),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Object { ty, fields } => self.object(expr.at, ty, fields),
            Node::And(left, right) => self.both(left, right, Code::And),
            Node::Or(left, right) => self.both(left, right, Code::Or),
            Node::Choice(condition, yes, no) => self.choice(expr.at, condition, yes, no),
            Node::Loop(inner) => self.run_loop(expr.at, inner),
            Node::Bind { name, value, body } => {
                let value = self.expr(value);
                let body = self.within(&[(name, &value.ty, &value.estimate)], |checker| checker.expr(body));
                let cost = value.estimate.cost.saturating_add(body.estimate.cost).saturating_add(1);
                let code = Code::Bind { value: Box::new(value.code), body: Box::new(body.code) };
                Checked { code, ty: body.ty, estimate: Estimate { cost, ..body.estimate } }
            }
            Node::OptMap { of, name, body, flat } => self.opt_map(expr.at, of, name, body, *flat),
        }
    }

    fn name(&mut self, at: usize, name: &Name) -> Checked {
        if let Some(place) = self.locals.iter().rposition(|local| local.name == *name) {
            let local = self.locals[place].clone();
            if !self.used.contains(name) {
                self.used.push(Arc::clone(name));
            }
            let estimate = Estimate { cost: 1, size: local.size, declared: local.declared };
            return Checked { code: Code::Local(place), ty: local.ty, estimate };
        }
        let types = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
        if let Some(found) = types.into_iter().find(|known| **known == **name) {
            let estimate = Estimate { cost: 1, size: 1, declared: None };
            return Checked { code: Code::Type(found), ty: Type::Type, estimate };
        }
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        anything(1)
    }

    fn select(&mut self, at: usize, of: &Expr, field: &Name, how: Access) -> Checked {
        if let Some(found) = self.qualified(at, of, field, how) {
            return found;
        }
        let of = self.expr(of);
        let mut field = field;
        let cost = of.estimate.cost.saturating_add(1);
        let (held, through_optional) = match &of.ty {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let (ty, declared) = match &held {
            Type::Object(object) => match &object.kind {
                DeclaredKind::Object(fields) => match field_of(fields, field) {
                    Some((key, found)) => {
                        field = key;
                        (found.of.as_type(), Some(Arc::clone(&found.of)))
                    }
                    None => {
                        self.fault(at, format!("undefined field '{field}'"));
                        (Type::Dyn, None)
                    }
                },
                _ => (Type::Dyn, None),
            },
            Type::Map(_, value) => {
                let declared = of.estimate.declared.as_ref().and_then(|declared| declared.element());
                ((**value).clone(), declared.cloned())
            }
            Type::Dyn | Type::Made(_) => (Type::Dyn, None),
            other => {
                self.fault(at, format!("type '{other}' does not support field selection"));
                (Type::Dyn, None)
            }
        };
        let size = size_of(&ty, declared.as_ref());
        let code = Code::Select { of: Box::new(of.code), field: Arc::clone(field), how };
        match how {
            Access::Test => {
                Checked { code, ty: Type::Bool, estimate: Estimate { cost, size: 1, declared: None } }
            }
            Access::Plain if !through_optional => {
                Checked { code, ty, estimate: Estimate { cost, size, declared } }
            }
            _ => Checked { code, ty: Type::optional(ty), estimate: Estimate { cost, size, declared } },
        }
    }

    fn index(&mut self, at: usize, of: &Expr, index: &Expr, optional: bool) -> Checked {
        let (of, index) = (self.expr(of), self.expr(index));
        let held = match &of.ty {
            Type::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        };
        let is_optional = optional || matches!(of.ty, Type::Optional(_));
        let ty = match &held {
            Type::List(element) if index.ty.agrees(&Type::Int) => (**element).clone(),
            Type::Map(key, value) if index.ty.agrees(key) => (**value).clone(),
            Type::Dyn => Type::Dyn,
            _ => {
                self.no_overload(at, "_[_]", &[of.ty.clone(), index.ty.clone()]);
                Type::Dyn
            }
        };
        let declared = of.estimate.declared.as_ref().and_then(|declared| declared.element()).cloned();
        let cost = sum([of.estimate.cost, index.estimate.cost, 1]);
        let size = size_of(&ty, declared.as_ref());
        let code = Code::Index { of: Box::new(of.code), index: Box::new(index.code), optional };
        let ty = if is_optional { Type::optional(ty) } else { ty };
        Checked { code, ty, estimate: Estimate { cost, size, declared } }
    }

    fn no_overload(&mut self, at: usize, name: &str, types: &[Type]) {
        let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
        let message = format!("found no matching overload for '{name}' applied to '({})'", shown.join(", "));
        self.fault(at, message);
    }

    fn call(&mut self, at: usize, name: &Name, target: Option<&Expr>, args: &[Expr]) -> Checked {
        // Functions of a library are written as if they were called of it.
        if let Some(Expr { node: Node::Name(library), .. }) = target
            && !self.locals.iter().any(|local| local.name == *library)
        {
            let full: Name = format!("{library}.{name}").into();
            if library::find(&full, false).is_some() {
                return self.call(at, &full, None, args);
            }
        }
        let all: Vec<&Expr> = target.into_iter().chain(args).collect();
        let checked: Vec<Checked> = match (&**name, target, args) {
            ("format", Some(format), [Expr { node: Node::List(items), .. }]) => self.format(format, items),
            _ => all.iter().map(|arg| self.expr(arg)).collect(),
        };
        let types: Vec<Type> = checked.iter().map(|arg| arg.ty.clone()).collect();
        let Some(function) = library::find(name, target.is_some()) else {
            self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
            return anything(1);
        };
        let Some(Bound { result }) = function.bind(&types) else {
            let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
            let applied = match target {
                Some(_) => format!("{}.({})", shown[0], shown[1..].join(", ")),
                None => format!("({})", shown.join(", ")),
            };
            self.fault(at, format!("found no matching overload for '{name}' applied to '{applied}'"));
            return anything(1);
        };
        let sizes: Vec<u64> = checked.iter().map(|arg| arg.estimate.size).collect();
        let before = sum(checked.iter().map(|arg| arg.estimate.cost));
        if &**name == "matches"
            && let Some(Node::Text(text)) = all.get(1).map(|arg| &arg.node)
        {
            return self.matches(all[1].at, checked, text, before);
        }
        let declared = match function.size {
            super::cost::Size::Like(index) if result == types[index] => {
                checked[index].estimate.declared.clone()
            }
            _ => None,
        };
        let element = element_of(checked.first());
        let size = size_of(&result, None).min(function.size.of(&sizes, element)).max(1);
        let cost = before.saturating_add(function.price.of(&sizes, || element));
        let estimate = Estimate { cost, size, declared };
        let args = checked.into_iter().map(|arg| arg.code).collect();
        Checked { code: Code::Call { function, args }, ty: result, estimate }
    }

    /// A pattern that stands in the expression is read once.
    fn matches(&mut self, at: usize, mut checked: Vec<Checked>, text: &str, before: u64) -> Checked {
        let of = checked.swap_remove(0);
        let length = u64::try_from(text.len()).unwrap_or(UNKNOWN);
        let cost = before.saturating_add(pattern(of.estimate.size, length));
        let estimate = Estimate { cost, size: 1, declared: None };
        match library::compile_pattern(text) {
            Ok(pattern) => {
                let code = Code::Matches { of: Box::new(of.code), pattern, length };
                Checked { code, ty: Type::Bool, estimate }
            }
            Err(_) => {
                self.fault(at, "invalid matches argument".to_owned());
                Checked { code: Code::Null, ty: Type::Bool, estimate }
            }
        }
    }

    fn both(&mut self, left: &Expr, right: &Expr, make: fn(Box<Code>, Box<Code>) -> Code) -> Checked {
        let places = (left.at, right.at);
        let (left, right) = (self.expr(left), self.expr(right));
        for (at, found) in [(places.0, &left.ty), (places.1, &right.ty)] {
            if !found.agrees(&Type::Bool) {
                self.fault(at, format!("expected type 'bool' but found '{found}'"));
            }
        }
        let cost = left.estimate.cost.saturating_add(right.estimate.cost);
        let estimate = Estimate { cost, size: 1, declared: None };
        Checked { code: make(Box::new(left.code), Box::new(right.code)), ty: Type::Bool, estimate }
    }

    fn choice(&mut self, at: usize, condition: &Expr, yes: &Expr, no: &Expr) -> Checked {
        let is_empty = |part: &Expr| matches!(&part.node, Node::List(items) if items.is_empty());
        let empty = (is_empty(yes), is_empty(no));
        let (condition, yes, no) = (self.expr(condition), self.expr(yes), self.expr(no));
        let of_null = |one: &Type, other: &Type| *one == Type::Null || *other == Type::Null;
        if !condition.ty.agrees(&Type::Bool) || !(yes.ty.agrees(&no.ty) || of_null(&yes.ty, &no.ty)) {
            self.no_overload(at, "_?_:_", &[condition.ty.clone(), yes.ty.clone(), no.ty.clone()]);
        }
        let cost = condition.estimate.cost.saturating_add(yes.estimate.cost.max(no.estimate.cost));
        let ty = match (yes.ty, no.ty) {
            (yes, no) if yes == no => yes,
            // Nothing, and a list of nothing, are of the type of the other.
            (Type::Null, other) | (other, Type::Null) if other.is_object() => other,
            (_, no) if empty.0 => no,
            (yes, _) if empty.1 => yes,
            (yes, no) => yes.join(&no),
        };
        let size = yes.estimate.size.max(no.estimate.size);
        let declared = yes.estimate.declared.filter(|held| Some(held) == no.estimate.declared.as_ref());
        let code = Code::Choice(Box::new(condition.code), Box::new(yes.code), Box::new(no.code));
        Checked { code, ty, estimate: Estimate { cost, size, declared } }
    }

    /// Checks a part with further names.
    fn within<T>(&mut self, names: &[(&Name, &Type, &Estimate)], check: impl FnOnce(&mut Self) -> T) -> T {
        for (name, ty, estimate) in names {
            self.locals.push(Local {
                name: Arc::clone(name),
                ty: (*ty).clone(),
                size: estimate.size,
                declared: estimate.declared.clone(),
            });
        }
        let outcome = check(self);
        self.locals.truncate(self.locals.len() - names.len());
        outcome
    }

    fn run_loop(&mut self, at: usize, inner: &Loop) -> Checked {
        let over = self.expr(&inner.over);
        let two = inner.names.len() == 2;
        let element = over.estimate.declared.as_ref().and_then(|declared| declared.element()).cloned();
        let (key, value) = match &over.ty {
            Type::List(of) => (Type::Int, (**of).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(inner.over.at, message);
                (Type::Dyn, Type::Dyn)
            }
        };
        let is_map = matches!(over.ty, Type::Map(..));
        let first = if is_map && !two { key.clone() } else { value.clone() };
        // A key of a map is as long as it may be in what holds it.
        let of_value = Estimate { cost: 0, size: size_of(&value, element.as_ref()), declared: element };
        let of_key = Estimate { cost: 0, size: size_of(&key, None), declared: None };
        let named = match (&inner.names[..], is_map) {
            ([key_name, value_name], _) => vec![(key_name, &key, &of_key), (value_name, &value, &of_value)],
            ([name], true) => vec![(name, &first, &of_key)],
            ([name], false) => vec![(name, &first, &of_value)],
            _ => Vec::new(),
        };
        let (when, make) = self.within(&named, |checker| {
            let when = inner.when.as_ref().map(|when| checker.expr(when));
            let make = inner.make.as_ref().map(|make| checker.expr(make));
            (when, make)
        });
        if let Some(when) = when.as_ref().filter(|when| !when.ty.agrees(&Type::Bool)) {
            let shown = when.ty.clone();
            let place = inner.when.as_ref().map_or(at, |when| when.at);
            self.no_overload(place, "_&&_", &[Type::Bool, shown]);
        }
        self.loop_of(inner, over, two, when, make, first)
    }

    fn loop_of(
        &mut self,
        inner: &Loop,
        over: Checked,
        two: bool,
        when: Option<Checked>,
        make: Option<Checked>,
        first: Type,
    ) -> Checked {
        let cost_of = |part: &Option<Checked>| part.as_ref().map_or(0, |part| part.estimate.cost);
        // What the loop itself does with each element.
        let own = match inner.kind {
            LoopKind::All | LoopKind::Exists => 3,
            LoopKind::ExistsOne => 3,
            LoopKind::Filter | LoopKind::Map | LoopKind::TransformMap | LoopKind::SortBy => 2 + LIST,
        };
        let each = sum([cost_of(&when), cost_of(&make), own]);
        // What the loop makes is empty at first.
        let made = match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => 0,
            LoopKind::Filter | LoopKind::Map | LoopKind::SortBy => LIST,
            LoopKind::TransformMap => MAP,
        };
        let cost = sum([over.estimate.cost, over.estimate.size.saturating_mul(each), made, 1]);
        let made = make.as_ref().map_or(Type::Dyn, |make| make.ty.clone());
        let (ty, size) = match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => (Type::Bool, 1),
            LoopKind::Filter | LoopKind::SortBy => (Type::list(first), over.estimate.size),
            LoopKind::Map => (Type::list(made), over.estimate.size),
            LoopKind::TransformMap => (Type::map(Type::Dyn, made), over.estimate.size),
        };
        let declared = over.estimate.declared.filter(|held| {
            matches!(inner.kind, LoopKind::Filter | LoopKind::SortBy)
                && matches!(held.kind, DeclaredKind::List(..))
        });
        let code = Code::Loop(Box::new(LoopCode {
            kind: inner.kind,
            over: over.code,
            two,
            when: when.map(|when| when.code),
            make: make.map(|make| make.code),
        }));
        Checked { code, ty, estimate: Estimate { cost, size, declared } }
    }

    fn opt_map(&mut self, at: usize, of: &Expr, name: &Name, body: &Expr, flat: bool) -> Checked {
        let of = self.expr(of);
        let inner = match &of.ty {
            Type::Optional(inner) => (**inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                let shown = other.clone();
                self.no_overload(at, "optMap", &[shown]);
                Type::Dyn
            }
        };
        let body = self.within(&[(name, &inner, &of.estimate)], |checker| checker.expr(body));
        let ty = if flat { body.ty } else { Type::optional(body.ty) };
        let cost = sum([of.estimate.cost, body.estimate.cost, 2]);
        let code = Code::OptMap { of: Box::new(of.code), body: Box::new(body.code), flat };
        Checked { code, ty, estimate: Estimate { cost, ..body.estimate } }
    }
}

/// The field that an expression names, by the name that expressions know it by or by the one that it has in JSON.
fn field_of<'f>(
    fields: &'f BTreeMap<Name, DeclaredField>,
    name: &str,
) -> Option<(&'f Name, &'f DeclaredField)> {
    fields.get_key_value(name).or_else(|| fields.iter().find(|(_, field)| *field.name == *name))
}

/// What is known of the elements of a list, the first argument of a call.
fn element_of(list: Option<&Checked>) -> Element {
    let Some(list) = list else { return Element::NONE };
    let Type::List(of) = &list.ty else { return Element::NONE };
    let declared = list.estimate.declared.as_ref().and_then(|declared| declared.element());
    let is_text = matches!(**of, Type::String | Type::Bytes);
    Element { is_text: Some(is_text), size: declared.map_or(UNKNOWN, |element| element.most) }
}

/// The most that a value of a type may hold.
fn size_of(ty: &Type, declared: Option<&Arc<Declared>>) -> u64 {
    match (declared, ty) {
        (
            _,
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Null | Type::Type | Type::Object(_),
        ) => 1,
        (Some(declared), _) => declared.most,
        (None, Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Made(_)) => 1,
        (None, _) => UNKNOWN,
    }
}

fn sum(parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

/// What stands for a part that is wrong, so that the rest can be checked.
fn anything(cost: u64) -> Checked {
    let estimate = Estimate { cost, size: UNKNOWN, declared: None };
    Checked { code: Code::Null, ty: Type::Dyn, estimate }
}
