//! What is no resource: how the server is, what it serves, and documents about that.

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Response};
use orchestra_core::api::Status;
use orchestra_core::api::discovery::{self, Aggregated, Discovery};
use orchestra_core::api::represent::Form;
use orchestra_core::store::backup;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Asking, Frontend};
use crate::aggregate::Passing;
use crate::call::{accept, host};
use crate::health;
use crate::issuer::Issuer;
use crate::layout::Ordered;
use crate::openapi;
use crate::path::Route;
use crate::reply::{self, Body};

impl Frontend {
    /// What is no resource; `None` if there is nothing of that path.
    pub(super) async fn path(&self, asking: &Asking<'_>) -> Result<Option<Response<Body>>, Status> {
        let Asking { call, closing, .. } = *asking;
        let reads = match call.route {
            Route::Unknown => return Ok(None),
            Route::Resource { .. } => false,
            // As in Kubernetes, documents of the API are read by GET alone.
            Route::Version
            | Route::CoreVersions
            | Route::Groups
            | Route::Group(_)
            | Route::Resources { .. }
            | Route::NodeConnection => *call.method == Method::GET,
            _ => matches!(*call.method, Method::GET | Method::HEAD),
        };
        if !reads {
            return Err(Status::method_not_allowed());
        }
        match &call.route {
            Route::Health(endpoint, check) => {
                Ok(health::answer(&self.server, closing, endpoint, check.as_deref(), call.query()?).await)
            }
            Route::Version => {
                Form::negotiate_json(accept(call.headers))?;
                Ok(Some(reply::pretty(&Ordered(&discovery::version()))))
            }
            Route::Metrics => Ok(Some(self.metrics.answer())),
            Route::Slis => Ok(Some(health::figures(&self.server, closing).await)),
            Route::Backup => self.backup(closing).map(Some),
            Route::NodeConnection => {
                self.held.as_ref().map(|held| held.hold(asking.head, asking.user)).transpose()
            }
            Route::Issuer => Ok(self.issuer.as_ref().map(Issuer::configuration)),
            Route::IssuerKeys => Ok(self.issuer.as_ref().map(Issuer::keys)),
            _ => self.document(asking).await,
        }
    }

    /// All that the store holds, as it is now. An end that comes too early shows in the backup itself.
    fn backup(&self, closing: &CancellationToken) -> Result<Response<Body>, Status> {
        let chunks = backup::stream(self.server.store()?).filter_map(async |chunk| {
            // The stream ends with its first error.
            chunk.inspect_err(|error| warn!(%error, "a backup was broken off")).ok()
        });
        let closing = closing.clone();
        Ok(reply::streamed("application/octet-stream", chunks.take_until(closing.cancelled_owned())))
    }

    /// A document about the API; `None` if there is none of that path.
    async fn document(&self, asking: &Asking<'_>) -> Result<Option<Response<Body>>, Status> {
        let call = asking.call;
        let kinds = self.server.kinds();
        let found = Discovery::new(&kinds);
        let value = match &call.route {
            Route::Root => Some(found.paths(&[
                "/healthz",
                "/livez",
                "/metrics",
                "/metrics/slis",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ])),
            Route::CoreVersions | Route::Groups => {
                let core = call.route == Route::CoreVersions;
                if let Some(form) = Aggregated::negotiate(accept(call.headers)) {
                    let own = found.aggregated(core, form);
                    let all = match &self.aggregator {
                        Some(others) if !core => others.aggregated(own),
                        _ => own,
                    };
                    let body = all.to_string();
                    return call.wanted().json_as(200, &form.content_type(), body).await.map(Some);
                }
                Some(match &self.aggregator {
                    _ if core => found.core(&host(call.headers)),
                    Some(others) => others.groups(found.groups()),
                    None => found.groups(),
                })
            }
            Route::Group(group) => match &self.aggregator {
                Some(others) => others.group(found.group(group), group),
                None => found.group(group),
            },
            Route::Resources { group, version } => match found.resources(group, version) {
                None => return Ok(self.passed_on(asking, group, version).await),
                own => own,
            },
            route => {
                if let Some(answer) = self.openapi_of_others(asking, route).await {
                    return Ok(Some(answer));
                }
                let documents = self.documents.of(&kinds);
                let index = self.aggregator.as_ref().filter(|_| *route == Route::OpenApiIndex);
                if let Some(all) = index.and_then(|others| others.openapi_index(&documents.index().bytes)) {
                    return call.wanted().json(200, all).await.map(Some);
                }
                return openapi::answer(&documents, route, call.headers, call.query()?).await;
            }
        };
        match value {
            Some(value) => {
                let wanted = match call.route {
                    Route::Root => call.wanted(),
                    Route::Groups | Route::Group(_) => {
                        call.wanted_in(Form::negotiate_groups(accept(call.headers))?)
                    }
                    _ => call.wanted_in(Form::negotiate_document(accept(call.headers))?),
                };
                let text = serde_json::to_vec(&Ordered(&value)).map_err(Status::internal)?;
                wanted.json(200, text).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// A document of an API that another serves.
    async fn passed_on(&self, asking: &Asking<'_>, group: &str, version: &str) -> Option<Response<Body>> {
        let (aggregator, api) = self.aggregated(group, version)?;
        let Asking { head, user, closing, .. } = *asking;
        Some(aggregator.forward(&api, Passing { head, user, body: Bytes::new(), closing }).await)
    }

    async fn openapi_of_others(&self, asking: &Asking<'_>, route: &Route) -> Option<Response<Body>> {
        let Route::OpenApiV3(path) = route else { return None };
        let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
        self.passed_on(asking, group, version).await
    }
}
