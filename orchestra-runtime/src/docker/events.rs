//! What happens to containers.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use orchestra_core::runtime::{
    ContainerId, EventKind, EventStream, Result, RuntimeError, RuntimeEvent, SandboxId, labels,
};

use super::DockerRuntime;
use super::error::{self, About};

/// What is asked for: containers of ours that started, ended, or are gone.
const ACTIONS: [&str; 3] = ["start", "die", "destroy"];

impl DockerRuntime {
    pub(super) async fn events(&self) -> Result<EventStream> {
        // The daemon replays what happened since; so nothing between this moment and its first answer is lost.
        let since = Timestamp::now();
        self.ping().await?;
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_second(), since.subsec_nanosecond())),
            until: None,
            filters: Some(HashMap::from([
                ("type".to_owned(), vec!["container".to_owned()]),
                ("label".to_owned(), vec![labels::KIND.to_owned()]),
                ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
            ])),
        };
        let ended = stream::once(async {
            Err(RuntimeError::Unavailable { message: "Docker closed its stream of events".into() })
        });
        let events = self.docker.events(Some(options)).filter_map(|event| async move {
            match event {
                Ok(event) => translate(&event).map(Ok),
                Err(error) => Some(Err(error::of(About::Daemon, error))),
            }
        });
        Ok(events.chain(ended).boxed())
    }
}

fn translate(event: &EventMessage) -> Option<RuntimeEvent> {
    let actor = event.actor.as_ref()?;
    let (id, attributes) = (actor.id.as_deref()?, actor.attributes.as_ref()?);
    let get = |key: &str| attributes.get(key).map(String::as_str);
    let is_sandbox = get(labels::KIND)? == labels::KIND_SANDBOX;
    let kind = match (event.action.as_deref()?, is_sandbox) {
        ("die" | "destroy", true) => EventKind::SandboxStopped(SandboxId::from(id)),
        ("start", false) => EventKind::Started(ContainerId::from(id)),
        ("die", false) => EventKind::Exited(ContainerId::from(id)),
        ("destroy", false) => EventKind::Removed(ContainerId::from(id)),
        _ => return None,
    };
    Some(RuntimeEvent { pod: labels::pod(get)?, kind })
}
