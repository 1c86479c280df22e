//! The control groups of pods that are held as a whole: their containers' groups are below them.

use std::io;
use std::path::Path;

#[cfg(any(feature = "cri", feature = "docker"))]
use orchestra_core::runtime::SandboxSpec;
use orchestra_core::runtime::{Resources, Result, RuntimeError, SandboxMeta};

use crate::cgroup::{self, Limits};

/// The group of a sandbox. Two agents may have pods of the same uid, which comes from a manifest.
pub(crate) fn name(meta: &SandboxMeta) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, meta.owner.as_bytes());
    let owner: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let uid: String = meta.pod.uid.chars().take(64).map(plain).collect();
    format!("pod{uid}-{}-{owner}", meta.attempt)
}

/// The same as the path that other runtimes are told.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) fn path(name: &str) -> String {
    cgroup::path(Path::new(name))
}

/// The name of the group at such a path, if it is one of ours.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) fn at(path: &str) -> Option<&str> {
    let name = path.strip_prefix(path_of_all().as_str())?;
    (name.starts_with("pod") && !name.contains('/')).then_some(name)
}

#[cfg(any(feature = "cri", feature = "docker"))]
fn path_of_all() -> String {
    path("")
}

/// Whether there are such groups here.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) fn are_possible() -> bool {
    rustix::process::geteuid().is_root() && cgroup::usable()
}

/// Makes a group.
pub(crate) fn make(name: &str, resources: &Resources) -> Result<()> {
    let made = cgroup::make(Path::new(name), &Limits::new(resources));
    made.map_err(|error| failed(name, "made", &error))
}

/// Gives it other limits.
pub(crate) fn update(name: &str, resources: &Resources) -> Result<()> {
    let updated = cgroup::update(Path::new(name), &Limits::new(resources));
    updated.map_err(|error| failed(name, "given its limits", &error))
}

/// Removes it, once nothing is in it.
pub(crate) fn remove(name: &str) {
    cgroup::remove_everywhere(Path::new(name));
}

/// Makes the group of a sandbox that is to have one. The sandbox, with it as its parent.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) async fn with(spec: &SandboxSpec) -> Result<SandboxSpec> {
    let mut spec = spec.clone();
    if let Some(resources) = spec.resources {
        let name = name(&spec.meta);
        spec.cgroup_parent = Some(path(&name));
        blocking(move || make(&name, &resources)).await?;
    }
    Ok(spec)
}

/// What came of making a sandbox. If it is none, its group goes.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) async fn kept_if<T>(made: Result<T>, spec: &SandboxSpec) -> Result<T> {
    if made.is_err() {
        // Why there is no sandbox is worth more than why its group stays.
        let _ = without(spec.cgroup_parent.as_deref()).await;
    }
    made
}

/// Gives the group at a path other limits.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) async fn set(path: Option<&str>, resources: &Resources) -> Result<()> {
    let Some(name) = path.and_then(at).map(str::to_owned) else {
        return Err(RuntimeError::Unsupported { what: "the resize of a pod without a control group" });
    };
    let resources = *resources;
    blocking(move || update(&name, &resources)).await
}

/// Removes the group at a path, if it is one of ours.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) async fn without(path: Option<&str>) -> Result<()> {
    let Some(name) = path.and_then(at).map(str::to_owned) else { return Ok(()) };
    blocking(move || {
        remove(&name);
        Ok(())
    })
    .await
}

#[cfg(any(feature = "cri", feature = "docker"))]
async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(RuntimeError::Failed { message: error.to_string() }),
    }
}

fn failed(name: &str, what: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed {
        message: format!("the control group of the pod, {name}, could not be {what}: {error}"),
    }
}

#[cfg(all(test, any(feature = "cri", feature = "docker")))]
mod tests {
    use orchestra_core::runtime::PodRef;

    use super::*;

    #[test]
    fn groups_are_called_after_whose_they_are() {
        let of = |uid: &str, owner: &str| {
            let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: uid.into() };
            name(&SandboxMeta { pod, attempt: 1, owner: owner.into() })
        };
        let one = of("0a-1", "c/n");
        assert!(one.starts_with("pod0a-1-1-") && one != of("0a-1", "c/m"), "{one}");
        assert_eq!(path(&one), format!("/orchestra/{one}"));
        assert_eq!(at(&path(&one)), Some(one.as_str()));
        assert!(of("../x", "c").starts_with("pod---x-1-"));
        for others in ["/kubepods/pod1", "/orchestra/pod1/x", "/orchestra/web-1", "pod1"] {
            assert_eq!(at(others), None, "{others}");
        }
    }
}
