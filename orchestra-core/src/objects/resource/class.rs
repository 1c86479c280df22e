use k8s_openapi::api::resource::v1::DeviceClass;

use super::{MAX_CONFIGURATIONS, bounded, configuration, names, requests};
use crate::api::field::{Errors, Path};
use crate::api::{Deletion, NameRule, Rules};

/// The rules of DeviceClass objects.
pub(in crate::objects) struct DeviceClassRules;

impl Rules for DeviceClassRules {
    type Object = DeviceClass;

    const DELETION: Deletion = Deletion::Object;
    const GENERATION: bool = true;
    const NAME: NameRule = NameRule::LongName;

    fn validate(object: &DeviceClass, errors: &mut Errors) {
        let (spec, path) = (&object.spec, Path::new("spec"));
        requests::selectors(spec.selectors.as_deref(), &path.child("selectors"), errors);
        let configurations = spec.config.as_deref().unwrap_or_default();
        bounded(configurations, MAX_CONFIGURATIONS, &path.child("config"), errors, |one, path, errors| {
            configuration(one.opaque.as_ref(), path, errors);
        });
        if let Some(name) = spec.extended_resource_name.as_deref().filter(|name| !is_extended(name)) {
            let detail = "must be a valid extended resource name";
            errors.invalid(&path.child("extendedResourceName"), name, detail);
        }
    }
}

/// The name of a resource in a domain that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    let domain = name.split_once('/').map_or("", |(domain, _)| domain);
    !domain.is_empty()
        && domain != "kubernetes.io"
        && !domain.ends_with(".kubernetes.io")
        && !name.starts_with("requests.")
        && names::qualified(&format!("requests.{name}")).is_empty()
}
