//! The paths of the documents: which operations there are and which parameters they take.
//!
//! Clients look here to learn whether a server validates fields and knows dry runs, and which patches a kind takes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Dialect, Row};
use crate::api::discovery::root;
use crate::api::schema::definition;
use crate::api::{BodyKind, PatchKind, Subresource, Verb};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

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
pub(super) fn all(rows: &[Row<'_>], schemas: &Map<String, Value>, dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in rows {
        add(&mut paths, row, schemas, dialect);
    }
    paths
}

fn add(paths: &mut Map<String, Value>, row: &Row<'_>, schemas: &Map<String, Value>, dialect: Dialect) {
    let base = format!("/{}", root(row.group, row.version));
    let plural = &row.resource.id.resource;
    let namespaced = row.resource.is_namespaced();
    let collection = match namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{plural}"),
        false => format!("{base}/{plural}"),
    };
    let (object, list) = (row.definition(), format!("{}List", row.definition()));
    let write =
        Operation { row, dialect, object: &object, body: Some(&object), suffix: "", kind: None, schemas };
    let read = Operation { body: None, ..write };
    if namespaced {
        let everywhere = Operation { object: &list, suffix: "ForAllNamespaces", ..read };
        paths.insert(format!("{base}/{plural}"), json!({"get": everywhere.document("list", LIST)}));
    }
    let mut many = json!({
        "get": Operation { object: &list, ..read }.document("list", LIST),
        "post": write.document("post", WRITE),
        "delete": Operation { object: STATUS, body: Some(DELETE_OPTIONS), ..write }
            .document("deletecollection", &[DELETE, LIST].concat()),
    });
    keep_served(
        &mut many,
        row,
        &[("get", Verb::List), ("post", Verb::Create), ("delete", Verb::DeleteCollection)],
    );
    paths.insert(collection.clone(), with_path_parameters(many, namespaced, false, dialect));
    let mut one = read_write(write, read);
    one["delete"] =
        Operation { object: STATUS, body: Some(DELETE_OPTIONS), ..write }.document("delete", DELETE);
    keep_served(
        &mut one,
        row,
        &[("get", Verb::Get), ("put", Verb::Update), ("patch", Verb::Patch), ("delete", Verb::Delete)],
    );
    paths.insert(format!("{collection}/{{name}}"), with_path_parameters(one, namespaced, true, dialect));
    for sub in row.spoken().subresources.iter().filter(|sub| sub.is_listed()) {
        let document = part(write, sub);
        let path = format!("{collection}/{{name}}/{}", sub.name);
        paths.insert(path, with_path_parameters(document, namespaced, true, dialect));
    }
}

/// Drops the operations whose verbs the kind does not have.
fn keep_served(document: &mut Value, row: &Row<'_>, operations: &[(&str, Verb)]) {
    let Value::Object(document) = document else { return };
    for (operation, verb) in operations {
        if !row.resource.verbs.contains(verb) {
            document.remove(*operation);
        }
    }
}

/// The operations of a subresource.
fn part(write: Operation<'_>, sub: &Subresource<Arc<str>>) -> Value {
    let kind = sub.body.as_ref();
    let object = kind.and_then(|body| definition(&body.group, &body.version, &body.kind));
    let object = object.as_deref().unwrap_or(write.object);
    let suffix = capital(&sub.name);
    let write = Operation { object, body: Some(object), suffix: &suffix, kind, ..write };
    let read = Operation { body: None, ..write };
    let mut document = json!({});
    for verb in sub.verbs {
        match verb {
            Verb::Get => document["get"] = read.document("get", &[]),
            Verb::Update => document["put"] = write.document("put", WRITE),
            Verb::Patch => document["patch"] = write.document("patch", PATCH),
            Verb::Create => document["post"] = write.document("post", WRITE),
            _ => {}
        }
    }
    document
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
    let parameters = there.map(|(parameter, _)| document(&parameter, "path", dialect));
    put_parameters(&mut path, parameters.collect());
    path
}

/// Nothing is said where there are none, as in Kubernetes' documents.
fn put_parameters(of: &mut Value, parameters: Vec<Value>) {
    if !parameters.is_empty() {
        of["parameters"] = parameters.into();
    }
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
    /// What is sent, if it is of another kind than the object.
    kind: Option<&'o BodyKind<Arc<str>>>,
    /// The schemas that can be referred to.
    schemas: &'o Map<String, Value>,
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
        let kind = match self.kind {
            Some(body) => json!({"group": body.group, "version": body.version, "kind": body.kind}),
            None => row.group_version_kind(),
        };
        let query = parameters.iter().map(|parameter| document(parameter, "query", self.dialect)).collect();
        let mut operation = json!({
            "operationId": id,
            "tags": [format!("{group}_{}", row.version)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
        });
        self.contents(&mut operation, action, query);
        operation
    }

    /// A reference to a schema, or where there is none of that name, any object.
    fn reference(&self, name: &str) -> Value {
        if self.schemas.contains_key(name) {
            reference(name, self.dialect)
        } else {
            json!({"type": "object"})
        }
    }

    /// What is sent, with which parameters, and what is answered, and in which formats.
    fn contents(self, operation: &mut Value, action: &str, mut parameters: Vec<Value>) {
        let reads: Vec<&str> = match action {
            "patch" => {
                PatchKind::accepted(self.row.resource).into_iter().map(PatchKind::content_type).collect()
            }
            _ => vec!["application/json", "application/yaml"],
        };
        let answer = self.reference(self.object);
        // A patch is not an object of the kind.
        let body = match action {
            "patch" => Some(json!({"type": "object"})),
            _ => self.body.map(|body| self.reference(body)),
        };
        match self.dialect {
            Dialect::V2 => {
                operation["produces"] = json!(["application/json", "application/yaml"]);
                operation["responses"] = json!({"200": {"description": "OK", "schema": answer}});
                if let Some(body) = body {
                    operation["consumes"] = json!(reads);
                    parameters.push(
                        json!({"name": "body", "in": "body", "required": action != "delete", "schema": body}),
                    );
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
        put_parameters(operation, parameters);
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
