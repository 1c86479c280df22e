use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::rules::Permissions;
use crate::api::{Status, Target, User};
use crate::selector::FieldSelector;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AccessRequest<'r> {
    /// Something with a resource.
    #[non_exhaustive]
    Resource {
        /// What: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`, or a verb of a
        /// kind's own.
        verb: &'r str,
        /// With what. The resource need not be one that is served.
        target: &'r Target,
        /// With which of a collection's objects only.
        fields: Option<&'r FieldSelector>,
    },
    /// Something with a path that is no resource.
    #[non_exhaustive]
    Path {
        /// What: the method of HTTP in small letters.
        verb: &'r str,
        /// With which path, such as `/metrics`.
        path: &'r str,
    },
}

impl<'r> AccessRequest<'r> {
    /// To do something with a resource.
    pub fn resource(verb: &'r str, target: &'r Target) -> Self {
        Self::Resource { verb, target, fields: None }
    }

    /// The same, with those objects of the collection only.
    #[must_use]
    pub fn selecting(self, selected: Option<&'r FieldSelector>) -> Self {
        match self {
            Self::Resource { verb, target, .. } => Self::Resource { verb, target, fields: selected },
            path => path,
        }
    }

    /// To do something with a path that is no resource.
    pub fn path(verb: &'r str, path: &'r str) -> Self {
        Self::Path { verb, path }
    }

    /// The refusal of it, in Kubernetes' words, with the authorizer's reason if it gave one.
    pub fn forbidden(&self, user: &User, reason: &str) -> Status {
        let why = match reason {
            "" => format!("User \"{}\" cannot {self}", user.name),
            reason => format!("User \"{}\" cannot {self}: {reason}", user.name),
        };
        match self {
            Self::Resource { target, .. } => {
                Status::forbidden(&target.id(), target.name.as_deref().unwrap_or_default(), why)
            }
            Self::Path { .. } => Status::forbidden_path(why),
        }
    }
}

impl fmt::Display for AccessRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { verb, target, .. } => {
                write!(f, "{verb} resource \"{}", target.resource)?;
                if let Some(subresource) = &target.subresource {
                    write!(f, "/{subresource}")?;
                }
                write!(f, "\" in API group \"{}\" ", target.group)?;
                match &target.namespace {
                    Some(namespace) => write!(f, "in the namespace \"{namespace}\""),
                    None => f.write_str("at the cluster scope"),
                }
            }
            Self::Path { verb, path } => write!(f, "{verb} path \"{path}\""),
        }
    }
}

/// What an authorizer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be; nobody else is asked.
    Allow,
    /// It may not be, whatever others say.
    Deny,
    /// Others may say. If nobody allows it, it may not be.
    NoOpinion,
}

/// What an authorizer says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it says.
    pub verdict: Verdict,
    /// Why, for whoever is refused and for who looks after the cluster. May be empty.
    pub reason: Cow<'static, str>,
}

impl Decision {
    /// It may be.
    pub fn allow() -> Self {
        Self { verdict: Verdict::Allow, reason: Cow::Borrowed("") }
    }

    /// It may not be, whatever others say.
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict: Verdict::Deny, reason: reason.into() }
    }

    /// Others may say.
    pub fn no_opinion() -> Self {
        Self { verdict: Verdict::NoOpinion, reason: Cow::Borrowed("") }
    }

    /// The same for a reason.
    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Whether it may be.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// Who may do what.
///
/// It is asked for every request, so an answer should take microseconds: read the caches that the
/// [`AuthorizerFactory`](crate::api::AuthorizerFactory) is given, not the API.
#[async_trait]
pub trait Authorizer: Send + Sync + fmt::Debug + 'static {
    /// Whether a user may do something.
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision;

    /// What a user may do in a namespace and in the cluster as a whole, as far as it can be listed: what
    /// `kubectl auth can-i --list` shows, and what decides whether somebody may give a right to others. By default it is
    /// not known.
    fn permissions(&self, _user: &User, _namespace: &str) -> Permissions {
        Permissions::unknown("an authorizer does not list its rules")
    }
}

#[async_trait]
impl<A: Authorizer + ?Sized> Authorizer for Arc<A> {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        (**self).authorize(user, request).await
    }

    fn permissions(&self, user: &User, namespace: &str) -> Permissions {
        (**self).permissions(user, namespace)
    }
}

/// Several authorizers, asked in order until one allows or denies. The reasons of those who had no opinion are kept for
/// the refusal.
#[derive(Clone, Debug, Default)]
pub struct Chain(Vec<Arc<dyn Authorizer>>);

impl Chain {
    /// A chain of none, which allows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Then asks another.
    #[must_use]
    pub fn then(mut self, authorizer: impl Authorizer) -> Self {
        self.0.push(Arc::new(authorizer));
        self
    }
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in &self.0 {
            let decision = authorizer.authorize(user, request).await;
            if decision.verdict != Verdict::NoOpinion {
                return decision;
            }
            if !decision.reason.is_empty() {
                reasons.push(decision.reason);
            }
        }
        Decision::no_opinion().because(reasons.join(", "))
    }

    fn permissions(&self, user: &User, namespace: &str) -> Permissions {
        let all = self.0.iter().map(|authorizer| authorizer.permissions(user, namespace));
        all.fold(Permissions::default(), Permissions::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Says(Decision);

    #[async_trait]
    impl Authorizer for Says {
        async fn authorize(&self, _: &User, _: &AccessRequest<'_>) -> Decision {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_chain_ends_where_somebody_has_an_opinion() {
        let (allow, deny) = (Decision::allow(), Decision::deny("no"));
        let [a, b] = ["a", "b"].map(|reason| Decision::no_opinion().because(reason));
        for (chain, expected) in [
            (vec![], Decision::no_opinion()),
            (vec![&a, &allow, &deny], allow.clone()),
            (vec![&a, &deny, &allow], deny.clone()),
            (vec![&a, &Decision::no_opinion(), &b], Decision::no_opinion().because("a, b")),
        ] {
            let chain = chain.into_iter().fold(Chain::new(), |chain, says| chain.then(Says(says.clone())));
            let decision = chain.authorize(&User::admin(), &AccessRequest::path("get", "/")).await;
            assert_eq!(decision, expected);
        }
    }

    #[test]
    fn refusals_are_in_kubernetes_words() {
        let user = User::named("a");
        let mut pods = Target {
            group: "".into(),
            version: "v1".into(),
            resource: "pods".into(),
            namespace: Some("x".into()),
            name: None,
            subresource: None,
        };
        let list = AccessRequest::resource("list", &pods).forbidden(&user, "");
        assert_eq!(
            list.message(),
            "pods is forbidden: User \"a\" cannot list resource \"pods\" in API group \"\" in the namespace \"x\""
        );
        pods = pods.named("web").sub("log");
        let logs = AccessRequest::resource("get", &pods).forbidden(&user, "not yours");
        assert_eq!(
            logs.message(),
            "pods \"web\" is forbidden: User \"a\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"x\": \
             not yours"
        );
        let path = AccessRequest::path("get", "/metrics").forbidden(&user, "");
        assert_eq!(path.message(), "forbidden: User \"a\" cannot get path \"/metrics\"");
        assert_eq!((path.code(), path.details().unwrap().kind.as_deref()), (403, None));
    }
}
