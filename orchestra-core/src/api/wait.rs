//! Waiting by a watch, without polling: what stands between "I asked for it" and "there it is".

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::typed::{Api, Watched};
use super::{Reason, Status, WatchOptions};
use crate::meta::{Object, ObjectName};
use crate::selector::FieldSelector;

impl<K: Object> Api<K> {
    /// Waits until an object, or its absence, is as it should be, and returns it as it was then.
    ///
    /// It waits for as long as it takes; put a [`timeout`](tokio::time::timeout) around it to bound that.
    ///
    /// ```
    /// # use orchestra_core::api::{Client, Status};
    /// # use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
    /// # async fn example(client: Client) -> Result<(), Status> {
    /// let deployments = client.api::<Deployment>("default");
    /// deployments
    ///     .until("web", |web| {
    ///         let status = web.and_then(|web| web.status.as_ref());
    ///         status.is_some_and(|status| status.ready_replicas == Some(3))
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What the API says to a watch. That a watch ended or fell behind is no error: another goes on.
    pub async fn until(
        &self,
        name: &str,
        is_right: impl Fn(Option<&K>) -> bool,
    ) -> Result<Option<K>, Status> {
        let called = FieldSelector::parse(&format!("metadata.name={name}"));
        let called = called.map_err(|error| Status::bad_request(format!("{name:?} is no name: {error}")))?;
        let options = WatchOptions { fields: Some(called), ..WatchOptions::default() };
        let found = self.until_all(options, |objects| is_right(objects.values().next())).await?;
        Ok(found.into_values().next())
    }

    /// Waits until the objects that match are together as they should be, and returns them as they were then.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn until_all(
        &self,
        options: WatchOptions,
        are_right: impl Fn(&BTreeMap<ObjectName, K>) -> bool,
    ) -> Result<BTreeMap<ObjectName, K>, Status> {
        // With `initial_events` a bookmark marks the end of what is there already, so that "none" can be known too.
        let options = WatchOptions { initial_events: Some(true), bookmarks: true, after: None, ..options };
        loop {
            match self.follow(options.clone(), &are_right).await {
                Ok(Some(objects)) => return Ok(objects),
                Ok(None) => {}
                Err(status) if matches!(status.reason(), Reason::Expired | Reason::Gone) => {}
                Err(status) => return Err(status),
            }
        }
    }

    /// One watch; `None` when it ended first.
    async fn follow(
        &self,
        options: WatchOptions,
        are_right: &impl Fn(&BTreeMap<ObjectName, K>) -> bool,
    ) -> Result<Option<BTreeMap<ObjectName, K>>, Status> {
        let mut events = self.watch(options).await?;
        let (mut objects, mut complete) = (BTreeMap::new(), false);
        while let Some(event) = events.try_next().await? {
            match event {
                Watched::Added(object) | Watched::Modified(object) => {
                    objects.insert(ObjectName::of(&object), object);
                }
                Watched::Deleted(object) => {
                    objects.remove(&ObjectName::of(&object));
                }
                Watched::Bookmark(_) => complete = true,
            }
            if complete && are_right(&objects) {
                return Ok(Some(objects));
            }
        }
        Ok(None)
    }
}
