//! Keys as issuers publish them, and what they have signed. Pure.

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// How many keys of an issuer are looked at.
const MOST: usize = 100;
/// The shortest RSA key that is believed, in bytes.
const SHORTEST: usize = 256;

/// A public key.
#[derive(Debug)]
pub(super) struct Jwk {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point on a curve.
    Curve {
        curve: Curve,
        point: Vec<u8>,
    },
    Edwards(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Text {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: String,
    e: String,
    crv: String,
    x: String,
    y: String,
}

/// The keys of a set that can be used here. Others are passed over: an issuer may have keys for others.
pub(super) fn read(document: &Value) -> Vec<Jwk> {
    let keys = document["keys"].as_array().into_iter().flatten().take(MOST);
    keys.filter_map(|key| Jwk::of(Text::deserialize(key).ok()?)).collect()
}

impl Jwk {
    fn of(text: Text) -> Option<Self> {
        if text.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty());
        let key = match (&*text.kty, &*text.crv) {
            ("RSA", _) => {
                let modulus = decode(&text.n)?;
                let modulus = modulus.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
                if modulus.len() < SHORTEST {
                    return None;
                }
                Key::Rsa { modulus, exponent: decode(&text.e)? }
            }
            ("EC", curve) => {
                let (curve, length) = match curve {
                    "P-256" => (Curve::P256, 32),
                    "P-384" => (Curve::P384, 48),
                    "P-521" => (Curve::P521, 66),
                    _ => return None,
                };
                let (x, y) = (decode(&text.x)?, decode(&text.y)?);
                if x.len() != length || y.len() != length {
                    return None;
                }
                Key::Curve { curve, point: [&[4][..], &x, &y].concat() }
            }
            ("OKP", "Ed25519") => Key::Edwards(decode(&text.x)?),
            _ => return None,
        };
        Some(Self { id: text.kid, algorithm: text.alg, key })
    }

    /// Whether it may be the key of a token that says this.
    fn may_be(&self, algorithm: &str, id: Option<&str>) -> bool {
        self.algorithm.as_deref().is_none_or(|held| held == algorithm)
            && match (id, &self.id) {
                (Some(id), Some(held)) => id == held,
                _ => true,
            }
    }

    fn has_signed(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        let point = |of: Curve, how: &'static dyn signature::VerificationAlgorithm| match &self.key {
            Key::Curve { curve, point } if *curve == of => {
                UnparsedPublicKey::new(how, point).verify(message, signed).is_ok()
            }
            _ => false,
        };
        let rsa = |how: &'static signature::RsaParameters| match &self.key {
            Key::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(how, message, signed).is_ok()
            }
            _ => false,
        };
        // Nothing else: neither `none` nor anything by a shared secret.
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => point(Curve::P256, &ECDSA_P256_SHA256_FIXED),
            "ES384" => point(Curve::P384, &ECDSA_P384_SHA384_FIXED),
            "ES512" => point(Curve::P521, &ECDSA_P521_SHA512_FIXED),
            "EdDSA" => match &self.key {
                Key::Edwards(key) => {
                    UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signed).is_ok()
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether one of the keys has signed a message.
pub(super) fn have_signed(
    keys: &[Jwk],
    algorithm: &str,
    id: Option<&str>,
    message: &[u8],
    signed: &[u8],
) -> bool {
    let mut those = keys.iter().filter(|key| key.may_be(algorithm, id));
    those.any(|key| key.has_signed(algorithm, message, signed))
}
