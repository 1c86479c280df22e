use std::sync::Arc;

use super::Server;
use super::caches::Open;
use super::convert;
use super::current::Current;
use super::spoken::Spoken;
use crate::api::continue_token::ContinueToken;
use crate::api::request::{ListOptions, ObjectList, Reply, Response, RevisionMatch, Target};
use crate::api::{Conversion, Resource, Status};
use crate::meta::{GroupResource, ObjectName, Revision};
use crate::selector::{CompiledSelector, FieldSelector};
use crate::store::StoreError;
use crate::watch::{Entry, IndexedFields, Page, Query, UnknownField};

/// How many stored objects are converted at a time for a list that has a limit.
const PART: usize = 500;

impl Server {
    /// The latest state of an object, or why there is none.
    pub(super) fn current(
        &self,
        resource: &Open,
        target: &Target,
        name: &ObjectName,
    ) -> Result<Arc<Entry>, Status> {
        resource.cache().get(name).ok_or_else(|| match &resource.made_up {
            Some(called) => Status::not_found(&GroupResource::new(&*target.group, &**called), name.name()),
            None => missing(target, name),
        })
    }

    pub(super) async fn get(
        &self,
        resource: &Open,
        target: &Target,
        revision: Option<Revision>,
        revision_match: Option<RevisionMatch>,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        if let (Some(revision), Some(RevisionMatch::Exact)) = (revision, revision_match) {
            let record = self.store()?.get(&resource.key(&name), Some(revision)).await?;
            let record = record.ok_or_else(|| missing(target, &name))?;
            let entry =
                Entry::read(record.value, record.modified, &resource.fields).map_err(Status::internal)?;
            return Ok(Response::new(Reply::Object(Arc::new(entry))));
        }
        self.at_least(revision).await?;
        Ok(Response::new(Reply::Object(self.current(resource, target, &name)?)))
    }

    /// Waits until the caches are fit to answer for a revision: all that is acknowledged, if none is given.
    pub(super) async fn at_least(&self, revision: Option<Revision>) -> Result<(), Status> {
        match revision {
            None => self.catch_up().await,
            Some(revision) if revision <= self.caches.revision() => Ok(()),
            Some(revision) => {
                self.catch_up().await?;
                let latest = self.caches.revision();
                if revision > latest { Err(Status::too_large_revision(revision, latest)) } else { Ok(()) }
            }
        }
    }

    pub(super) async fn list(
        &self,
        resource: &Open,
        target: &Target,
        options: ListOptions,
    ) -> Result<Response, Status> {
        let selector = options.labels.clone().filter(|_| options.continue_token.is_none());
        let list = self.list_objects(resource, target, options).await?;
        let nothing = selector.filter(|_| list.objects.is_empty());
        let mut response = Response::new(Reply::List(list));
        if let Some(selector) = nothing {
            let nearest = resource.cache().nearest_label(&selector, target.namespace.as_deref());
            response.warnings.extend(nearest.map(|nearest| nearest.to_string()));
        }
        Ok(response)
    }

    pub(super) async fn list_objects(
        &self,
        resource: &Open,
        target: &Target,
        mut options: ListOptions,
    ) -> Result<ObjectList, Status> {
        let mut query = query(resource, target, options.labels.take(), options.fields.take())?;
        match Spoken::of(resource, &mut query)? {
            None => self.list_stored(resource, &query, &options).await,
            Some(spoken) => self.list_spoken(resource, &query, &spoken, options).await,
        }
    }

    /// A list of what matches once it is converted, out of as many parts of the stored one as it takes.
    async fn list_spoken(
        &self,
        resource: &Open,
        query: &Query,
        spoken: &Spoken,
        options: ListOptions,
    ) -> Result<ObjectList, Status> {
        let limit = options.limit;
        let mut part = ListOptions { limit: if limit == 0 { 0 } else { limit.max(PART) }, ..options };
        let mut found: Vec<Arc<Entry>> = Vec::new();
        let (revision, continue_token) = 'parts: loop {
            let stored = self.list_stored(resource, query, &part).await?;
            let objects = convert::all_spoken(resource, stored.objects).await?;
            for entry in objects.into_iter().filter(|entry| spoken.matches(entry)) {
                // One more than asked for tells that the list goes on.
                if let Some(last) = found.last().filter(|_| found.len() == limit) {
                    let token = ContinueToken { revision: Some(stored.revision), after: last.name().clone() };
                    break 'parts (stored.revision, Some(token.encode()));
                }
                found.push(entry);
            }
            let Some(token) = stored.continue_token else { break (stored.revision, None) };
            part = ListOptions { continue_token: Some(token), revision: None, revision_match: None, ..part };
        };
        Ok(ObjectList { objects: found, revision, continue_token, remaining: None })
    }

    /// A list of what matches as it is stored.
    async fn list_stored(
        &self,
        resource: &Open,
        query: &Query,
        options: &ListOptions,
    ) -> Result<ObjectList, Status> {
        if let Some(token) = &options.continue_token {
            let ContinueToken { revision, after } =
                ContinueToken::decode(token).map_err(|error| Status::bad_request(error.to_string()))?;
            let Some(revision) = revision else {
                self.at_least(None).await?;
                return Ok(listed(resource.cache().page(query, Some(&after), options.limit), None));
            };
            return self.page(resource, query, revision, Some(&after), options.limit).await;
        }
        if let (Some(revision), Some(RevisionMatch::Exact)) = (options.revision, options.revision_match) {
            return self.page(resource, query, revision, None, options.limit).await;
        }
        self.at_least(options.revision).await?;
        let cache = resource.cache();
        if options.limit == 0 {
            let revision = cache.revision();
            let objects = cache.list(query);
            return Ok(ObjectList { objects, revision, continue_token: None, remaining: None });
        }
        Ok(listed(cache.page(query, None, options.limit), None))
    }

    /// A part of a list as it was at a revision: from the cache if nothing has changed since, else from history.
    async fn page(
        &self,
        resource: &Open,
        query: &Query,
        revision: Revision,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Result<ObjectList, Status> {
        self.at_least(Some(revision)).await?;
        let page = resource.cache().page(query, after, limit);
        let store = self.store()?;
        let refuse = |error| match error {
            StoreError::Compacted { .. } => expired(after),
            error => error.into(),
        };
        let mut from = after.map(|name| resource.key(name));
        if page.changed <= revision {
            // What has not changed is in the cache. Any key tells whether the store still has that revision.
            let any = from.unwrap_or_else(|| resource.range().start);
            store.get(&any, Some(revision)).await.map_err(refuse)?;
            return Ok(listed(page, Some(revision)));
        }
        let range = resource.range_of(query.namespace.as_deref());
        // Of a selection nobody knows how much of the rest it takes to find as many.
        let part = if limit == 0 || query.is_all() { limit } else { limit.max(PART) };
        let (mut objects, mut remaining) = (Vec::new(), None);
        let more = 'parts: loop {
            let kept = store.list(&range, Some(revision), from.as_ref(), part).await.map_err(refuse)?;
            from = kept.records.last().map(|record| record.key.clone());
            for record in kept.records {
                let entry = Entry::read(record.value, record.modified, &resource.fields);
                let entry = entry.map_err(Status::internal)?;
                if !query.matches(&entry) {
                    continue;
                }
                if limit > 0 && objects.len() == limit {
                    break 'parts true;
                }
                objects.push(Arc::new(entry));
            }
            if kept.remaining == 0 {
                break false;
            }
            if query.is_all() {
                remaining = Some(kept.remaining);
                break true;
            }
        };
        let page = Page { objects, more, remaining, revision, changed: page.changed };
        Ok(listed(page, Some(revision)))
    }
}

/// A list cannot go on as of the revision that it began with. It can as of now.
fn expired(after: Option<&ObjectName>) -> Status {
    let Some(after) = after else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the list. Continuing with the provided token results in an inconsistent list - objects \
                   that were created, modified, or deleted between the time the first chunk was returned and now may \
                   show up in the list.";
    Status::expired(message).continued_by(ContinueToken { revision: None, after: after.clone() }.encode())
}

/// A page as it is answered, said to be of a revision, or else of that which it is of.
fn listed(page: Page, revision: Option<Revision>) -> ObjectList {
    let Page { objects, more, remaining, .. } = page;
    let revision = revision.unwrap_or(page.revision);
    let last = objects.last().filter(|_| more);
    let token = last.map(|last| ContinueToken { revision: Some(revision), after: last.name().clone() });
    ObjectList { revision, continue_token: token.map(|token| token.encode()), remaining, objects }
}

/// Which objects a request asks for. A field that the kind does not index cannot be asked for.
pub(super) fn query(
    resource: &Resource,
    target: &Target,
    labels: Option<crate::selector::Selector>,
    fields: Option<FieldSelector>,
) -> Result<Query, Status> {
    let labels = labels.filter(|selector| !selector.is_everything()).map(CompiledSelector::from);
    let fields = fields.filter(|selector| !selector.is_everything());
    let fields = match resource.conversion(&target.group, &target.version) {
        Some(conversion) => fields.map(|fields| stored_fields(conversion, &fields)).transpose()?,
        None => fields,
    };
    let selectable = selectable(resource);
    let unknown = |path: &str| {
        Status::bad_request(match selectable.is_empty() {
            true => format!(
                "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            false => resource.unknown_field.replace("{field}", path),
        })
    };
    // Of kinds without namespaces those that say by which fields they are selected say nothing of a namespace.
    let nowhere = !resource.is_namespaced() && !selectable.is_empty();
    let by_namespace = fields.iter().flat_map(FieldSelector::requirements);
    if nowhere && by_namespace.into_iter().any(|requirement| requirement.path == "metadata.namespace") {
        return Err(unknown("metadata.namespace"));
    }
    let known = fields.map(|fields| selectable.known(fields)).transpose();
    let fields = known.map_err(|field| unknown(&field.path))?;
    Ok(Query { namespace: target.namespace.clone(), labels, fields })
}

fn selectable(resource: &Resource) -> &IndexedFields {
    resource.selectable.as_ref().unwrap_or(&resource.fields)
}

/// The fields of a served version by their names in the stored one.
fn stored_fields(conversion: Conversion, fields: &FieldSelector) -> Result<FieldSelector, Status> {
    fields.renamed(|path| {
        let stored = (conversion.field)(path).map(str::to_owned);
        stored.ok_or_else(|| Status::bad_request(UnknownField { path: path.to_owned() }.to_string()))
    })
}

pub(super) fn object_name(target: &Target) -> Result<ObjectName, Status> {
    target.object_name().ok_or_else(|| Status::bad_request("this needs the name of one object"))
}

/// That there is no such object, in the words of the group that the request speaks.
pub(super) fn missing(target: &Target, name: &ObjectName) -> Status {
    Status::not_found(&GroupResource::new(&*target.group, &*target.resource), name.name())
}

/// The object that must be there for a verb.
pub(super) fn existing<'e>(
    target: &Target,
    name: &ObjectName,
    current: Option<&'e Current>,
) -> Result<&'e Current, Status> {
    current.ok_or_else(|| missing(target, name))
}
