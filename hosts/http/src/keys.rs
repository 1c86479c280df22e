//! The keys that sign the tokens of service accounts, kept as files.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use orchestra_core::access::tokens::SigningKeys;
use orchestra_core::api::Status;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::pki::{PkiError, check_mode, make_private_directory, write_private};

/// By which files in the directory of the keys are known.
const SUFFIX: &str = ".key";
/// The first key that is made. Names are in order of age, the newest last.
const FIRST: &str = "0001.key";
const ALGORITHM: &str = "ES256";

/// Keys on the curve P-256, one file each in a directory. The one whose file comes last by its name signs; all verify. To
/// replace a key, another file is added, all masters are started again, and the old file is removed once the tokens of the
/// old key have ended.
pub struct TokenKeys {
    keys: Vec<Key>,
    random: SystemRandom,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl TokenKeys {
    /// One key, kept nowhere.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn new() -> Result<Self, PkiError> {
        Ok(Self { keys: vec![Key::read(&Key::generate()?)?], random: SystemRandom::new() })
    }

    /// The keys in a directory; one is made there, if there is none. Of several programs that do so at once, one makes it.
    ///
    /// # Errors
    /// When the files cannot be read or written, or are not what they should be.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PkiError::File { path, source }
        };
        make_private_directory(directory).map_err(failed(directory))?;
        let lock = fs::File::open(directory).map_err(failed(directory))?;
        lock.lock().map_err(failed(directory))?;
        let mut paths = files(directory).map_err(failed(directory))?;
        if paths.is_empty() {
            let path = directory.join(FIRST);
            let draft = path.with_extension("new");
            write_private(&draft, &Key::generate()?).map_err(failed(&draft))?;
            fs::rename(&draft, &path).map_err(failed(&path))?;
            paths.push(path);
        }
        let keys = paths.iter().map(|path| {
            check_mode(path)?;
            Key::read(&fs::read_to_string(path).map_err(failed(path))?)
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, random: SystemRandom::new() })
    }

    fn newest(&self) -> Option<&Key> {
        self.keys.last()
    }
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<_> = entries.collect::<io::Result<_>>()?;
    paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(SUFFIX)));
    paths.sort();
    Ok(paths)
}

impl Key {
    /// A new key, in PEM form.
    fn generate() -> Result<String, PkiError> {
        Ok(rcgen::KeyPair::generate()?.serialize_pem())
    }

    /// A key in PEM form.
    fn read(pem: &str) -> Result<Self, PkiError> {
        let none = || PkiError::Pem("a key for tokens");
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| none())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der());
        let pair = pair.map_err(|_| none())?;
        let public: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|error| PkiError::Tls(error.into()))?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, public.as_ref()));
        Ok(Self { id, pair })
    }

    /// The public part as a JSON Web Key.
    fn public(&self) -> Value {
        // 4, then the two coordinates.
        let point = self.pair.public_key().as_ref();
        let coordinate =
            |from: usize| BASE64_URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": coordinate(1), "y": coordinate(33),
        })
    }
}

impl SigningKeys for TokenKeys {
    fn algorithm(&self) -> &str {
        ALGORITHM
    }

    fn key_id(&self) -> &str {
        self.newest().map_or("", |key| &key.id)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        let key = self.newest().ok_or_else(|| Status::internal("there is no key to sign tokens with"))?;
        let signature = key.pair.sign(&self.random, message);
        Ok(signature.map_err(|_| Status::internal("the token cannot be signed"))?.as_ref().to_vec())
    }

    fn verify(&self, algorithm: &str, key_id: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        let named = self.keys.iter().filter(|key| key_id.is_none_or(|id| key.id == id));
        let is_good = |key: &Key| {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref());
            public.verify(message, signature).is_ok()
        };
        algorithm == ALGORITHM && named.into_iter().any(is_good)
    }

    fn public(&self) -> Value {
        json!({"keys": self.keys.iter().map(Key::public).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_one_key_signs_it_knows_again_and_no_other_does() {
        let (keys, others) = (TokenKeys::new().unwrap(), TokenKeys::new().unwrap());
        let signature = keys.sign(b"message").unwrap();
        let good = |keys: &TokenKeys, algorithm: &str, id: Option<&str>, message: &[u8]| {
            keys.verify(algorithm, id, message, &signature)
        };
        assert!(good(&keys, "ES256", Some(keys.key_id()), b"message"));
        assert!(good(&keys, "ES256", None, b"message"));
        assert!(!good(&keys, "ES256", None, b"another"));
        assert!(!good(&keys, "ES256", Some("another"), b"message"));
        assert!(!good(&others, "ES256", None, b"message"));
        for algorithm in ["none", "HS256", "es256", ""] {
            assert!(!good(&keys, algorithm, None, b"message"), "{algorithm}");
        }
        assert!(!keys.verify("ES256", None, b"message", b""));
    }

    #[test]
    fn keys_are_kept_and_the_newest_signs() {
        let directory = tempfile::tempdir().unwrap();
        let first = TokenKeys::open(directory.path()).unwrap();
        let mode = fs::metadata(directory.path().join(FIRST)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = TokenKeys::open(directory.path()).unwrap();
        assert_eq!(first.key_id(), again.key_id());
        let old = first.sign(b"m").unwrap();
        write_private(&directory.path().join("0002.key"), &Key::generate().unwrap()).unwrap();
        let both = TokenKeys::open(directory.path()).unwrap();
        assert_ne!(both.key_id(), first.key_id());
        assert!(both.verify("ES256", Some(first.key_id()), b"m", &old), "the old key still counts");
        assert!(!first.verify("ES256", Some(both.key_id()), b"m", &both.sign(b"m").unwrap()));
        assert_eq!(both.public()["keys"].as_array().unwrap().len(), 2);
        fs::write(directory.path().join("0003.key"), "no key").unwrap();
        assert!(TokenKeys::open(directory.path()).is_err());
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let keys = TokenKeys::new().unwrap();
        assert_eq!(format!("{keys:?}"), format!("[{:?}]", keys.key_id()));
        assert!(keys.public()["keys"][0].get("d").is_none());
    }
}
