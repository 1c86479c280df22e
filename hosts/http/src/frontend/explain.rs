//! What is wrong, and why, of what who asks may see.
//!
//! ```text
//! /orchestra/v1/explain                                      everywhere
//! /orchestra/v1/explain?namespace=N                          in a namespace, and of the cluster's own objects
//! /orchestra/v1/explain?namespace=N&group=G&resource=R&name=X   of one object
//! …&try=true                                                 and which small change helps it, as tried in forks
//! ```
//!
//! A fork knows no rights, so whoever has changes tried must be allowed to read all that a fork may tell of.

use http::{Method, Response};
use orchestra_core::api::access::AccessRequest;
use orchestra_core::api::{ListOptions, Operation, Reply, Service as _, Status, Target, User, Verb};
use orchestra_core::explain::{About, Facts, Source, Story, explain, sources, wrong};
use orchestra_core::what_if::{Remedy, remedy_here, shown};
use serde_json::json;

use super::Frontend;
use super::what_if::refused;
use crate::call::Call;
use crate::reply::Body;

impl Frontend {
    /// Lists what is wrong, the worst first, and which kinds could not be looked at.
    ///
    /// # Errors
    /// 403 when who asks may see nothing of what could be wrong, or has changes tried and may not see all; 429 when others
    /// have some tried.
    pub(super) async fn explain(&self, user: &User, call: &Call<'_>) -> Result<Response<Body>, Status> {
        if !matches!(*call.method, Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        let query = call.query()?;
        let text = |name: &str| query.get(name).unwrap_or_default();
        let mut facts = Facts::new(self.server().clock().now());
        let (mut unread, mut refused) = (Vec::new(), None);
        for source in sources() {
            match self.listed(user, source, text("namespace")).await {
                Ok(entries) => {
                    for entry in &entries {
                        // What cannot be read says nothing of what is wrong.
                        let _ = facts.add_entry(source.resource, entry);
                    }
                }
                Err(status) => {
                    unread.push(source.resource);
                    refused = Some(status);
                }
            }
        }
        if let Some(status) = refused.filter(|_| unread.len() == sources().len()) {
            return Err(status);
        }
        let about = About::new(text("group"), text("resource"), text("namespace"), text("name"));
        let stories: Vec<Story> = match text("name") {
            "" => wrong(&facts),
            _ => explain(&facts, &about).into_iter().collect(),
        };
        let is_tried = text("try") == "true";
        if is_tried && about.name.is_empty() {
            return Err(Status::bad_request("no object is named for which changes could be tried"));
        }
        let mut answer = json!({
            "kind": "Explanation", "apiVersion": "orchestra/v1", "items": &stories, "unread": unread,
        });
        if is_tried {
            answer["helps"] = match stories.is_empty() {
                true => json!(null),
                false => json!(self.helps(user, about).await?),
            };
        }
        call.wanted().json(200, answer.to_string()).await
    }

    /// The smallest change that helps an object, of those that were tried in forks.
    async fn helps(&self, user: &User, about: About) -> Result<Option<Remedy>, Status> {
        let explained = sources().map(|source| (source.group, source.version, source.resource));
        let explained = explained.map(|kind| (Verb::List, Target::collection(kind, None)));
        for (verb, target) in shown().into_iter().chain(explained) {
            self.server.authorize(user, AccessRequest::resource(verb.as_str(), &target)).await?;
        }
        let turn = self.turn()?;
        let fork = self.fork().await?;
        let tried = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            remedy_here(&fork, &about)
        });
        tried.await.map_err(Status::internal)?.map_err(refused)
    }

    /// The objects of a kind that a user may list.
    async fn listed(
        &self,
        user: &User,
        source: Source,
        namespace: &str,
    ) -> Result<Vec<std::sync::Arc<orchestra_core::watch::Entry>>, Status> {
        let namespace = source.is_namespaced.then_some(namespace);
        let target = Target::collection((source.group, source.version, source.resource), namespace);
        let permit = self.server().permit(user, Verb::List, target, None).await?;
        match self.server().perform(permit, Operation::List(ListOptions::default())).await?.reply {
            Reply::List(list) => Ok(list.objects),
            _ => Err(Status::internal("a list is none")),
        }
    }
}
