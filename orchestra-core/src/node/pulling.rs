//! Pulls that take long: how far they have come is said in the status of the container that waits, and now and then in an event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::runtime::PullProgress;

/// How often the status is brought up to date.
pub(super) const SAID_EVERY: Duration = Duration::from_secs(10);
/// After how long the first event tells of it; the next after twice as long, and so on.
pub(super) const FIRST_EVENT: Duration = Duration::from_secs(30);

/// The pulls that are under way, by the uids of their pods.
#[derive(Default)]
pub(super) struct Pulling(Mutex<BTreeMap<String, Pull>>);

#[derive(Clone)]
struct Pull {
    container: String,
    image: String,
    progress: Arc<PullProgress>,
}

impl Pulling {
    /// A pull begins, for a container. It is under way until the answer is dropped.
    pub(super) fn begin(&self, uid: &str, container: &str, image: &str) -> UnderWay<'_> {
        let progress = Arc::new(PullProgress::default());
        let pull = Pull {
            container: container.to_owned(),
            image: image.to_owned(),
            progress: Arc::clone(&progress),
        };
        self.lock().insert(uid.to_owned(), pull);
        UnderWay { all: self, uid: uid.to_owned(), progress }
    }

    /// How far the pull of a pod has come, and for which container, if that is known.
    pub(super) fn said(&self, uid: &str) -> Option<(String, String)> {
        let pull = self.lock().get(uid).cloned()?;
        let text = said(&pull.image, &pull.progress)?;
        Some((pull.container, text))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pull>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pull that is under way.
pub(super) struct UnderWay<'a> {
    all: &'a Pulling,
    uid: String,
    pub(super) progress: Arc<PullProgress>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.uid);
    }
}

/// How far a pull has come, if that is known.
pub(super) fn said(image: &str, progress: &PullProgress) -> Option<String> {
    let (done, total) = progress.read()?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (done, total) = (mebibytes(done), mebibytes(total));
    Some(format!("Pulling image \"{image}\": {done:.1} of {total:.1} MiB"))
}

/// A status in which a container that waits says why.
pub(super) fn with_message(mut status: PodStatus, container: &str, message: String) -> PodStatus {
    let lists = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    let is_it = |status: &&mut ContainerStatus| status.name == container;
    let found = lists.into_iter().flatten().flatten().find(is_it);
    let waiting = found.and_then(|status| status.state.as_mut()?.waiting.as_mut());
    let creating = ["ContainerCreating", "PodInitializing"];
    if let Some(waiting) =
        waiting.filter(|waiting| creating.contains(&waiting.reason.as_deref().unwrap_or_default()))
    {
        waiting.message = Some(message);
    }
    status
}
