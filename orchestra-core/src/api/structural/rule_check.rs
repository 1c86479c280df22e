//! What is wrong with the rules of a schema, before there are any objects: expressions that cannot be compiled, and
//! those that may cost too much.

use serde_json::Value;

use super::declare::{MAX_REQUEST, declare};
use super::rules::{Compiled, compile};
use super::{Additional, ListType, Schema, Type};
use crate::api::field::{Errors, Path, Shown};

/// What one rule may cost at most, and what all of a schema may together.
const RULE_LIMIT: u64 = 10_000_000;
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of those that cost most are named.
const NAMED: usize = 4;

/// Says what is wrong with the rules of a schema that is right otherwise. `show` is how errors show a rule.
pub fn check_rules(
    schema: &Schema,
    document: &Value,
    at: &Path,
    show: &dyn Fn(&Value) -> Shown,
    errors: &mut Errors,
) {
    let mut check = Check { show, errors, total: 0, dearest: Vec::new() };
    let context = Context { cardinality: Some(1), uncorrelated: None };
    check.schema(schema, document, true, &context, at);
    let (total, dearest) = (check.total, check.dearest);
    if total > SCHEMA_LIMIT {
        for (path, _) in dearest {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(&path, detail);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(at, over(what, total, SCHEMA_LIMIT));
    }
}

/// The way to a schema, as far as it matters to its rules.
#[derive(Clone)]
struct Context {
    /// How often it may stand in an object; `None` if that is not bounded.
    cardinality: Option<u64>,
    /// The list on the way whose elements cannot be told apart, so that there is no old value.
    uncorrelated: Option<Path>,
}

struct Check<'c> {
    show: &'c dyn Fn(&Value) -> Shown,
    errors: &'c mut Errors,
    total: u64,
    dearest: Vec<(Path, u64)>,
}

impl Check<'_> {
    fn schema(&mut self, schema: &Schema, document: &Value, object: bool, context: &Context, at: &Path) {
        let below = Context { cardinality: cardinality(schema, context), ..context.clone() };
        if let Some(of) = schema.map_values() {
            let path = at.child("additionalProperties");
            self.schema(of, &document["additionalProperties"], of.embedded, &below, &path);
        }
        for (name, property) in schema.properties() {
            let path = at.child("properties").key(name);
            self.schema(property, &document["properties"][name], property.embedded, &below, &path);
        }
        if let Some(items) = schema.items() {
            let told_apart = schema.list == ListType::Map;
            let uncorrelated = below.uncorrelated.clone().or_else(|| (!told_apart).then(|| at.clone()));
            let below = Context { uncorrelated, ..below };
            self.schema(items, &document["items"], items.embedded, &below, &at.child("items"));
        }
        if !schema.rules.is_empty() {
            self.rules(schema, document, object, context, &at.child("x-kubernetes-validations"));
        }
    }

    fn rules(&mut self, schema: &Schema, document: &Value, object: bool, context: &Context, at: &Path) {
        let Some(declared) = declare(schema, object) else {
            let detail = "unable to convert structural schema to CEL declarations";
            return self.errors.invalid(at, "", detail);
        };
        let most = context.cardinality.unwrap_or(MAX_REQUEST / (declared.least_bytes + 1));
        for (index, compiled) in compile(schema, &declared).into_iter().enumerate() {
            let shown = (self.show)(&document["x-kubernetes-validations"][index]);
            self.rule(&compiled, most, shown, &schema.rules[index].rule, context, &at.index(index));
            let given = schema.rules[index].optional_old_self;
            if let Some(given) = given.filter(|_| compiled.program.is_ok() && !compiled.uses_old) {
                let detail = "may not be set if oldSelf is not used in rule";
                self.errors.invalid(&at.index(index).child("optionalOldSelf"), given, detail);
            }
        }
    }

    fn rule(
        &mut self,
        compiled: &Compiled,
        most: u64,
        shown: Shown,
        text: &str,
        context: &Context,
        at: &Path,
    ) {
        let path = at.child("rule");
        match &compiled.program {
            Err(why) => self.errors.invalid_object(&path, shown.clone(), why.clone()),
            Ok(program) => {
                let cost = program.most_cost().saturating_mul(most);
                self.observe("estimated rule cost", cost, &path);
            }
        }
        let path = at.child("messageExpression");
        match &compiled.message {
            Some(Err(why)) => self.errors.invalid_object(&path, shown, why.clone()),
            Some(Ok(program)) => self.observe("estimated messageExpression cost", program.most_cost(), &path),
            None => {}
        }
        if let Some(within) = context.uncorrelated.as_ref().filter(|_| compiled.uses_old) {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            self.errors.invalid(&at.child("rule"), text, detail);
        }
    }

    fn observe(&mut self, what: &str, cost: u64, path: &Path) {
        if cost > RULE_LIMIT {
            self.errors.forbidden(path, over(what, cost, RULE_LIMIT));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.dearest.push((path.clone(), cost));
            self.dearest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED);
        }
    }
}

/// How often what is within a schema may stand in an object.
fn cardinality(schema: &Schema, context: &Context) -> Option<u64> {
    let values = schema.values();
    let bound = |most: Option<i64>| most.map(|most| u64::try_from(most).unwrap_or(0));
    let each = match (&schema.kind, &schema.additional) {
        (Some(Type::Object), Additional::Unsaid) => Some(1),
        (Some(Type::Object), _) => bound(values.max_properties),
        (Some(Type::Array), _) => bound(values.max_items),
        _ => Some(1),
    };
    Some(context.cardinality?.saturating_mul(each?))
}

fn over(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
