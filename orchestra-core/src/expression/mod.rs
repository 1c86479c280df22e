//! Expressions in CEL, the Common Expression Language: the rules of schemas, the conditions of webhooks, the policies of
//! admission.
//!
//! An [`Environment`] says which variables there are. It compiles a text to a [`Program`] once, which checks that all
//! its parts fit together; a program is evaluated with values as often as need be. Values of JSON are looked at where
//! they stand.
//!
//! ```
//! use orchestra_core::expression::{Budget, Environment, Val};
//!
//! let environment = Environment::new().variable("object");
//! let program = environment.compile("object.spec.replicas <= 5 && object.metadata.name.startsWith('a')").unwrap();
//! let object = serde_json::json!({"metadata": {"name": "abc"}, "spec": {"replicas": 3}});
//! let outcome = program.evaluate(&[Val::json(&object)], &mut Budget::new(Budget::CALL)).unwrap();
//! assert_eq!(outcome.as_bool(), Some(true));
//! ```
//!
//! The language and its words are those of Kubernetes, with the functions of its libraries. It is written here rather than
//! taken from a crate because of what strangers may write: each step of an evaluation is paid for out of a [`Budget`], in
//! Kubernetes' units, so that nothing that an expression says takes long; and what it may cost at most is estimated when
//! it is compiled. Crates that evaluate CEL know neither, and copy each object before they look at it.
//!
//! | file | what |
//! | --- | --- |
//! | `lexer`, `parser`, `ast` | from text to an expression, macros read |
//! | `types`, `check`, `cost` | whether its parts fit, and what it may cost |
//! | `code`, `eval`, `value` | from what was checked to a value |
//! | `library`, `special` | the functions, and the values that only they make |
//! | `device` | what selectors of devices look at |
//! | `error` | what is said when it is wrong |

mod ast;
mod check;
mod code;
mod cost;
mod device;
mod error;
mod eval;
mod lexer;
mod library;
mod parser;
mod special;
#[cfg(test)]
mod tests;
mod types;
mod value;

use std::sync::Arc;

use self::check::{Checker, Found};
use self::code::Code;
pub use self::cost::Budget;
pub use self::device::{Attribute, Device, DeviceSelector, device_environment};
pub use self::error::{CompileError, EvalError};
pub use self::library::pattern as go_pattern;
pub use self::special::{AccessCheck, AccessDecision, KnownDecisions, parse_duration};
pub use self::types::{
    Declared, DeclaredField, DeclaredKind, Elements, MadeType, Opaque, Type, escape, is_reserved,
};
use self::value::Name;
pub use self::value::{Key, Special, Val};

/// The variables that expressions may use.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(Name, Type, Option<Arc<Declared>>)>,
    types: Vec<MadeType>,
    binds: bool,
}

impl Environment {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable of which nothing is declared.
    #[must_use]
    pub fn variable(mut self, name: &str) -> Self {
        self.variables.push((name.into(), Type::Dyn, None));
        self
    }

    /// Adds a variable whose values are declared.
    #[must_use]
    pub fn declared(mut self, name: &str, declared: &Arc<Declared>) -> Self {
        self.variables.push((name.into(), declared.as_type(), Some(Arc::clone(declared))));
        self
    }

    /// Adds a variable that has a declared value, or none.
    #[must_use]
    pub fn optional(mut self, name: &str, declared: &Arc<Declared>) -> Self {
        let ty = Type::Optional(Arc::new(declared.as_type()));
        self.variables.push((name.into(), ty, Some(Arc::clone(declared))));
        self
    }

    /// Adds a variable of a type. Its name may have several parts, as `variables.limit`.
    #[must_use]
    pub fn typed(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty, None));
        self
    }

    /// Says that there are variables whose names begin with this and a dot, even if there is none. It takes the place of a
    /// variable, which has no value.
    #[must_use]
    pub fn scope(self, name: &str) -> Self {
        self.typed(&format!("{name}."), Type::Dyn)
    }

    /// Adds a type that objects can be made of.
    #[must_use]
    pub fn made(mut self, made: MadeType) -> Self {
        self.types.push(made);
        self
    }

    /// Says that expressions may name values by `cel.bind`, as only those of devices may in Kubernetes.
    #[must_use]
    pub fn binds(self) -> Self {
        Self { binds: true, ..self }
    }

    /// The names of the variables, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, ..)| &**name)
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let expr = parser::parse(text, self.binds).map_err(|faults| CompileError::of(text, faults))?;
        let mut checker = Checker::new();
        for (name, ty, declared) in &self.variables {
            match declared {
                Some(_) => checker.declare(Arc::clone(name), ty.clone(), declared.clone()),
                None => checker.declare_type(Arc::clone(name), ty.clone()),
            }
        }
        for made in &self.types {
            checker.declare_made(made.clone());
        }
        let Found { checked, used } =
            checker.check(&expr).map_err(|faults| CompileError::of(text, faults))?;
        let variables = self.variables.len();
        Ok(Program { code: checked.code, ty: checked.ty, cost: checked.estimate.cost, used, variables })
    }
}

/// An expression, compiled.
#[derive(Clone, Debug)]
pub struct Program {
    code: Code,
    ty: Type,
    cost: u64,
    used: Vec<Name>,
    /// How many variables its environment has: names within it come after them.
    variables: usize,
}

impl Program {
    /// The type of its value.
    pub fn output(&self) -> &Type {
        &self.ty
    }

    /// The most that an evaluation may cost, as far as sizes are declared.
    pub fn most_cost(&self) -> u64 {
        self.cost
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.used.iter().any(|name| &**name == variable)
    }

    /// Evaluates it, with a value for each variable of the environment, in their order.
    ///
    /// # Errors
    /// Why it has no value, or that it costs more than it may.
    pub fn evaluate<'v>(&'v self, variables: &[Val<'v>], budget: &mut Budget) -> Result<Val<'v>, EvalError> {
        self.evaluate_with(variables.iter().cloned().map(Ok).collect(), budget)
    }

    /// [`Program::evaluate`] where some variables have no value: an expression that asks for one fails as that did. Values
    /// for variables that were added to the environment later are left aside.
    ///
    /// # Errors
    /// As there.
    pub fn evaluate_with<'v>(
        &'v self,
        mut variables: Vec<Result<Val<'v>, EvalError>>,
        budget: &mut Budget,
    ) -> Result<Val<'v>, EvalError> {
        variables.resize(self.variables, Ok(Val::Null));
        eval::Eval::new(variables, budget).run(&self.code)
    }
}
