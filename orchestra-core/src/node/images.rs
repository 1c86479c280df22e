//! Getting a container's image: whether to pull, how often to try, and what is said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, ObjectReference, Pod, Secret};

use super::backoff::{BackOff, between, go_duration};
use super::context::Context;
use super::model::Waiting;
use super::pulling::{FIRST_EVENT, said};
use crate::runtime::{Image, ImageRef, RegistryCredentials, RuntimeError};

/// How soon after a failed pull the container is shown to be backing off.
const SHOW_BACK_OFF_AFTER: Duration = Duration::from_secs(1);

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

/// A container that cannot have its image now.
pub(super) struct NoImage {
    pub(super) waiting: Waiting,
    /// When to try again, or at least to look again.
    pub(super) retry: Duration,
}

/// How the pulls of one pod went.
pub(super) struct Pulls<'a> {
    /// The container that is to start.
    pub(super) container: &'a str,
    /// Waits between them.
    pub(super) waits: &'a mut BackOff,
    /// Why the last pull of an image failed.
    pub(super) errors: &'a mut BTreeMap<String, String>,
}

/// The policy of a container: what it says, else as its image's tag suggests.
pub fn pull_policy(wanted: &Wanted, image: &ImageRef) -> PullPolicy {
    match wanted.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if image.is_latest() => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

/// Makes sure that a container's image is there.
pub(super) async fn ensure(
    ctx: &Context,
    pod: &Pod,
    wanted: &Wanted,
    about: &ObjectReference,
    pulls: &mut Pulls<'_>,
) -> Result<Image, NoImage> {
    let name = wanted.image.as_deref().unwrap_or_default();
    let image = ImageRef::parse(name).map_err(|error| {
        let message = format!("Failed to apply default image tag \"{name}\": {}", error);
        ctx.warning(about, "InspectFailed", message.clone());
        NoImage::new("InvalidImageName", message, Duration::from_secs(60))
    })?;
    let present = ctx.runtime.image(&image).await.map_err(|error| {
        let message = format!("Failed to inspect image \"{name}\": {error}");
        ctx.warning(about, "InspectFailed", message.clone());
        NoImage::new("ImageInspectError", message, Duration::from_secs(10))
    })?;
    match (present, pull_policy(wanted, &image)) {
        (Some(present), PullPolicy::IfNotPresent | PullPolicy::Never) => {
            let message = format!(
                "Container image \"{name}\" already present on machine and can be accessed by the pod"
            );
            ctx.normal(about, "Pulled", message);
            Ok(present)
        }
        (None, PullPolicy::Never) => {
            let message = format!("Container image \"{name}\" is not present with pull policy of Never");
            ctx.warning(about, "ErrImageNeverPull", message.clone());
            Err(NoImage::new("ErrImageNeverPull", message, Duration::from_secs(10)))
        }
        (_, PullPolicy::Always | PullPolicy::IfNotPresent) => pull(ctx, pod, &image, about, pulls).await,
    }
}

async fn pull(
    ctx: &Context,
    pod: &Pod,
    image: &ImageRef,
    about: &ObjectReference,
    pulls: &mut Pulls<'_>,
) -> Result<Image, NoImage> {
    let key = image.full();
    let began = ctx.now();
    if let Some((until, _)) = pulls.waits.until_next(key, began) {
        let mut message = format!("Back-off pulling image \"{image}\"");
        ctx.normal(about, "BackOff", message.clone());
        if let Some(cause) = pulls.errors.get(key) {
            message.push_str(&format!(": {cause}"));
        }
        return Err(NoImage::new("ImagePullBackOff", message, between(began, until)));
    }
    ctx.normal(about, "Pulling", format!("Pulling image \"{image}\""));
    let credentials = credentials(ctx, pod, image).await;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let under_way = ctx.pulling.begin(uid, pulls.container, image.as_str());
    let pull = ctx.runtime.pull_image_telling(image, credentials.as_ref(), &under_way.progress);
    let tell = async {
        let mut wait = FIRST_EVENT;
        loop {
            ctx.clock().sleep(wait).await;
            if let Some(message) = said(image.as_str(), &under_way.progress) {
                ctx.normal(about, "Pulling", message);
            }
            wait *= 2;
        }
    };
    let pulled = tokio::select! { biased; pulled = pull => pulled, never = tell => never };
    drop(under_way);
    match pulled {
        Ok(pulled) => {
            pulls.waits.reset(key);
            pulls.errors.remove(key);
            let took = go_duration(Duration::from_millis(millis(between(began, ctx.now()))));
            let message = format!(
                "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {} bytes.",
                pulled.size_bytes
            );
            ctx.normal(about, "Pulled", message);
            Ok(pulled)
        }
        Err(error) => {
            let now = ctx.now();
            pulls.waits.next(key, now, now);
            let reason = match &error {
                RuntimeError::Unavailable { .. } => "RegistryUnavailable",
                _ => "ErrImagePull",
            };
            pulls.errors.insert(key.to_owned(), format!("{reason}: {error}"));
            ctx.warning(about, "Failed", failed(image, &error));
            Err(NoImage::new(reason, error.to_string(), SHOW_BACK_OFF_AFTER))
        }
    }
}

fn failed(image: &ImageRef, error: &RuntimeError) -> String {
    match error {
        RuntimeError::Pull { message, .. } => format!("Failed to pull image \"{image}\": {message}"),
        other => format!("Failed to pull image \"{image}\": {other}"),
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

impl NoImage {
    fn new(reason: &'static str, message: String, retry: Duration) -> Self {
        Self { waiting: Waiting { reason, message }, retry }
    }
}

/// The first credentials of the pod's pull secrets that are for the image's registry.
async fn credentials(ctx: &Context, pod: &Pod, image: &ImageRef) -> Option<RegistryCredentials> {
    let spec = pod.spec.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for wanted in spec.image_pull_secrets.iter().flatten() {
        let found = ctx.client.api::<Secret>(namespace).find(&wanted.name).await;
        let Ok(Some(secret)) = found else {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                wanted.name
            );
            ctx.warning(&super::context::about(pod, None), "FailedToRetrieveImagePullSecret", message);
            continue;
        };
        if let Some(credentials) = from_secret(&secret, image) {
            return Some(credentials);
        }
    }
    None
}

/// Reads `.dockerconfigjson` or the older `.dockercfg`.
fn from_secret(secret: &Secret, image: &ImageRef) -> Option<RegistryCredentials> {
    let data = secret.data.as_ref()?;
    let read = |key: &str| serde_json::from_slice::<serde_json::Value>(&data.get(key)?.0).ok();
    let registries = match read(".dockerconfigjson") {
        Some(mut config) => config.get_mut("auths")?.take(),
        None => read(".dockercfg")?,
    };
    let (server, login) = registries.as_object()?.iter().find(|(server, _)| is_for(server, image))?;
    let field = |name: &str| login.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let (username, password) = match (field("username"), field("password")) {
        (Some(username), Some(password)) => (username, password),
        _ => decoded(&field("auth")?)?,
    };
    Some(RegistryCredentials { username, password, server: server.clone() })
}

fn is_for(server: &str, image: &ImageRef) -> bool {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    host == image.registry()
}

fn decoded(auth: &str) -> Option<(String, String)> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_follows_the_tag() {
        for (image, written, policy) in [
            ("nginx", None, PullPolicy::Always),
            ("nginx:latest", None, PullPolicy::Always),
            ("nginx:1", None, PullPolicy::IfNotPresent),
            ("nginx", Some("Never"), PullPolicy::Never),
            ("nginx:1", Some("Always"), PullPolicy::Always),
        ] {
            let wanted = Wanted { image_pull_policy: written.map(Into::into), ..Wanted::default() };
            assert_eq!(pull_policy(&wanted, &ImageRef::parse(image).unwrap()), policy, "{image} {written:?}");
        }
    }

    #[test]
    fn credentials_go_to_their_registry_only() {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": encode("me:hub")},
            "quay.io": {"username": "you", "password": "quay"},
        }});
        let secret: Secret =
            serde_json::from_value(json!({"data": {".dockerconfigjson": encode(&config.to_string())}}))
                .unwrap();
        for (image, password) in
            [("nginx", Some("hub")), ("quay.io/a/b:1", Some("quay")), ("ghcr.io/a/b", None)]
        {
            let found = from_secret(&secret, &ImageRef::parse(image).unwrap());
            assert_eq!(found.map(|c| c.password).as_deref(), password, "{image}");
        }
    }
}
