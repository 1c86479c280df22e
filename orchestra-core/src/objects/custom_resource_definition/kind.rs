use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::custom::{CustomColumn, CustomKind, CustomVersion};
use crate::api::{Column, ScalePaths};
use crate::meta::{GroupResource, Scope};

/// The kind that a definition defines, under the names that it was given.
pub(crate) fn kind_of(definition: &Value) -> CustomKind {
    let spec = &definition["spec"];
    let names = match &definition["status"]["acceptedNames"] {
        accepted if !text(accepted, "plural").is_empty() => accepted,
        _ => &spec["names"],
    };
    let group = text(spec, "group");
    let versions = spec["versions"].as_array().into_iter().flatten();
    CustomKind {
        id: GroupResource::new(group, text(&spec["names"], "plural")),
        kind: text(&spec["names"], "kind").into(),
        list_kind: text(names, "listKind").into(),
        singular: text(names, "singular").into(),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if text(spec, "scope") == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        creatable: definition["metadata"]["deletionTimestamp"].is_null(),
        versions: versions.map(|given| version(spec, given)).collect(),
        converter: None,
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn texts(list: &Value) -> Arc<[Arc<str>]> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn version(spec: &Value, given: &Value) -> CustomVersion {
    let name = text(given, "name");
    let deprecated = (given["deprecated"] == true).then(|| match given["deprecationWarning"].as_str() {
        Some(warning) => warning.into(),
        None => {
            let (group, kind) = (text(spec, "group"), text(&spec["names"], "kind"));
            format!("{group}/{name} {kind} is deprecated").into()
        }
    });
    let schema = match &given["schema"]["openAPIV3Schema"] {
        schema @ Value::Object(_) => schema.clone(),
        // From before schemas had to be given: everything is kept.
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    let fields = given["selectableFields"].as_array().into_iter().flatten();
    CustomVersion {
        name: name.into(),
        served: given["served"] == true,
        storage: given["storage"] == true,
        deprecated,
        schema,
        status: given["subresources"]["status"].is_object(),
        scale: scale(&given["subresources"]["scale"]),
        columns: columns(&given["additionalPrinterColumns"]),
        fields: fields.map(|field| undotted(text(field, "jsonPath"))).collect(),
    }
}

/// A path without the dot that it begins with.
fn undotted(path: &str) -> Arc<str> {
    path.strip_prefix('.').unwrap_or(path).into()
}

fn scale(given: &Value) -> Option<ScalePaths<Arc<str>>> {
    given.is_object().then(|| ScalePaths {
        spec_replicas: undotted(text(given, "specReplicasPath")),
        status_replicas: undotted(text(given, "statusReplicasPath")),
        selector: undotted(text(given, "labelSelectorPath")),
        strict: true,
    })
}

fn columns(given: &Value) -> Option<Vec<CustomColumn>> {
    let columns = given.as_array().filter(|columns| !columns.is_empty())?;
    let column = |given: &Value| {
        let path = text(given, "jsonPath");
        let description = match text(given, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            description => description.to_owned(),
        };
        CustomColumn {
            column: Column {
                name: text(given, "name").into(),
                kind: text(given, "type").into(),
                format: text(given, "format").into(),
                description: description.into(),
                priority: given["priority"].as_i64().and_then(|given| i32::try_from(given).ok()).unwrap_or(0),
            },
            path: path.into(),
        }
    };
    Some(columns.iter().map(column).collect())
}
