use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// The longest token that is looked at: far longer than any that a cluster makes.
const LONGEST: usize = 16 * 1024;

/// A token that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a JSON Web Token")]
pub struct Malformed;

/// A token whose signature has not been looked at: nothing that it says may be believed.
#[derive(Debug)]
pub struct Parsed<'t> {
    /// The algorithm that it says it is signed by.
    pub algorithm: String,
    /// The key that it says it is signed by.
    pub key_id: Option<String>,
    /// What is signed.
    pub message: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
    /// What it says.
    pub claims: Value,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Takes a token apart.
///
/// # Errors
/// When it is not a signed JSON Web Token in its compact form, is too long, or asks to be understood in a way that nobody
/// here does.
pub fn parse(token: &str) -> Result<Parsed<'_>, Malformed> {
    if token.len() > LONGEST {
        return Err(Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Malformed)?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Malformed)?;
    // RFC 7515: whoever does not understand what is critical must refuse it.
    if header.crit.is_some() {
        return Err(Malformed);
    }
    let claims: Value = serde_json::from_slice(&decode(claims)?).map_err(|_| Malformed)?;
    if !claims.is_object() {
        return Err(Malformed);
    }
    let signature = decode(signature)?;
    Ok(Parsed { algorithm: header.alg, key_id: header.kid, message, signature, claims })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, signature: &[u8]) -> String {
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        format!("{}.{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(signature))
    }

    #[test]
    fn a_token_is_taken_apart_as_it_was_put_together() {
        let text = token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"sub":"s"}"#, b"signed");
        let parsed = parse(&text).unwrap();
        assert_eq!((parsed.algorithm.as_str(), parsed.key_id.as_deref()), ("ES256", Some("k")));
        assert_eq!((parsed.claims["sub"].as_str(), &*parsed.signature), (Some("s"), &b"signed"[..]));
        assert!(text.starts_with(parsed.message) && !parsed.message.ends_with('.'));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let long = token(r#"{"alg":"a"}"#, &format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST)), b"");
        for wrong in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "ä.ö.ü",
            &token("{}", "{}", b"s"),
            &token(r#"{"alg":1}"#, "{}", b"s"),
            &token(r#"{"alg":"ES256"}"#, "[]", b"s"),
            &token(r#"{"alg":"ES256"}"#, "{", b"s"),
            &token(r#"{"alg":"ES256","crit":["x"]}"#, "{}", b"s"),
            &long,
        ] {
            assert_eq!(parse(wrong).map(|_| ()), Err(Malformed), "{:.60}", wrong);
        }
    }
}
