//! What the API tells of the node's pods: one watch after the other, for ever.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Pod;

use crate::api::{Client, Status, Target, WatchEvent, WatchOptions, WatchStream};
use crate::selector::FieldSelector;

/// How soon the pods are watched again after a watch ended.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// What is told.
pub(super) enum PodUpdate {
    /// A watch begins, with all pods that there are.
    Began,
    /// This happened.
    Told(WatchEvent),
}

/// What is told of the pods of a node. An API that is away is asked again.
pub(super) fn changes(client: Client, node: String) -> BoxStream<'static, PodUpdate> {
    stream::unfold(None, move |mut watch: Option<WatchStream>| {
        let (client, node) = (client.clone(), node.clone());
        async move {
            loop {
                let ended = match &mut watch {
                    Some(events) => match events.next().await {
                        Some(Ok(event)) => return Some((PodUpdate::Told(event), watch)),
                        Some(Err(error)) => Some(error),
                        None => None,
                    },
                    None => match begin(&client, &node).await {
                        Ok(events) => return Some((PodUpdate::Began, Some(events))),
                        Err(error) => Some(error),
                    },
                };
                if let Some(error) = ended {
                    tracing::debug!(node, %error, "the watch of the node's pods ended");
                }
                watch = None;
                client.clock().sleep(WATCH_RETRY).await;
            }
        }
    })
    .boxed()
}

/// Watches the pods of a node, beginning with those that are there.
async fn begin(client: &Client, node: &str) -> Result<WatchStream, Status> {
    let fields = FieldSelector::parse(&format!("spec.nodeName={node}"))
        .map_err(|error| Status::internal(error.to_string()))?;
    let options = WatchOptions {
        fields: Some(fields),
        initial_events: Some(true),
        bookmarks: true,
        ..WatchOptions::default()
    };
    client.watch(Target::of::<Pod>(None), options).await
}
