use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use crate::api::{Status, User};

/// A client certificate that the transport has verified: its owner holds the key, and an authority of the cluster
/// signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it names: the common name, in the groups that the organizations name.
    pub user: User,
    /// The certificate itself, in DER form.
    pub der: Vec<u8>,
}

/// What a request shows to say who sends it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Credentials<'r> {
    /// The certificate of the connection.
    pub certificate: Option<&'r Certificate>,
    /// The bearer token.
    pub token: Option<&'r str>,
}

impl<'r> Credentials<'r> {
    /// A certificate, a token, both or none.
    pub fn new(certificate: Option<&'r Certificate>, token: Option<&'r str>) -> Self {
        Self { certificate, token }
    }
}

/// The audience of tokens that are for the API itself, and who issues those of service accounts.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Whose a token is, and for which of the audiences that were asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub user: User,
    /// Those of the audiences that it is for.
    pub audiences: Vec<String>,
}

/// Finds out who sends a request.
#[async_trait]
pub trait Authenticator: Send + Sync + fmt::Debug + 'static {
    /// The user that these credentials belong to; `None` if this authenticator does not know them, so that the next is
    /// asked. Credentials that nobody knows are refused with 401, a request that shows none is anonymous.
    ///
    /// # Errors
    /// When the credentials are of the kind that it knows and are wrong, or when it cannot tell. The next authenticator
    /// is asked all the same: the error counts only when none knows them.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status>;

    /// Whose a bearer token is, if it is for one of these audiences; for the API, if there are none. A token that says
    /// nothing of audiences is for the API.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        if !audiences.is_empty() && !audiences.iter().any(|audience| audience == API_AUDIENCE) {
            return Ok(None);
        }
        let user = self.authenticate(&Credentials::new(None, Some(token))).await?;
        Ok(user.map(|user| Known { user, audiences: vec![API_AUDIENCE.to_owned()] }))
    }
}

#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        (**self).authenticate(credentials).await
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        (**self).review(token, audiences).await
    }
}

/// The first that knows the credentials says whose they are.
#[async_trait]
impl Authenticator for Vec<Arc<dyn Authenticator>> {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        let mut failure = None;
        for authenticator in self {
            match authenticator.authenticate(credentials).await {
                Ok(None) => {}
                Ok(user) => return Ok(user),
                Err(status) => failure = failure.or(Some(status)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        let mut failure = None;
        for authenticator in self {
            match authenticator.review(token, audiences).await {
                Ok(None) => {}
                Ok(known) => return Ok(known),
                Err(status) => failure = failure.or(Some(status)),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}

/// The authenticators of a server: what it knows by itself, and what its hosts know. Cheap to clone; what is added is
/// seen by all clones.
#[derive(Clone, Debug, Default)]
pub struct Authenticators(Arc<RwLock<Vec<Arc<dyn Authenticator>>>>);

impl Authenticators {
    /// Also asks another, after those that there are.
    pub fn add(&self, other: impl Authenticator) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(other));
    }

    fn all(&self) -> Vec<Arc<dyn Authenticator>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Authenticator for Authenticators {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        self.all().authenticate(credentials).await
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        self.all().review(token, audiences).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    #[derive(Debug)]
    struct Knows(Result<Option<&'static str>, ()>);

    #[async_trait]
    impl Authenticator for Knows {
        async fn authenticate(&self, _: &Credentials<'_>) -> Result<Option<User>, Status> {
            let known = self.0.map_err(|()| Status::new(Reason::Unauthorized, "Unauthorized"))?;
            Ok(known.map(User::named))
        }
    }

    #[tokio::test]
    async fn the_first_who_knows_says_it_and_an_error_counts_only_if_none_does() {
        let (a, none, wrong) = (Knows(Ok(Some("a"))), Knows(Ok(None)), Knows(Err(())));
        let [a, none, wrong]: [Arc<dyn Authenticator>; 3] = [Arc::new(a), Arc::new(none), Arc::new(wrong)];
        for (chain, found) in [
            (vec![], Ok(None)),
            (vec![&none, &none], Ok(None)),
            (vec![&none, &wrong], Err(401)),
            (vec![&wrong, &none, &a], Ok(Some("a"))),
        ] {
            let chain: Vec<_> = chain.into_iter().cloned().collect();
            let user = chain.authenticate(&Credentials::default()).await;
            let user = user.map(|user| user.map(|user| user.name)).map_err(|status| status.code());
            assert_eq!(user, found.map(|name: Option<&str>| name.map(str::to_owned)), "{chain:?}");
        }
    }
}
