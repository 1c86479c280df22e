//! From what a token says to a user. Pure.

use std::collections::BTreeMap;

use orchestra_core::api::User;
use orchestra_core::api::access::AUTHENTICATED;
use orchestra_core::expression::{Budget, EvalError, Program, Val};
use serde_json::{Value, json};

/// How much later than it says a token may begin to count: clocks differ.
const LEEWAY: i64 = 5 * 60;

/// An issuer whose tokens are believed, and how they are read.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its URL, as its tokens have it.
    pub url: String,
    /// Where it says which keys it has, if that is not below its URL.
    pub discovery_url: Option<String>,
    /// The certificate of the authority by which it is known, in PEM form; those of this machine if there is none.
    pub authority: Option<String>,
    /// The audiences of which a token must be for one.
    pub audiences: Vec<String>,
    pub(super) rules: Vec<Rule>,
    pub(super) username: Source,
    pub(super) groups: Option<Source>,
    pub(super) uid: Option<Source>,
    pub(super) extra: Vec<(String, Program)>,
    pub(super) user_rules: Vec<Condition>,
}

/// Where a part of a user is taken from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A claim, with something before it.
    Claim { claim: String, prefix: String },
    /// The value of an expression over all claims.
    Expression(Program),
}

/// What must be true of a token.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// A claim has this value.
    Claim { claim: String, value: String },
    /// An expression over all claims is true.
    Expression(Condition),
}

/// An expression that must be true, and what is said if it is not.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) program: Program,
    pub(super) message: String,
}

impl Issuer {
    /// An issuer whose tokens name the user in the claim `sub`, after the issuer's URL and a `#`, and no groups.
    pub fn new(url: impl Into<String>, audiences: Vec<String>) -> Self {
        let url = url.into();
        Self {
            username: Source::Claim { claim: "sub".to_owned(), prefix: format!("{url}#") },
            url,
            audiences,
            discovery_url: None,
            authority: None,
            rules: Vec::new(),
            groups: None,
            uid: None,
            extra: Vec::new(),
            user_rules: Vec::new(),
        }
    }

    /// The user's name is in this claim, with this before it.
    #[must_use]
    pub fn username(mut self, claim: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.username = Source::Claim { claim: claim.into(), prefix: prefix.into() };
        self
    }

    /// The user's groups are in this claim, with this before each.
    #[must_use]
    pub fn groups(mut self, claim: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.groups = Some(Source::Claim { claim: claim.into(), prefix: prefix.into() });
        self
    }

    /// Only tokens with this value of a claim are believed.
    #[must_use]
    pub fn requiring(mut self, claim: impl Into<String>, value: impl Into<String>) -> Self {
        self.rules.push(Rule::Claim { claim: claim.into(), value: value.into() });
        self
    }

    /// The user of a token that was signed by the issuer, or why it is nobody's.
    pub(super) fn user(&self, claims: &Value, now: i64) -> Result<User, String> {
        self.check(claims, now)?;
        for rule in &self.rules {
            rule.check(claims)?;
        }
        let name = self.username.one(claims, "username")?.ok_or("the token names nobody")?;
        if matches!(&self.username, Source::Claim { claim, .. } if claim == "email") {
            check_email(claims)?;
        }
        let mut groups = match &self.groups {
            Some(source) => source.many(claims)?,
            None => Vec::new(),
        };
        let uid = match &self.uid {
            Some(source) => source.one(claims, "uid")?.unwrap_or_default(),
            None => String::new(),
        };
        let mut extra = BTreeMap::new();
        for (key, program) in &self.extra {
            let values =
                texts(&evaluate(program, claims)?).ok_or("an extra is neither a text nor a list of texts")?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        for rule in &self.user_rules {
            let user = json!({ "username": name, "groups": groups, "uid": uid, "extra": extra });
            rule.check(&user)?;
        }
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Ok(User { name, groups, uid, extra })
    }

    /// Whether a token is for us, and counts now.
    fn check(&self, claims: &Value, now: i64) -> Result<(), String> {
        let audiences = texts(&claims["aud"]).unwrap_or_default();
        if !audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(format!("expected audience in {:?} got {audiences:?}", self.audiences));
        }
        let seconds = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as i64);
        match seconds("exp") {
            None => return Err("the token does not say when it ends".to_owned()),
            Some(end) if end <= now => return Err("the token has expired".to_owned()),
            Some(_) => {}
        }
        if seconds("nbf").is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
            return Err("the token does not count yet".to_owned());
        }
        Ok(())
    }
}

/// An address that its owner has not confirmed is nobody's.
fn check_email(claims: &Value) -> Result<(), String> {
    match &claims["email_verified"] {
        Value::Null | Value::Bool(true) => Ok(()),
        Value::Bool(false) => Err("email not verified".to_owned()),
        _ => Err("the claim email_verified is neither true nor false".to_owned()),
    }
}

impl Source {
    /// A text; `None` if there is none, or an empty one.
    fn one(&self, claims: &Value, what: &str) -> Result<Option<String>, String> {
        let (value, prefix) = self.value(claims)?;
        match value {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(format!("{prefix}{text}"))),
            _ => Err(format!("the {what} is no text")),
        }
    }

    fn many(&self, claims: &Value) -> Result<Vec<String>, String> {
        let (value, prefix) = self.value(claims)?;
        let texts = texts(&value).ok_or("the groups are neither a text nor a list of texts")?;
        Ok(texts.into_iter().map(|text| format!("{prefix}{text}")).collect())
    }

    fn value(&self, claims: &Value) -> Result<(Value, &str), String> {
        match self {
            Self::Claim { claim, prefix } => Ok((claims[claim].clone(), prefix)),
            Self::Expression(program) => Ok((evaluate(program, claims)?, "")),
        }
    }
}

impl Rule {
    fn check(&self, claims: &Value) -> Result<(), String> {
        match self {
            Self::Claim { claim, value } => match claims[claim].as_str() {
                Some(held) if held == value => Ok(()),
                Some(_) => Err(format!("required claim {claim} has another value")),
                None => Err(format!("required claim {claim} not present in the token as a text")),
            },
            Self::Expression(condition) => condition.check(claims),
        }
    }
}

impl Condition {
    fn check(&self, of: &Value) -> Result<(), String> {
        match evaluate(&self.program, of)? {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("validation expression failed: {}", self.message)),
        }
    }
}

fn evaluate(program: &Program, of: &Value) -> Result<Value, String> {
    let failed = |error: EvalError| format!("an expression has no value: {error}");
    let value = program.evaluate(&[Val::json(of)], &mut Budget::new(Budget::CALL)).map_err(failed)?;
    value.to_json().map_err(failed)
}

/// A text or a list of texts, as a list without empty ones; nothing is an empty one.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut texts = match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().map(text).collect::<Option<_>>()?,
        _ => return None,
    };
    texts.retain(|text| !text.is_empty());
    Some(texts)
}
