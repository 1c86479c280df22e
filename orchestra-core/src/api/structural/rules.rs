//! The rules of a schema in CEL: compiled once, and applied to values.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::declare::declare;
use super::{Rule, Schema, Spot, Type, lists, place};
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::expression::{Budget, Declared, Environment, EvalError, Program, Type as Output, Val};

/// What all rules of an object may cost together, as in Kubernetes.
const OBJECT_BUDGET: u64 = 10_000_000;
/// How long a message may be that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;

/// The rules of a schema and of those within it, compiled.
#[derive(Debug)]
pub struct RuleSet(Node);

/// A rule, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) program: Result<Program, String>,
    /// What computes the message; `None` if there is no such expression, or it is wrong.
    pub(super) message: Option<Result<Program, String>>,
    pub(super) uses_old: bool,
    field_path: String,
    rule: Rule,
}

#[derive(Debug)]
struct Node {
    declared: Option<Arc<Declared>>,
    compiled: Vec<Compiled>,
    items: Option<Box<Self>>,
    values: Option<Box<Self>>,
    properties: BTreeMap<Box<str>, Self>,
}

/// Compiles the rules that stand at a schema.
pub(super) fn compile(schema: &Schema, declared: &Arc<Declared>) -> Vec<Compiled> {
    if schema.rules.is_empty() {
        return Vec::new();
    }
    let alone = Environment::new().declared("self", declared);
    let (plain, optional) =
        (alone.clone().declared("oldSelf", declared), alone.optional("oldSelf", declared));
    let compile = |rule: &Rule| {
        let environment = if rule.optional_old_self == Some(true) { &optional } else { &plain };
        let program = match environment.compile(&rule.rule) {
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) if *program.output() != Output::Bool => {
                Err("cel expression must evaluate to a bool".to_owned())
            }
            Ok(program) => Ok(program),
        };
        let uses_old = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
        let message = (!rule.message_expression.is_empty() && program.is_ok()).then(|| {
            match environment.compile(&rule.message_expression) {
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
                Ok(program) if *program.output() != Output::String => {
                    Err("messageExpression must evaluate to a string".to_owned())
                }
                Ok(program) => Ok(program),
            }
        });
        let found = place::find(schema, &rule.field_path, true);
        let field_path = found.map(|place| place.path).unwrap_or_default();
        Compiled { program, message, uses_old, field_path, rule: rule.clone() }
    };
    schema.rules.iter().map(compile).collect()
}

impl RuleSet {
    /// Compiles the rules of a schema; `None` if it has none.
    pub fn compile(schema: &Schema) -> Option<Self> {
        node(schema, true).map(Self)
    }

    /// Says which rules an object breaks. Of a change, what is as it was is not complained of, but by rules that look at
    /// the old value too.
    pub fn check(&self, schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        let blocked = errors.iter().any(|error| {
            matches!(
                error.problem,
                Problem::NotSupported(..)
                    | Problem::Required(_)
                    | Problem::TooLong(_)
                    | Problem::TooMany(..)
                    | Problem::TypeInvalid(..)
            )
        });
        if blocked {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing \
                          errors to complete validation";
            return errors.invalid(&Path::root(), Value::Null, detail);
        }
        let mut run = Run { left: OBJECT_BUDGET, errors };
        // That the budget is used up has been said.
        let _ = run.check(&self.0, schema, new, old, &Spot::ROOT);
    }
}

fn node(schema: &Schema, object: bool) -> Option<Node> {
    let below = |schema: &Schema| node(schema, schema.embedded);
    let items = schema.items().and_then(below).map(Box::new);
    let values = schema.map_values().and_then(below).map(Box::new);
    let with_rules = |(name, property): (&str, &Schema)| Some((name.into(), below(property)?));
    let properties: BTreeMap<_, _> = schema.properties().filter_map(with_rules).collect();
    if schema.rules.is_empty() && items.is_none() && values.is_none() && properties.is_empty() {
        return None;
    }
    let declared = if schema.rules.is_empty() { None } else { declare(schema, object) };
    let compiled = declared.as_ref().map(|declared| compile(schema, declared)).unwrap_or_default();
    Some(Node { declared, compiled, items, values, properties })
}

/// That no rule is to be looked at any more.
struct Stopped;

struct Run<'e> {
    left: u64,
    errors: &'e mut Errors,
}

impl Run<'_> {
    fn check(
        &mut self,
        node: &Node,
        schema: &Schema,
        new: &Value,
        old: Option<&Value>,
        at: &Spot<'_>,
    ) -> Result<(), Stopped> {
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, schema, new, old, at)?;
        match new {
            Value::Array(items) => {
                let (Some(node), Some(of)) = (&node.items, schema.items()) else { return Ok(()) };
                let before = old.and_then(Value::as_array).map(Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let old = before.and_then(|before| lists::correlated(schema, item, before));
                    self.check(node, of, item, old, &at.index(index))?;
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let old = old.and_then(|old| old.get(name));
                    let property = schema.properties.get(name.as_str());
                    match (property, node.properties.get(name.as_str())) {
                        (Some(property), Some(node)) => {
                            self.check(node, property, value, old, &at.field(name))?
                        }
                        (None, _) => {
                            if let (Some(node), Some(of)) = (&node.values, schema.map_values()) {
                                self.check(node, of, value, old, &at.key(name))?;
                            }
                        }
                        (Some(_), None) => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rules(
        &mut self,
        node: &Node,
        schema: &Schema,
        new: &Value,
        old: Option<&Value>,
        at: &Spot<'_>,
    ) -> Result<(), Stopped> {
        let Some(declared) = node.declared.as_deref().filter(|_| !node.compiled.is_empty()) else {
            return Ok(());
        };
        let this = Val::declared(new, Some(declared));
        let before = old.map(|old| Val::declared(old, Some(declared)));
        for compiled in &node.compiled {
            let optional = compiled.rule.optional_old_self == Some(true);
            if compiled.uses_old && before.is_none() && !optional {
                continue;
            }
            let old_self = match (&before, optional) {
                (Some(before), false) => before.clone(),
                (Some(before), true) => Val::Optional(Some(std::rc::Rc::new(before.clone()))),
                (None, true) => Val::Optional(None),
                (None, false) => Val::Null,
            };
            let variables = [this.clone(), old_self];
            let unchanged = old == Some(new) && !compiled.uses_old;
            self.rule(compiled, schema, new, &variables, unchanged, at)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        compiled: &Compiled,
        schema: &Schema,
        new: &Value,
        variables: &[Val<'_>],
        unchanged: bool,
        at: &Spot<'_>,
    ) -> Result<(), Stopped> {
        let path = || Path::new(&at.text());
        let kind = schema.kind.as_ref().map_or("", Type::as_str);
        let program = match &compiled.program {
            Ok(program) => program,
            Err(error) => {
                self.errors.invalid(&path(), kind, format!("rule compile error: {error}"));
                return Ok(());
            }
        };
        let shown = shown_rule(&compiled.rule);
        match self.evaluate(program, variables) {
            Evaluated::Value(Val::Bool(true)) => Ok(()),
            Evaluated::Value(_) => {
                self.broken(compiled, schema, new, variables, unchanged, at);
                Ok(())
            }
            Evaluated::OverBudget => {
                let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.invalid(&path(), kind, detail);
                Err(Stopped)
            }
            Evaluated::Error(EvalError::TooExpensive) => {
                let detail = format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to \
                     call cost exceeds limit for rule: {shown}"
                );
                self.errors.invalid(&path(), kind, detail);
                Err(Stopped)
            }
            Evaluated::Error(EvalError::Failed(why)) if why.starts_with("no such overload") => {
                let detail = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: \
                     {shown}"
                );
                self.errors.invalid(&path(), kind, detail);
                Ok(())
            }
            Evaluated::Error(why) => {
                self.errors.invalid(&path(), kind, format!("{why} evaluating rule: {shown}"));
                Ok(())
            }
        }
    }

    fn evaluate<'v>(&mut self, program: &'v Program, variables: &[Val<'v>]) -> Evaluated<'v> {
        if self.left == 0 {
            return Evaluated::OverBudget;
        }
        let mut budget = Budget::new(Budget::CALL.min(self.left));
        let outcome = program.evaluate(variables, &mut budget);
        let ran_out = self.left < Budget::CALL && matches!(outcome, Err(EvalError::TooExpensive));
        self.left = self.left.saturating_sub(budget.used());
        match outcome {
            _ if ran_out => Evaluated::OverBudget,
            Ok(value) => Evaluated::Value(value),
            Err(error) => Evaluated::Error(error),
        }
    }

    /// Says that a rule is broken.
    fn broken(
        &mut self,
        compiled: &Compiled,
        schema: &Schema,
        new: &Value,
        variables: &[Val<'_>],
        unchanged: bool,
        at: &Spot<'_>,
    ) {
        // What was so before is not complained of.
        if unchanged {
            return;
        }
        let rule = &compiled.rule;
        let computed = match &compiled.message {
            Some(Ok(program)) => match self.evaluate(program, variables) {
                Evaluated::Value(value) => value
                    .as_str()
                    .map(str::trim)
                    .map(str::to_owned)
                    .filter(|text| !text.is_empty() && !text.contains('\n') && text.len() <= MAX_MESSAGE),
                Evaluated::OverBudget | Evaluated::Error(_) => None,
            },
            _ => None,
        };
        let detail = computed.unwrap_or_else(|| match rule.message.is_empty() {
            true => format!("failed rule: {}", rule.rule.trim()),
            false => rule.message.trim().to_owned(),
        });
        let path = Path::new(&at.text());
        let path = if compiled.field_path.is_empty() { path } else { path.child(&compiled.field_path) };
        let large = matches!(schema.kind, Some(Type::Object | Type::Array));
        let shown = || if large { Shown::nothing() } else { Shown::from(new.clone()) };
        match rule.reason.as_deref() {
            Some("FieldValueForbidden") => self.errors.forbidden(&path, detail),
            Some("FieldValueRequired") => self.errors.required(&path, detail),
            Some("FieldValueDuplicate") => {
                self.errors.push(&path, Problem::Duplicate(shown(), String::new()))
            }
            _ => self.errors.invalid_object(&path, shown(), detail),
        }
    }
}

enum Evaluated<'v> {
    Value(Val<'v>),
    Error(EvalError),
    /// What all rules may cost together is used up.
    OverBudget,
}

/// A rule as errors name it.
fn shown_rule(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}
