//! What APIServices say.

use bytes::Bytes;
use orchestra_core::api::Caches;
use orchestra_core::k8s_openapi::ByteString;
use orchestra_core::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use orchestra_core::meta::ObjectName;
use orchestra_core::watch::{Entry, Query};
use orchestra_core::webhook::ServiceReference;
use serde::Deserialize;

/// A group and version that another serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Api {
    /// The name of the APIService.
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) service: ServiceReference,
    /// The authorities by which the service is known, in PEM form; those of the machine if it is empty.
    pub(super) bundle: Bytes,
    /// Whether the service is believed whoever it is.
    pub(super) insecure: bool,
    /// Whether it answers; `None` until that is known.
    pub(super) available: Option<bool>,
    /// The priority of the group, and of the version in it.
    pub(super) priority: (i32, i32),
}

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: ApiStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    group: String,
    version: String,
    service: Option<ServiceReference>,
    ca_bundle: Option<ByteString>,
    #[serde(rename = "insecureSkipTLSVerify")]
    insecure: bool,
    group_priority_minimum: i32,
    version_priority: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiStatus {
    conditions: Vec<ConditionView>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConditionView {
    r#type: String,
    status: String,
}

impl Api {
    fn of(entry: &Entry) -> Option<Self> {
        let view = entry.view::<View>().ok()?;
        let (spec, status) = (&view.spec, &view.status);
        let condition = status.conditions.iter().find(|condition| condition.r#type == "Available");
        Some(Self {
            name: entry.name().name().to_owned(),
            group: spec.group.clone(),
            version: spec.version.clone(),
            service: spec.service.clone()?,
            bundle: spec.ca_bundle.as_ref().map(|bundle| Bytes::from(bundle.0.clone())).unwrap_or_default(),
            insecure: spec.insecure,
            available: condition.map(|condition| condition.status == "True"),
            priority: (spec.group_priority_minimum, spec.version_priority),
        })
    }

    /// Where it is served.
    pub(super) fn root(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

/// The API of a group and version, if another serves it.
pub(super) fn find(caches: &Caches, group: &str, version: &str) -> Option<Api> {
    let cache = caches.of::<APIService>()?;
    Api::of(&*cache.get(&ObjectName::cluster(format!("{version}.{group}")))?)
}

/// All APIs that others serve.
pub(super) fn all(caches: &Caches) -> Vec<Api> {
    let cache = caches.of::<APIService>();
    let entries = cache.map(|cache| cache.list(&Query::all())).unwrap_or_default();
    entries.iter().filter_map(|entry| Api::of(entry)).collect()
}
