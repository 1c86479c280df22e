use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::access::tokens;
use crate::api::continue_token::ContinueToken;
use crate::api::yaml;
use crate::quantity::{Quantity, canonicalize};

pub(super) fn continue_token(text: &str) {
    if let Ok(token) = ContinueToken::decode(text) {
        let again = ContinueToken::decode(&token.encode()).expect("what is written is read");
        assert_eq!(again, token);
    }
}

pub(super) fn quantity(text: &str) {
    let parsed = Quantity::parse(text);
    assert_eq!(canonicalize(text).is_ok(), parsed.is_ok());
    let Ok(parsed) = parsed else { return };
    let stored = canonicalize(text).expect("what is read is written");
    assert_eq!(Quantity::parse(&stored), Ok(parsed), "{text} is stored as {stored}");
    assert_eq!(canonicalize(&stored).as_ref(), Ok(&stored), "{text}");
    let printed = parsed.to_string();
    assert_eq!(Quantity::parse(&printed), Ok(parsed));
    let _ = (parsed.value(), parsed.milli_value(), parsed + parsed, parsed - Quantity::ZERO, parsed.to_f64());
}

pub(super) fn yaml(bytes: &[u8]) {
    if let Ok(decoded) = yaml::decode(bytes) {
        let all = yaml::read(bytes);
        // Later documents may be no YAML; the first stays what it is.
        if let Some(first) = all.ok().and_then(|all| all.into_iter().next()) {
            assert_eq!(first, decoded.value);
        }
    }
}

pub(super) fn token(text: &str) {
    if let Ok(parsed) = tokens::parse(text) {
        // What is signed and the signature are the whole token: nothing of it is passed over.
        let signature = BASE64_URL_SAFE_NO_PAD.encode(&parsed.signature);
        assert_eq!(format!("{}.{signature}", parsed.message), text);
        assert!(parsed.claims.is_object());
    }
}
