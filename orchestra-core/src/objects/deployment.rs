use k8s_openapi::api::apps::v1::Deployment;

use super::legacy;
use crate::api::{Conversion, Resource, Rules, ScalePaths};

/// The rules of Deployment objects.
pub(super) struct DeploymentRules;

impl Rules for DeploymentRules {
    type Object = Deployment;

    const SHORT_NAMES: &'static [&'static str] = &["deploy"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(ScalePaths {
        spec_replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "spec.selector",
    });
}

/// The row of Deployments, which are served under their older versions too.
pub(super) fn row() -> Resource {
    Resource::of::<DeploymentRules>()
        .also("extensions", "v1beta1", legacy::EXTENSIONS_V1BETA1)
        .also("apps", "v1beta2", Conversion::NONE)
        .also("apps", "v1beta1", legacy::APPS_V1BETA1)
}
