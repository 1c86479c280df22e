//! Expressions over a request.
//!
//! Evaluating is pure and at once. What an expression asks the authorizer is found out between two evaluations: see
//! [`Judge::settle`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::api::access::{AccessRequest, Authorizer};
use crate::api::{Target, User};
use crate::expression::{AccessCheck, AccessDecision, Budget, EvalError, KnownDecisions, Program, Val};
use crate::objects::admission_registration::expressions::Compiler;

/// How often what is not known is asked for in one judgement. What a check costs ends it much earlier.
const MAX_CHECKS: usize = 64;

/// What the authorizer is known to say.
pub(in crate::admission) type Access = HashMap<AccessCheck, AccessDecision>;

/// Who answers what expressions ask about users.
#[derive(Clone, Debug)]
pub(in crate::admission) struct Judge {
    authorizer: Arc<dyn Authorizer>,
}

/// An expression asks what is not known yet.
#[derive(Debug)]
pub(in crate::admission) struct Unknown(Box<AccessCheck>);

impl Judge {
    pub(in crate::admission) fn new(authorizer: &Arc<dyn Authorizer>) -> Self {
        Self { authorizer: Arc::clone(authorizer) }
    }

    /// Judges anew until all that is asked is known.
    pub(in crate::admission) async fn settle<T>(
        &self,
        user: &User,
        access: &mut Access,
        mut judge: impl FnMut(&Access) -> Result<T, Unknown> + Send,
    ) -> Option<T> {
        for _ in 0..MAX_CHECKS {
            match judge(access) {
                Ok(outcome) => return Some(outcome),
                Err(Unknown(check)) => {
                    let decision = self.ask(user, &check).await;
                    access.insert(*check, decision);
                }
            }
        }
        None
    }

    async fn ask(&self, user: &User, check: &AccessCheck) -> AccessDecision {
        let user = match &check.service_account {
            Some((namespace, name)) => Cow::Owned(User::service_account(namespace, name)),
            None => Cow::Borrowed(user),
        };
        let decision = match &check.path {
            Some(path) => self.authorizer.authorize(&user, &AccessRequest::path(&check.verb, path)).await,
            None => {
                let given = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
                let target = Target {
                    group: check.group.as_str().into(),
                    version: "*".into(),
                    resource: check.resource.as_str().into(),
                    namespace: given(&check.namespace),
                    name: given(&check.name),
                    subresource: given(&check.subresource),
                };
                self.authorizer.authorize(&user, &AccessRequest::resource(&check.verb, &target)).await
            }
        };
        AccessDecision { allowed: decision.is_allowed(), reason: decision.reason.into_owned() }
    }
}

/// Why an expression has no value that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Failure {
    /// What is wrong with it.
    Failed(String),
    /// Too much has been spent: nothing more is evaluated.
    Spent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Spent => f.write_str(
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }
}

/// What expressions see.
#[derive(Clone, Copy)]
pub(in crate::admission) struct Inputs<'v> {
    pub(in crate::admission) object: &'v Value,
    pub(in crate::admission) old: &'v Value,
    pub(in crate::admission) request: &'v Value,
    pub(in crate::admission) namespace: &'v Value,
    /// The parameters, where the expressions have some: null without.
    pub(in crate::admission) params: Option<&'v Value>,
    /// What the request is about, as a question to the authorizer.
    pub(in crate::admission) about: &'v AccessCheck,
    pub(in crate::admission) access: &'v Access,
}

/// An evaluation of the expressions of one policy, or of one webhook's conditions, for one request.
pub(in crate::admission) struct Evaluation<'v> {
    values: Vec<Result<Val<'v>, EvalError>>,
    /// The policy's own variables, of which the values are found when they are asked for.
    variables: &'v [(String, Program)],
    found: Vec<bool>,
    left: u64,
}

impl<'v> Evaluation<'v> {
    /// With so many units to spend.
    pub(in crate::admission) fn new(
        inputs: Inputs<'v>,
        variables: &'v [(String, Program)],
        budget: u64,
    ) -> Self {
        let known: KnownDecisions = Rc::new(RefCell::new(inputs.access.clone()));
        let mut values = vec![
            Val::json(inputs.object),
            Val::json(inputs.old),
            Val::json(inputs.request),
            Val::json(inputs.namespace),
            Val::authorizer(&known),
            Val::request_resource(&known, inputs.about.clone()),
        ];
        values.extend(inputs.params.map(Val::json));
        let mut values: Vec<_> = values.into_iter().map(Ok).collect();
        // The place of the scope `variables`, and those of the variables in it.
        values.extend((0..=variables.len()).map(|_| Ok(Val::Null)));
        Self { values, variables, found: vec![false; variables.len()], left: budget }
    }

    /// The value of an expression.
    pub(in crate::admission) fn value(
        &mut self,
        program: &'v Program,
    ) -> Result<Result<Val<'v>, Failure>, Unknown> {
        for index in 0..self.variables.len() {
            if program.uses(&scoped(&self.variables[index].0)) {
                self.find(index)?;
            }
        }
        self.run(program)
    }

    /// Whether an expression holds; an error if it is neither true nor false.
    pub(in crate::admission) fn holds(
        &mut self,
        program: &'v Program,
    ) -> Result<Result<bool, Failure>, Unknown> {
        Ok(self.value(program)?.map(|value| value.as_bool() == Some(true)))
    }

    fn find(&mut self, index: usize) -> Result<(), Unknown> {
        if std::mem::replace(&mut self.found[index], true) {
            return Ok(());
        }
        let variables = self.variables;
        let (name, program) = &variables[index];
        for (earlier, (other, _)) in variables[..index].iter().enumerate() {
            if program.uses(&scoped(other)) {
                self.find(earlier)?;
            }
        }
        let outcome = self.run(program)?.map_err(|failure| {
            EvalError::Failed(format!("composited variable \"{name}\" fails to evaluate: {failure}"))
        });
        let place = self.values.len() - variables.len() + index;
        self.values[place] = outcome;
        Ok(())
    }

    fn run(&mut self, program: &'v Program) -> Result<Result<Val<'v>, Failure>, Unknown> {
        if self.left == 0 {
            return Ok(Err(Failure::Spent));
        }
        let most = Budget::CALL.min(self.left);
        let mut budget = Budget::new(most);
        let outcome = program.evaluate_with(self.values.clone(), &mut budget);
        self.left = self.left.saturating_sub(budget.used());
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(EvalError::Unknown(check)) => Err(Unknown(check)),
            Err(EvalError::TooExpensive) if most < Budget::CALL => Ok(Err(Failure::Spent)),
            Err(error) => Ok(Err(Failure::Failed(error.to_string()))),
        }
    }
}

fn scoped(name: &str) -> String {
    format!("variables.{name}")
}

/// Conditions that a request must meet to be asked about.
#[derive(Debug)]
pub(in crate::admission) struct Conditions {
    /// Each with its text. One that does not compile was written before it was checked, and fails.
    all: Vec<(String, Result<Program, String>)>,
}

/// What conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Decided {
    /// All are met.
    Met,
    /// One is not.
    Unmet,
    /// None is unmet, and these have no value.
    Failed(String),
}

impl Conditions {
    pub(in crate::admission) fn new<'c>(
        compiler: &Compiler,
        expressions: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        let each = expressions.into_iter().map(|text| (text.to_owned(), compiler.condition(text)));
        Self { all: each.collect() }
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the request is one to ask about.
    pub(in crate::admission) fn decide(&self, inputs: Inputs<'_>) -> Result<Decided, Unknown> {
        let mut evaluation = Evaluation::new(inputs, &[], Budget::CONDITIONS);
        let mut failed = Vec::new();
        for (text, program) in &self.all {
            let outcome = match program {
                Ok(program) => evaluation.holds(program)?.map_err(|failure| failure.to_string()),
                Err(why) => Err(why.clone()),
            };
            match outcome {
                Ok(true) => {}
                Ok(false) => return Ok(Decided::Unmet),
                Err(why) => failed.push(format!("expression '{text}' resulted in error: {why}")),
            }
        }
        Ok(match failed.len() {
            0 => Decided::Met,
            1 => Decided::Failed(failed.remove(0)),
            _ => Decided::Failed(format!("[{}]", failed.join(", "))),
        })
    }
}
