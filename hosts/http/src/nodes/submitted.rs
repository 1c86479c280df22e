//! Manifests that are submitted to a node by HTTP, and kept until they are taken back.
//!
//! `PUT /manifests/NAME` has the node run the pods of a manifest, in YAML or JSON, whatever any master says; another of that
//! name takes its place. `DELETE /manifests/NAME` ends them, and `GET /manifests` says which there are.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use http::{Method, Response};
use orchestra_core::api::{Reason, Status};
use orchestra_core::node::{HostError, Manifest, Manifests, check_manifest};
use tokio::sync::Notify;

use crate::pki::{make_private_directory, write_private};
use crate::reply::{self, Body};

/// Where they are asked for.
const PATH: &str = "/manifests";
/// How the file of one ends. What does not is being written.
const EXTENSION: &str = "manifest";

/// The manifests that were submitted to a node, in a folder: they are there again when the node is started again.
#[derive(Debug)]
pub struct Submitted {
    folder: PathBuf,
    node: String,
    changed: Notify,
}

impl Submitted {
    /// Keeps the manifests of a node in a folder, which is made if it is not there and which only its owner may enter.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: impl Into<PathBuf>, node: impl Into<String>) -> io::Result<Self> {
        let folder = folder.into();
        make_private_directory(&folder)?;
        Ok(Self { folder, node: node.into(), changed: Notify::new() })
    }

    /// Whether a path is one of these.
    pub(super) fn serves(path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Does what a request asks for.
    pub(super) async fn answer(
        &self,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let name = path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
        match (method, name) {
            (&Method::GET, "") => {
                let names = self.names().map_err(Status::internal)?;
                let text = serde_json::to_string(&names).map_err(Status::internal)?;
                Ok(reply::bytes(200, "application/json", text + "\n"))
            }
            (&Method::GET, name) => {
                let text = fs::read(self.file(name)?).map_err(|_| absent(name))?;
                Ok(reply::bytes(200, "application/yaml", text))
            }
            (&Method::PUT, name) => self.put(name, body),
            (&Method::DELETE, name) => {
                fs::remove_file(self.file(name)?).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => absent(name),
                    _ => Status::internal(error),
                })?;
                self.changed.notify_one();
                Ok(reply::text(200, "the pods of the manifest end\n"))
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn put(&self, name: &str, body: &[u8]) -> Result<Response<Body>, Status> {
        let path = self.file(name)?;
        let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the manifest is no text"))?;
        let manifest = Manifest { origin: origin(&path), text: body.to_vec() };
        let pods = check_manifest(&manifest, &self.node)
            .map_err(|error| Status::new(Reason::Invalid, error.to_string()))?;
        if pods.is_empty() {
            return Err(Status::new(Reason::Invalid, "there is no pod in the manifest"));
        }
        let is_new = !path.exists();
        let draft = self.folder.join(format!("{name}.draft"));
        let written = write_private(&draft, text).and_then(|()| fs::rename(&draft, &path));
        written.map_err(|error| {
            Status::internal(format!("the manifest cannot be kept in {}: {error}", path.display()))
        })?;
        self.changed.notify_one();
        let names: Vec<String> = pods.iter().map(ToString::to_string).collect();
        Ok(reply::text(if is_new { 201 } else { 200 }, &format!("the node runs {}\n", names.join(", "))))
    }

    /// The file of a manifest. Its name is one step of a path, and no other.
    fn file(&self, name: &str) -> Result<PathBuf, Status> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !begins || name.len() > 200 || !name.bytes().all(plain) {
            let message =
                format!("{name:?} is no name of a manifest: small letters, digits, '-' and '.' make one");
            return Err(Status::bad_request(message));
        }
        Ok(self.folder.join(format!("{name}.{EXTENSION}")))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for path in self.files()? {
            names.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
        }
        Ok(names)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new(EXTENSION)) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

fn absent(name: &str) -> Status {
    Status::new(Reason::NotFound, format!("no manifest {name:?} was submitted to this node"))
}

fn origin(path: &Path) -> String {
    path.display().to_string()
}

#[async_trait]
impl Manifests for Submitted {
    fn source(&self) -> &'static str {
        "http"
    }

    async fn read(&self) -> Result<Vec<Manifest>, HostError> {
        let read = || -> io::Result<Vec<Manifest>> {
            let files = self.files()?.into_iter();
            files.map(|path| Ok(Manifest { origin: origin(&path), text: fs::read(&path)? })).collect()
        };
        read().map_err(|error| HostError::Io {
            path: self.folder.display().to_string(),
            message: error.to_string(),
        })
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const POD: &[u8] =
        b"{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, image: b}]}}";

    #[tokio::test]
    async fn what_is_submitted_is_kept_until_it_is_taken_back() {
        let place = tempfile::tempdir().unwrap();
        let open = || Submitted::open(place.path().join("s"), "n1").unwrap();
        let node = open();
        let ask = async |method: Method, path: &str, body: &[u8]| {
            assert!(Submitted::serves(path), "{path}");
            let answer = node.answer(&method, path, body).await;
            answer.map_or_else(|status| status.code(), |answer| answer.status().as_u16())
        };
        assert_eq!(ask(Method::PUT, "/manifests/web", POD).await, 201);
        assert!(node.changed().now_or_never().is_some(), "who reads them is told");
        assert_eq!(ask(Method::PUT, "/manifests/web", POD).await, 200);
        assert_eq!(ask(Method::GET, "/manifests/web", b"").await, 200);
        let again = open();
        let found = again.read().await.unwrap();
        assert_eq!(
            (found.len(), found[0].text.as_slice(), again.names().unwrap()),
            (1, POD, vec!["web".into()])
        );
        assert_eq!(ask(Method::DELETE, "/manifests/web", b"").await, 200);
        assert_eq!(ask(Method::DELETE, "/manifests/web", b"").await, 404);
        assert!(node.read().await.unwrap().is_empty());
        for (path, body, code) in [
            ("/manifests/web", &b"kind: Node"[..], 422),
            ("/manifests/web", b"{", 422),
            ("/manifests/web", b"", 422),
            ("/manifests/web", b"\xff", 400),
            ("/manifests/../x", POD, 400),
            ("/manifests/.x", POD, 400),
            ("/manifests/a/b", POD, 400),
            ("/manifests/", POD, 400),
        ] {
            assert_eq!(ask(Method::PUT, path, body).await, code, "{path}");
        }
        assert_eq!(ask(Method::POST, "/manifests/web", POD).await, 405);
        assert!(!Submitted::serves("/manifestsx") && !Submitted::serves("/pods"));
    }
}
