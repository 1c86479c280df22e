use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::subject::{Asked, check_metadata, shown};
use crate::api::access::{Authorizer, PathRule, ResourceRule, Verdict};
use crate::api::field::{Errors, Path};
use crate::api::{Question, Responder, Status, User};
use crate::meta::Object;

/// Says what another user may do.
#[derive(Debug)]
pub(super) struct Reviews(pub(super) Arc<dyn Authorizer>);

/// Says what another user may do in a namespace.
#[derive(Debug)]
pub(super) struct LocalReviews(pub(super) Arc<dyn Authorizer>);

/// Says what whoever asks may do.
#[derive(Debug)]
pub(super) struct SelfReviews(pub(super) Arc<dyn Authorizer>);

/// Lists what whoever asks may do.
#[derive(Debug)]
pub(super) struct RuleReviews(pub(super) Arc<dyn Authorizer>);

#[async_trait]
impl Responder for Reviews {
    async fn respond(&self, _: &Question<'_>, body: Value) -> Result<Value, Status> {
        let review: SubjectAccessReview = read(&body)?;
        let asked = of_subject(&review.spec);
        let mut errors = check_subject(&asked, &review.spec);
        check_metadata(&review, false, &mut errors);
        valid(&errors)?;
        answer(&*self.0, &subject(review.spec.clone()), &asked, body).await
    }
}

#[async_trait]
impl Responder for LocalReviews {
    async fn respond(&self, _: &Question<'_>, body: Value) -> Result<Value, Status> {
        let review: LocalSubjectAccessReview = read(&body)?;
        let asked = of_subject(&review.spec);
        let mut errors = check_subject(&asked, &review.spec);
        check_metadata(&review, true, &mut errors);
        if let Some(resource) = asked.resource
            && resource.namespace.as_deref().unwrap_or_default()
                != review.metadata.namespace.as_deref().unwrap_or_default()
        {
            let given = resource.namespace.as_deref().unwrap_or_default();
            let path = Path::new("spec.resourceAttributes.namespace");
            errors.invalid(&path, given, "must match metadata.namespace");
        }
        if let Some(path) = asked.path {
            let why = "disallowed on this kind of request";
            errors.invalid_object(&Path::new("spec.nonResourceAttributes"), shown(path), why);
        }
        valid(&errors)?;
        answer(&*self.0, &subject(review.spec.clone()), &asked, body).await
    }
}

#[async_trait]
impl Responder for SelfReviews {
    async fn respond(&self, question: &Question<'_>, body: Value) -> Result<Value, Status> {
        let review: SelfSubjectAccessReview = read(&body)?;
        let spec = &review.spec;
        let asked = Asked {
            resource: spec.resource_attributes.as_ref(),
            path: spec.non_resource_attributes.as_ref(),
        };
        let mut errors = Errors::new();
        asked.check(&mut errors);
        asked.check_selectors(&mut errors);
        check_metadata(&review, false, &mut errors);
        valid(&errors)?;
        answer(&*self.0, question.user, &asked, body).await
    }
}

#[async_trait]
impl Responder for RuleReviews {
    async fn respond(&self, question: &Question<'_>, body: Value) -> Result<Value, Status> {
        let review: SelfSubjectRulesReview = read(&body)?;
        let namespace = review.spec.namespace.unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let mut held = self.0.permissions(question.user, &namespace);
        // The same may be allowed by several.
        held.resources.sort();
        held.resources.dedup();
        held.paths.sort();
        held.paths.dedup();
        let mut status = json!({
            "resourceRules": held.resources.iter().map(resource_rule).collect::<Vec<_>>(),
            "nonResourceRules": held.paths.iter().map(path_rule).collect::<Vec<_>>(),
            "incomplete": held.incomplete,
        });
        if !held.error.is_empty() {
            status["evaluationError"] = held.error.into();
        }
        Ok(json!({
            "kind": SelfSubjectRulesReview::KIND,
            "apiVersion": SelfSubjectRulesReview::api_version(),
            "metadata": {},
            "spec": {},
            "status": status,
        }))
    }
}

fn resource_rule(rule: &ResourceRule) -> Value {
    let mut value = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
    if !rule.names.is_empty() {
        value["resourceNames"] = json!(rule.names);
    }
    value
}

fn path_rule(rule: &PathRule) -> Value {
    json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths})
}

fn read<K: DeserializeOwned>(body: &Value) -> Result<K, Status> {
    K::deserialize(body).map_err(|error| Status::bad_request(error.to_string()))
}

fn of_subject(spec: &SubjectAccessReviewSpec) -> Asked<'_> {
    Asked { resource: spec.resource_attributes.as_ref(), path: spec.non_resource_attributes.as_ref() }
}

fn check_subject(asked: &Asked<'_>, spec: &SubjectAccessReviewSpec) -> Errors {
    let mut errors = Errors::new();
    asked.check(&mut errors);
    let groups = spec.groups.as_ref().is_some_and(|groups| !groups.is_empty());
    if spec.user.as_ref().is_none_or(String::is_empty) && !groups {
        let why = "at least one of user or group must be specified";
        errors.invalid(&Path::new("spec.user"), "", why);
    }
    asked.check_selectors(&mut errors);
    errors
}

/// The refusal of a review, which Kubernetes words without the name of its kind.
fn valid(errors: &Errors) -> Result<(), Status> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(SubjectAccessReview::GROUP, "", "", errors)),
    }
}

fn subject(spec: SubjectAccessReviewSpec) -> User {
    User {
        name: spec.user.unwrap_or_default(),
        groups: spec.groups.unwrap_or_default(),
        uid: spec.uid.unwrap_or_default(),
        extra: spec.extra.unwrap_or_default(),
    }
}

/// A review with its answer.
async fn answer(
    authorizer: &dyn Authorizer,
    user: &User,
    asked: &Asked<'_>,
    mut body: Value,
) -> Result<Value, Status> {
    let (target, fields) = (asked.target(), asked.fields());
    let request = asked.request(target.as_ref(), fields.as_ref());
    let decision = authorizer.authorize(user, &request).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if decision.verdict == Verdict::Deny {
        status["denied"] = true.into();
    }
    if !decision.reason.is_empty() {
        status["reason"] = (*decision.reason).into();
    }
    if let Some(ignored) = asked.ignored() {
        status["evaluationError"] = ignored.into();
    }
    body["status"] = status;
    Ok(body)
}
