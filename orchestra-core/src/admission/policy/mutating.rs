use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use serde_json::Value;

use super::super::review::{Access, Compiled, Decided, Evaluation, Judge, Subject, Unknown, Views, accepted};
use super::definition::{Binding, Mutation, Mutations, Policy};
use super::invocation::{self, Invocation, Misconfigured};
use super::patch;
use super::validating::ENDLESS;
use crate::api::admission::{Admission, Attributes};
use crate::api::{Authorizer, Caches, Resource, Status};
use crate::expression::Budget;

/// Changes what is written as MutatingAdmissionPolicies say.
#[derive(Debug)]
pub struct MutatingPolicies {
    caches: Caches,
    judge: Judge,
    policies: Compiled<Policy<Mutations>>,
    bindings: Compiled<Binding>,
}

/// What went wrong with a policy.
struct Wrong {
    policy: String,
    binding: Option<String>,
    why: String,
    /// Whether it is the request that does not fit, and not the configuration.
    of_request: bool,
}

impl MutatingPolicies {
    /// Over these caches, asking this authorizer.
    pub fn new(caches: &Caches, authorizer: &Arc<dyn Authorizer>) -> Self {
        Self {
            caches: caches.clone(),
            judge: Judge::new(authorizer),
            policies: Compiled::of::<MutatingAdmissionPolicy>(caches),
            bindings: Compiled::of::<MutatingAdmissionPolicyBinding>(caches),
        }
    }

    /// One round over all policies; in the second, only over those that are to be asked again. Says whether the object was
    /// changed.
    async fn round(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        again: Option<&HashSet<(String, String)>>,
    ) -> Result<HashSet<(String, String)>, Status> {
        let (policies, bindings) =
            (self.policies.all(Policy::mutating), self.bindings.all(Binding::mutating));
        let namespace = Subject::find_namespace(attributes, &self.caches);
        let seen = object.clone();
        let subject = Subject::new(attributes, Some(&seen), namespace.clone());
        let asked = invocation::find(&subject, &policies, &bindings, &self.caches).await?;
        let (mut access, mut wrong, mut invoked) = (Access::new(), Vec::new(), HashSet::new());
        let mut before = HashSet::new();
        for one in asked {
            let invocation = match one {
                Ok(invocation) => invocation,
                Err(one) => {
                    wrong.extend(misconfigured(one));
                    continue;
                }
            };
            let key = (invocation.policy.name.clone(), invocation.binding.name.clone());
            if again.is_some_and(|again| !again.contains(&key)) {
                continue;
            }
            let held = object.clone();
            self.invoke(attributes, (&invocation, namespace.clone()), object, &mut access, &mut wrong).await;
            // Those that were asked before see what this one has changed, if they want to.
            if held != *object {
                invoked.extend(std::mem::take(&mut before));
            }
            if invocation.policy.rules.again {
                before.insert(key);
            }
        }
        refuse(attributes, &wrong)?;
        Ok(invoked)
    }

    /// Makes the changes of one policy. One that cannot be made is told, and the others are made.
    async fn invoke(
        &self,
        attributes: &Attributes<'_>,
        (invocation, namespace): (&Invocation<'_, Mutations>, Option<Arc<Value>>),
        object: &mut Value,
        access: &mut Access,
        wrong: &mut Vec<Wrong>,
    ) {
        let policy = &invocation.policy;
        let mut tell = |why: String| {
            if policy.fails {
                wrong.push(Wrong {
                    policy: policy.name.clone(),
                    binding: Some(invocation.binding.name.clone()),
                    why,
                    of_request: true,
                });
            }
        };
        for index in 0..policy.rules.all.len() {
            let made = {
                let subject = Subject::new(attributes, Some(object), namespace.clone());
                let mut views = Views::default();
                match views.of(&subject, invocation.version).await {
                    Ok(view) => {
                        let judged = self.judge.settle(attributes.user, access, |access| {
                            let inputs = view.inputs(&subject, invocation.params.as_ref(), access);
                            make(attributes, invocation, index, view.object(), inputs)
                        });
                        judged.await.unwrap_or_else(|| Err(ENDLESS.to_owned()))
                    }
                    Err(status) => Err(status.to_string()),
                }
            };
            let revised = match made {
                Ok(None) => return,
                Ok(Some(made)) => accepted(attributes, invocation.version, made, object).await,
                Err(why) => Err(why),
            };
            match revised {
                Ok(revised) => *object = revised,
                Err(why) => tell(why),
            }
        }
    }

    async fn change(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let bindings = self.bindings.all(Binding::mutating);
        if bindings.is_empty() || Subject::is_of_judges(attributes) || Subject::is_review(attributes) {
            return Ok(Vec::new());
        }
        if attributes.again {
            let policies = self.policies.all(Policy::mutating);
            let willing = policies.iter().filter(|policy| policy.rules.again);
            let named = willing.map(|policy| &policy.name);
            let bound = named.flat_map(|name| bindings.iter().filter(move |bound| bound.policy == *name));
            let again = bound.map(|bound| (bound.policy.clone(), bound.name.clone())).collect();
            return self.round(attributes, object, Some(&again)).await.map(|_| Vec::new());
        }
        let again = self.round(attributes, object, None).await?;
        if !again.is_empty() {
            self.round(attributes, object, Some(&again)).await?;
        }
        Ok(Vec::new())
    }
}

#[async_trait]
impl Admission for MutatingPolicies {
    fn concerns(&self, _kind: &Resource) -> bool {
        !self.bindings.all(Binding::mutating).is_empty()
    }

    fn is_foreign(&self) -> bool {
        true
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        // What is sent was changed, and not what comes of it.
        if attributes.body.is_some() {
            return Ok(Vec::new());
        }
        self.change(attributes, object).await
    }

    async fn review_body(
        &self,
        attributes: &Attributes<'_>,
        body: &mut Value,
    ) -> Result<Vec<String>, Status> {
        self.change(attributes, body).await
    }
}

/// What one change of a policy makes of the object; `None` when the policy's conditions are not met.
fn make(
    attributes: &Attributes<'_>,
    invocation: &Invocation<'_, Mutations>,
    index: usize,
    object: &Value,
    inputs: super::super::review::Inputs<'_>,
) -> Result<Result<Option<Value>, String>, Unknown> {
    let policy = &*invocation.policy;
    match policy.conditions.decide(inputs)? {
        Decided::Met => {}
        Decided::Unmet => return Ok(Ok(None)),
        Decided::Failed(why) => return Ok(if policy.fails { Err(why) } else { Ok(None) }),
    }
    let mut evaluation = Evaluation::new(inputs, &policy.variables, Budget::POLICY);
    let (Mutation::Apply(compiled) | Mutation::Patch(compiled)) = &policy.rules.all[index];
    let program = match compiled {
        Ok(program) => program,
        Err(why) => return Ok(Err(why.clone())),
    };
    let value = match evaluation.value(program)? {
        Ok(value) => value,
        Err(failure) => return Ok(Err(failure.to_string())),
    };
    let resource = attributes.resource;
    let made = match &policy.rules.all[index] {
        Mutation::Apply(_) => patch::applied(resource, invocation.version, object, &value),
        Mutation::Patch(_) => patch::operations(resource, object, &value),
    };
    Ok(made.map(Some))
}

fn misconfigured(wrong: Misconfigured<Mutations>) -> Option<Wrong> {
    wrong.policy.fails.then(|| Wrong {
        policy: wrong.policy.name.clone(),
        binding: wrong.binding.map(|binding| binding.name.clone()),
        why: wrong.why,
        of_request: false,
    })
}

/// Refuses a request for what went wrong, in the words and with the code of Kubernetes: 403, whatever the reason.
fn refuse(attributes: &Attributes<'_>, wrong: &[Wrong]) -> Result<(), Status> {
    let Some(first) = wrong.first() else { return Ok(()) };
    let message = |wrong: &Wrong| {
        let with = wrong.binding.as_ref().map(|binding| format!(" with binding '{binding}'"));
        format!("policy '{}'{} denied request: {}", wrong.policy, with.unwrap_or_default(), wrong.why)
    };
    let (id, name) = (&attributes.resource.id, attributes.name.name());
    let mut object = Status::forbidden(id, name, "").to_object();
    object.message = Some(message(first));
    if first.of_request {
        object.reason = Some("Invalid".to_owned());
    }
    let causes =
        wrong.iter().map(|wrong| metav1::StatusCause { message: Some(message(wrong)), ..Default::default() });
    object.details.get_or_insert_default().causes = Some(causes.collect());
    Err(Status::from_object(object))
}
