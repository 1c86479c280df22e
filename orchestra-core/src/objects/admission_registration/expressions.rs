//! The expressions of webhooks and policies: which variables they may use, and what their values must be.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::expression::{
    Declared, DeclaredField, DeclaredKind, Environment, MadeType, Opaque, Program, Type,
};

/// What the value of an expression must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whether something is so.
    Truth,
    /// What is told.
    Text,
    /// A note, or none.
    Note,
    /// Anything.
    Anything,
    /// What an object is to have.
    Object,
    /// Changes of an object.
    Patches,
}

impl Wanted {
    fn fits(self, ty: &Type) -> bool {
        match self {
            Self::Truth => *ty == Type::Bool,
            Self::Text => *ty == Type::String,
            Self::Note => matches!(ty, Type::String | Type::Null),
            Self::Anything => true,
            Self::Object => *ty == Type::Made("Object".into()),
            Self::Patches => match ty {
                Type::List(of) => **of == Type::Made("JSONPatch".into()),
                _ => false,
            },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Truth => "bool",
            Self::Text => "string",
            Self::Note => "one of [string null_type]",
            Self::Anything => "any",
            Self::Object => "Object",
            Self::Patches => "list(JSONPatch)",
        }
    }
}

/// Whose expressions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A webhook's conditions.
    Webhook,
    /// A validating policy's.
    Validating {
        /// Whether it has parameters.
        params: bool,
    },
    /// A mutating policy's.
    Mutating {
        /// Whether it has parameters.
        params: bool,
    },
}

/// Compiles the expressions of one webhook or policy, of which the later may use the variables of the earlier.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    environment: Environment,
    conditions: Environment,
}

impl Compiler {
    /// For expressions about objects of which nothing is known.
    pub(crate) fn new(whose: Whose) -> Self {
        Self::over(whose, None)
    }

    /// For expressions about objects that are declared.
    pub(crate) fn over(whose: Whose, object: Option<&Arc<Declared>>) -> Self {
        let typed = |environment: Environment, name: &str| match object {
            Some(declared) => environment.declared(name, declared),
            None => environment.variable(name),
        };
        let params = match whose {
            Whose::Webhook => false,
            Whose::Validating { params } | Whose::Mutating { params } => params,
        };
        let mut environment = typed(typed(Environment::new(), "object"), "oldObject")
            .declared("request", &REQUEST)
            .declared("namespaceObject", &NAMESPACE)
            .typed("authorizer", Type::Opaque(Opaque::Authorizer))
            .typed("authorizer.requestResource", Type::Opaque(Opaque::ResourceCheck));
        if params {
            environment = environment.variable("params");
        }
        let conditions = environment.clone();
        if let Whose::Mutating { .. } = whose {
            environment = environment.scope("variables").made(MadeType::Open("Object".into())).made(patch());
        }
        Self { environment, conditions }
    }

    /// Says that there are variables of the policy's own, even if none of them can be used.
    pub(crate) fn has_variables(&mut self) {
        if !self.environment.names().any(|name| name == "variables.") {
            self.environment = self.environment.clone().scope("variables");
        }
    }

    /// Compiles a variable of the policy's own, which the expressions after it may use. One that is wrong may be used too: it
    /// is told once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn variable(&mut self, name: &str, text: &str) -> Result<Program, String> {
        self.has_variables();
        let compiled = self.compile(text, Wanted::Anything);
        let ty = compiled.as_ref().map_or(Type::Dyn, |program| program.output().clone());
        self.environment = self.environment.clone().typed(&format!("variables.{name}"), ty);
        compiled
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn compile(&self, text: &str, wanted: Wanted) -> Result<Program, String> {
        compile(&self.environment, text, wanted)
    }

    /// Compiles a condition, which cannot use the policy's variables.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn condition(&self, text: &str) -> Result<Program, String> {
        compile(&self.conditions, text, Wanted::Truth)
    }
}

/// Compiles an expression that must have a value of a type.
pub(crate) fn compile(environment: &Environment, text: &str, wanted: Wanted) -> Result<Program, String> {
    let program = environment.compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    if wanted.fits(program.output()) {
        return Ok(program);
    }
    Err(format!("must evaluate to {} but got {}", wanted.name(), program.output()))
}

/// A change in the form of RFC 6902.
fn patch() -> MadeType {
    let text = |name: &str| (Arc::from(name), Type::String);
    let fields = vec![text("op"), text("path"), text("from"), (Arc::from("value"), Type::Dyn)];
    MadeType::Closed("JSONPatch".into(), fields)
}

fn value(kind: DeclaredKind) -> Arc<Declared> {
    let most = match &kind {
        DeclaredKind::Bool | DeclaredKind::Int | DeclaredKind::Object(_) => 1,
        _ => u64::MAX,
    };
    Arc::new(Declared { kind, most, least_bytes: 1 })
}

fn object<const N: usize>(fields: [(&str, Arc<Declared>); N]) -> Arc<Declared> {
    let fields = fields.into_iter().map(|(name, of)| {
        let name: Arc<str> = name.into();
        (Arc::clone(&name), DeclaredField { name, of })
    });
    value(DeclaredKind::Object(fields.collect::<BTreeMap<_, _>>()))
}

fn texts<const N: usize>(names: [&str; N]) -> Arc<Declared> {
    object(names.map(|name| (name, value(DeclaredKind::String))))
}

/// The variable `request`: the review that a webhook is sent, without the objects.
static REQUEST: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let text = || value(DeclaredKind::String);
    let list = || value(DeclaredKind::List(text(), crate::expression::Elements::InOrder));
    let kind = || texts(["group", "version", "kind"]);
    let resource = || texts(["group", "version", "resource"]);
    let user = object([
        ("username", text()),
        ("uid", text()),
        ("groups", list()),
        ("extra", value(DeclaredKind::Map(list()))),
    ]);
    object([
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", user),
        ("dryRun", value(DeclaredKind::Bool)),
        ("options", value(DeclaredKind::Dyn)),
    ])
});

/// The variable `namespaceObject`: what expressions may know of a namespace.
static NAMESPACE: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let text = || value(DeclaredKind::String);
    let list = || value(DeclaredKind::List(text(), crate::expression::Elements::InOrder));
    let map = || value(DeclaredKind::Map(text()));
    let time = || value(DeclaredKind::Timestamp);
    let metadata = object([
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", map()),
        ("annotations", map()),
        ("UID", text()),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", value(DeclaredKind::Int)),
        ("deletionTimestamp", time()),
        ("generation", value(DeclaredKind::Int)),
        ("resourceVersion", text()),
        ("finalizers", list()),
    ]);
    object([
        ("metadata", metadata),
        ("spec", object([("finalizers", list())])),
        ("status", object([("phase", text())])),
    ])
});
