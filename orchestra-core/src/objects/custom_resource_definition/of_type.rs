//! The definition of a kind that is a Rust type, for clusters elsewhere: by it they serve what this program works on.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize as _;
use serde_json::json;

#[cfg(feature = "openapi")]
use super::type_schema::schema_of;
use crate::meta::{Object, Scope};

/// A CustomResourceDefinition of a Rust type's kind, to be applied where the type itself cannot be given.
///
/// With the feature `openapi` it has the type's [schema](Object::schema), as far as a definition can say it: an enum of
/// structs, a tuple and a type that contains itself are let pass as they come. A type without a schema lets every field
/// pass. Of a type with a field `status`, the status is a subresource.
///
/// ```
/// # use orchestra_core::meta::Object;
/// # use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
/// #[derive(serde::Serialize, serde::Deserialize, Object)]
/// #[object(group = "example.org", version = "v1")]
/// struct Website {
///     metadata: ObjectMeta,
/// }
///
/// let definition = orchestra_core::objects::definition_of::<Website>();
/// let yaml = orchestra_core::api::yaml::write(&serde_json::to_value(&definition)?)?;
/// assert!(yaml.contains("name: websites.example.org"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn definition_of<K: Object>() -> CustomResourceDefinition {
    let any = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = schema_of::<K>().unwrap_or_else(any);
    let has_status = schema["properties"].get("status").is_some();
    let mut version = json!({
        "name": K::VERSION,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": schema},
    });
    if has_status {
        version["subresources"] = json!({"status": {}});
    }
    let definition = json!({
        "metadata": {"name": format!("{}.{}", K::PLURAL, K::GROUP)},
        "spec": {
            "group": K::GROUP,
            "names": {"kind": K::KIND, "plural": K::PLURAL},
            "scope": match K::SCOPE {
                Scope::Namespaced => "Namespaced",
                Scope::Cluster => "Cluster",
            },
            "versions": [version],
        },
    });
    // Its fields are those of the type.
    CustomResourceDefinition::deserialize(&definition).unwrap_or_default()
}

#[cfg(not(feature = "openapi"))]
#[expect(clippy::extra_unused_type_parameters, reason = "types have schemas with the feature alone")]
fn schema_of<K: Object>() -> Option<serde_json::Value> {
    None
}
