//! Certificates: an authority of the cluster's own, and what it issues.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orchestra_core::controllers::certificates::{CertificateAuthority, SignatureAlgorithm};
use orchestra_core::proxy;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};

/// How long the authority is valid.
const AUTHORITY_YEARS: i64 = 10;
/// How long what it issues is valid.
const ISSUED_DAYS: i64 = 365;
/// Certificates begin a little in the past, for clients whose clocks are behind.
const BACKDATED: Duration = Duration::minutes(5);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A certificate or key cannot be made or read.
    #[error("a certificate cannot be made or read: {0}; remove the pki directory to have it made anew")]
    Certificate(#[from] rcgen::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A certificate in PEM form is none.
    #[error("{0} is not a certificate or key in PEM form")]
    Pem(&'static str),
    /// Of an authority's certificate and its key one is there without the other.
    #[error(
        "{} is there without {}; put that back, or remove both to have an authority made anew, which every node and \
         client must then be given",
        present.display(),
        missing.display()
    )]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// An authority's certificate and its key do not belong together.
    #[error(
        "{} is not the key of {}; put back the one that is, or remove both to have an authority made anew, which every \
         node and client must then be given",
        key.display(),
        certificate.display()
    )]
    OtherKey {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// Others than its owner may read or change a key.
    #[error(
        "{} has mode {mode:04o}: others may read or change it; if nobody did, \"chmod 600\" it, otherwise remove it and the \
         certificate to have an authority made anew",
        path.display()
    )]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// TLS cannot be set up with these certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A certificate and its key, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Issued {
    pub(crate) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let chain =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| PkiError::Pem("the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| PkiError::Pem("the key"))?;
        Ok((chain, key))
    }
}

/// The certificates of authorities that are to be believed.
pub(crate) fn roots(authority: &str) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|_| PkiError::Pem("the authority"))?;
        roots.add(certificate).map_err(|error| PkiError::Tls(error.into()))?;
    }
    Ok(roots)
}

/// The authority that a cluster's certificates come from.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority kept in a directory; made there, if there is none. Of several programs that do so at once, one
    /// makes it.
    ///
    /// # Errors
    /// When the files cannot be read or written, or are not what they should be.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PkiError::File { path, source }
        };
        make_private_directory(directory).map_err(failed(directory))?;
        let lock = fs::File::open(directory).map_err(failed(directory))?;
        lock.lock().map_err(failed(directory))?;
        // Written first and renamed last: if it is there with a key, a start was broken off between.
        let draft = directory.join("ca.crt.new");
        if key_path.exists() && !certificate_path.exists() && draft.exists() {
            fs::rename(&draft, &certificate_path).map_err(failed(&certificate_path))?;
        }
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => return Self::read(&certificate_path, &key_path),
            (false, false) => {}
            (true, false) => return Err(PkiError::Half { present: certificate_path, missing: key_path }),
            (false, true) => return Err(PkiError::Half { present: key_path, missing: certificate_path }),
        }
        let (authority, key) = Self::make()?;
        fs::write(&draft, &authority.certificate).map_err(failed(&draft))?;
        write_private(&key_path, &key).map_err(failed(&key_path))?;
        fs::rename(&draft, &certificate_path).map_err(failed(&certificate_path))?;
        Ok(authority)
    }

    /// The authority kept in two files that are there.
    fn read(certificate_path: &Path, key_path: &Path) -> Result<Self, PkiError> {
        let read = |path: &Path| {
            let text = fs::read_to_string(path);
            text.map_err(|source| PkiError::File { path: path.to_owned(), source })
        };
        let (certificate, key) = (read(certificate_path)?, read(key_path)?);
        check_mode(key_path)?;
        let key = KeyPair::from_pem(&key)?;
        if public_key(&certificate)? != key.subject_public_key_info() {
            return Err(PkiError::OtherKey {
                key: key_path.to_owned(),
                certificate: certificate_path.to_owned(),
            });
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { certificate, issuer })
    }

    /// A new authority, kept nowhere.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self, PkiError> {
        Self::make().map(|(authority, _)| authority)
    }

    fn make() -> Result<(Self, String), PkiError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("orchestra-ca", &[]);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = OffsetDateTime::now_utc() - BACKDATED;
        params.not_after = OffsetDateTime::now_utc() + Duration::days(365 * AUTHORITY_YEARS);
        let key = KeyPair::generate()?;
        let pem = key.serialize_pem();
        let certificate = params.self_signed(&key)?.pem();
        Ok((Self { certificate, issuer: Issuer::new(params, key) }, pem))
    }

    /// The authority's certificate, in PEM form: what a client must trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a server that is reached by these names and addresses.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_server(&self, names: &[String], addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = named("kube-apiserver", &[]);
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// What an API server is known by: under the names that it has in every cluster, on this machine, at these addresses,
    /// and under further names and addresses.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_api_server(&self, addresses: &[IpAddr], also: &[String]) -> Result<ServerTls, PkiError> {
        self.issue_api_server_behind(addresses, also, None)
    }

    /// The same of a server that takes the certificates of proxies in front of it too, which this authority has signed,
    /// in PEM form.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_api_server_behind(
        &self,
        addresses: &[IpAddr],
        also: &[String],
        proxies: Option<&str>,
    ) -> Result<ServerTls, PkiError> {
        let mut names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(String::from)
        .to_vec();
        let mut known = vec![IpAddr::from([127, 0, 0, 1])];
        for name in also {
            match name.parse() {
                Ok(address) => known.push(address),
                Err(_) => names.push(name.clone()),
            }
        }
        known.extend(addresses.iter().filter(|address| !address.is_unspecified()));
        known.sort_unstable();
        known.dedup();
        // Whose certificate is whose is told apart by who looks at it.
        let authorities = format!("{}\n{}", self.certificate(), proxies.unwrap_or_default());
        ServerTls::new(&self.issue_server(&names, &known)?, &authorities)
    }

    /// A certificate by which a client proves that it is a user of these groups.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue_client(&self, user: &str, groups: &[&str]) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(user, groups);
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for the agent of a node, by which it is the user `system:node:NAME`, and serves under
    /// [`node_host`]. `public_key` is the agent's, in PEM form: the private key is its own.
    ///
    /// # Errors
    /// When the key is none, or the name cannot stand in a certificate.
    pub(crate) fn issue_node(&self, name: &str, public_key: &str) -> Result<String, PkiError> {
        let mut params = CertificateParams::new([node_host(name)])?;
        params.distinguished_name = named(&format!("system:node:{name}"), &["system:nodes"]);
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = SubjectPublicKeyInfo::from_pem(public_key)?;
        Ok(issued(params, usages).signed_by(&key, &self.issuer)?.pem())
    }

    /// A certificate for what carries services on a node, of whose key this is the public half.
    ///
    /// # Errors
    /// When the key is none.
    pub(crate) fn issue_proxy(&self, public_key: &str) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(proxy::USER, &[]);
        let key = SubjectPublicKeyInfo::from_pem(public_key)?;
        Ok(issued(params, vec![ExtendedKeyUsagePurpose::ClientAuth]).signed_by(&key, &self.issuer)?.pem())
    }

    fn issue(&self, params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = issued(params, vec![purpose]).signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// The authority also signs what is asked for through the API: the controllers decide what that is.
impl CertificateAuthority for Authority {
    fn certificate(&self) -> &str {
        &self.certificate
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        let algorithm = self.issuer.key().algorithm();
        if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 {
            SignatureAlgorithm::EcdsaSha384
        } else if *algorithm == rcgen::PKCS_ECDSA_P521_SHA512 {
            SignatureAlgorithm::EcdsaSha512
        } else if *algorithm == rcgen::PKCS_ED25519 {
            SignatureAlgorithm::Ed25519
        } else if *algorithm == rcgen::PKCS_RSA_SHA256 {
            SignatureAlgorithm::RsaSha256
        } else {
            SignatureAlgorithm::EcdsaSha256
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.issuer.key().sign(message).map_err(|error| error.to_string())
    }
}

/// The name under which the agent of a node serves. Not its address and not its own name: whoever joins chooses those,
/// and could choose the master's.
pub(crate) fn node_host(node: &str) -> String {
    format!("{node}.nodes.orchestra.internal")
}

/// What all certificates have that are not an authority's.
fn issued(mut params: CertificateParams, purposes: Vec<ExtendedKeyUsagePurpose>) -> CertificateParams {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = purposes;
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(ISSUED_DAYS);
    params
}

fn named(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    for group in groups {
        distinguished.push(DnType::OrganizationName, *group);
    }
    distinguished
}

/// The public key of a certificate, as its encoded SubjectPublicKeyInfo.
fn public_key(certificate: &str) -> Result<Vec<u8>, PkiError> {
    let none = || PkiError::Pem("the authority");
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|_| none())?;
    Ok(pem.parse_x509().map_err(|_| none())?.public_key().raw.to_vec())
}

/// Refuses a key that anybody may read, or more than its owner change. A group may read it, as where a volume is mounted
/// for one.
pub(crate) fn check_mode(path: &Path) -> Result<(), PkiError> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = fs::metadata(path).map_err(|source| PkiError::File { path: path.to_owned(), source })?;
    let mode = file.permissions().mode() & 0o7777;
    if mode & 0o027 != 0 {
        return Err(PkiError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a directory into which only its owner may look, whatever the umask. One that is there stays as it is: it may
/// hold other things.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner may read, whatever the umask and whatever it was before.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// How a server proves who it is, and whose client certificates it believes.
#[derive(Clone, Debug)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// A server with a certificate, that believes the clients of an authority. Clients need not have a certificate:
    /// those without prove who they are by a token.
    ///
    /// # Errors
    /// When the certificates are not what they should be.
    pub fn new(identity: &Issued, authority: &str) -> Result<Self, PkiError> {
        let tls = |error: Box<dyn std::error::Error + Send + Sync>| PkiError::Tls(error);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| tls(error.into()))?;
        let (chain, key) = identity.read()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(error.into()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| tls(error.into()))?;
        // kubectl sends its watches over one connection if it may.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}
#[cfg(test)]
mod tests;
