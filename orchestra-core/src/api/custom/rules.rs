use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::Value;

use super::jsonpath::JsonPath;
use super::{CustomKind, CustomVersion, scale};
use crate::api::field::{Errors, Path};
use crate::api::ownership::{self, NodeId, Versions};
use crate::api::schema::{Place, fit};
use crate::api::structural::{RuleSet, Schema, check_lists};
use crate::api::{KindRules, ScalePaths, api_version, names, table};

/// A version of a custom kind, ready to be applied to its objects.
#[derive(Debug)]
pub(super) struct Version {
    api_version: String,
    schema: Schema,
    /// The rules of the schema, compiled when they are first needed.
    rules: OnceLock<Option<RuleSet>>,
    /// How its objects are merged when a configuration is applied, made when that is first needed.
    ownership: OnceLock<(ownership::Schema, NodeId)>,
    /// The schema as it was written, for documents.
    #[cfg_attr(not(feature = "openapi"), expect(dead_code, reason = "only documents show it"))]
    document: Value,
    /// Whether requests may speak it.
    served: bool,
    status: bool,
    scale: Option<ScalePaths<Arc<str>>>,
    /// What each column shows, with its type; `None` for the age.
    columns: Option<Vec<(Arc<str>, Option<JsonPath>)>>,
}

impl Version {
    pub(super) fn new(kind: &CustomKind, version: &CustomVersion, schema: Schema) -> Self {
        let columns = version.columns.as_ref().map(|columns| {
            let column = |column: &super::CustomColumn| {
                (Arc::clone(&column.column.kind), JsonPath::parse(&column.path))
            };
            columns.iter().map(column).collect()
        });
        Self {
            api_version: api_version(&kind.id.group, &version.name),
            schema,
            rules: OnceLock::new(),
            ownership: OnceLock::new(),
            document: version.schema.clone(),
            served: version.served,
            status: version.status,
            scale: version.scale.clone(),
            columns,
        }
    }

    fn ownership(&self) -> (&ownership::Schema, NodeId) {
        let (schema, node) = self.ownership.get_or_init(|| ownership::Schema::structural(&self.schema));
        (schema, *node)
    }

    fn check_rules(&self, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        if let Some(rules) = self.rules.get_or_init(|| RuleSet::compile(&self.schema)) {
            rules.check(&self.schema, new, old, errors);
        }
    }

    /// Makes an object of any version one of this.
    fn convert(&self, object: &mut Value) {
        object["apiVersion"] = self.api_version.as_str().into();
        self.schema.prune(object);
    }
}

/// The rules of a custom kind, for requests in one of its versions.
#[derive(Debug)]
pub(super) struct CustomRules {
    versions: Arc<[Version]>,
    /// Which of them requests speak.
    spoken: usize,
    /// Which of them objects are kept in, or have while a request works on them.
    stored: usize,
    /// Whether objects of other versions are not to be read as if they were of this one.
    converted: bool,
}

impl CustomRules {
    /// For requests in one of some versions, of which one is the stored one. Both places are those of versions.
    pub(super) fn new(versions: Arc<[Version]>, spoken: usize, stored: usize) -> Self {
        Self { versions, spoken, stored, converted: false }
    }

    /// For requests in one of some versions between which objects are converted elsewhere. The place is that of a version.
    pub(super) fn converted(versions: Arc<[Version]>, spoken: usize) -> Self {
        Self { versions, spoken, stored: spoken, converted: true }
    }

    fn spoken(&self) -> &Version {
        &self.versions[self.spoken]
    }

    /// The version that objects are kept in, if it is not the one that requests speak.
    fn stored(&self) -> Option<&Version> {
        (self.stored != self.spoken).then(|| &self.versions[self.stored])
    }

    fn named(&self, api_version: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.api_version == api_version)
    }

    /// An object of the stored version as the spoken one has it, defaults and all.
    fn seen(&self, object: &Value) -> Option<Value> {
        self.stored()?;
        let mut object = object.clone();
        self.spoken().convert(&mut object);
        self.spoken().schema.fill_in(&mut object);
        Some(object)
    }

    fn check_values(&self, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        let version = self.spoken();
        if !version.schema.is_filled(new) {
            errors.forbidden(&Path::root(), "the object is too large with the defaults of its kind");
        }
        version.schema.validate(new, old).say(&Path::root(), errors);
        if let Some(paths) = &version.scale {
            scale::check_spec(new, paths, errors);
            scale::check_status(new, paths, errors);
        }
        version.schema.check_embedded(new, errors);
        self.check_lists(new, old, errors);
        version.check_rules(new, old, errors);
    }

    /// Of a change, lists are looked at only if they were right before.
    fn check_lists(&self, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        let was_wrong = old.is_some_and(|old| {
            let mut before = Errors::new();
            check_lists(&self.spoken().schema, old, &mut before);
            !before.is_empty()
        });
        if !was_wrong {
            check_lists(&self.spoken().schema, new, errors);
        }
    }
}

impl Versions for CustomRules {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        self.named(api_version).filter(|version| version.served)?;
        let mut object = object.clone();
        // What the version does not know stays: it may be another version's that the object has nevertheless.
        object["apiVersion"] = api_version.into();
        Some(object)
    }

    fn schema(&self, api_version: &str) -> (&ownership::Schema, NodeId) {
        match self.named(api_version) {
            Some(version) => version.ownership(),
            None => (ownership::Schema::deduced(), NodeId::DEDUCED),
        }
    }
}

impl KindRules for CustomRules {
    fn check(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let Some(meta) = object.get_mut("metadata").filter(|meta| !meta.is_null()) else {
            return Ok(Vec::new());
        };
        let unknown = fit::fit(Place::metadata(), meta)?;
        Ok(unknown.into_iter().map(|path| format!("metadata.{path}")).collect())
    }

    fn prune(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = self.spoken().schema.coerce_embedded(object)?;
        unknown.extend(self.spoken().schema.prune(object));
        unknown.sort();
        Ok(unknown)
    }

    fn present(&self, object: &mut Value) {
        if self.converted || self.stored().is_some() {
            self.spoken().schema.prune(object);
        }
        if self.converted {
            self.spoken().schema.fill_in(object);
        }
    }

    fn restore(&self, bytes: &[u8]) -> Option<Value> {
        let stored: Value = serde_json::from_slice(bytes).ok()?;
        let mut object = stored.clone();
        if object["apiVersion"].as_str() != Some(&self.spoken().api_version) {
            if self.converted {
                return None;
            }
            self.spoken().convert(&mut object);
        }
        self.spoken().schema.fill_in(&mut object);
        (object != stored).then_some(object)
    }

    fn default(&self, object: &mut Value) {
        self.spoken().schema.fill_in(object);
        if let Some(stored) = self.stored() {
            stored.schema.prune(object);
            stored.schema.fill_in(object);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        let seen = self.seen(object);
        self.check_values(seen.as_ref().unwrap_or(object), None, errors);
        Ok(finalizer_warnings(object))
    }

    fn validate_update(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        let (seen, before) = (self.seen(new), self.seen(old));
        self.check_values(seen.as_ref().unwrap_or(new), Some(before.as_ref().unwrap_or(old)), errors);
        Ok(())
    }

    fn validate_status(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        let (seen, before) = (self.seen(new), self.seen(old));
        let (new, old) = (seen.as_ref().unwrap_or(new), before.as_ref().unwrap_or(old));
        let version = self.spoken();
        if let (Some(status), Some(schema)) = (new.get("status"), version.schema.field("status")) {
            schema.validate(status, old.get("status")).say(&Path::new("status"), errors);
        }
        if let Some(paths) = &version.scale {
            scale::check_status(new, paths, errors);
        }
        self.check_lists(new, Some(old), errors);
        version.check_rules(new, Some(old), errors);
        Ok(())
    }

    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        let differs = |name: &str| name != "metadata" && new.get(name) != old.get(name);
        let names =
            |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        let mut all = names(new).into_iter().chain(names(old)).flatten();
        all.any(|name| differs(&name) && (name != "status" || !self.spoken().status))
    }

    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error> {
        let head: table::Head = serde_json::from_slice(json)?;
        let name = Value::from(head.metadata.name.clone());
        let Some(columns) = &self.spoken().columns else {
            return Ok(vec![name, table::age(&head.metadata, now).into()]);
        };
        let object: Value = serde_json::from_slice(json)?;
        let cell = |(kind, path): &(Arc<str>, Option<JsonPath>)| {
            let found = path.as_ref().and_then(|path| path.find(&object).into_iter().next());
            found.map_or(Value::Null, |value| cell(kind, value, now))
        };
        Ok(std::iter::once(name).chain(columns.iter().map(cell)).collect())
    }

    fn versions(&self) -> Option<&dyn Versions> {
        Some(self)
    }

    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        _generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema> {
        self.spoken().document.clone().try_into().ok()
    }
}

/// A value as a column of a type shows it; null where it is of another.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).into()
        }
        ("number", Value::Number(number)) => Value::Number(number.clone()),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => table::duration(now.duration_since(time).as_secs()).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// What is said of finalizers whose names others may choose too.
fn finalizer_warnings(object: &Value) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let mut warnings = Vec::new();
    for name in finalizers.filter_map(Value::as_str) {
        let shown = format!("metadata.finalizers: {name:?}: ");
        warnings.extend(names::qualified(name).into_iter().map(|fault| format!("{shown}{fault}")));
        if !name.contains('/') && !STANDARD.contains(&name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            warnings.push(format!(
                "{shown}prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other \
                 finalizer writers"
            ));
        }
    }
    warnings
}
