use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamKind,
    ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use super::super::review::{Conditions, Matcher};
use crate::expression::Program;
use crate::objects::admission_registration::expressions::{Compiler, Wanted, Whose};
use crate::watch::Entry;

/// An expression and what it was compiled to. One that does not compile, which only an older server has let in, fails
/// whenever it is evaluated.
pub(super) type Compiled = Result<Program, String>;

/// A policy, with what it does.
#[derive(Debug)]
pub(super) struct Policy<R> {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(String, Program)>,
    /// `apiVersion` and kind of its parameters.
    pub(super) params: Option<(String, String)>,
    /// Whether what goes wrong with it refuses the request.
    pub(super) fails: bool,
    /// Why nothing of it can be evaluated.
    pub(super) broken: Option<String>,
    pub(super) rules: R,
}

/// What every policy says.
struct Common<'p> {
    meta: &'p ObjectMeta,
    constraints: Option<&'p MatchResources>,
    conditions: Option<&'p [MatchCondition]>,
    variables: Option<&'p [Variable]>,
    params: Option<&'p ParamKind>,
    failure_policy: Option<&'p str>,
}

impl<R> Policy<R> {
    fn of(common: &Common<'_>, mut compiler: Compiler, rules: impl FnOnce(&Compiler) -> R) -> Self {
        let conditions = common.conditions.unwrap_or_default().iter();
        let conditions =
            Conditions::new(&compiler, conditions.map(|condition| condition.expression.as_str()));
        let (mut variables, mut broken) = (Vec::new(), None);
        for variable in common.variables.unwrap_or_default() {
            match compiler.variable(&variable.name, &variable.expression) {
                Ok(program) => variables.push((variable.name.clone(), program)),
                Err(why) => broken = broken.or(Some(format!("variable '{}': {why}", variable.name))),
            }
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: text(&common.meta.name),
            matcher: Matcher::of(common.constraints.unwrap_or(&MatchResources::default()), false),
            conditions,
            variables,
            params: common.params.map(|kind| (text(&kind.api_version), text(&kind.kind))),
            fails: common.failure_policy != Some("Ignore"),
            broken,
            rules: rules(&compiler),
        }
    }
}

/// What must be so.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) text: String,
    pub(super) expression: Compiled,
    pub(super) message: String,
    pub(super) message_expression: Option<Compiled>,
    pub(super) reason: Option<String>,
}

/// What is noted in the audit log.
#[derive(Debug)]
pub(super) struct Annotation {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) expression: Compiled,
}

/// What a validating policy does.
#[derive(Debug)]
pub(super) struct Validations {
    pub(super) all: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
}

impl Policy<Validations> {
    pub(super) fn validating(entry: &Entry) -> Option<Self> {
        let object = entry.decode_bare::<ValidatingAdmissionPolicy>().ok()?;
        let spec = object.spec.unwrap_or_default();
        let common = Common {
            meta: &object.metadata,
            constraints: spec.match_constraints.as_ref(),
            conditions: spec.match_conditions.as_deref(),
            variables: spec.variables.as_deref(),
            params: spec.param_kind.as_ref(),
            failure_policy: spec.failure_policy.as_deref(),
        };
        let compiler = Compiler::new(Whose::Validating { params: spec.param_kind.is_some() });
        Some(Self::of(&common, compiler, |compiler| {
            let validations = spec.validations.iter().flatten().map(|one| Validation {
                text: one.expression.clone(),
                expression: compiler.compile(&one.expression, Wanted::Truth),
                message: one.message.clone().unwrap_or_default().trim().to_owned(),
                message_expression: one
                    .message_expression
                    .as_deref()
                    .filter(|text| !text.is_empty())
                    .map(|text| compiler.compile(text, Wanted::Text)),
                reason: one.reason.clone(),
            });
            let annotations = spec.audit_annotations.iter().flatten().map(|one| Annotation {
                key: one.key.clone(),
                text: one.value_expression.clone(),
                expression: compiler.compile(one.value_expression.trim(), Wanted::Note),
            });
            Validations { all: validations.collect(), annotations: annotations.collect() }
        }))
    }
}

/// A change that a mutating policy makes.
#[derive(Debug)]
pub(super) enum Mutation {
    /// An object that is merged into what is there.
    Apply(Compiled),
    /// Operations of RFC 6902.
    Patch(Compiled),
}

/// What a mutating policy does.
#[derive(Debug)]
pub(super) struct Mutations {
    pub(super) all: Vec<Mutation>,
    /// Whether it is asked again when others have changed the object after it.
    pub(super) again: bool,
}

impl Policy<Mutations> {
    pub(super) fn mutating(entry: &Entry) -> Option<Self> {
        let object = entry.decode_bare::<MutatingAdmissionPolicy>().ok()?;
        let spec = object.spec.unwrap_or_default();
        let common = Common {
            meta: &object.metadata,
            constraints: spec.match_constraints.as_ref(),
            conditions: spec.match_conditions.as_deref(),
            variables: spec.variables.as_deref(),
            params: spec.param_kind.as_ref(),
            failure_policy: spec.failure_policy.as_deref(),
        };
        let compiler = Compiler::new(Whose::Mutating { params: spec.param_kind.is_some() });
        Some(Self::of(&common, compiler, |compiler| {
            let all = spec.mutations.iter().flatten().map(|one| {
                let patch = one.json_patch.as_ref().and_then(|patch| patch.expression.as_deref());
                let applied = one.apply_configuration.as_ref().and_then(|apply| apply.expression.as_deref());
                match (one.patch_type.as_str(), patch, applied) {
                    ("JSONPatch", Some(text), _) => Mutation::Patch(compiler.compile(text, Wanted::Patches)),
                    (_, _, text) => {
                        Mutation::Apply(compiler.compile(text.unwrap_or_default(), Wanted::Object))
                    }
                }
            });
            let again = spec.reinvocation_policy.as_deref() == Some("IfNeeded");
            Mutations { all: all.collect(), again }
        }))
    }
}

/// What becomes of a request that breaks a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Action {
    Deny,
    Warn,
    Audit,
}

/// Where a policy holds.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) matcher: Option<Matcher>,
    pub(super) param: Option<ParamRef>,
    pub(super) actions: Vec<Action>,
}

impl Binding {
    pub(super) fn validating(entry: &Entry) -> Option<Self> {
        let spec = entry.decode_bare::<ValidatingAdmissionPolicyBinding>().ok()?.spec;
        let actions = spec.validation_actions.iter().filter_map(|action| match action.as_str() {
            "Deny" => Some(Action::Deny),
            "Warn" => Some(Action::Warn),
            "Audit" => Some(Action::Audit),
            _ => None,
        });
        Some(Self {
            name: entry.name().name().to_owned(),
            policy: spec.policy_name,
            matcher: spec.match_resources.as_ref().map(|resources| Matcher::of(resources, true)),
            param: spec.param_ref,
            actions: actions.collect(),
        })
    }

    pub(super) fn mutating(entry: &Entry) -> Option<Self> {
        let spec = entry.decode_bare::<MutatingAdmissionPolicyBinding>().ok()?.spec.unwrap_or_default();
        Some(Self {
            name: entry.name().name().to_owned(),
            policy: spec.policy_name.unwrap_or_default(),
            matcher: spec.match_resources.as_ref().map(|resources| Matcher::of(resources, true)),
            param: spec.param_ref,
            actions: vec![Action::Deny],
        })
    }
}
