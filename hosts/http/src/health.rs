//! `/healthz`, `/livez` and `/readyz`: whether the server lives, and whether it should be asked anything.
//!
//! Each is a list of checks that can be shown (`?verbose`), left out (`?exclude=etcd`) or asked for one by one
//! (`/readyz/etcd`), with the names and lines of Kubernetes. `etcd` is whichever store keeps the state.

use std::time::Duration;

use http::Response;
use orchestra_core::api::Server;
use orchestra_core::k8s_openapi::api::core::v1::Namespace;
use orchestra_core::k8s_openapi::api::scheduling::v1::PriorityClass;
use orchestra_core::meta::{Object, ObjectName, Revision};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::query::QueryString;
use crate::reply::{self, Body};

/// How long the store may take to answer.
const STORE: Duration = Duration::from_secs(2);
/// How long the caches may be behind the store.
const CACHES: Duration = Duration::from_secs(1);

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// That there is an answer at all.
    Ping,
    /// That the store answers.
    Store,
    /// That the store takes writes: it has room.
    Writes,
    /// That the namespaces of the system are there, which are made when a cluster starts.
    Namespaces,
    /// That the priority classes of the system are there, which are made with them.
    PriorityClasses,
    /// That the caches hold what the store does.
    Caches,
    /// That the server is not about to stop.
    Shutdown,
}

impl Check {
    const LIVE: &[Self] = &[Self::Ping, Self::Store, Self::Namespaces, Self::PriorityClasses];
    const READY: &[Self] = &[
        Self::Ping,
        Self::Store,
        Self::Writes,
        Self::Caches,
        Self::Namespaces,
        Self::PriorityClasses,
        Self::Shutdown,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Store => "etcd",
            Self::Writes => "etcd-readiness",
            Self::Caches => "informer-sync",
            Self::Namespaces => "poststarthook/start-system-namespaces-controller",
            Self::PriorityClasses => "poststarthook/scheduling/bootstrap-system-priority-classes",
            Self::Shutdown => "shutdown",
        }
    }

    async fn passes(self, server: &Server, closing: &CancellationToken) -> bool {
        match self {
            Self::Ping => true,
            Self::Store => latest(server).await.is_some(),
            Self::Writes => match server.store() {
                Ok(store) => matches!(timeout(STORE, store.ready()).await, Ok(Ok(()))),
                Err(_) => false,
            },
            Self::Caches => match latest(server).await {
                Some(latest) => timeout(CACHES, server.caches().reached(latest)).await.is_ok(),
                None => false,
            },
            Self::Namespaces => has::<Namespace>(server, &["kube-system", "kube-public", "default"]),
            Self::PriorityClasses => {
                has::<PriorityClass>(server, &["system-node-critical", "system-cluster-critical"])
            }
            Self::Shutdown => !closing.is_cancelled(),
        }
    }
}

/// Whether objects of these names are there. A server that does not serve the kind needs none.
fn has<K: Object>(server: &Server, names: &[&str]) -> bool {
    let Some(cache) = server.caches().of::<K>() else { return true };
    names.iter().all(|name| cache.get(&ObjectName::cluster(*name)).is_some())
}

/// The store's revision, if it says.
async fn latest(server: &Server) -> Option<Revision> {
    timeout(STORE, server.store().ok()?.revision()).await.ok()?.ok()
}

/// Every check of the three as a figure: 1 if it passes, 0 if not.
pub(crate) async fn figures(server: &Server, closing: &CancellationToken) -> Response<Body> {
    let mut text = String::from(
        "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n\
         # TYPE kubernetes_healthcheck gauge\n",
    );
    for (endpoint, checks) in [("healthz", Check::LIVE), ("livez", Check::LIVE), ("readyz", Check::READY)] {
        for check in checks {
            let (name, passes) = (check.name(), u8::from(check.passes(server, closing).await));
            text.push_str(&format!(
                "kubernetes_healthcheck{{name=\"{name}\",type=\"{endpoint}\"}} {passes}\n"
            ));
        }
    }
    reply::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// Answers for one of the three (`endpoint`), as a whole or for one of its checks; `None` if it has no such check.
pub(crate) async fn answer(
    server: &Server,
    closing: &CancellationToken,
    endpoint: &str,
    only: Option<&str>,
    query: &QueryString,
) -> Option<Response<Body>> {
    let all = if endpoint == "readyz" { Check::READY } else { Check::LIVE };
    if let Some(only) = only {
        let check = all.iter().find(|check| check.name() == only)?;
        return Some(match check.passes(server, closing).await {
            true => reply::text(200, "ok"),
            false => reply::text(500, &format!("internal server error: {only} failed\n")),
        });
    }
    let excluded = query.all("exclude");
    let mut lines = String::new();
    let mut failed = false;
    for check in all {
        let name = check.name();
        if excluded.iter().any(|excluded| excluded == name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if check.passes(server, closing).await {
            lines.push_str(&format!("[+]{name} ok\n"));
        } else {
            failed = true;
            lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    let unknown = excluded.iter().filter(|name| all.iter().all(|check| check.name() != name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| format!("{name:?}")).collect();
    if !unknown.is_empty() {
        let names = unknown.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    Some(match failed {
        true => reply::text(500, &format!("{lines}{endpoint} check failed\n")),
        false if query.is_set("verbose") => reply::text(200, &format!("{lines}{endpoint} check passed\n")),
        false => reply::text(200, "ok"),
    })
}
