//! Which policies hold for a request, and with which parameters.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ParamRef;
use serde_json::Value;

use super::super::review::Subject;
use super::definition::{Binding, Policy};
use crate::api::{Caches, Open, Status};
use crate::meta::ObjectName;
use crate::selector::Selector;
use crate::watch::{Entry, Query};

/// A policy that is asked about a request by way of a binding.
pub(super) struct Invocation<'v, R> {
    pub(super) policy: Arc<Policy<R>>,
    pub(super) binding: Arc<Binding>,
    /// The version in which the policy sees the request.
    pub(super) version: (&'v str, &'v str),
    /// The parameters; null where the policy has some and the binding gives none.
    pub(super) params: Option<Value>,
}

/// That a policy, or a binding of it, cannot be made to hold.
#[derive(Debug)]
pub(super) struct Misconfigured<R> {
    pub(super) policy: Arc<Policy<R>>,
    pub(super) binding: Option<Arc<Binding>>,
    pub(super) why: String,
}

/// What is to be asked, in the order of the policies and of their bindings, and what cannot be.
pub(super) type Asked<'v, R> = Vec<Result<Invocation<'v, R>, Misconfigured<R>>>;

/// The policies that hold for a request.
pub(super) async fn find<'v, R>(
    subject: &Subject<'v>,
    policies: &[Arc<Policy<R>>],
    bindings: &[Arc<Binding>],
    caches: &Caches,
) -> Result<Asked<'v, R>, Status> {
    let mut asked = Vec::new();
    for policy in policies {
        let bound: Vec<_> = bindings.iter().filter(|binding| binding.policy == policy.name).collect();
        if bound.is_empty() {
            continue;
        }
        let Some(version) = policy.matcher.version(subject) else { continue };
        if let Some(why) = &policy.broken {
            let why = format!("failed to configure policy: {why}");
            asked.push(Err(Misconfigured { policy: Arc::clone(policy), binding: None, why }));
            continue;
        }
        for binding in bound {
            if binding.matcher.as_ref().is_some_and(|matcher| matcher.version(subject).is_none()) {
                continue;
            }
            let kind = policy.params.as_ref().map(|(version, kind)| (&**version, &**kind));
            let namespace = subject.attributes.name.namespace();
            let found = match parameters(kind, binding.param.as_ref(), namespace, caches) {
                Ok(found) => Ok(shown(found).await?),
                Err(wrong) => Err(wrong),
            };
            match found {
                Ok(all) => asked.extend(all.into_iter().map(|params| {
                    Ok(Invocation {
                        policy: Arc::clone(policy),
                        binding: Arc::clone(binding),
                        version,
                        params,
                    })
                })),
                Err(Unusable { of_policy, why }) => {
                    let what = if of_policy { "policy" } else { "binding" };
                    asked.push(Err(Misconfigured {
                        policy: Arc::clone(policy),
                        binding: (!of_policy).then(|| Arc::clone(binding)),
                        why: format!("failed to configure {what}: {why}"),
                    }));
                }
            }
        }
    }
    Ok(asked)
}

/// Why there are no parameters to evaluate a policy with.
#[derive(Debug, PartialEq, Eq)]
struct Unusable {
    of_policy: bool,
    why: String,
}

/// Where the parameters of a policy are.
enum Parameters {
    /// It has none.
    None,
    /// It has some, and the binding gives none.
    NotGiven,
    /// Objects of a kind, to be seen in a version.
    Objects(Open, (String, String), Vec<Arc<Entry>>),
}

/// The parameters as expressions see them, each to be evaluated by itself.
async fn shown(parameters: Parameters) -> Result<Vec<Option<Value>>, Status> {
    let (kind, (group, version), entries) = match parameters {
        Parameters::None => return Ok(vec![None]),
        Parameters::NotGiven => return Ok(vec![Some(Value::Null)]),
        Parameters::Objects(kind, version, entries) => (kind, version, entries),
    };
    let mut shown = Vec::with_capacity(entries.len());
    for entry in entries {
        let object = entry.to_value().map_err(Status::internal)?;
        shown.push(Some(kind.shown((&group, &version), &object).await?));
    }
    Ok(shown)
}

/// The parameters that a binding gives a policy.
fn parameters(
    kind: Option<(&str, &str)>,
    reference: Option<&ParamRef>,
    namespace: Option<&str>,
    caches: &Caches,
) -> Result<Parameters, Unusable> {
    let Some((api_version, kind)) = kind else { return Ok(Parameters::None) };
    let Some(reference) = reference else { return Ok(Parameters::NotGiven) };
    let wrong = |why: &str| Unusable { of_policy: false, why: why.to_owned() };
    let table = caches.table();
    let (group, version) = crate::api::split_api_version(api_version);
    let row = table.kinds().by_kind(api_version, kind);
    let open = row.and_then(|row| table.served(group, version, &row.id.resource));
    let Some(open) = open else {
        let shown = format!("{api_version}, Kind={kind}");
        let why = format!("failed to find resource referenced by paramKind: '{shown}'");
        return Err(Unusable { of_policy: true, why });
    };
    let given = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let within = match (open.is_namespaced(), given.or(namespace)) {
        (false, _) if given.is_some() => {
            return Err(wrong("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"));
        }
        (false, _) => None,
        (true, Some(namespace)) => Some(namespace),
        (true, None) => {
            return Err(wrong(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            ));
        }
    };
    let entries: Vec<_> =
        match (reference.name.as_deref().filter(|name| !name.is_empty()), &reference.selector) {
            (Some(name), _) => open.cache().get(&ObjectName::new(within, name)).into_iter().collect(),
            (None, Some(selector)) => {
                let selector = Selector::try_from(selector).map_err(|error| wrong(&error.to_string()))?;
                let query = within.map_or_else(Query::all, Query::namespace);
                open.cache().list(&query.labels(selector))
            }
            (None, None) => return Err(wrong("one of name or selector must be provided")),
        };
    if entries.is_empty() && reference.parameter_not_found_action.as_deref() == Some("Deny") {
        return Err(wrong("no params found for policy binding with `Deny` parameterNotFoundAction"));
    }
    Ok(Parameters::Objects(open, (group.to_owned(), version.to_owned()), entries))
}
