//! What is answered and is no object of a kind of the table. Of these a `Scale` has a table of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Form, IncludeObject, MetaVersion, Writer, write};
use crate::api::scaled::SCALE;
use crate::api::table;

impl Writer<'_> {
    /// Appends an answer that is no object of the kind: a scale in the form that is wanted, anything else as it is.
    pub fn value(&self, value: &Value, out: &mut Vec<u8>) {
        let is_scale = value["kind"] == "Scale" && value["apiVersion"] == SCALE;
        match self.form {
            Form::Table(version) if is_scale => write(&self.scale_table(value, version), out),
            Form::Metadata(version) if is_scale => write(&metadata(value, version), out),
            _ => write(value, out),
        }
    }

    fn scale_table(&self, scale: &Value, version: MetaVersion) -> Value {
        let meta = ObjectMeta::deserialize(&scale["metadata"]).unwrap_or_default();
        let column = |name: &str, description: &str, kind: &str| json!({"name": name, "type": kind, "format": "", "description": description, "priority": 0});
        let object = match self.include {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => metadata(scale, version),
            IncludeObject::Object => scale.clone(),
        };
        let count = |part: &str| scale[part]["replicas"].as_i64().unwrap_or_default();
        json!({
            "kind": "Table",
            "apiVersion": version.api_version(),
            "metadata": {"resourceVersion": meta.resource_version.as_deref().unwrap_or_default()},
            "columnDefinitions": [
                column("Name", "The name of the object.", "string"),
                column("Desired", "How many replicas are wanted.", "integer"),
                column("Available", "How many replicas there are.", "integer"),
                column("Age", "How long ago the object was made.", "string"),
            ],
            "rows": [{
                "cells": [meta.name, count("spec"), count("status"), table::age(&meta, self.now)],
                "object": object,
            }],
        })
    }
}

fn metadata(scale: &Value, version: MetaVersion) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": scale["metadata"]})
}
