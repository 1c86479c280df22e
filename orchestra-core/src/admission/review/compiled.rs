use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::Caches;
use crate::meta::{GroupResource, Object, Revision, Uid};
use crate::watch::Entry;

/// The objects of a kind, each made ready once a generation: compiled expressions, read rules.
#[derive(Debug)]
pub(in crate::admission) struct Compiled<T> {
    caches: Caches,
    id: GroupResource,
    held: Mutex<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    /// As of when, by the cache of the kind.
    at: Option<Revision>,
    all: Arc<[Arc<T>]>,
    by_uid: HashMap<Uid, (i64, Arc<T>)>,
}

impl<T> Compiled<T> {
    /// Of the objects that are in the caches.
    pub(in crate::admission) fn of<K: Object>(caches: &Caches) -> Self {
        let held = Held { at: None, all: Arc::from([]), by_uid: HashMap::new() };
        Self { caches: caches.clone(), id: GroupResource::of::<K>(), held: Mutex::new(held) }
    }

    /// All of them, in the order of their names. One that `make` makes nothing of is left out.
    pub(in crate::admission) fn all(&self, make: impl Fn(&Entry) -> Option<T>) -> Arc<[Arc<T>]> {
        let Some(cache) = self.caches.get(&self.id) else { return Arc::from([]) };
        let snapshot = cache.snapshot();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.at == Some(snapshot.changed()) {
            return Arc::clone(&held.all);
        }
        let (mut all, mut by_uid) = (Vec::new(), HashMap::new());
        for entry in snapshot.range(None, None) {
            let generation = entry.generation();
            let known = held.by_uid.get(entry.uid()).filter(|(of, _)| *of == generation && generation > 0);
            let made = match known {
                Some((_, known)) => Arc::clone(known),
                None => match make(entry) {
                    Some(made) => Arc::new(made),
                    None => continue,
                },
            };
            by_uid.insert(entry.uid().clone(), (generation, Arc::clone(&made)));
            all.push(made);
        }
        *held = Held { at: Some(snapshot.changed()), all: all.into(), by_uid };
        Arc::clone(&held.all)
    }
}
