//! Bootstrap tokens: short-lived tokens that stand in Secrets of the type `bootstrap.kubernetes.io/token`, by which
//! machines come to be known for the first time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use crate::api::access::{API_AUDIENCE, Authenticator, Credentials, Known};
use crate::api::{Caches, Status, User};
use crate::clock::SharedClock;
use crate::meta::ObjectName;

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The namespace in which they count.
pub const NAMESPACE: &str = "kube-system";
/// The group of all who show such a token.
pub const GROUP: &str = "system:bootstrappers";
const NAME: &str = "bootstrap-token-";
/// The field that says when a token ends.
pub const EXPIRATION: &str = "expiration";

/// Knows bootstrap tokens.
#[derive(Debug)]
pub struct BootstrapTokens {
    caches: Caches,
    clock: SharedClock,
}

impl BootstrapTokens {
    /// By the Secrets of these caches.
    pub fn new(caches: &Caches, clock: &SharedClock) -> Self {
        Self { caches: caches.clone(), clock: clock.clone() }
    }

    fn user(&self, token: &str) -> Option<User> {
        let (id, secret) = parts(token)?;
        let cache = self.caches.of::<Secret>()?;
        let entry = cache.get(&ObjectName::namespaced(NAMESPACE, format!("{NAME}{id}")))?;
        if entry.is_deleting() {
            return None;
        }
        let held = entry.decode_bare::<Secret>().ok()?;
        user(&held, id, secret, self.clock.now())
            .inspect_err(|why| tracing::debug!(id, why, "a bootstrap token is refused"))
            .ok()
    }
}

/// The id and the secret of a token.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret)).then_some((id, secret))
}

/// The user of a token, or why it is nobody's.
fn user(held: &Secret, id: &str, secret: &str, now: Timestamp) -> Result<User, &'static str> {
    let field = |name: &str| {
        let value = held.data.as_ref().and_then(|data| data.get(name));
        value.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
    };
    if held.type_.as_deref() != Some(SECRET_TYPE) {
        return Err("the Secret has another type");
    }
    if !is_same(field("token-secret"), secret) {
        return Err("the secret of the token is another");
    }
    if field("token-id") != id {
        return Err("the Secret is of another token");
    }
    if !counts(field(EXPIRATION), now) {
        return Err("the token has expired");
    }
    if field("usage-bootstrap-authentication") != "true" {
        return Err("the token is not for authentication");
    }
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    for group in field("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return Err("a group of the token is none that such a token may have");
        }
        groups.insert(group.to_owned());
    }
    let user = User::named(format!("system:bootstrap:{id}"));
    Ok(groups.into_iter().fold(user, User::in_group))
}

/// Whether a token that says when it ends still counts. One that says it in a way that nobody understands does not.
pub fn counts(expiration: &str, now: Timestamp) -> bool {
    expiration.is_empty() || expiration.parse::<Timestamp>().is_ok_and(|end| end > now)
}

fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|byte| is_letter(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(is_letter)
}

/// Compares in a time that does not tell how much is the same.
fn is_same(held: &str, shown: &str) -> bool {
    let (held, shown) = (held.as_bytes(), shown.as_bytes());
    held.len() == shown.len() && held.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[async_trait]
impl Authenticator for BootstrapTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>, Status> {
        Ok(credentials.token.and_then(|token| self.user(token)))
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, Status> {
        if !audiences.is_empty() && !audiences.iter().any(|audience| audience == API_AUDIENCE) {
            return Ok(None);
        }
        Ok(self.user(token).map(|user| Known { user, audiences: vec![API_AUDIENCE.to_owned()] }))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::testing::TestServer;

    fn secret(fields: &[(&str, &str)]) -> Secret {
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        let data = usual
            .iter()
            .chain(fields)
            .map(|(name, value)| ((*name).to_owned(), ByteString(value.as_bytes().to_vec())));
        let mut secret =
            Secret { data: Some(data.collect()), type_: Some(SECRET_TYPE.to_owned()), ..Secret::default() };
        secret.metadata.name = Some("bootstrap-token-abcdef".to_owned());
        secret
    }

    #[test]
    fn a_token_is_somebodys_as_its_secret_says() {
        let now = Timestamp::from_second(1_000).unwrap();
        let groups = |fields: &[(&str, &str)]| {
            let user = user(&secret(fields), "abcdef", "0123456789abcdef", now)?;
            assert_eq!(user.name, "system:bootstrap:abcdef");
            Ok(user.groups.join(" "))
        };
        let usual: Result<String, &str> = Ok("system:bootstrappers system:authenticated".to_owned());
        let more =
            "system:bootstrappers system:bootstrappers:kubeadm:default-node-token system:authenticated";
        for (fields, expected) in [
            (vec![], usual.clone()),
            (vec![("expiration", "1970-01-01T00:16:41Z")], usual.clone()),
            (vec![("expiration", "1970-01-01T00:16:40Z")], Err("the token has expired")),
            (vec![("expiration", "tomorrow")], Err("the token has expired")),
            (
                vec![("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token")],
                Ok(more.to_owned()),
            ),
            (
                vec![("auth-extra-groups", "system:bootstrappers:a,system:masters")],
                Err("a group of the token is none that such a token may have"),
            ),
            (
                vec![("auth-extra-groups", "system:bootstrappers:a-")],
                Err("a group of the token is none that such a token may have"),
            ),
            (vec![("usage-bootstrap-authentication", "false")], Err("the token is not for authentication")),
            (vec![("token-secret", "0123456789abcdeg")], Err("the secret of the token is another")),
            (vec![("token-secret", "")], Err("the secret of the token is another")),
            (vec![("token-id", "abcdeg")], Err("the Secret is of another token")),
        ] {
            assert_eq!(groups(&fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        assert_eq!(parts("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in [
            "",
            "abcdef",
            "abcdef.",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcde",
            "a/../f.0123456789abcdef",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_counts_while_its_secret_is_there() {
        let server = TestServer::builder().namespace(NAMESPACE).start().await;
        let tokens = BootstrapTokens::new(server.server().caches(), &server.clock());
        let whose = async |token| {
            let user = tokens.authenticate(&Credentials::new(None, Some(token))).await.unwrap();
            user.map(|user| user.name)
        };
        let token = "abcdef.0123456789abcdef";
        assert_eq!(whose(token).await, None);
        let secrets = server.client().api::<Secret>(NAMESPACE);
        secrets.create(&secret(&[])).await.unwrap();
        assert_eq!(whose(token).await.as_deref(), Some("system:bootstrap:abcdef"));
        assert_eq!(tokens.review(token, &["other".to_owned()]).await.unwrap(), None);
        secrets.delete("bootstrap-token-abcdef").await.unwrap();
        assert_eq!(whose(token).await, None);
    }
}
