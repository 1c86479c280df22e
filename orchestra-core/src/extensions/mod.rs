//! Extensions of the API: CustomResourceDefinitions become kinds of the live table, and go from it again.
//!
//! This is a part of every master, as it is of every API server of Kubernetes: each keeps its own table by the
//! definitions in the store, and what all of them say of a definition's status is the same. [`install`] puts the kinds
//! into the table that were served before, before anyone asks; [`run`] follows the definitions.
//!
//! ```text
//! created ─► names settled ─► kind in the table ─► Established ─► deleted ─► objects deleted ─► kind out of the table
//! ```
//!
//! The names of a kind are its own in its group: who comes first has them. A definition that does not get all of its
//! names is not served; when another goes, it is looked at again. A request that follows `Established` finds the kind,
//! because it is put into the table first.

mod cleanup;
mod conditions;
mod conversion;
mod names;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::conditions::is_true;
use crate::api::{Client, Server, Service as _, Status};
use crate::control::{Action, Context, Controller, Error, Metrics, write};
use crate::meta::{GroupResource, ObjectName};
use crate::objects::custom_resource_definition::{FINALIZER, kind_of};
use crate::watch::{Cache, Entry};
use crate::webhook::Webhooks;

/// The kinds that a server serves by definitions, and by which state of each.
#[derive(Clone)]
pub struct Extensions {
    server: Arc<Server>,
    /// What asks the webhooks that convert objects.
    webhooks: Webhooks,
    served: Arc<Mutex<HashMap<GroupResource, u64>>>,
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the extensions of the API")
    }
}

/// Puts the kinds of all definitions that are established into a server's table.
///
/// # Errors
/// When the store cannot be read.
pub async fn install(server: &Arc<Server>, webhooks: &Webhooks) -> Result<Extensions, Status> {
    let (server_of, webhooks) = (Arc::clone(server), webhooks.clone());
    let extensions = Extensions { server: server_of, webhooks, served: Arc::default() };
    let Some(cache) = server.caches().of::<CustomResourceDefinition>() else {
        return Ok(extensions);
    };
    let (mut rows, mut states) = (Vec::new(), Vec::new());
    for entry in cache.snapshot().range(None, None) {
        let Ok(definition) = entry.to_value() else { continue };
        if is_true(&definition, "Established")
            && let Some(row) = extensions.row(&definition)
        {
            states.push((row.id.clone(), state(&definition)));
            rows.push(row);
        }
    }
    server.put_kinds(rows).await?;
    extensions.note(states);
    Ok(extensions)
}

/// Follows the definitions until it is told to stop.
pub async fn run(extensions: Extensions, client: Client, metrics: Metrics, stop: CancellationToken) {
    let controller = Controller::new::<CustomResourceDefinition>(client)
        .named("customresourcedefinition")
        .metrics(&metrics)
        // Who comes first has the names: one at a time.
        .concurrency(1);
    let reconcile = move |context: Context| {
        let extensions = extensions.clone();
        async move { extensions.reconcile(&context).await }
    };
    if let Err(error) = controller.run(reconcile, stop.cancelled_owned()).await {
        error!(%error, "definitions of custom kinds are not followed any more");
    }
}

impl Extensions {
    async fn reconcile(&self, context: &Context) -> Result<Action, Error> {
        let cache = context.cache::<CustomResourceDefinition>().await?;
        let Some(entry) = cache.get(context.name()) else {
            self.withdraw(context.name()).await?;
            run_for_waiting(context, &cache);
            return Ok(Action::Done);
        };
        let definition = entry.to_value()?;
        let finalizers = definition["metadata"]["finalizers"].as_array().into_iter().flatten();
        if entry.is_deleting() && finalizers.into_iter().any(|held| held == FINALIZER) {
            self.serve(&definition).await?;
            return cleanup::step(&self.server, context, &entry, &definition).await;
        }
        let (now, others) = (context.now(), others(&cache, &entry));
        let settled = conditions::settled(&definition, &others, now);
        if settled != definition["status"] {
            set_status(context, &entry, &definition, settled).await?;
            run_for_waiting(context, &cache);
            return Ok(Action::Done);
        }
        if is_true(&definition, "NamesAccepted") || is_true(&definition, "Established") {
            self.serve(&definition).await?;
        }
        if is_true(&definition, "NamesAccepted") && !is_true(&definition, "Established") {
            set_status(context, &entry, &definition, conditions::established(&definition, now)).await?;
        }
        Ok(Action::Done)
    }

    /// The row of a definition; `None` if it is not to be served.
    fn row(&self, definition: &Value) -> Option<crate::api::Resource> {
        let mut kind = kind_of(definition);
        kind.converter = conversion::converter(definition, &self.webhooks, self.server.clock());
        if self.server.kinds().get(&kind.id).is_some_and(|held| !held.custom) {
            warn!(kind = %kind.id, "a definition is of a kind that is served otherwise, and is passed over");
            return None;
        }
        match kind.resource() {
            Ok(row) if row.served().next().is_none() => None,
            Ok(row) => Some(row),
            Err(error) => {
                warn!(kind = %kind.id, %error, "a definition makes no kind");
                None
            }
        }
    }

    /// Puts the kind of a definition into the table as it is defined now.
    async fn serve(&self, definition: &Value) -> Result<(), Error> {
        let (id, state) = (kind_of(definition).id, state(definition));
        if self.served.lock().unwrap_or_else(PoisonError::into_inner).get(&id) == Some(&state) {
            return Ok(());
        }
        match self.row(definition) {
            Some(row) => self.server.put_kind(row).await?,
            None => drop(self.remove(&id).await?),
        }
        self.note([(id, state)]);
        Ok(())
    }

    fn note(&self, states: impl IntoIterator<Item = (GroupResource, u64)>) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).extend(states);
    }

    /// Takes the kind of a definition that is gone out of the table.
    async fn withdraw(&self, name: &ObjectName) -> Result<(), Error> {
        let Some((plural, group)) = name.name().split_once('.') else { return Ok(()) };
        let id = GroupResource::new(group, plural);
        self.remove(&id).await?;
        self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }

    /// Takes a custom kind out of the table, and no other.
    async fn remove(&self, id: &GroupResource) -> Result<bool, Status> {
        match self.server.kinds().get(id) {
            Some(held) if held.custom => self.server.remove_kind(id).await,
            _ => Ok(false),
        }
    }
}

/// What the row of a definition follows from, as a number.
fn state(definition: &Value) -> u64 {
    let deleted = !definition["metadata"]["deletionTimestamp"].is_null();
    let parts = json!([definition["spec"], definition["status"]["acceptedNames"], deleted]);
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(parts.to_string().as_bytes());
    hasher.finish()
}

/// The other definitions of a group.
fn others(cache: &Cache, entry: &Entry) -> Vec<Value> {
    let group = entry.name().name().split_once('.').map(|(_, group)| group);
    let same = |other: &&Arc<Entry>| {
        let name = other.name().name();
        name != entry.name().name() && name.split_once('.').map(|(_, group)| group) == group
    };
    cache.snapshot().range(None, None).filter(same).filter_map(|other| other.to_value().ok()).collect()
}

/// Looks again at the definitions that wait for names.
fn run_for_waiting(context: &Context, cache: &Cache) {
    let group = |name: &str| name.split_once('.').map(|(_, group)| group.to_owned());
    let ours = group(context.name().name());
    for other in cache.snapshot().range(None, None).filter(|other| other.name() != context.name()) {
        if group(other.name().name()) == ours
            && other.to_value().is_ok_and(|definition| !is_true(&definition, "NamesAccepted"))
        {
            context.run_for(other.name().clone());
        }
    }
}

async fn set_status(context: &Context, entry: &Entry, old: &Value, status: Value) -> Result<(), Error> {
    let change = write::difference(&old["status"], &status);
    let written = write::patch_status::<CustomResourceDefinition>(context.client(), entry, change).await;
    write::unless_gone(written)?;
    Ok(())
}
