//! Taking objects over that nobody controls, and letting go of those that are not selected any more.
//!
//! An object has one controller, named by uid. Every change is made on the object as it was read, so that two owners
//! never both think that they have it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Error, owner_reference, write};
use crate::api::Status;
use crate::meta::Object;
use crate::selector::CompiledSelector;
use crate::watch::{Cache, Entry, Query};

/// One owner's hold on its objects.
pub struct Claim<'c, O> {
    context: &'c Context,
    owner: &'c Entry,
    finalizer: Option<&'static str>,
    kind: PhantomData<fn() -> O>,
}

impl<O> fmt::Debug for Claim<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl<'c, O: Object> Claim<'c, O> {
    /// The hold of the object that a run is for, of kind `O`, as it was read.
    pub fn new(context: &'c Context, owner: &'c Entry) -> Self {
        Self { context, owner, finalizer: None, kind: PhantomData }
    }

    /// What is adopted also gets this finalizer, and what is released loses it.
    #[must_use]
    pub fn with_finalizer(mut self, finalizer: &'static str) -> Self {
        self.finalizer = Some(finalizer);
        self
    }

    /// The owner's objects of a kind, after those that are selected and free have been adopted and those that are
    /// not selected any more released. An owner that is going away does neither.
    ///
    /// # Errors
    /// What the API says; a conflict when an object has changed since it was read.
    pub async fn settle<K: Object>(
        &self,
        cache: &Cache,
        selector: &CompiledSelector,
    ) -> Result<Vec<Arc<Entry>>, Error> {
        self.settle_those::<K>(cache, selector, |_| true).await
    }

    /// As [`Claim::settle`], of those alone that can be the owner's at all.
    ///
    /// # Errors
    /// As [`Claim::settle`].
    pub async fn settle_those<K: Object>(
        &self,
        cache: &Cache,
        selector: &CompiledSelector,
        can_be: impl Fn(&Entry) -> bool + Send,
    ) -> Result<Vec<Arc<Entry>>, Error> {
        let (mut own, release): (Vec<_>, Vec<_>) =
            self.held(cache).into_iter().partition(|entry| selector.matches(entry.labels()) && can_be(entry));
        if self.owner.is_deleting() {
            return Ok(own);
        }
        let query = Query::namespace(self.context.namespace()).labels(selector.clone());
        let mut free = cache.list(&query);
        free.retain(|entry| entry.controller().is_none() && !entry.is_deleting() && can_be(entry));
        self.adopt::<K>(&free).await?;
        self.release::<K>(&release).await?;
        own.extend(free);
        Ok(own)
    }

    fn held(&self, cache: &Cache) -> Vec<Arc<Entry>> {
        let mut held = cache.owned_by(self.owner.uid());
        held.retain(|entry| entry.controller().is_some_and(|owner| owner.uid == *self.owner.uid()));
        held
    }

    /// Makes the owner the controller of objects that have none.
    ///
    /// # Errors
    /// As [`Claim::settle`], and when the owner is going away.
    pub async fn adopt<K: Object>(&self, free: &[Arc<Entry>]) -> Result<(), Error> {
        if !free.is_empty() && !self.still_there().await? {
            return Err(Error::from("the owner is going away and adopts nothing more"));
        }
        for entry in free {
            let owners = entry
                .owners()
                .iter()
                .map(owner_reference::stored)
                .chain([owner_reference::controller::<O>(self.owner)]);
            self.set_owners::<K>(entry, owners.collect(), true).await?;
        }
        Ok(())
    }

    /// Takes the owner out of the references of objects.
    ///
    /// # Errors
    /// As [`Claim::settle`].
    pub async fn release<K: Object>(&self, held: &[Arc<Entry>]) -> Result<(), Error> {
        for entry in held {
            let others = entry.owners().iter().filter(|owner| owner.uid != *self.owner.uid());
            self.set_owners::<K>(entry, others.map(owner_reference::stored).collect(), false).await?;
        }
        Ok(())
    }

    async fn set_owners<K: Object>(&self, entry: &Entry, owners: Vec<Value>, own: bool) -> Result<(), Error> {
        let mut patch = json!({"metadata": {"ownerReferences": owners}});
        if let Some(finalizer) = self.finalizer {
            let mut finalizers = finalizers(entry)?;
            finalizers.retain(|held| held != finalizer);
            if own {
                finalizers.push(finalizer.to_owned());
            }
            patch["metadata"]["finalizers"] = finalizers.into();
        }
        write::unless_gone(write::patch::<K>(self.context.client(), entry, patch).await)
    }

    /// Whether the owner is really there and not being deleted: the cache may not know yet.
    async fn still_there(&self) -> Result<bool, Status> {
        let owner = self.context.api::<O>().find(self.owner.name().name()).await?;
        Ok(owner.is_some_and(|owner| {
            let meta = owner.meta();
            meta.uid.as_deref() == Some(self.owner.uid().as_str()) && meta.deletion_timestamp.is_none()
        }))
    }
}

/// What keeps an object from going away.
fn finalizers(entry: &Entry) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Held {
        metadata: HeldMeta,
    }
    #[derive(Deserialize)]
    struct HeldMeta {
        #[serde(default)]
        finalizers: Vec<String>,
    }
    Ok(entry.view::<Held>()?.metadata.finalizers.clone())
}
