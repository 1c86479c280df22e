use std::sync::Arc;

use serde_json::Value;

use super::Server;
use super::draft::Draft;
use super::managers::Author;
use crate::api::admission::{Attributes, Change};
use crate::api::field::{Errors, Path};
use crate::api::request::{Body, Reply, Response, Target, User, WriteOptions};
use crate::api::{Resource, Status};
use crate::clock::{random_suffix, random_uid};
use crate::meta::{ObjectName, Revision};
use crate::store::{Durability, Expect, StoreError, Txn};
use crate::watch::Entry;

/// How often a write is tried anew when something beside the object itself was in its way.
pub(super) const ATTEMPTS: usize = 16;

/// The longest prefix of a generated name, so that the name is a DNS label.
const MAX_GENERATED_PREFIX: usize = 63 - 5;

impl Server {
    pub(super) async fn create(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        target: &Target,
        body: Body,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        if target.name.is_some() {
            return Err(Status::method_not_allowed());
        }
        let mut draft = Draft::read(resource, target, body, options.field_validation)?;
        let namespace = self.settle_namespace(resource, target, &mut draft)?;
        let generated = self.prepare_new(resource, &mut draft)?;
        for attempt in 1.. {
            let mut draft = Draft { object: draft.object.clone(), warnings: draft.warnings.clone() };
            if let Some(prefix) = &generated {
                let name = format!("{prefix}{}", random_suffix(&*self.clock, 5));
                draft.meta().insert("name".to_owned(), name.into());
                // What is defaulted from the name could not be before.
                resource.rules.default(&mut draft.object);
            }
            let name = ObjectName::new(
                namespace.as_deref(),
                draft.meta().get("name").and_then(Value::as_str).unwrap_or_default(),
            );
            match self.try_create(user, resource, &name, draft, &options).await? {
                Tried::Done(response) => return Ok(response),
                Tried::Taken if generated.is_some() && attempt < ATTEMPTS => {}
                Tried::Taken => return Err(Status::already_exists(&resource.id, name.name())),
                Tried::InTheWay if attempt < ATTEMPTS => {}
                Tried::InTheWay => break,
            }
        }
        Err(Status::new(crate::api::Reason::ServerTimeout, "too many others are writing at once; try again"))
    }

    /// Sets what only the system sets. Returns the prefix, if the name is to be generated.
    fn prepare_new(&self, resource: &Resource, draft: &mut Draft) -> Result<Option<String>, Status> {
        let uid = random_uid(&*self.clock);
        let now = super::update::timestamp(self.clock.now());
        let meta = draft.meta();
        if meta.get("resourceVersion").and_then(Value::as_str).is_some_and(|given| !given.is_empty()) {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        for field in [
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "generation",
        ] {
            meta.remove(field);
        }
        let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut prefix = meta.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() && prefix.is_empty() {
            let mut errors = Errors::new();
            errors.required(&Path::new("metadata.name"), "name or generateName is required");
            return Err(Status::invalid(&resource.id.group, &resource.kind, "", &errors));
        }
        meta.insert("uid".to_owned(), uid.as_str().into());
        meta.insert("creationTimestamp".to_owned(), now.into());
        if resource.generation {
            meta.insert("generation".to_owned(), 1.into());
        }
        if resource.has_status() && !resource.status_at_creation {
            draft.object.as_object_mut().map(|fields| fields.remove("status"));
        }
        resource.rules.prepare_create(&mut draft.object);
        while prefix.len() > MAX_GENERATED_PREFIX {
            prefix.pop();
        }
        Ok(name.is_empty().then_some(prefix))
    }

    async fn try_create(
        &self,
        user: &User,
        resource: &Resource,
        name: &ObjectName,
        mut draft: Draft,
        options: &WriteOptions,
    ) -> Result<Tried, Status> {
        let attributes = Attributes {
            user,
            resource,
            name,
            subresource: None,
            change: Change::Create,
            old: None,
            dry_run: options.dry_run,
        };
        let mut txn = Txn::new();
        self.admit(&attributes, &mut draft, &mut txn).await?;
        draft.validate(resource, name, None, None)?;
        Author::of(user, None, Some(options)).sign(resource, &mut draft.object, self.clock.now());
        let bytes = Entry::encode(&draft.object).map_err(Status::internal)?;
        let key = resource.key(name);
        let revision = if options.dry_run {
            self.catch_up().await?;
            if self.cache_of(resource)?.get(name).is_some() {
                return Ok(Tried::Taken);
            }
            Revision::ZERO
        } else {
            let txn = txn.expect(key.clone(), Expect::Absent).put_with(
                key.clone(),
                bytes.clone(),
                resource.durability,
            );
            match self.commit(txn).await {
                Ok(revision) => revision,
                Err(StoreError::Conflict { key: taken, .. }) if taken == key => return Ok(Tried::Taken),
                Err(StoreError::Conflict { .. }) => return Ok(Tried::InTheWay),
                Err(error) => return Err(error.into()),
            }
        };
        let entry = Entry::read(bytes, revision, &resource.fields).map_err(Status::internal)?;
        let mut response = Response::new(Reply::Object(Arc::new(entry)));
        response.warnings = draft.warnings;
        response.created = true;
        Ok(Tried::Done(response))
    }

    /// Asks every admission.
    pub(super) async fn admit(
        &self,
        attributes: &Attributes<'_>,
        draft: &mut Draft,
        txn: &mut Txn,
    ) -> Result<(), Status> {
        for admission in &self.admission {
            draft.warnings.extend(admission.admit(attributes, &mut draft.object, txn).await?);
        }
        debug_assert!(attributes.resource.durability == Durability::Durable || txn.writes.is_empty());
        Ok(())
    }
}

/// How one attempt at a creation went.
enum Tried {
    Done(Response),
    /// There is an object of that name.
    Taken,
    /// Something that an admission put into the transaction was not as it expected.
    InTheWay,
}
