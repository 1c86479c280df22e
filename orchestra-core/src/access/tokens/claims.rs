use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::access::API_AUDIENCE;
use crate::watch::Entry;

/// Who issues the tokens that stand in Secrets.
pub const SECRET_ISSUER: &str = "kubernetes/serviceaccount";

/// An object that a token speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Which object of that name.
    pub uid: String,
}

impl Bound {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { name: entry.name().name().to_owned(), uid: entry.uid().as_str().to_owned() }
    }

    fn to_value(&self) -> Value {
        match self.uid.as_str() {
            "" => json!({"name": self.name}),
            uid => json!({"name": self.name, "uid": uid}),
        }
    }
}

/// What a token says of the cluster's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Objects {
    pub(super) namespace: String,
    #[serde(rename = "serviceaccount")]
    pub(super) account: Bound,
    pub(super) pod: Option<Bound>,
    pub(super) secret: Option<Bound>,
    pub(super) node: Option<Bound>,
    /// When its holder should have another, in seconds since 1970, though it counts for longer.
    #[serde(rename = "warnafter")]
    pub(super) warn_after: Option<i64>,
}

/// How long a token counts, and for whom it is meant.
pub(super) struct Terms<'t> {
    pub(super) id: &'t str,
    pub(super) audiences: &'t [String],
    pub(super) now: Timestamp,
    pub(super) seconds: i64,
}

/// What a token says that was asked for.
pub(super) fn issued(objects: &Objects, terms: &Terms<'_>) -> Value {
    let now = terms.now.as_second();
    let mut held = json!({"namespace": objects.namespace, "serviceaccount": objects.account.to_value()});
    for (name, bound) in [("pod", &objects.pod), ("secret", &objects.secret), ("node", &objects.node)] {
        if let Some(bound) = bound {
            held[name] = bound.to_value();
        }
    }
    if let Some(at) = objects.warn_after {
        held["warnafter"] = at.into();
    }
    json!({
        "aud": terms.audiences,
        "exp": now.saturating_add(terms.seconds),
        "iat": now,
        "iss": API_AUDIENCE,
        "jti": terms.id,
        "kubernetes.io": held,
        "nbf": now,
        "sub": subject(&objects.namespace, &objects.account.name),
    })
}

/// What a token says that stands in a Secret: it counts for as long as the Secret and the account are there.
pub(super) fn of_secret(namespace: &str, secret: &str, account: &Bound) -> Value {
    json!({
        "iss": SECRET_ISSUER,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        "sub": subject(namespace, &account.name),
    })
}

fn subject(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

/// What a token says, once its signature is known to be good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) objects: Objects,
    pub(super) audiences: Vec<String>,
    pub(super) id: String,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    Early,
    #[error("service account claims could not be validated due to unexpected validation error")]
    Senseless,
}

/// Reads what a token says that was asked for, and whether it counts at a time.
pub(super) fn read(claims: &Value, now: Timestamp) -> Result<Said, Refused> {
    let number = |name: &str| claims[name].as_i64();
    let now = now.as_second();
    // One that says nothing of its end was never issued here.
    if now > number("exp").ok_or(Refused::Senseless)? {
        return Err(Refused::Expired);
    }
    if number("nbf").is_some_and(|begins| now < begins) {
        return Err(Refused::Early);
    }
    let objects = Objects::deserialize(&claims["kubernetes.io"]).map_err(|_| Refused::Senseless)?;
    if claims["sub"] != subject(&objects.namespace, &objects.account.name) {
        return Err(Refused::Senseless);
    }
    let audiences = match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Ok(Said { objects, audiences, id: claims["jti"].as_str().unwrap_or_default().to_owned() })
}

/// Reads what a token says that stands in a Secret.
pub(super) fn read_of_secret(claims: &Value) -> Result<Objects, Refused> {
    let text =
        |name: &str| claims[format!("kubernetes.io/serviceaccount/{name}")].as_str().unwrap_or_default();
    let objects = Objects {
        namespace: text("namespace").to_owned(),
        account: Bound {
            name: text("service-account.name").to_owned(),
            uid: text("service-account.uid").to_owned(),
        },
        secret: Some(Bound { name: text("secret.name").to_owned(), uid: String::new() }),
        ..Objects::default()
    };
    match claims["sub"] == subject(&objects.namespace, &objects.account.name) {
        true => Ok(objects),
        false => Err(Refused::Senseless),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(name: &str) -> Bound {
        Bound { name: name.to_owned(), uid: format!("uid-of-{name}") }
    }

    fn objects() -> Objects {
        Objects {
            namespace: "n".to_owned(),
            account: bound("s"),
            pod: Some(bound("p")),
            node: Some(Bound { name: "away".to_owned(), uid: String::new() }),
            warn_after: Some(7),
            ..Objects::default()
        }
    }

    #[test]
    fn what_is_written_is_read_while_it_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let audiences = ["a".to_owned(), "b".to_owned()];
        let terms = Terms { id: "j", audiences: &audiences, now: at(1000), seconds: 600 };
        let claims = issued(&objects(), &terms);
        let said = Said { objects: objects(), audiences: audiences.to_vec(), id: "j".to_owned() };
        for (second, expected) in
            [(1000, Ok(&said)), (1600, Ok(&said)), (1601, Err(Refused::Expired)), (999, Err(Refused::Early))]
        {
            assert_eq!(read(&claims, at(second)).as_ref(), expected.as_ref().map(|said| *said), "{second}");
        }
        for (field, value) in [
            ("sub", json!("system:serviceaccount:n:another")),
            ("exp", Value::Null),
            ("exp", json!("never")),
            ("kubernetes.io", json!(7)),
        ] {
            let mut wrong = claims.clone();
            wrong[field] = value;
            assert_eq!(read(&wrong, at(1000)), Err(Refused::Senseless), "{field}");
        }
    }

    #[test]
    fn a_token_of_a_secret_speaks_of_it() {
        let claims = of_secret("n", "t", &bound("s"));
        let objects = read_of_secret(&claims).unwrap();
        assert_eq!((objects.namespace.as_str(), objects.account), ("n", bound("s")));
        assert_eq!(objects.secret.unwrap().name, "t");
        let mut wrong = claims;
        wrong["sub"] = json!("system:serviceaccount:n:root");
        assert_eq!(read_of_secret(&wrong), Err(Refused::Senseless));
    }
}
