//! The paths of the documents: which operations there are and which parameters they take.
//!
//! Clients look here to learn whether a server validates fields and knows dry runs, and which patches a kind takes.

use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Dialect, Row};
use crate::api::PatchKind;
use crate::api::discovery::root;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// A parameter: its name, its type, and what it does.
type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter = ("dryRun", "string", "`All` does everything but write.");
const MANAGER: Parameter = ("fieldManager", "string", "Who is named as the manager of the fields.");
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What becomes of unknown and repeated fields: `Ignore` drops them, `Warn` says so too, `Strict` refuses.",
);
const FORCE: Parameter = ("force", "boolean", "Take fields over from other managers; only when applying.");
const WRITE: &[Parameter] = &[DRY_RUN, MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = &[DRY_RUN, MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds before the object goes; 0 is at once."),
    ("propagationPolicy", "string", "What becomes of dependents: `Orphan`, `Background` or `Foreground`."),
];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Say from time to time how far a watch has come."),
    ("continue", "string", "Where an earlier list left off."),
    ("fieldSelector", "string", "Only objects with these fields."),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "At most so many objects."),
    ("resourceVersion", "string", "Of which revision."),
    ("resourceVersionMatch", "string", "How exactly: `Exact` or `NotOlderThan`."),
    ("sendInitialEvents", "boolean", "Begin a watch with the objects as they are."),
    ("timeoutSeconds", "integer", "How long a watch lasts at most."),
    ("watch", "boolean", "Send changes as they happen."),
];

/// Every path of these kinds.
pub(super) fn all(rows: &[Row<'_>], dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in rows {
        add(&mut paths, row, dialect);
    }
    paths
}

fn add(paths: &mut Map<String, Value>, row: &Row<'_>, dialect: Dialect) {
    let base = format!("/{}", root(row.group, row.version));
    let plural = &row.resource.id.resource;
    let namespaced = row.resource.is_namespaced();
    let collection = match namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{plural}"),
        false => format!("{base}/{plural}"),
    };
    let (object, list) = (row.definition(), format!("{}List", row.definition()));
    let write = Operation { row, dialect, object: &object, body: Some(&object), suffix: "" };
    let read = Operation { body: None, ..write };
    if namespaced {
        let everywhere = Operation { object: &list, suffix: "ForAllNamespaces", ..read };
        paths.insert(format!("{base}/{plural}"), json!({"get": everywhere.document("list", LIST)}));
    }
    let many = json!({
        "get": Operation { object: &list, ..read }.document("list", LIST),
        "post": write.document("post", WRITE),
        "delete": Operation { object: STATUS, body: Some(DELETE_OPTIONS), ..write }
            .document("deletecollection", &[DELETE, LIST].concat()),
    });
    paths.insert(collection.clone(), with_path_parameters(many, namespaced, false, dialect));
    let mut one = read_write(write, read);
    one["delete"] =
        Operation { object: STATUS, body: Some(DELETE_OPTIONS), ..write }.document("delete", DELETE);
    paths.insert(format!("{collection}/{{name}}"), with_path_parameters(one, namespaced, true, dialect));
    let parts = [("status", row.resource.status), ("scale", row.resource.scale.is_some())];
    for (part, _) in parts.into_iter().filter(|(_, there)| *there) {
        let object = if part == "scale" { SCALE } else { &object };
        let suffix = if part == "scale" { "Scale" } else { "Status" };
        let write = Operation { object, body: Some(object), suffix, ..write };
        let document = read_write(write, Operation { body: None, ..write });
        let path = format!("{collection}/{{name}}/{part}");
        paths.insert(path, with_path_parameters(document, namespaced, true, dialect));
    }
}

fn read_write(write: Operation<'_>, read: Operation<'_>) -> Value {
    json!({
        "get": read.document("get", &[]),
        "put": write.document("put", WRITE),
        "patch": write.document("patch", PATCH),
    })
}

fn with_path_parameters(mut path: Value, namespaced: bool, named: bool, dialect: Dialect) -> Value {
    let namespace = ("namespace", "string", "The namespace of the object.");
    let name = ("name", "string", "The name of the object.");
    let there = [(namespace, namespaced), (name, named)].into_iter().filter(|(_, there)| *there);
    path["parameters"] = there.map(|(parameter, _)| document(&parameter, "path", dialect)).collect();
    path
}

fn document((name, kind, description): &Parameter, place: &str, dialect: Dialect) -> Value {
    let mut parameter = json!({"name": name, "in": place, "description": description});
    if place == "path" {
        parameter["required"] = true.into();
    }
    match dialect {
        Dialect::V2 => parameter["type"] = (*kind).into(),
        Dialect::V3 => parameter["schema"] = json!({"type": kind}),
    }
    parameter
}

/// An operation on a kind.
#[derive(Clone, Copy)]
struct Operation<'o> {
    row: &'o Row<'o>,
    dialect: Dialect,
    /// What is answered.
    object: &'o str,
    /// What is sent.
    body: Option<&'o str>,
    /// What tells operations of one verb apart.
    suffix: &'o str,
}

impl Operation<'_> {
    fn document(self, action: &str, parameters: &[Parameter]) -> Value {
        let row = self.row;
        let group = row.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        let scope =
            if row.resource.is_namespaced() && self.suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let id = format!(
            "{action}{}{}{scope}{}{}",
            capital(group),
            capital(row.version),
            row.resource.kind,
            self.suffix
        );
        let kind = match self.suffix {
            "Scale" => json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
            _ => row.group_version_kind(""),
        };
        let query = parameters.iter().map(|parameter| document(parameter, "query", self.dialect));
        let mut operation = json!({
            "operationId": id,
            "tags": [format!("{group}_{}", row.version)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "parameters": query.collect::<Vec<_>>(),
        });
        self.contents(&mut operation, action);
        operation
    }

    /// What is sent and what is answered, and in which formats.
    fn contents(self, operation: &mut Value, action: &str) {
        let reads: Vec<&str> = match action {
            "patch" => {
                PatchKind::accepted(self.row.resource).into_iter().map(PatchKind::content_type).collect()
            }
            _ => vec!["application/json", "application/yaml"],
        };
        let answer = reference(self.object, self.dialect);
        // A patch is not an object of the kind.
        let body = match action {
            "patch" => Some(json!({"type": "object"})),
            _ => self.body.map(|body| reference(body, self.dialect)),
        };
        match self.dialect {
            Dialect::V2 => {
                operation["produces"] = json!(["application/json", "application/yaml"]);
                operation["responses"] = json!({"200": {"description": "OK", "schema": answer}});
                if let Some(body) = body {
                    operation["consumes"] = json!(reads);
                    let sent =
                        json!({"name": "body", "in": "body", "required": action != "delete", "schema": body});
                    if let Some(parameters) = operation["parameters"].as_array_mut() {
                        parameters.push(sent);
                    }
                }
            }
            Dialect::V3 => {
                let media = |schema: &Value, types: &[&str]| -> Map<String, Value> {
                    types.iter().map(|name| ((*name).to_owned(), json!({"schema": schema}))).collect()
                };
                let content = media(&answer, &["application/json", "application/yaml"]);
                operation["responses"] = json!({"200": {"description": "OK", "content": content}});
                if let Some(body) = body {
                    operation["requestBody"] = json!({"content": media(&body, &reads)});
                }
            }
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
