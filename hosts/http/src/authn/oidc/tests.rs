use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::claims::Issuer;
use super::file::AuthenticationFile;
use super::jwk;

const NOW: i64 = 1_000_000;

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn claims(more: Value) -> Value {
    let mut claims = json!({ "iss": "https://a", "aud": "k", "exp": NOW + 60, "sub": "7" });
    for (claim, value) in more.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    claims
}

/// `name [groups]`, or why there is none.
fn user(issuer: &Issuer, more: Value) -> Result<String, String> {
    let user = issuer.user(&claims(more), NOW)?;
    Ok(format!("{} {}", user.name, user.groups.join(",")))
}

#[test]
fn a_token_is_somebodys_while_it_counts_and_is_for_us() {
    let issuer = Issuer::new("https://a", vec!["k".to_owned(), "l".to_owned()]);
    let known = Ok("https://a#7 system:authenticated".to_owned());
    assert_eq!(user(&issuer, json!({})), known);
    assert_eq!(user(&issuer, json!({ "aud": ["x", "l"] })), known);
    assert_eq!(user(&issuer, json!({ "nbf": NOW + 200 })), known, "clocks differ");
    for (more, why) in [
        (json!({ "aud": "x" }), "expected audience"),
        (json!({ "aud": null }), "expected audience"),
        (json!({ "exp": NOW }), "has expired"),
        (json!({ "exp": null }), "when it ends"),
        (json!({ "exp": "never" }), "when it ends"),
        (json!({ "nbf": NOW + 3600 }), "does not count yet"),
        (json!({ "sub": null }), "names nobody"),
        (json!({ "sub": "" }), "names nobody"),
        (json!({ "sub": ["7"] }), "no text"),
    ] {
        let error = user(&issuer, more.clone()).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
}

#[test]
fn claims_become_names_and_groups_as_the_flags_say() {
    let issuer = Issuer::new("https://a", vec!["k".to_owned()])
        .username("email", "u:")
        .groups("roles", "g:")
        .requiring("hd", "acme.com");
    let with = |more: Value| {
        let mut all = json!({ "email": "ann@acme.com", "hd": "acme.com" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        user(&issuer, all)
    };
    assert_eq!(
        with(json!({ "roles": ["a", "b"] })),
        Ok("u:ann@acme.com g:a,g:b,system:authenticated".to_owned())
    );
    assert_eq!(
        with(json!({ "roles": "a", "email_verified": true })),
        Ok("u:ann@acme.com g:a,system:authenticated".to_owned())
    );
    for (more, why) in [
        (json!({ "email_verified": false }), "not verified"),
        (json!({ "email_verified": "true" }), "neither"),
        (json!({ "hd": "other.com" }), "another value"),
        (json!({ "hd": true }), "not present"),
        (json!({ "roles": [1] }), "groups are neither"),
        (json!({ "roles": { "a": 1 } }), "groups are neither"),
    ] {
        let error = with(more.clone()).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
}

const FILE: &str = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: "https://a", audiences: [k]}
  claimValidationRules:
  - {claim: hd, requiredValue: acme.com}
  - {expression: "claims.exp - claims.iat <= 86400", message: "too long a life"}
  claimMappings:
    username: {expression: "'acme:' + claims.sub"}
    groups: {expression: "claims.roles.split(',')"}
    uid: {claim: sub}
    extra: [{key: acme.com/tenant, valueExpression: "claims.tenant"}]
  userValidationRules:
  - {expression: "!user.username.startsWith('acme:system')", message: "reserved"}
anonymous: {enabled: true, conditions: [{path: /livez}]}
"#;

#[test]
fn a_file_says_by_expressions_what_flags_cannot() {
    let file = AuthenticationFile::parse(FILE.as_bytes()).unwrap();
    assert_eq!(file.anonymous, Some(crate::Anonymous::Paths(vec!["/livez".to_owned()])));
    let with = |more: Value| {
        let mut all = json!({ "iat": NOW, "hd": "acme.com", "roles": "a,b", "tenant": ["t"] });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        file.issuers[0].user(&claims(all), NOW)
    };
    let known = with(json!({})).unwrap();
    assert_eq!((known.name.as_str(), known.uid.as_str()), ("acme:7", "7"));
    assert_eq!(known.groups, ["a", "b", "system:authenticated"]);
    assert_eq!(known.extra["acme.com/tenant"], ["t"]);
    for (more, why) in [
        (json!({ "iat": 0 }), "too long a life"),
        (json!({ "sub": "system:admin" }), "reserved"),
        (json!({ "roles": 5 }), "no value"),
        (json!({ "hd": "" }), "another value"),
    ] {
        let error = with(more.clone()).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
}

#[test]
fn a_file_that_says_what_cannot_be_is_refused_with_its_place() {
    let with = |jwt: &str| {
        format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- {jwt}")
    };
    let issuer = "issuer: {url: \"https://a\", audiences: [k]}";
    for (text, why) in [
        (String::new(), "cannot be read"),
        (
            "apiVersion: v1\nkind: AuthenticationConfiguration".to_owned(),
            "must be an AuthenticationConfiguration",
        ),
        (with(&format!("{{{issuer}, claimMappings: {{username: {{claim: sub}}}}}}")), "prefix is required"),
        (with(&format!("{{{issuer}, claimMappings: {{username: {{}}}}}}")), "jwt[0].claimMappings.username"),
        (
            with(&format!("{{{issuer}, claimMappings: {{username: {{expression: 'claims.'}}}}}}")),
            "username.expression",
        ),
        (with(&format!("{{{issuer}, claimMapping: {{}}}}")), "unknown field"),
        (
            with(
                "{issuer: {url: 'http://a', audiences: [k]}, claimMappings: {username: {claim: sub, prefix: ''}}}",
            ),
            "jwt[0].issuer.url: URL scheme must be https",
        ),
        (
            with(
                "{issuer: {url: 'https://a', audiences: [k, l]}, claimMappings: {username: {claim: s, prefix: ''}}}",
            ),
            "audienceMatchPolicy",
        ),
    ] {
        let error = AuthenticationFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} of {text}");
    }
}

#[test]
fn a_signature_is_by_a_key_of_its_kind_and_name() {
    let random = SystemRandom::new();
    let message = b"header.claims";
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let curve = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let by_curve = curve.sign(&random, message).unwrap();
    let point = curve.public_key().as_ref();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let mut by_rsa = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut by_rsa).unwrap();
    let edwards = Ed25519KeyPair::generate().unwrap();
    let by_edwards = edwards.sign(message);
    let (modulus, exponent) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let keys = jwk::read(&json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "kid": "c", "alg": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
        { "kty": "RSA", "kid": "r", "n": encode(modulus.big_endian_without_leading_zero()),
          "e": encode(exponent.big_endian_without_leading_zero()), "use": "sig" },
        { "kty": "OKP", "crv": "Ed25519", "kid": "e", "x": encode(edwards.public_key().as_ref()) },
        { "kty": "oct", "kid": "o", "k": "c2VjcmV0" },
        { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" },
        { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
        { "kty": 5 },
    ]}));
    assert_eq!(keys.len(), 3, "what cannot be used is passed over");
    for (algorithm, id, signed, known) in [
        ("ES256", Some("c"), by_curve.as_ref(), true),
        ("ES256", None, by_curve.as_ref(), true),
        ("ES256", Some("r"), by_curve.as_ref(), false),
        ("ES384", Some("c"), by_curve.as_ref(), false),
        ("RS256", Some("r"), &*by_rsa, true),
        ("RS512", Some("r"), &*by_rsa, false),
        ("PS256", Some("r"), &*by_rsa, false),
        ("RS256", Some("c"), &*by_rsa, false),
        ("EdDSA", Some("e"), by_edwards.as_ref(), true),
        ("none", Some("c"), &[], false),
        ("HS256", Some("r"), &*by_rsa, false),
    ] {
        assert_eq!(jwk::have_signed(&keys, algorithm, id, message, signed), known, "{algorithm} {id:?}");
    }
    assert!(!jwk::have_signed(&keys, "ES256", Some("c"), b"header.other", by_curve.as_ref()));
}
