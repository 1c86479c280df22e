use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orchestra_core::api::yaml;
use serde_json::{Value, json};

use crate::pki::{Authority, Issued, PkiError, make_private_directory};
use crate::remote::{Credential, RemoteConfig};

/// How long a certificate must be good for to be kept.
const RENEWED_BEFORE: time::Duration = time::Duration::days(60);

/// Why a kubeconfig does not say where a cluster is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// It is not YAML.
    #[error("{} is not a kubeconfig: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It lacks something, or has something that is not understood here.
    #[error("{} has no {missing}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is not there.
        missing: &'static str,
    },
}

/// The file that tells `kubectl` where a cluster is and who is asking.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// The URL of the API.
    pub server: String,
    /// The certificate of the authority that the server's comes from, in PEM form.
    pub authority: String,
    /// What the user proves who they are with.
    pub identity: Issued,
}

impl Kubeconfig {
    /// The file's text. It is JSON, which is YAML too.
    pub fn render(&self) -> String {
        let encode = |pem: &str| STANDARD.encode(pem);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "orchestra",
            "preferences": {},
            "clusters": [{"name": "orchestra", "cluster": {
                "server": self.server,
                "certificate-authority-data": encode(&self.authority),
            }}],
            "users": [{"name": "orchestra", "user": {
                "client-certificate-data": encode(&self.identity.certificate),
                "client-key-data": encode(&self.identity.key),
            }}],
            "contexts": [{"name": "orchestra", "context": {"cluster": "orchestra", "user": "orchestra"}}],
        });
        format!("{config:#}\n")
    }

    /// Sees to it that a file holds the administrator's kubeconfig. One that says the same, and whose certificate is good
    /// for a while yet, stays as it is: then nothing is written, and a disk that is full stops nobody from reading.
    ///
    /// # Errors
    /// When it must be written and cannot be.
    pub fn ensure(path: &Path, server: &str, authority: &Authority) -> Result<(), PkiError> {
        if is_current(path, server, authority.certificate()) {
            return Ok(());
        }
        let identity = authority.issue_client("kubernetes-admin", &["system:masters"])?;
        let config =
            Self { server: server.to_owned(), authority: authority.certificate().to_owned(), identity };
        config.write(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
    }

    /// Writes the file, readable by its owner only. Either the whole file is there afterwards, or the old one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_private_directory(parent)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        // A draft that was left behind has the mode that it was left with.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(self.render().as_bytes())?;
        fs::rename(&draft, path)
    }
}

/// Whether a file tells of this server and authority, and its certificate is good for long enough.
fn is_current(path: &Path, server: &str, authority: &str) -> bool {
    let Some(config) = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
    else {
        return false;
    };
    let pem = |value: &Value| STANDARD.decode(value.as_str()?).ok();
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let is_good = |certificate: Vec<u8>| {
        let (_, pem) = x509_parser::pem::parse_x509_pem(&certificate).ok()?;
        pem.parse_x509().ok()?.validity().time_to_expiration()
    };
    cluster["server"] == server
        && pem(&cluster["certificate-authority-data"]).as_deref() == Some(authority.as_bytes())
        && pem(&user["client-key-data"]).is_some()
        && pem(&user["client-certificate-data"]).and_then(is_good).is_some_and(|left| left > RENEWED_BEFORE)
}

/// What a file says of a server, and of how this one proves itself to it, which it need not.
#[derive(Clone, Default)]
pub(crate) struct Place {
    pub(crate) url: String,
    /// The certificate of its authority, in PEM form; `None` if anyone is believed.
    pub(crate) authority: Option<String>,
    /// A token.
    pub(crate) token: Option<Credential>,
    pub(crate) identity: Option<Issued>,
}

/// A kubeconfig as it was read, whoever wrote it.
struct Read<'p> {
    path: &'p Path,
    config: Value,
}

impl Kubeconfig {
    /// What a file says of its current context: where the cluster is, and a certificate or token to show. Other ways
    /// to prove oneself, such as programs that print a token, are not understood.
    ///
    /// # Errors
    /// When it cannot be read, or does not say.
    pub fn read(path: &Path) -> Result<RemoteConfig, KubeconfigError> {
        let read = Read::open(path)?;
        let context = read.context()?;
        let cluster = read.cluster(context)?;
        let user = read.named("users", "user", &context["user"]);
        let user = user.ok_or_else(|| read.missing("user in the current context"))?;
        let url = cluster["server"].as_str().ok_or_else(|| read.missing("server"))?.to_owned();
        let authority = read.pem(cluster, "certificate-authority")?;
        let authority = authority.ok_or_else(|| read.missing("certificate-authority"))?;
        let credential = match (read.token(user), read.pem(user, "client-certificate")?) {
            (Some(token), _) => token,
            (_, Some(certificate)) => {
                let key = read.pem(user, "client-key")?.ok_or_else(|| read.missing("client-key"))?;
                Credential::Certificate(Issued { certificate, key })
            }
            _ => return Err(read.missing("client-certificate or token")),
        };
        Ok(RemoteConfig { url, authority, credential })
    }

    /// What a file says of a server that need not be a cluster's, such as one that is asked who a token belongs to. It may
    /// leave out how this program proves itself.
    pub(crate) fn place(path: &Path) -> Result<Place, KubeconfigError> {
        let read = Read::open(path)?;
        let context = read.context()?;
        let cluster = read.cluster(context)?;
        let url = cluster["server"].as_str().ok_or_else(|| read.missing("server"))?.to_owned();
        let authority = read.pem(cluster, "certificate-authority")?;
        if authority.is_none() && cluster["insecure-skip-tls-verify"] != true {
            return Err(read.missing("certificate-authority"));
        }
        let Some(user) = read.named("users", "user", &context["user"]) else {
            return Ok(Place { url, authority, ..Place::default() });
        };
        let token = read.token(user);
        let identity = match read.pem(user, "client-certificate")? {
            Some(certificate) => {
                let key = read.pem(user, "client-key")?.ok_or_else(|| read.missing("client-key"))?;
                Some(Issued { certificate, key })
            }
            None => None,
        };
        Ok(Place { url, authority, token, identity })
    }
}

impl<'p> Read<'p> {
    fn open(path: &'p Path) -> Result<Self, KubeconfigError> {
        let text = fs::read(path);
        let text = text.map_err(|source| KubeconfigError::File { path: path.to_owned(), source })?;
        let documents = yaml::read(&text)
            .map_err(|error| KubeconfigError::Malformed { path: path.to_owned(), why: error.to_string() })?;
        Ok(Self { path, config: documents.into_iter().next().unwrap_or_default() })
    }

    fn context(&self) -> Result<&Value, KubeconfigError> {
        let context = self.named("contexts", "context", &self.config["current-context"]);
        context.ok_or_else(|| self.missing("current context"))
    }

    fn cluster(&self, context: &Value) -> Result<&Value, KubeconfigError> {
        let cluster = self.named("clusters", "cluster", &context["cluster"]);
        cluster.ok_or_else(|| self.missing("cluster in the current context"))
    }

    fn missing(&self, missing: &'static str) -> KubeconfigError {
        KubeconfigError::Missing { path: self.path.to_owned(), missing }
    }

    /// The entry of a list that has a name.
    fn named(&self, list: &str, entry: &str, name: &Value) -> Option<&Value> {
        let all = self.config[list].as_array()?;
        all.iter().find(|item| item["name"].is_string() && item["name"] == *name).map(|item| &item[entry])
    }

    /// The token of a user. Of both, the one in a file of its own is the newer one.
    fn token(&self, user: &Value) -> Option<Credential> {
        match (user["tokenFile"].as_str(), user["token"].as_str()) {
            (Some(named), _) => Some(Credential::TokenFile(self.beside(named))),
            (None, text) => text.map(|text| Credential::Token(text.to_owned())),
        }
    }

    /// A file that this one names, from where it stands.
    fn beside(&self, named: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(named)
    }

    /// What stands in the file itself, or in one that it names.
    fn pem(&self, of: &Value, field: &'static str) -> Result<Option<String>, KubeconfigError> {
        if let Some(encoded) = of[format!("{field}-data")].as_str() {
            let bytes = STANDARD.decode(encoded).ok();
            return bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(Some).ok_or_else(|| {
                KubeconfigError::Malformed {
                    path: self.path.to_owned(),
                    why: format!("{field}-data is not base64"),
                }
            });
        }
        let Some(named) = of[field].as_str() else { return Ok(None) };
        let path = self.beside(named);
        fs::read_to_string(&path).map(Some).map_err(|source| KubeconfigError::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let identity = Issued { certificate: "cert".into(), key: "key".into() };
        let config =
            Kubeconfig { server: "https://a:1".into(), authority: "ca".into(), identity: identity.clone() };
        config.write(&path).unwrap();
        let read = Kubeconfig::read(&path).unwrap();
        assert_eq!((read.url.as_str(), read.authority.as_str()), ("https://a:1", "ca"));
        assert!(matches!(read.credential, Credential::Certificate(found) if found == identity));
    }

    #[test]
    fn one_of_several_contexts_in_yaml_with_files_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(directory.path().join("ca.crt"), "authority").unwrap();
        let text = "current-context: b\ncontexts:\n- name: a\n  context: {cluster: x, user: x}\n- name: b\n  \
                    context: {cluster: z, user: z}\nclusters:\n- name: z\n  cluster: {server: 'https://y', \
                    certificate-authority: ca.crt}\nusers:\n- name: z\n  user: {token: secret}\n";
        fs::write(&path, text).unwrap();
        let read = Kubeconfig::read(&path).unwrap();
        assert_eq!((read.url.as_str(), read.authority.as_str()), ("https://y", "authority"));
        assert!(matches!(read.credential, Credential::Token(token) if token == "secret"));
        for (without, missing) in [("current-context: b", "current context"), ("token: secret", "token")] {
            fs::write(&path, text.replace(without, "other: x")).unwrap();
            let error = Kubeconfig::read(&path).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        fs::write(&path, text.replace("token: secret", "token: secret, tokenFile: t")).unwrap();
        let read = Kubeconfig::read(&path).unwrap();
        assert!(matches!(read.credential, Credential::TokenFile(at) if at == directory.path().join("t")));
    }
}
