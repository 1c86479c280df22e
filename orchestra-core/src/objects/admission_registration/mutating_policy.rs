use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicySpec, Mutation,
};
use serde_json::Value;

use super::expressions::{Compiler, Wanted, Whose};
use super::validating_policy::{self, expression, failure_policy, parameter_kind, variables};
use super::{REINVOCATION_POLICIES, check, rules};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};

/// The rules of MutatingAdmissionPolicy objects.
pub(in crate::objects) struct MutatingPolicyRules;

impl Rules for MutatingPolicyRules {
    type Object = MutatingAdmissionPolicy;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const GENERATION: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Mutations", "How many changes it makes.").integer(),
        Column::new("ParamKind", "Of which kind its parameters are."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        validating_policy::default(object);
    }

    fn validate(object: &MutatingAdmissionPolicy, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = MutatingAdmissionPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        failure_policy(spec.failure_policy.as_deref(), &path, errors);
        if let Some(kind) = &spec.param_kind {
            rules::parameters(kind, &path.child("paramKind"), errors);
        }
        let at = path.child("matchConstraints");
        rules::constraints(spec.match_constraints.as_ref(), &at, errors);
        rules::mutable(spec.match_constraints.as_ref(), &at, errors);
        let mut compiler = Compiler::new(Whose::Mutating { params: spec.param_kind.is_some() });
        let conditions = spec.match_conditions.as_deref().unwrap_or_default();
        rules::conditions(conditions, &compiler, &path.child("matchConditions"), errors);
        variables(spec.variables.as_deref().unwrap_or_default(), &mut compiler, &path, errors);
        let mutations = spec.mutations.as_deref().unwrap_or_default();
        let at = path.child("mutations");
        if mutations.is_empty() {
            errors.required(&at, "mutations must contain at least one item");
        }
        for (index, one) in mutations.iter().enumerate() {
            mutation(one, &compiler, &at.index(index), errors);
        }
        let policy = spec.reinvocation_policy.as_deref().unwrap_or_default();
        check::one_of(errors, &path.child("reinvocationPolicy"), policy, &REINVOCATION_POLICIES);
    }

    fn cells(object: &MutatingAdmissionPolicy, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            spec.mutations.map_or(0, |mutations| mutations.len()).into(),
            parameter_kind(spec.param_kind.as_ref()).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// A change has the one form that it says it has.
fn mutation(mutation: &Mutation, compiler: &Compiler, path: &Path, errors: &mut Errors) {
    let kind = mutation.patch_type.as_str();
    check::one_of(errors, &path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
    let given = |text: Option<&Option<String>>| text.map(|text| text.clone().unwrap_or_default());
    let forms = [
        (
            "ApplyConfiguration",
            "applyConfiguration",
            given(mutation.apply_configuration.as_ref().map(|form| &form.expression)),
        ),
        ("JSONPatch", "jsonPatch", given(mutation.json_patch.as_ref().map(|form| &form.expression))),
    ];
    let (own, other): (Vec<_>, Vec<_>) = forms.into_iter().partition(|(form, ..)| *form == kind);
    if own.is_empty() {
        return;
    }
    for (form, field, text) in own.into_iter().chain(other) {
        let at = path.child(field);
        match text {
            None if form == kind => {
                errors.required(&at, format!("must be specified when patchType is {kind}"));
            }
            Some(text) if form == kind && text.trim().is_empty() => {
                errors.required(&at.child("expression"), "");
            }
            Some(text) if form == kind => {
                let wanted = if kind == "JSONPatch" { Wanted::Patches } else { Wanted::Object };
                expression(&text, compiler, wanted, &at.child("expression"), errors);
            }
            Some(_) => {
                let detail = format!("must not be specified when patchType is {kind}");
                errors.invalid(&at, format!("{{{field}}}"), detail);
            }
            None => {}
        }
    }
}
