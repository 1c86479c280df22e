//! Waiting by a watch, without polling: what every example needs between "I asked for it" and "there it is".

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::TryStreamExt;
use orchestra_core::api::{Api, WatchOptions, Watched};
use orchestra_core::meta::Object;

/// How long anything in an example may take. In a test with paused time it costs nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// The objects of one kind by name.
pub type Objects<K> = BTreeMap<String, K>;

/// Waits until the objects that match the options are as they should be, and returns them as they are then.
///
/// # Errors
/// When the API refuses the watch, or when two minutes pass first; the error then names the objects there are.
pub async fn until<K: Object>(
    api: &Api<K>,
    options: WatchOptions,
    are_right: impl Fn(&Objects<K>) -> bool,
) -> anyhow::Result<Objects<K>> {
    // A watch that does not say where to begin tells first of what is there, then of each change. With
    // `initial_events`, a bookmark says where the one ends and the other begins, so that "none" can be known too.
    let options = WatchOptions { initial_events: true, bookmarks: true, ..options };
    let mut events = api.watch(options).await?;
    let mut objects = Objects::new();
    let mut complete = false;
    let follow = async {
        while let Some(event) = events.try_next().await? {
            match event {
                Watched::Added(object) | Watched::Modified(object) => {
                    objects.insert(name(&object), object);
                }
                Watched::Deleted(object) => {
                    objects.remove(&name(&object));
                }
                Watched::Bookmark(_) => complete = true,
            }
            if complete && are_right(&objects) {
                return Ok(());
            }
        }
        bail!("the watch of {} ended", K::PLURAL)
    };
    let outcome = tokio::time::timeout(PATIENCE, follow).await;
    outcome.with_context(|| format!("waited in vain; the {} are {:?}", K::PLURAL, objects.keys()))??;
    Ok(objects)
}

/// Waits until one object, or its absence, is as it should be.
///
/// # Errors
/// As [`until`].
pub async fn until_one<K: Object>(
    api: &Api<K>,
    name: &str,
    is_right: impl Fn(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>> {
    let mut objects = until(api, WatchOptions::default(), |objects| is_right(objects.get(name))).await?;
    Ok(objects.remove(name))
}

fn name<K: Object>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}
