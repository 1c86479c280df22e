use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::Issued;

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

    /// Writes the file, readable by its owner only. Either the whole file is there afterwards, or the old one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(self.render().as_bytes())?;
        fs::rename(&draft, path)
    }
}
