//! From code to a value.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Access, LoopKind};
use super::code::{Code, LoopCode};
use super::cost::{Budget, Element, LIST, MAP, OBJECT, pattern};
use super::error::EvalError;
use super::value::{Key, Name, Val};

type Outcome<'v> = Result<Val<'v>, EvalError>;

/// An evaluation under way.
pub(super) struct Eval<'v, 'b> {
    locals: Vec<Outcome<'v>>,
    budget: &'b mut Budget,
}

impl<'v, 'b> Eval<'v, 'b> {
    pub(super) fn new(variables: Vec<Outcome<'v>>, budget: &'b mut Budget) -> Self {
        Self { locals: variables, budget }
    }

    pub(super) fn run(&mut self, code: &'v Code) -> Outcome<'v> {
        match code {
            Code::Null => Ok(Val::Null),
            Code::Bool(value) => Ok(Val::Bool(*value)),
            Code::Int(value) => Ok(Val::Int(*value)),
            Code::Uint(value) => Ok(Val::Uint(*value)),
            Code::Double(value) => Ok(Val::Double(*value)),
            Code::Text(text) => Ok(Val::Text(text)),
            Code::Bytes(bytes) => Ok(Val::Bytes(Rc::from(&**bytes))),
            Code::Type(name) => Ok(Val::Type(name)),
            Code::Local(place) => {
                self.budget.pay(1)?;
                self.locals.get(*place).cloned().unwrap_or(Ok(Val::Null))
            }
            Code::Select { of, field, how } => {
                let of = self.run(of)?;
                self.budget.pay(1)?;
                select(of, field, *how)
            }
            Code::Index { of, index, optional } => {
                let (of, index) = (self.run(of)?, self.run(index)?);
                self.budget.pay(1)?;
                index_of(of, &index, *optional)
            }
            Code::Call { function, args } => {
                let mut values = smallvec::SmallVec::<[Val<'v>; 3]>::new();
                for arg in args {
                    values.push(self.run(arg)?);
                }
                let sizes = values.iter().map(Val::weight);
                let sizes: smallvec::SmallVec<[u64; 3]> = sizes.collect();
                self.budget.pay(function.price.of(&sizes, || element_of(values.first())))?;
                (function.native)(&values)
            }
            Code::Matches { of, pattern: regex, length } => {
                let of = self.run(of)?;
                self.budget.pay(pattern(of.weight(), *length))?;
                of.as_str().map(|text| Val::Bool(regex.is_match(text))).ok_or_else(EvalError::no_overload)
            }
            Code::List(items) => self.list(items),
            Code::Map(entries) => self.map(entries),
            Code::Fail(why) => Err(EvalError::Failed(why.to_string())),
            Code::Object(fields) => self.object(fields),
            Code::And(left, right) => self.either(left, right, false),
            Code::Or(left, right) => self.either(left, right, true),
            Code::Choice(condition, yes, no) => match self.run(condition)? {
                Val::Bool(true) => self.run(yes),
                Val::Bool(false) => self.run(no),
                _ => Err(EvalError::no_overload()),
            },
            Code::Loop(inner) => self.run_loop(inner),
            Code::Bind { value, body } => {
                let value = self.run(value)?;
                self.budget.pay(1)?;
                self.with([value], body)
            }
            Code::OptMap { of, body, flat } => match self.run(of)? {
                Val::Optional(None) => Ok(Val::Optional(None)),
                Val::Optional(Some(value)) => {
                    self.budget.pay(2)?;
                    let made = self.with([(*value).clone()], body)?;
                    Ok(if *flat { made } else { Val::some(made) })
                }
                _ => Err(EvalError::no_overload()),
            },
        }
    }

    fn with<const N: usize>(&mut self, values: [Val<'v>; N], body: &'v Code) -> Outcome<'v> {
        self.locals.extend(values.map(Ok));
        let outcome = self.run(body);
        self.locals.truncate(self.locals.len() - N);
        outcome
    }

    /// `&&` and `||`: one part that decides is enough, whatever is wrong with the other.
    fn either(&mut self, left: &'v Code, right: &'v Code, decides: bool) -> Outcome<'v> {
        let left = match self.run(left) {
            Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
            Err(error) if error.is_final() => return Err(error),
            other => other,
        };
        match (left, self.run(right)) {
            (_, Ok(Val::Bool(value))) if value == decides => Ok(Val::Bool(decides)),
            (_, Err(error)) if error.is_final() => Err(error),
            (Err(error), _) | (Ok(Val::Bool(_)), Err(error)) => Err(error),
            (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decides)),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn list(&mut self, items: &'v [(Code, bool)]) -> Outcome<'v> {
        self.budget.pay(LIST)?;
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.run(item)?, optional) {
                (Val::Optional(None), true) => {}
                (Val::Optional(Some(value)), true) => made.push((*value).clone()),
                (value, _) => made.push(value),
            }
        }
        Ok(Val::list(made))
    }

    fn map(&mut self, entries: &'v [(Code, Code, bool)]) -> Outcome<'v> {
        self.budget.pay(MAP)?;
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.run(key)?;
            let value = match (self.run(value)?, optional) {
                (Val::Optional(None), true) => continue,
                (Val::Optional(Some(value)), true) => (*value).clone(),
                (value, _) => value,
            };
            let key = key.to_key().ok_or_else(EvalError::no_overload)?;
            if made.contains_key(&key) {
                return Err(EvalError::Failed(format!("Failed with repeated key: {key}")));
            }
            made.insert(key, value);
        }
        Ok(Val::Map(Rc::new(made)))
    }

    fn object(&mut self, fields: &'v [(Name, Code, bool)]) -> Outcome<'v> {
        self.budget.pay(OBJECT)?;
        let mut made = BTreeMap::new();
        for (name, value, optional) in fields {
            let value = match (self.run(value)?, optional) {
                (Val::Optional(None), true) => continue,
                (Val::Optional(Some(value)), true) => (*value).clone(),
                (value, _) => value,
            };
            made.insert(Key::Text(Rc::from(&**name)), value);
        }
        Ok(Val::Map(Rc::new(made)))
    }

    fn run_loop(&mut self, inner: &'v LoopCode) -> Outcome<'v> {
        let over = self.run(&inner.over)?;
        let pairs = pairs(&over, inner.two).ok_or_else(EvalError::no_overload)?;
        self.budget.pay(1)?;
        match inner.kind {
            LoopKind::All => self.any(inner, pairs, false),
            LoopKind::Exists => self.any(inner, pairs, true),
            LoopKind::ExistsOne => {
                let mut count = 0;
                for pair in pairs {
                    self.budget.pay(3)?;
                    count += usize::from(self.holds(inner, &pair)?);
                }
                Ok(Val::Bool(count == 1))
            }
            LoopKind::Filter => {
                let mut kept = Vec::new();
                for pair in pairs {
                    self.budget.pay(2 + LIST)?;
                    if self.holds(inner, &pair)? {
                        kept.push(pair.1);
                    }
                }
                Ok(Val::list(kept))
            }
            LoopKind::Map => {
                let mut made = Vec::new();
                for pair in pairs {
                    self.budget.pay(2 + LIST)?;
                    if self.holds(inner, &pair)? {
                        made.push(self.made(inner, pair)?);
                    }
                }
                Ok(Val::list(made))
            }
            LoopKind::TransformMap => {
                let mut made = BTreeMap::new();
                for pair in pairs {
                    self.budget.pay(2 + LIST)?;
                    if self.holds(inner, &pair)? {
                        let key = pair.0.to_key().ok_or_else(EvalError::no_overload)?;
                        made.insert(key, self.made(inner, pair)?);
                    }
                }
                Ok(Val::Map(Rc::new(made)))
            }
            LoopKind::SortBy => {
                let mut keyed = Vec::new();
                for pair in pairs {
                    self.budget.pay(2 + LIST)?;
                    let element = pair.1.clone();
                    keyed.push((self.made(inner, pair)?, element));
                }
                sorted(keyed)
            }
        }
    }

    /// Whether one element decides: for `exists` one for which the condition holds, for `all` one for which it does not.
    fn any(&mut self, inner: &'v LoopCode, pairs: Pairs<'v>, decides: bool) -> Outcome<'v> {
        let mut failed = None;
        for pair in pairs {
            self.budget.pay(3)?;
            match self.holds(inner, &pair) {
                Ok(value) if value == decides => return Ok(Val::Bool(decides)),
                Ok(_) => {}
                Err(error) if error.is_final() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn holds(&mut self, inner: &'v LoopCode, pair: &(Val<'v>, Val<'v>)) -> Result<bool, EvalError> {
        let Some(when) = &inner.when else { return Ok(true) };
        let outcome = self.on(inner.two, pair.clone(), when)?;
        outcome.as_bool().ok_or_else(EvalError::no_overload)
    }

    fn made(&mut self, inner: &'v LoopCode, pair: (Val<'v>, Val<'v>)) -> Outcome<'v> {
        match &inner.make {
            Some(make) => self.on(inner.two, pair, make),
            None => Ok(pair.1),
        }
    }

    fn on(&mut self, two: bool, (key, value): (Val<'v>, Val<'v>), body: &'v Code) -> Outcome<'v> {
        if two { self.with([key, value], body) } else { self.with([value], body) }
    }
}

type Pairs<'v> = Vec<(Val<'v>, Val<'v>)>;

/// What a loop goes over: of a list the indexes and elements, of a map the keys and, if they have a name, the values.
fn pairs<'v>(over: &Val<'v>, two: bool) -> Option<Pairs<'v>> {
    if let Some(elements) = over.elements() {
        let indexed = (0..).zip(elements);
        return Some(indexed.map(|(index, element)| (Val::Int(index), element)).collect());
    }
    let keys = over.keys()?;
    Some(match two {
        false => keys.into_iter().map(|key| (key.clone(), key)).collect(),
        true => keys
            .into_iter()
            .map(|key| {
                let value = over.entry(&key).unwrap_or(Val::Null);
                (key, value)
            })
            .collect(),
    })
}

fn sorted<'v>(mut keyed: Vec<(Val<'v>, Val<'v>)>) -> Outcome<'v> {
    if keyed.windows(2).any(|two| two[0].0.compare(&two[1].0).is_none()) {
        return Err(EvalError::no_overload());
    }
    keyed.sort_by(|one, other| one.0.compare(&other.0).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Val::list(keyed.into_iter().map(|(_, value)| value).collect()))
}

fn select<'v>(of: Val<'v>, field: &str, how: Access) -> Outcome<'v> {
    let (of, optional) = match of {
        Val::Optional(None) if how == Access::Test => return Ok(Val::Bool(false)),
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => ((*value).clone(), true),
        other => (other, false),
    };
    if of.keys_known() {
        return match (of.field(field), how) {
            (found, Access::Test) => Ok(Val::Bool(found.is_some())),
            (Some(value), Access::Plain) if !optional => Ok(value),
            (None, Access::Plain) if !optional => Err(EvalError::no_key(field)),
            (Some(value), _) => Ok(Val::some(value)),
            (None, _) => Ok(Val::Optional(None)),
        };
    }
    Err(EvalError::Failed(format!("no such overload: {}.{field}", of.type_name())))
}

fn index_of<'v>(of: Val<'v>, index: &Val<'v>, optional: bool) -> Outcome<'v> {
    let (of, optional) = match of {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => ((*value).clone(), true),
        other => (other, optional),
    };
    let found = if of.keys_known() {
        of.entry(index).ok_or_else(|| {
            let shown = index.to_key().map(|key| key.to_string()).unwrap_or_default();
            EvalError::no_key(&shown)
        })
    } else {
        match (of.size(), index.to_key()) {
            (Some(_), Some(super::value::Key::Int(place))) if of.as_str().is_none() => {
                let element = usize::try_from(place).ok().and_then(|place| of.element(place));
                element.ok_or_else(|| EvalError::Failed(format!("index out of bounds: {place}")))
            }
            _ => return Err(EvalError::no_overload()),
        }
    };
    match (found, optional) {
        (found, false) => found,
        (Ok(value), true) => Ok(Val::some(value)),
        (Err(_), true) => Ok(Val::Optional(None)),
    }
}

impl Val<'_> {
    /// Whether it is a map or an object.
    fn keys_known(&self) -> bool {
        matches!(self, Self::JsonMap(..) | Self::Map(_))
    }
}

/// What is known of the elements of a list, the first argument of a call.
fn element_of(list: Option<&Val<'_>>) -> Element {
    let Some(elements) = list.and_then(Val::elements) else { return Element::NONE };
    let (count, bytes) = elements.fold((0, 0), |(count, bytes), element| {
        (count + 1, u64::saturating_add(bytes, element.as_str().map_or(0, |text| text.len() as u64)))
    });
    Element { is_text: Some(bytes > 0), size: bytes.div_ceil(u64::max(count, 1)) }
}
