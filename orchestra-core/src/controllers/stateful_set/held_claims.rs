//! The claims that there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::meta::ObjectName;
use crate::watch::{Cache, Entry};

/// The claims there are of those that the pods of a set have.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<String, Arc<Entry>>);

impl Claims {
    /// Looks them up by their names.
    pub(super) fn read(namespace: Option<&str>, names: impl Iterator<Item = String>, cache: &Cache) -> Self {
        let held = names.filter_map(|name| {
            let claim = cache.get(&ObjectName::new(namespace, &name))?;
            Some((name, claim))
        });
        Self(held.collect())
    }

    #[cfg(test)]
    pub(super) fn of(entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        Self(entries.into_iter().map(|entry| (entry.name().name().to_owned(), entry)).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.0.get(name)
    }
}
