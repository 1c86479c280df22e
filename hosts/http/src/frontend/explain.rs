//! What is wrong, and why, of what who asks may see.
//!
//! ```text
//! /orchestra/v1/explain                                      everywhere
//! /orchestra/v1/explain?namespace=N                          in a namespace, and of the cluster's own objects
//! /orchestra/v1/explain?namespace=N&group=G&resource=R&name=X   of one object
//! ```

use http::{Method, Response};
use orchestra_core::api::{ListOptions, Operation, Reply, Service as _, Status, Target, User, Verb};
use orchestra_core::explain::{About, Facts, Source, Story, explain, sources, wrong};
use serde_json::json;

use super::Frontend;
use crate::call::Call;
use crate::reply::Body;

impl Frontend {
    /// Lists what is wrong, the worst first, and which kinds could not be looked at.
    ///
    /// # Errors
    /// 403 when who asks may see nothing of what could be wrong.
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
        let stories: Vec<Story> = match text("name") {
            "" => wrong(&facts),
            name => {
                let about = About::new(text("group"), text("resource"), text("namespace"), name);
                explain(&facts, &about).into_iter().collect()
            }
        };
        let answer = json!({
            "kind": "Explanation", "apiVersion": "orchestra/v1", "items": stories, "unread": unread,
        });
        call.wanted().json(200, answer.to_string()).await
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
