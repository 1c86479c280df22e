use std::fmt::{self, Write as _};
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, rand};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const VERSION: &str = "orc1";
/// How much of the hash stands in a token: 128 bits, as hexadecimal digits.
const FINGERPRINT: usize = 32;
/// The shortest secret.
const SECRET: usize = 16;

/// A token that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not as a master prints it.
    #[error("this is not a join token: it should be as orc1.<32 hexadecimal digits>.<secret>, on one line")]
    Malformed,
    /// The secret is too easily guessed, or has letters that cannot stand in one.
    #[error("the secret of a join token has at least {SECRET} letters and digits, and nothing else")]
    Secret,
    /// The machine gives no random numbers.
    #[error("no secret can be made: the machine gives no random numbers")]
    Random,
}

/// What lets a node join a cluster: `orc1.FINGERPRINT.SECRET`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    fingerprint: String,
    secret: String,
}

impl JoinToken {
    /// The token of the cluster of an authority, given its certificate in PEM form.
    ///
    /// # Errors
    /// When the secret is not one.
    pub(super) fn new(authority: &str, secret: &str) -> Result<Self, TokenError> {
        if secret.len() < SECRET || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(TokenError::Secret);
        }
        let fingerprint = fingerprint(authority).ok_or(TokenError::Malformed)?;
        Ok(Self { fingerprint, secret: secret.to_owned() })
    }

    /// A secret that nobody can guess.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn random_secret() -> Result<String, TokenError> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| TokenError::Random)?;
        Ok(hexadecimal(&bytes))
    }

    /// Whether a certificate, in PEM form, is that of this token's cluster.
    pub fn knows(&self, authority: &str) -> bool {
        fingerprint(authority).is_some_and(|found| found == self.fingerprint)
    }

    /// Whether a token is this one, in a time that says nothing of how much of it is right.
    pub(super) fn is(&self, shown: &str) -> bool {
        constant_time::verify_slices_are_equal(self.to_string().as_bytes(), shown.as_bytes()).is_ok()
    }
}

fn fingerprint(authority: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(authority.as_bytes()).ok()?;
    let mut text = hexadecimal(digest::digest(&digest::SHA256, &der).as_ref());
    text.truncate(FINGERPRINT);
    Some(text)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [VERSION, fingerprint, secret] = parts.as_slice() else { return Err(TokenError::Malformed) };
        let digits = fingerprint.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fingerprint.len() != FINGERPRINT || !digits || secret.is_empty() {
            return Err(TokenError::Malformed);
        }
        Ok(Self { fingerprint: (*fingerprint).to_owned(), secret: (*secret).to_owned() })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}", self.fingerprint, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.…", self.fingerprint)
    }
}
