//! Following the ConfigMaps and Secrets that the node's pods refer to, so that a change reaches them at once.
//!
//! Each object that some pod refers to is watched by its name, which is all that a node may do, and by one task however
//! many pods refer to it. The task carries nothing to the pods but that something has changed: they read it themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::mailbox::Mailbox;
use super::sources::Needs;
use crate::api::{Client, Status, Target, WatchEvent, WatchOptions};
use crate::selector::FieldSelector;
use crate::supervise::Task;

/// How soon an object is watched again after its watch ended.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// The objects that pods refer to, and who is told of their changes.
#[derive(Clone, Default)]
pub(super) struct Followed(Arc<Mutex<HashMap<Key, Object>>>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    ConfigMap,
    Secret,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

struct Object {
    readers: Vec<Weak<Mailbox>>,
    /// Ends with the last reader.
    _task: Task,
}

/// The wish of one pod to be told. It ends when this is dropped.
pub(super) struct Following {
    followed: Followed,
    keys: Vec<Key>,
    mailbox: Weak<Mailbox>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

impl Followed {
    /// Tells a pod of the changes of what it needs.
    pub(super) fn follow(
        &self,
        client: &Client,
        namespace: &str,
        needs: &Needs,
        mailbox: &Arc<Mailbox>,
    ) -> Following {
        let key = |kind, name: &String| Key { kind, namespace: namespace.to_owned(), name: name.clone() };
        let maps = needs.config_maps.iter().map(|name| key(Kind::ConfigMap, name));
        let keys: Vec<Key> = maps.chain(needs.secrets.iter().map(|name| key(Kind::Secret, name))).collect();
        let reader = Arc::downgrade(mailbox);
        let mut objects = self.lock();
        for key in &keys {
            match objects.entry(key.clone()) {
                Slot::Occupied(mut slot) => slot.get_mut().readers.push(reader.clone()),
                Slot::Vacant(slot) => {
                    let _task = self.watch(client.clone(), key.clone());
                    slot.insert(Object { readers: vec![reader.clone()], _task });
                }
            }
        }
        drop(objects);
        Following { followed: self.clone(), keys, mailbox: reader }
    }

    fn watch(&self, client: Client, key: Key) -> Task {
        // The task is kept in the map: it must not keep the map in its turn.
        let objects = Arc::downgrade(&self.0);
        let clock = client.clock().clone();
        Task::start(format!("watch of {key}"), clock, move || {
            let (objects, client, key) = (objects.clone(), client.clone(), key.clone());
            async move {
                let tell = || {
                    if let Some(objects) = objects.upgrade() {
                        Self(objects).tell(&key);
                    }
                };
                loop {
                    if let Err(error) = watch(&client, &key, &tell).await {
                        tracing::debug!(object = %key, %error, "the watch of an object ended");
                    }
                    client.clock().sleep(WATCH_RETRY).await;
                }
            }
        })
    }

    fn tell(&self, key: &Key) {
        let readers: Vec<_> = self.lock().get(key).map(|object| object.readers.clone()).unwrap_or_default();
        readers.iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.put_sources_changed());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Object>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut objects = self.followed.lock();
        for key in &self.keys {
            let Some(object) = objects.get_mut(key) else { continue };
            object.readers.retain(|reader| !reader.ptr_eq(&self.mailbox));
            if object.readers.is_empty() {
                objects.remove(key);
            }
        }
    }
}

/// Watches one object until the watch ends. Readers may have read before it began, and anything may have happened while
/// there was none: so it begins by telling them.
async fn watch(client: &Client, key: &Key, tell: &(dyn Fn() + Send + Sync)) -> Result<(), Status> {
    let fields = FieldSelector::parse(&format!("metadata.name={}", key.name))
        .map_err(|error| Status::internal(error.to_string()))?;
    let options = WatchOptions {
        fields: Some(fields),
        initial_events: Some(true),
        bookmarks: true,
        ..Default::default()
    };
    let target = match key.kind {
        Kind::ConfigMap => Target::of::<ConfigMap>(Some(&key.namespace)),
        Kind::Secret => Target::of::<Secret>(Some(&key.namespace)),
    };
    let mut events = client.watch(target, options).await?;
    let mut listed = false;
    while let Some(event) = events.next().await {
        let event = event?;
        listed |= matches!(event, WatchEvent::Bookmark { initial_events_end: true, .. });
        let is_news = !matches!(event, WatchEvent::Bookmark { initial_events_end: false, .. });
        if listed && is_news {
            tell();
        }
    }
    Ok(())
}
