//! Reading what is not kept, but worked out when somebody reads it.

use std::sync::Arc;

use super::Server;
use super::caches::Open;
use super::read::query;
use crate::api::request::{ListOptions, ObjectList, Operation, Reply, Response, Target};
use crate::api::{Status, Wanted};
use crate::watch::{Entry, Query};

impl Server {
    /// Reads objects of a kind that is not kept.
    pub(super) async fn compute(
        &self,
        kind: &Open,
        target: &Target,
        operation: Operation,
    ) -> Result<Response, Status> {
        match operation {
            Operation::Get { .. } => {
                let name = target.name.as_deref().unwrap_or_default();
                let all = self.computed(kind, target, &Query::all()).await?;
                let found = all.into_iter().next().ok_or_else(|| Status::not_found(&kind.id, name))?;
                Ok(Response::new(Reply::Object(found)))
            }
            Operation::List(ListOptions { labels, fields, .. }) => {
                let query = query(kind, target, labels, fields)?;
                let objects = self.computed(kind, target, &query).await?;
                let revision = self.caches.revision();
                Ok(Response::new(Reply::List(ObjectList {
                    objects,
                    revision,
                    continue_token: None,
                    remaining: None,
                })))
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn computed(&self, kind: &Open, target: &Target, query: &Query) -> Result<Vec<Arc<Entry>>, Status> {
        let computed = self.responders.computes(&kind.id).ok_or_else(Status::method_not_allowed)?;
        let wanted = Wanted { namespace: target.namespace.as_deref(), name: target.name.as_deref() };
        let revision = self.caches.revision();
        let mut found = Vec::new();
        for object in computed.list(&wanted).await? {
            let entry = Entry::of(&object, &kind.fields).map_err(Status::internal)?.at(revision);
            if query.matches(&entry) {
                found.push(Arc::new(entry));
            }
        }
        Ok(found)
    }
}
