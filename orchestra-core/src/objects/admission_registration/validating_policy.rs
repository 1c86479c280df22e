use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    AuditAnnotation, ParamKind, ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec, Validation,
    Variable,
};
use serde_json::{Map, Value};

use super::check::{self, say, shown};
use super::expressions::{Compiler, Wanted, Whose};
use super::{FAILURE_POLICIES, names, rules};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::expression::is_reserved;
use crate::objects::json::{Fields, keep_metadata};

/// The most notes that a policy adds to the audit log, and the most bytes of the expression of one.
const MAX_ANNOTATIONS: usize = 20;
const MAX_VALUE: usize = 5 * 1024;

/// The rules of ValidatingAdmissionPolicy objects.
pub(in crate::objects) struct ValidatingPolicyRules;

impl Rules for ValidatingPolicyRules {
    type Object = ValidatingAdmissionPolicy;

    const UNCONDITIONAL_UPDATE: bool = false;
    const METADATA_CHECKED_ONCE: bool = true;
    const ANY_FINALIZER: bool = true;
    const CATEGORIES: &'static [&'static str] = &["api-extensions"];
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Validations", "How many rules it has.").integer(),
        Column::new("ParamKind", "Of which kind its parameters are."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        default(object);
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_metadata(new, old);
    }

    fn validate(object: &ValidatingAdmissionPolicy, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = ValidatingAdmissionPolicySpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        failure_policy(spec.failure_policy.as_deref(), &path, errors);
        if let Some(kind) = &spec.param_kind {
            rules::parameters(kind, &path.child("paramKind"), errors);
        }
        rules::constraints(spec.match_constraints.as_ref(), &path.child("matchConstraints"), errors);
        let mut compiler = Compiler::new(Whose::Validating { params: spec.param_kind.is_some() });
        let conditions = spec.match_conditions.as_deref().unwrap_or_default();
        rules::conditions(conditions, &compiler, &path.child("matchConditions"), errors);
        variables(spec.variables.as_deref().unwrap_or_default(), &mut compiler, &path, errors);
        let validations = spec.validations.as_deref().unwrap_or_default();
        let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
        if validations.is_empty() && annotations.is_empty() {
            for field in ["validations", "auditAnnotations"] {
                let detail = "validations or auditAnnotations must contain at least one item";
                errors.required(&path.child(field), detail);
            }
        }
        for (index, one) in validations.iter().enumerate() {
            validation(one, &compiler, &path.child("validations").index(index), errors);
        }
        let name = object.metadata.name.as_deref().unwrap_or_default();
        audit_annotations(name, annotations, &compiler, &path.child("auditAnnotations"), errors);
    }

    fn validate_status(
        new: &ValidatingAdmissionPolicy,
        _old: &ValidatingAdmissionPolicy,
        errors: &mut Errors,
    ) {
        let checking = new.status.as_ref().and_then(|status| status.type_checking.as_ref());
        let warnings = checking.and_then(|checking| checking.expression_warnings.as_deref());
        for (index, warning) in warnings.unwrap_or_default().iter().enumerate() {
            let path = Path::new("status.typeChecking.expressionWarnings").index(index);
            for (field, text) in [("warning", &warning.warning), ("fieldRef", &warning.field_ref)] {
                if text.trim().is_empty() {
                    errors.required(&path.child(field), "");
                }
            }
        }
    }

    fn cells(object: &ValidatingAdmissionPolicy, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            spec.validations.map_or(0, |validations| validations.len()).into(),
            parameter_kind(spec.param_kind.as_ref()).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// Fills in what a policy of either kind leaves out.
pub(super) fn default(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else { return };
    spec.or("failurePolicy", "Fail");
    if let Some(constraints) = spec.object("matchConstraints") {
        constraint_defaults(constraints);
    }
}

pub(super) fn constraint_defaults(constraints: &mut Map<String, Value>) {
    rules::default(constraints, &rules::NAMED);
}

pub(super) fn failure_policy(policy: Option<&str>, path: &Path, errors: &mut Errors) {
    let path = path.child("failurePolicy");
    match policy {
        None => errors.required(&path, ""),
        Some(policy) => check::supported(errors, &path, policy, &FAILURE_POLICIES),
    }
}

/// The kind of parameters as a table shows it.
pub(super) fn parameter_kind(kind: Option<&ParamKind>) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    kind.map_or_else(
        || "<unset>".to_owned(),
        |kind| format!("{}/{}", text(&kind.api_version), text(&kind.kind)),
    )
}

/// Names for expressions that others use.
pub(super) fn variables(variables: &[Variable], compiler: &mut Compiler, path: &Path, errors: &mut Errors) {
    if !variables.is_empty() {
        compiler.has_variables();
    }
    for (index, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(index);
        let (at, name) = (path.child("name"), variable.name.as_str());
        if name.trim().is_empty() {
            errors.required(&at, "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at, name, "must be a valid CEL identifier");
        }
        if variable.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        } else if is_identifier(name)
            && let Err(why) = compiler.variable(name, &variable.expression)
        {
            errors.invalid(&path.child("expression"), variable.expression.as_str(), why);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(letter)
        && name.chars().all(|each| letter(each) || each.is_ascii_digit())
        && !is_reserved(name)
}

fn validation(validation: &Validation, compiler: &Compiler, path: &Path, errors: &mut Errors) {
    let at = path.child("expression");
    if validation.expression.trim().is_empty() {
        errors.required(&at, "expression is not specified");
    } else {
        expression(&validation.expression, compiler, Wanted::Truth, &at, errors);
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (message_expression, message) = (text(&validation.message_expression), text(&validation.message));
    let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    if blank(&message_expression) {
        errors.invalid(
            &path.child("messageExpression"),
            message_expression,
            "must be non-empty if specified",
        );
    } else if !message_expression.is_empty() {
        expression(&message_expression, compiler, Wanted::Text, &path.child("messageExpression"), errors);
    }
    let at = path.child("message");
    if blank(&message) {
        errors.invalid(&at, message, "must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at, message, "must not contain line breaks");
    }
    if let Some(reason) = &validation.reason {
        let supported = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        check::supported(errors, &path.child("reason"), reason, &supported);
    }
}

/// An expression compiles, and its value is as it must be.
pub(super) fn expression(text: &str, compiler: &Compiler, wanted: Wanted, path: &Path, errors: &mut Errors) {
    if let Err(why) = compiler.compile(text, wanted) {
        errors.invalid(path, text, why);
    }
}

fn audit_annotations(
    name: &str,
    list: &[AuditAnnotation],
    compiler: &Compiler,
    path: &Path,
    errors: &mut Errors,
) {
    if list.len() > MAX_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.invalid(path, shown(&list), detail);
    }
    let mut seen = HashSet::new();
    for (index, annotation) in list.iter().enumerate() {
        let path = path.index(index);
        let at = path.child("key");
        if name.is_empty() {
            errors.invalid(&at, annotation.key.as_str(), "requires metadata.name be non-empty");
        } else {
            let full = format!("{name}/{}", annotation.key);
            say(errors, &at, &full, names::qualified(&full));
        }
        check::unique(errors, &mut seen, &at, &annotation.key);
        let (at, value) = (path.child("valueExpression"), annotation.value_expression.trim());
        if value.is_empty() {
            errors.required(&at, "valueExpression is not specified");
        } else if value.len() > MAX_VALUE {
            errors.required(&at, format!("must not exceed {MAX_VALUE} bytes in length"));
        } else {
            expression(value, compiler, Wanted::Note, &at, errors);
        }
    }
}
