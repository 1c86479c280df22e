//! OpenAPI documents, versions 2 and 3: what clients validate with, complete with, explain with and merge by.
//!
//! They are derived from the table of kinds, the schemas that `k8s-openapi` has of its types, and the facts of
//! [`schema`](super::schema). Nothing is made before it is asked for; what was made is kept as bytes.

mod gnostic;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use k8s_openapi::schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::discovery::{Discovery, MINOR, root};
use super::{Kinds, Resource};

/// The media type in which clients ask for the document of version 2.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The media type in which it is answered: the same without the `@`, which Go's parser of media types refuses.
pub const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The versions of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

/// A document, ready to be sent.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text, or for protobuf the bytes.
    pub bytes: Bytes,
    /// What tells this content from any other: good as an `ETag` (in quotes), and as the hash in the URLs of the
    /// index.
    pub tag: String,
}

impl Document {
    fn new(bytes: Vec<u8>) -> Self {
        let mut hasher = foldhash::quality::FixedState::default().build_hasher();
        hasher.write(&bytes);
        Self { tag: format!("{:016X}", hasher.finish()), bytes: bytes.into() }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }
}

/// The documents of a table of kinds that changes: made anew, and only when somebody asks, for each generation of it.
#[derive(Debug)]
pub struct Documents(ArcSwap<OpenApi>);

impl Documents {
    /// The documents of a table, to begin with this one.
    pub fn new(kinds: Arc<Kinds>) -> Self {
        Self(ArcSwap::from_pointee(OpenApi::new(kinds)))
    }

    /// The documents for the table as it is now.
    pub fn of(&self, kinds: &Arc<Kinds>) -> Arc<OpenApi> {
        let held = self.0.load_full();
        if held.kinds.generation() == kinds.generation() {
            return held;
        }
        let made = Arc::new(OpenApi::new(Arc::clone(kinds)));
        // A request that still has an older table must not bring its documents back.
        if kinds.generation() > held.kinds.generation() {
            self.0.store(Arc::clone(&made));
        }
        made
    }
}

/// The documents of a table of kinds.
#[derive(Debug)]
pub struct OpenApi {
    kinds: Arc<Kinds>,
    index: OnceLock<Document>,
    versions: BTreeMap<String, OnceLock<Document>>,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

impl OpenApi {
    /// The documents for these kinds. Costs nothing until one is asked for.
    pub fn new(kinds: impl Into<Arc<Kinds>>) -> Self {
        let kinds = kinds.into();
        let groups = Discovery::new(&kinds).group_versions();
        let each =
            groups.iter().flat_map(|(group, versions)| versions.iter().map(|version| root(group, version)));
        let versions = each.map(|path| (path, OnceLock::new())).collect();
        Self { kinds, index: OnceLock::new(), versions, v2: OnceLock::new(), v2_protobuf: OnceLock::new() }
    }

    /// The document of `/openapi/v3`: where to find that of each group and version.
    pub fn index(&self) -> Document {
        let make = || {
            let paths = self.versions.keys().filter_map(|path| {
                let tag = self.group_version(path)?.tag;
                Some((path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={tag}")})))
            });
            Document::json(&json!({"paths": paths.collect::<serde_json::Map<_, _>>()}))
        };
        self.index.get_or_init(make).clone()
    }

    /// The document of `/openapi/v3/PATH`, where the path is such as `api/v1` or `apis/apps/v1`; `None` if nothing
    /// is served there.
    pub fn group_version(&self, path: &str) -> Option<Document> {
        let held = self.versions.get(path)?;
        Some(held.get_or_init(|| Document::json(&self.v3(path))).clone())
    }

    /// The document of `/openapi/v2`.
    pub fn v2(&self) -> Document {
        self.v2.get_or_init(|| Document::json(&self.v2_value())).clone()
    }

    /// The document of `/openapi/v2` as [`V2_PROTOBUF`], which is how `kubectl` asks for it.
    pub fn v2_protobuf(&self) -> Document {
        self.v2_protobuf.get_or_init(|| Document::new(gnostic::document(&self.v2_value()))).clone()
    }

    fn v3(&self, path: &str) -> Value {
        let served: Vec<Row<'_>> = self.rows().filter(|row| root(row.group, row.version) == path).collect();
        let schemas = schemas::all(&served, Dialect::V3);
        json!({
            "openapi": "3.0.0",
            "info": info(),
            "paths": paths::all(&served, &schemas, Dialect::V3),
            "components": {"schemas": schemas},
        })
    }

    fn v2_value(&self) -> Value {
        let served: Vec<Row<'_>> = self.rows().collect();
        let schemas = schemas::all(&served, Dialect::V2);
        json!({
            "swagger": "2.0",
            "info": info(),
            "paths": paths::all(&served, &schemas, Dialect::V2),
            "definitions": schemas,
        })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.kinds.iter().flat_map(|resource| {
            resource.served().map(move |(group, version)| Row { resource, group, version })
        })
    }
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": format!("v1.{MINOR}.0")})
}

/// A kind under one of the versions that serve it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'k> {
    resource: &'k Resource,
    group: &'k str,
    version: &'k str,
}

impl Row<'_> {
    /// The kind as this version has it.
    fn spoken(&self) -> &Resource {
        self.resource.spoken(self.group, self.version)
    }

    /// The schema of its objects in this version; `None` if nothing is known of them.
    fn schema(&self, generator: &mut SchemaGenerator) -> Option<Schema> {
        let mut also = self.resource.also.iter();
        let served = also.find(|served| (&*served.group, &*served.version) == (self.group, self.version));
        match served.map(|served| (&served.own, &served.schema)) {
            Some((Some(own), _)) => own.rules.schema(generator),
            Some((None, Some(schema))) => schema(generator),
            _ => self.resource.rules.schema(generator),
        }
    }

    /// The name of the schema of its objects: Kubernetes' own, or the group backwards.
    fn definition(&self) -> String {
        let kind = &*self.resource.kind;
        super::schema::definition(self.group, self.version, kind).unwrap_or_else(|| {
            let mut reversed: Vec<&str> = self.group.split('.').collect();
            reversed.reverse();
            format!("{}.{}.{kind}", reversed.join("."), self.version)
        })
    }

    fn group_version_kind(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.resource.kind})
    }

    fn list_group_version_kind(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.resource.list_kind})
    }
}
