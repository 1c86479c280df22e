use std::fmt;
use std::sync::Arc;

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
}

#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        (**self).authenticate(credentials).await
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
