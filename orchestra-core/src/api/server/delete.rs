use std::sync::Arc;

use futures::future::try_join_all;

use super::Server;
use super::caches::Open;
use super::current::{Current, Write};
use super::draft::Part;
use super::read::{existing, object_name};
use super::write::Next;
use crate::api::Status;
use crate::api::request::{
    DeleteOptions, ListOptions, ObjectList, Reply, Response, Target, User, Verb, WriteOptions,
};
use crate::meta::ObjectName;
use crate::watch::Entry;

/// How many objects of a collection are deleted at once: their commits then share the work of the store.
const AT_ONCE: usize = 64;

impl Server {
    /// Removes an object, now or when what keeps it is gone.
    pub(super) async fn delete(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        options: DeleteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        self.catch_up().await?;
        let told: Vec<String> = warning(kind, &options).into_iter().collect();
        // Whoever may not delete it yet is told too what else to know.
        let deleted = self.delete_one(user, kind, target, &name, None, &options).await;
        let mut response = deleted.map_err(|status| status.warned(&told))?;
        response.warnings.extend(told);
        Ok(response)
    }

    /// Removes the objects of a collection that match, one by one.
    pub(super) async fn delete_collection(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        list: ListOptions,
        options: DeleteOptions,
    ) -> Result<Response, Status> {
        let list = self.list_objects(kind, target, list).await?;
        let mut deleted = Vec::with_capacity(list.objects.len());
        for some in list.objects.chunks(AT_ONCE) {
            let each = some.iter().map(|entry| self.delete_if_there(user, kind, target, entry, &options));
            deleted.extend(try_join_all(each).await?.into_iter().flatten());
        }
        let mut response = Response::new(Reply::List(ObjectList { objects: deleted, ..list }));
        response.warnings.extend(warning(kind, &options));
        Ok(response)
    }

    async fn delete_if_there(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        entry: &Arc<Entry>,
        options: &DeleteOptions,
    ) -> Result<Option<Arc<Entry>>, Status> {
        match self.delete_one(user, kind, target, entry.name(), None, options).await {
            Ok(_) => Ok(Some(Arc::clone(entry))),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Removes an object, by way of a subresource or as such.
    pub(super) async fn delete_one(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        name: &ObjectName,
        part: Part<'_>,
        options: &DeleteOptions,
    ) -> Result<Response, Status> {
        let write_options = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let mut make =
            |current: Option<&Current>| existing(target, name, current).map(|_| Next::Delete(options));
        let options = &write_options;
        let write = Write { part, owned: false, ..Write::new(user, kind, target, Verb::Delete, options) };
        self.write(write, name, &mut make).await
    }
}

/// What to know of a deletion that leaves open how dependents fare.
fn warning(kind: &Open, options: &DeleteOptions) -> Option<String> {
    let warning = kind.deletion_warning.as_deref().filter(|_| options.propagation.is_none());
    warning.map(str::to_owned)
}
