//! Which issuers are believed, and where nobody need say who they are: `AuthenticationConfiguration` of
//! `apiserver.config.k8s.io/v1`, as Kubernetes reads it with `--authentication-config`.

use orchestra_core::api::yaml;
use orchestra_core::expression::{Environment, Program, Type};
use serde::Deserialize;

use super::OidcError;
use super::claims::{Condition, Issuer, Rule, Source};
use crate::auth::Anonymous;

/// What a file says of authentication.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationFile {
    /// The issuers.
    pub issuers: Vec<Issuer>,
    /// Where nobody need say who they are, if it says so.
    pub anonymous: Option<Anonymous>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<Jwt>,
    #[serde(default)]
    anonymous: Option<AnonymousText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnonymousText {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<PathText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathText {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    issuer: IssuerText,
    #[serde(default)]
    claim_validation_rules: Vec<RuleText>,
    claim_mappings: Mappings,
    #[serde(default)]
    user_validation_rules: Vec<ConditionText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerText {
    url: String,
    #[serde(default, rename = "discoveryURL")]
    discovery_url: Option<String>,
    #[serde(default)]
    certificate_authority: Option<String>,
    audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleText {
    #[serde(default)]
    claim: String,
    #[serde(default)]
    required_value: String,
    #[serde(default)]
    expression: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConditionText {
    expression: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mappings {
    username: Mapping,
    #[serde(default)]
    groups: Option<Mapping>,
    #[serde(default)]
    uid: Option<Mapping>,
    #[serde(default)]
    extra: Vec<ExtraText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mapping {
    #[serde(default)]
    claim: String,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtraText {
    key: String,
    value_expression: String,
}

impl AuthenticationFile {
    /// Reads a configuration: one document in YAML or JSON.
    ///
    /// # Errors
    /// When it is none, or says what cannot be.
    pub fn parse(text: &[u8]) -> Result<Self, OidcError> {
        let documents = yaml::read(text).map_err(|error| OidcError::Unreadable(error.to_string()))?;
        let document = documents.into_iter().next().unwrap_or_default();
        let document: Document =
            serde_json::from_value(document).map_err(|error| OidcError::Unreadable(error.to_string()))?;
        let versions = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
        if document.kind != "AuthenticationConfiguration" || !versions.contains(&&*document.api_version) {
            let (kind, version) = (&document.kind, &document.api_version);
            return Err(OidcError::Unreadable(format!(
                "it must be an AuthenticationConfiguration of apiserver.config.k8s.io/v1, and is {kind:?} of {version:?}"
            )));
        }
        let mut issuers: Vec<Issuer> = Vec::new();
        for (number, jwt) in document.jwt.into_iter().enumerate() {
            let at = format!("jwt[{number}]");
            let issuer = read(jwt, &at)?;
            if issuers.iter().any(|held| held.url == issuer.url) {
                return Err(OidcError::invalid(format!("{at}.issuer.url"), "Duplicate value"));
            }
            issuers.push(issuer);
        }
        Ok(Self { issuers, anonymous: document.anonymous.map(anonymous).transpose()? })
    }
}

fn anonymous(text: AnonymousText) -> Result<Anonymous, OidcError> {
    match (text.enabled, text.conditions.is_empty()) {
        (true, true) => Ok(Anonymous::Everywhere),
        (false, true) => Ok(Anonymous::Paths(Vec::new())),
        (true, false) => Ok(Anonymous::Paths(text.conditions.into_iter().map(|held| held.path).collect())),
        (false, false) => Err(OidcError::invalid(
            "anonymous.conditions",
            "enabled should be set to true when conditions are defined",
        )),
    }
}

fn read(jwt: Jwt, at: &str) -> Result<Issuer, OidcError> {
    check(&jwt, at)?;
    let claims = &Environment::new().variable("claims");
    let user = &Environment::new().variable("user");
    let mut rules = Vec::new();
    for (number, rule) in jwt.claim_validation_rules.into_iter().enumerate() {
        let at = format!("{at}.claimValidationRules[{number}]");
        rules.push(match (rule.claim.is_empty(), rule.expression.is_empty()) {
            (false, true) => Rule::Claim { claim: rule.claim, value: rule.required_value },
            (true, false) => Rule::Expression(condition(claims, rule.expression, rule.message, &at)?),
            _ => return Err(OidcError::invalid(at, "either claim or expression is required, and not both")),
        });
    }
    let Mappings { username, groups, uid, extra } = jwt.claim_mappings;
    let mut values = Vec::new();
    for (number, extra) in extra.into_iter().enumerate() {
        let at = format!("{at}.claimMappings.extra[{number}]");
        if !extra.key.contains('/') || extra.key != extra.key.to_lowercase() {
            return Err(OidcError::invalid(
                format!("{at}.key"),
                "key must be a domain-prefix path in lower case",
            ));
        }
        let program = compile(claims, &extra.value_expression, &format!("{at}.valueExpression"))?;
        values.push((extra.key, program));
    }
    let mut user_rules = Vec::new();
    for (number, rule) in jwt.user_validation_rules.into_iter().enumerate() {
        let at = format!("{at}.userValidationRules[{number}]");
        user_rules.push(condition(user, rule.expression, rule.message, &at)?);
    }
    let of = |mapping: Mapping, name: &str, prefixed: bool| {
        source(claims, mapping, &format!("{at}.claimMappings.{name}"), prefixed)
    };
    Ok(Issuer {
        username: of(username, "username", true)?.ok_or_else(|| {
            OidcError::invalid(format!("{at}.claimMappings.username"), "claim or expression is required")
        })?,
        groups: groups.map(|groups| of(groups, "groups", true)).transpose()?.flatten(),
        uid: uid.map(|uid| of(uid, "uid", false)).transpose()?.flatten(),
        url: jwt.issuer.url,
        discovery_url: jwt.issuer.discovery_url.filter(|url| !url.is_empty()),
        authority: jwt.issuer.certificate_authority.filter(|authority| !authority.is_empty()),
        audiences: jwt.issuer.audiences,
        rules,
        extra: values,
        user_rules,
    })
}

fn check(jwt: &Jwt, at: &str) -> Result<(), OidcError> {
    let at = |field: &str| format!("{at}.issuer.{field}");
    let issuer = &jwt.issuer;
    let urls = [("url", Some(&issuer.url)), ("discoveryURL", issuer.discovery_url.as_ref())];
    for (field, url) in urls {
        if url.is_some_and(|url| !url.starts_with("https://")) {
            return Err(OidcError::invalid(at(field), "URL scheme must be https"));
        }
    }
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        return Err(OidcError::invalid(
            at("audiences"),
            "at least one audience is required, and none may be empty",
        ));
    }
    let several = issuer.audiences.len() > 1;
    match issuer.audience_match_policy.as_deref() {
        Some("MatchAny") => Ok(()),
        None | Some("") if !several => Ok(()),
        _ => Err(OidcError::invalid(at("audienceMatchPolicy"), "must be MatchAny for multiple audiences")),
    }
}

/// Where a part of a user is taken from; `None` if it is not said.
fn source(
    environment: &Environment,
    mapping: Mapping,
    at: &str,
    prefixed: bool,
) -> Result<Option<Source>, OidcError> {
    let Mapping { claim, prefix, expression } = mapping;
    match (claim.is_empty(), expression.is_empty()) {
        (true, true) if prefix.is_none() => Ok(None),
        (true, false) if prefix.is_none() => {
            Ok(Some(Source::Expression(compile(environment, &expression, &format!("{at}.expression"))?)))
        }
        (false, true) if prefix.is_some() || !prefixed => {
            Ok(Some(Source::Claim { claim, prefix: prefix.unwrap_or_default() }))
        }
        (false, true) => {
            let why =
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            Err(OidcError::invalid(format!("{at}.prefix"), why))
        }
        _ => Err(OidcError::invalid(at, "either a claim with its prefix or an expression is required")),
    }
}

fn condition(
    environment: &Environment,
    expression: String,
    message: String,
    at: &str,
) -> Result<Condition, OidcError> {
    let program = compile(environment, &expression, &format!("{at}.expression"))?;
    if !matches!(program.output(), Type::Bool | Type::Dyn) {
        return Err(OidcError::invalid(format!("{at}.expression"), "must evaluate to bool"));
    }
    let message = if message.is_empty() { expression } else { message };
    Ok(Condition { program, message })
}

fn compile(environment: &Environment, expression: &str, at: &str) -> Result<Program, OidcError> {
    environment.compile(expression).map_err(|error| OidcError::invalid(at, error))
}
