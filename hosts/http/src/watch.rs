//! The events of a watch as they go out, line by line.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use orchestra_core::api::represent::{Form, IncludeObject, Writer};
use orchestra_core::api::{Resource, Server, Service, Target, WatchStream};

use crate::metrics::Watching;

/// A watch on its way out.
pub(crate) struct Writing {
    pub(crate) events: WatchStream,
    pub(crate) resource: Arc<Resource>,
    pub(crate) target: Target,
    pub(crate) form: Form,
    pub(crate) include: IncludeObject,
    pub(crate) first: bool,
    pub(crate) server: Arc<Server>,
    /// Held, so that the watch is counted.
    pub(crate) _counted: Watching,
}

impl Writing {
    /// As many events as there are now, as lines. An error is the last of them.
    pub(crate) async fn step(writing: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        const MOST: usize = 128;
        let mut writing = writing?;
        let events: Vec<_> = (&mut writing.events).ready_chunks(MOST).next().await?;
        let mut out = Vec::new();
        let now = writing.server.clock().now();
        let version = (&*writing.target.group, &*writing.target.version);
        let writer = Writer::new(&writing.resource, version, writing.form, now).including(writing.include);
        for event in events {
            let written = event.and_then(|event| writer.event(&event, writing.first, &mut out));
            writing.first = false;
            if let Err(status) = written {
                Writer::error(&status, &mut out);
                return Some((out.into(), None));
            }
        }
        Some((out.into(), Some(writing)))
    }
}
