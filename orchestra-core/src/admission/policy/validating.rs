use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde::Serialize;
use serde_json::Value;

use super::super::review::{
    Access, Compiled, Decided, Evaluation, Failure, Inputs, Judge, Subject, Unknown, Views,
};
use super::definition::{Action, Binding, Policy, Validation, Validations};
use super::invocation::{self, Invocation};
use crate::api::admission::{Admission, Attributes};
use crate::api::{Authorizer, Caches, Reason, Resource, Status};
use crate::expression::Budget;

/// The most bytes that a message which an expression makes may have, as in Kubernetes.
const MAX_MESSAGE: usize = 5 * 1024;
/// The most bytes that a note for the audit log may have, as in Kubernetes.
const MAX_NOTE: usize = 10 * 1024;
/// Which rule was broken, in the audit log.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";
/// What is said when an expression asks the authorizer without end.
pub(super) const ENDLESS: &str = "the expressions ask the authorizer too much";

/// Refuses what ValidatingAdmissionPolicies say may not be.
#[derive(Debug)]
pub struct ValidatingPolicies {
    caches: Caches,
    judge: Judge,
    policies: Compiled<Policy<Validations>>,
    bindings: Compiled<Binding>,
}

/// That a request breaks a rule of a policy, or that a policy has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken {
    message: String,
    reason: Option<String>,
    /// The place of the rule in the policy.
    index: usize,
}

/// What a policy says of a request.
#[derive(Debug, Default)]
struct Judgement {
    broken: Vec<Broken>,
    /// What refuses the request whatever the binding says of broken rules.
    refused: Vec<String>,
    /// What is noted of the request.
    notes: Vec<(String, String)>,
}

impl ValidatingPolicies {
    /// Over these caches, asking this authorizer.
    pub fn new(caches: &Caches, authorizer: &Arc<dyn Authorizer>) -> Self {
        Self {
            caches: caches.clone(),
            judge: Judge::new(authorizer),
            policies: Compiled::of::<ValidatingAdmissionPolicy>(caches),
            bindings: Compiled::of::<ValidatingAdmissionPolicyBinding>(caches),
        }
    }

    async fn judge(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let bindings = self.bindings.all(Binding::validating);
        if bindings.is_empty() || Subject::is_of_judges(attributes) || Subject::is_review(attributes) {
            return Ok(Vec::new());
        }
        let policies = self.policies.all(Policy::validating);
        let namespace = Subject::find_namespace(attributes, &self.caches);
        let subject = Subject::new(attributes, object, namespace);
        let (mut views, mut access) = (Views::default(), Access::new());
        let (mut denied, mut warnings) = (Vec::new(), Vec::new());
        let mut notes = BTreeMap::<String, Vec<String>>::new();
        for asked in invocation::find(&subject, &policies, &bindings, &self.caches).await? {
            let invocation = match asked {
                Ok(invocation) => invocation,
                Err(wrong) if wrong.policy.fails => {
                    let binding = wrong.binding.as_ref().map(|binding| &*binding.name);
                    denied.push((refusal(&wrong.policy.name, binding, &wrong.why), None));
                    continue;
                }
                Err(_) => continue,
            };
            let view = views.of(&subject, invocation.version).await?;
            let judged = self.judge.settle(attributes.user, &mut access, |access| {
                judge(&invocation, view.inputs(&subject, invocation.params.as_ref(), access))
            });
            let judgement = judged
                .await
                .unwrap_or_else(|| Judgement { refused: vec![ENDLESS.to_owned()], ..Judgement::default() });
            for (key, text) in &judgement.notes {
                let texts = notes.entry(format!("{}/{key}", invocation.policy.name)).or_default();
                let text = &text[..text.floor_char_boundary(MAX_NOTE)];
                if !texts.iter().any(|held| held == text) {
                    texts.push(text.to_owned());
                }
            }
            act(attributes, &invocation, judgement, &mut denied, &mut warnings);
        }
        // A policy that is asked with several parameters may have several notes of a name.
        for (name, texts) in notes {
            attributes.note(&name, || texts.join(", "));
        }
        match denied.into_iter().next() {
            Some((message, reason)) => Err(forbidden(attributes, message, reason).warned(&warnings)),
            None => Ok(warnings),
        }
    }
}

#[async_trait]
impl Admission for ValidatingPolicies {
    fn concerns(&self, _kind: &Resource) -> bool {
        !self.bindings.all(Binding::validating).is_empty()
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        // What is sent was judged, and not what comes of it.
        if attributes.body.is_some() {
            return Ok(Vec::new());
        }
        self.judge(attributes, object).await
    }

    async fn review_body(
        &self,
        attributes: &Attributes<'_>,
        body: &mut Value,
    ) -> Result<Vec<String>, Status> {
        self.judge(attributes, Some(body)).await
    }

    async fn connect(&self, attributes: &Attributes<'_>, options: &Value) -> Result<Vec<String>, Status> {
        self.judge(attributes, Some(options)).await
    }
}

/// What is said of a request that a policy refuses.
pub(super) fn refusal(policy: &str, binding: Option<&str>, why: &str) -> String {
    let with = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
    format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {why}")
}

/// The refusal of a request for a reason, with the reason's code.
fn forbidden(attributes: &Attributes<'_>, message: String, reason: Option<String>) -> Status {
    let (id, name) = (&attributes.resource.id, attributes.name.name());
    let status = Status::forbidden(id, name, &message);
    let reason = reason.unwrap_or_else(|| "Invalid".to_owned());
    let mut object = status.to_object();
    object.code = Some(match &*reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    });
    object.reason =
        Some(if Reason::parse(&reason) == Reason::Unknown { "Invalid".to_owned() } else { reason });
    let cause = metav1::StatusCause { message: Some(message), ..Default::default() };
    object.details.get_or_insert_default().causes.get_or_insert_default().push(cause);
    Status::from_object(object)
}

/// A broken rule, as the audit log has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'f> {
    message: &'f str,
    policy: &'f str,
    binding: &'f str,
    expression_index: usize,
    validation_actions: &'f [Action],
}

/// Does what the binding says of what was found.
fn act(
    attributes: &Attributes<'_>,
    invocation: &Invocation<'_, Validations>,
    judgement: Judgement,
    denied: &mut Vec<(String, Option<String>)>,
    warnings: &mut Vec<String>,
) {
    let (policy, binding) = (&invocation.policy.name, &invocation.binding.name);
    for broken in judgement.broken {
        for action in &invocation.binding.actions {
            let message = &broken.message;
            match action {
                Action::Deny => {
                    denied.push((refusal(policy, Some(binding), message), broken.reason.clone()));
                }
                Action::Warn => warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )),
                Action::Audit => attributes.note(FAILURE, || {
                    let failed = Failed {
                        message,
                        policy,
                        binding,
                        expression_index: broken.index,
                        validation_actions: &invocation.binding.actions,
                    };
                    serde_json::to_string(&[failed]).unwrap_or_default()
                }),
            }
        }
    }
    denied.extend(judgement.refused.iter().map(|why| (refusal(policy, Some(binding), why), None)));
}

/// What a policy says of a request.
fn judge(invocation: &Invocation<'_, Validations>, inputs: Inputs<'_>) -> Result<Judgement, Unknown> {
    let policy = &*invocation.policy;
    let mut judgement = Judgement::default();
    match policy.conditions.decide(inputs)? {
        Decided::Met => {}
        Decided::Unmet => return Ok(judgement),
        Decided::Failed(message) => {
            if policy.fails {
                judgement.broken.push(Broken { message, reason: None, index: 0 });
            }
            return Ok(judgement);
        }
    }
    let mut evaluation = Evaluation::new(inputs, &policy.variables, Budget::POLICY);
    for (index, validation) in policy.rules.all.iter().enumerate() {
        let outcome = match &validation.expression {
            Ok(program) => evaluation.holds(program)?,
            Err(why) => Err(Failure::Failed(why.clone())),
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                let reason = validation.reason.clone();
                let message = message(validation, &mut evaluation)?;
                judgement.broken.push(Broken { message, reason, index });
            }
            Err(failure) => {
                if policy.fails {
                    let message = failed(&validation.text, &failure);
                    judgement.broken.push(Broken { message, reason: None, index });
                }
                if failure == Failure::Spent {
                    return Ok(judgement);
                }
            }
        }
    }
    note(policy, inputs, &mut judgement)?;
    Ok(judgement)
}

fn failed(text: &str, failure: &Failure) -> String {
    match failure {
        Failure::Spent => failure.to_string(),
        Failure::Failed(why) => format!("expression '{text}' resulted in error: {why}"),
    }
}

/// What is said of a rule that is broken: what its expression says, else its text, else the rule itself.
fn message<'v>(validation: &'v Validation, evaluation: &mut Evaluation<'v>) -> Result<String, Unknown> {
    if let Some(Ok(program)) = &validation.message_expression
        && let Ok(value) = evaluation.value(program)?
        && let Some(text) = value.as_str().map(str::trim)
        && !text.is_empty()
        && text.len() <= MAX_MESSAGE
        && !text.contains('\n')
    {
        return Ok(text.to_owned());
    }
    Ok(match &*validation.message {
        "" => format!("failed expression: {}", validation.text.trim()),
        message => message.to_owned(),
    })
}

/// What the policy notes of the request for the audit log.
fn note(policy: &Policy<Validations>, inputs: Inputs<'_>, judgement: &mut Judgement) -> Result<(), Unknown> {
    let mut evaluation = Evaluation::new(inputs, &policy.variables, Budget::POLICY);
    for annotation in &policy.rules.annotations {
        let outcome = match &annotation.expression {
            Ok(program) => evaluation.value(program)?,
            Err(why) => Err(Failure::Failed(why.clone())),
        };
        match outcome {
            Ok(value) => {
                let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
                judgement.notes.extend(text.map(|text| (annotation.key.clone(), text.to_owned())));
            }
            Err(failure) if policy.fails => judgement.refused.push(failed(&annotation.text, &failure)),
            Err(_) => {}
        }
    }
    Ok(())
}
