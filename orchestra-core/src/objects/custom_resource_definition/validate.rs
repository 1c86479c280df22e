//! What is wrong with a definition.
//!
//! Kubernetes looks at definitions in an internal type, in which what all versions have in common stands once, beside
//! the versions. Paths in errors are those of that type: `spec.validation` where all versions have one schema,
//! `spec.versions[0].schema` where they differ.

use serde_json::Value;

use super::approval::{Approval, is_protected};
use super::show;
use crate::api::check::{IMMUTABLE, one_of};
use crate::api::field::{Errors, Path};
use crate::api::names;
use crate::api::structural::{
    Checked, Schema, Type, check_defaults, check_properties, check_rules, check_structure, find_place,
};

/// What of a version may be the same in all: its name in a version, and beside the versions.
const IN_COMMON: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// How many fields may be selectable.
const MAX_SELECTABLE: usize = 8;

/// Says what is wrong with a new definition.
pub(super) fn created(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let name = text(&object["metadata"], "name");
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
    Definition { spec, old: None }.check(errors);
    status(object, errors);
    stored_versions(object, errors);
    approved(object, None, errors);
    preserve_unknown_fields(spec, None, errors);
}

/// Says what is wrong with a change of a definition.
pub(super) fn changed(new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    Definition { spec, old: Some(before) }.check(errors);
    let mut unchanged = |path: &str, new: &Value, old: &Value| {
        if new != old {
            errors.invalid(&Path::new(path), new.clone(), IMMUTABLE);
        }
    };
    let conditions = old["status"]["conditions"].as_array().into_iter().flatten();
    let established =
        conditions.into_iter().any(|held| held["type"] == "Established" && held["status"] == "True");
    if established {
        unchanged("spec.scope", &spec["scope"], &before["scope"]);
        unchanged("spec.names.kind", &spec["names"]["kind"], &before["names"]["kind"]);
    }
    unchanged("spec.group", &spec["group"], &before["group"]);
    unchanged("spec.names.plural", &spec["names"]["plural"], &before["names"]["plural"]);
    status(new, errors);
    stored_versions(new, errors);
    approved(new, Some(old), errors);
    preserve_unknown_fields(spec, Some(before), errors);
}

/// Says what is wrong with a status.
pub(super) fn status(object: &Value, errors: &mut Errors) {
    check_names(&object["status"]["acceptedNames"], &Path::new("status.acceptedNames"), errors);
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn stored_versions(object: &Value, errors: &mut Errors) {
    let path = Path::new("status.storedVersions");
    let stored: Vec<&str> =
        list(&object["status"], "storedVersions").iter().filter_map(Value::as_str).collect();
    if stored.is_empty() {
        let shown = object["status"]["storedVersions"].clone();
        return errors.invalid(&path, shown, "must have at least one stored version");
    }
    let versions = list(&object["spec"], "versions");
    let mut left = stored.clone();
    for version in versions {
        let name = text(version, "name");
        if version["storage"] == true && !left.contains(&name) {
            errors.invalid(
                &path,
                Value::from(stored.clone()),
                format!("must have the storage version {name}"),
            );
        }
        left.retain(|held| *held != name);
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| text(version, "name") == *name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(&path.index(index), *name, detail);
        }
    }
}

/// A kind of a protected group is approved, or says that it is not. One that was not asked before is not asked now.
fn approved(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = text(&new["spec"], "group");
    if !is_protected(group) {
        return;
    }
    let of = |object: &Value| Approval::of(text(&object["metadata"]["annotations"], Approval::ANNOTATION));
    let (approval, path) = (of(new), Path::new("metadata.annotations").key(Approval::ANNOTATION));
    if old.is_some_and(|old| of(old) == approval) {
        return;
    }
    match &approval {
        Approval::Missing => errors.required(&path, approval.message()),
        Approval::Invalid => {
            let given = text(&new["metadata"]["annotations"], Approval::ANNOTATION);
            errors.invalid(&path, given, approval.message());
        }
        Approval::Approved(_) | Approval::Bypassed(_) => {}
    }
}

fn preserve_unknown_fields(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let preserves = |spec: &Value| spec["preserveUnknownFields"] == true;
    if preserves(spec) && !old.is_some_and(preserves) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&Path::new("spec.preserveUnknownFields"), true, detail);
    }
}

fn check_names(given: &Value, path: &Path, errors: &mut Errors) {
    let mut say = |path: &Path, name: &str, prefix: &str, checked: &str| {
        let wrong = names::label_1035(checked);
        if !wrong.is_empty() {
            errors.invalid(path, name, format!("{prefix}{}", wrong.join(",")));
        }
    };
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    for (field, prefix) in [("plural", ""), ("singular", ""), ("kind", MIXED), ("listKind", MIXED)] {
        let name = text(given, field);
        let checked = if prefix.is_empty() { name.to_owned() } else { name.to_lowercase() };
        if !name.is_empty() {
            say(&path.child(field), name, prefix, &checked);
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(given, field).iter().filter_map(Value::as_str).enumerate() {
            say(&path.child(field).index(index), name, "", name);
        }
    }
    let (kind, list_kind) = (text(given, "kind"), text(given, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
}

/// The specification that is checked, and the one before it, if it is a change.
#[derive(Clone, Copy)]
struct Definition<'d> {
    spec: &'d Value,
    old: Option<&'d Value>,
}

impl<'d> Definition<'d> {
    fn versions(self) -> &'d [Value] {
        list(self.spec, "versions")
    }

    /// What all versions have of a field, if it is the same.
    fn in_common(self, field: &str) -> Option<&'d Value> {
        let (first, others) = self.versions().split_first()?;
        others.iter().all(|version| version[field] == first[field]).then_some(&first[field])
    }

    fn check(self, errors: &mut Errors) {
        let path = Path::new("spec");
        self.group(&path, errors);
        one_of(errors, &path.child("scope"), text(self.spec, "scope"), &["Cluster", "Namespaced"]);
        self.schemas_there(&path, errors);
        self.defaults_allowed(&path, errors);
        for (index, version) in self.versions().iter().enumerate() {
            self.version(version, &path.child("versions").index(index), errors);
        }
        self.version_names(&path, errors);
        for field in ["plural", "singular", "kind", "listKind"] {
            if text(&self.spec["names"], field).is_empty() {
                errors.required(&path.child("names").child(field), "");
            }
        }
        check_names(&self.spec["names"], &path.child("names"), errors);
        self.beside_versions(&path, errors);
        conversion(&self.spec["conversion"], &path.child("conversion"), errors);
    }

    fn group(self, path: &Path, errors: &mut Errors) {
        let (group, path) = (text(self.spec, "group"), path.child("group"));
        let wrong = names::subdomain(group);
        if group.is_empty() {
            errors.required(&path, "");
        } else if !wrong.is_empty() {
            errors.invalid(&path, group, wrong.join(","));
        } else if !group.contains('.') {
            errors.invalid(&path, group, "should be a domain with at least one dot");
        }
    }

    /// Every version has a schema.
    fn schemas_there(self, path: &Path, errors: &mut Errors) {
        let missing = |spec: &Value| {
            list(spec, "versions").iter().any(|version| version["schema"]["openAPIV3Schema"].is_null())
        };
        if self.old.is_some_and(missing) {
            return;
        }
        for (index, version) in self.versions().iter().enumerate() {
            if version["schema"]["openAPIV3Schema"].is_null() {
                let path = path.child("versions").index(index).child("schema.openAPIV3Schema");
                errors.required(&path, "");
            }
        }
    }

    /// What keeps unknown fields of old has no defaults.
    fn defaults_allowed(self, path: &Path, errors: &mut Errors) {
        let documents = self.versions().iter().map(|version| &version["schema"]["openAPIV3Schema"]);
        let mut schemas = documents.filter_map(|document| Schema::read(document).ok());
        if self.spec["preserveUnknownFields"] == true && schemas.any(|schema| schema.has_defaults()) {
            let detail = "must be false in order to use defaults in the schema";
            errors.invalid(&path.child("preserveUnknownFields"), true, detail);
        }
    }

    fn version(self, version: &Value, path: &Path, errors: &mut Errors) {
        let wrong = names::label_1035(text(version, "name"));
        if !wrong.is_empty() {
            errors.invalid(&path.child("name"), text(version, "name"), wrong.join(","));
        }
        deprecation(version, path, errors);
        let own = |field: &str| match self.in_common(field) {
            Some(_) => &Value::Null,
            None => &version[field],
        };
        let status = !version["subresources"]["status"].is_null();
        self.schema(&own("schema")["openAPIV3Schema"], status, &path.child("schema"), errors);
        subresources(own("subresources"), &path.child("subresources"), errors);
        columns(own("additionalPrinterColumns"), &path.child("additionalPrinterColumns"), errors);
        let fields = own("selectableFields").as_array().map_or(&[][..], Vec::as_slice);
        if !fields.is_empty() {
            let path = path.child("selectableFields");
            match &own("schema")["openAPIV3Schema"] {
                Value::Null => errors.invalid(
                    &path,
                    "",
                    "may only be set when `version.schema.openAPIV3Schema` is not included",
                ),
                schema => selectable_fields(fields, schema, &path, errors),
            }
        }
    }

    fn version_names(self, path: &Path, errors: &mut Errors) {
        let path = path.child("versions");
        let names: Vec<&str> = self.versions().iter().map(|version| text(version, "name")).collect();
        let common: Vec<&str> = IN_COMMON
            .into_iter()
            .map(|(field, _)| field)
            .filter(|field| self.in_common(field).is_some())
            .collect();
        let shown = || show::versions(&self.spec["versions"], &common);
        if names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
            errors.invalid_object(&path, shown(), "must contain unique version names");
        }
        if self.versions().iter().filter(|version| version["storage"] == true).count() != 1 {
            let detail = "must have exactly one version marked as storage version";
            errors.invalid_object(&path, shown(), detail);
        }
        // The first is a version of its own in the internal type.
        if let Some(name) = names.first().filter(|name| !name.is_empty()) {
            let wrong = names::label_1035(name);
            if !wrong.is_empty() {
                errors.invalid(&Path::new("spec.version"), *name, wrong.join(","));
            }
        }
    }

    /// What all versions have in common.
    fn beside_versions(self, path: &Path, errors: &mut Errors) {
        const NONE: &Value = &Value::Null;
        let common = |field: &str| self.in_common(field).unwrap_or(NONE);
        let status = self.versions().iter().any(|version| !version["subresources"]["status"].is_null());
        let validation = common("schema");
        self.schema(&validation["openAPIV3Schema"], status, &path.child("validation"), errors);
        subresources(common("subresources"), &path.child("subresources"), errors);
        columns(common("additionalPrinterColumns"), &path.child("additionalPrinterColumns"), errors);
        let fields = common("selectableFields").as_array().map_or(&[][..], Vec::as_slice);
        if !fields.is_empty() {
            let path = path.child("selectableFields");
            match &validation["openAPIV3Schema"] {
                Value::Null => {
                    errors.invalid(&path, "", "may only be set when validations.schema is included")
                }
                schema => selectable_fields(fields, schema, &path, errors),
            }
        }
    }

    fn schema(self, document: &Value, status: bool, path: &Path, errors: &mut Errors) {
        if document.is_null() {
            return;
        }
        let path = path.child("openAPIV3Schema");
        let before = errors.iter().count();
        if status {
            at_root(document, &path, errors);
        }
        if document["nullable"] == true {
            errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
        }
        let schema = match Schema::read(document) {
            Ok(schema) => schema,
            Err(error) => return errors.invalid(&path, "", error.to_string()),
        };
        let mut structure = Errors::new();
        check_structure(document, &path, &mut structure);
        if structure.is_empty() {
            check_defaults(&schema, &path, &mut structure);
        }
        errors.extend(structure);
        check_properties(document, Checked { types: true }, &path, errors);
        if errors.iter().count() == before {
            check_rules(&schema, document, &path, &show::rule, errors);
        }
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let path = path.child("deprecationWarning");
    if version["deprecated"] != true {
        return errors.invalid(&path, warning, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        errors.invalid(&path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(&path, warning, "must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        );
        errors.invalid(&path, warning, detail);
    }
}

/// What a schema may have at its root when the status is a subresource, under the names of the internal type.
const AT_ROOT: &[(&str, &str)] = &[
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

fn at_root(document: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(document, "type");
    if !matches!(kind, "" | "object") {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                      enabled";
        return errors.invalid(&path.child("type"), kind, detail);
    }
    let fields = document.as_object().into_iter().flatten();
    let is_set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let mut others = fields.filter(|(name, value)| {
        is_set(value) && !AT_ROOT.iter().any(|(_, allowed)| allowed == name) && *name != "nullable"
    });
    if others.next().is_some() {
        let allowed: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            allowed.join(" ")
        );
        errors.invalid_object(path, show::schema(document), detail);
    }
}

fn subresources(given: &Value, path: &Path, errors: &mut Errors) {
    let scale = &given["scale"];
    if scale.is_null() {
        return;
    }
    let mut check = |field: &str, required: bool, below: &[&str], detail: &str| {
        let (given, path) = (text(scale, field), path.child("scale").child(field));
        if given.is_empty() {
            if required {
                errors.required(&path, "");
            }
        } else if simple_path(given, &path, errors) && !below.iter().any(|below| given.starts_with(below)) {
            errors.invalid(&path, given, detail);
        }
    };
    check("specReplicasPath", true, &[".spec."], "should be a json path under .spec");
    check("statusReplicasPath", true, &[".status."], "should be a json path under .status");
    let either = "should be a json path under either .spec or .status";
    check("labelSelectorPath", false, &[".spec.", ".status."], either);
}

fn simple_path(given: &str, path: &Path, errors: &mut Errors) -> bool {
    if given.starts_with('.') {
        return true;
    }
    errors.invalid(path, given, "must be a simple json path starting with .");
    false
}

fn columns(given: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (index, column) in given.as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        let (kind, types) = (text(column, "type"), format!("must be one of {}", TYPES.join(",")));
        match kind {
            "" => errors.required(&path.child("type"), types),
            kind if !TYPES.contains(&kind) => errors.invalid(&path.child("type"), kind, types),
            _ => {}
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid(&path.child("format"), format, format!("must be one of {}", FORMATS.join(",")));
        }
        let (given, path) = (text(column, "jsonPath"), path.child("JSONPath"));
        if given.is_empty() {
            errors.required(&path, "");
        } else {
            simple_path(given, &path, errors);
        }
    }
}

fn selectable_fields(fields: &[Value], document: &Value, path: &Path, errors: &mut Errors) {
    let Ok(schema) = Schema::read(document) else { return };
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (given, path) = (text(field, "jsonPath"), path.index(index).child("jsonPath"));
        if given.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let place = match find_place(&schema, given, false) {
            Ok(place) => place,
            Err(why) => {
                errors.invalid(&path, given, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if place.first == "metadata" {
            errors.invalid(&path, given, "must not point to fields in metadata");
        }
        if !matches!(place.schema.kind(), Some(Type::String | Type::Boolean | Type::Integer)) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            errors.invalid(&path, given, detail);
        }
        if seen.contains(&place.path) {
            errors.duplicate(&path, given);
        } else {
            seen.push(place.path);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(path, crate::api::field::Problem::TooMany(seen.len(), MAX_SELECTABLE));
    }
}

fn conversion(given: &Value, path: &Path, errors: &mut Errors) {
    if given.is_null() {
        return;
    }
    let strategy = text(given, "strategy");
    one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    let webhook = &given["webhook"];
    let (client, reviews) = (&webhook["clientConfig"], list(webhook, "conversionReviewVersions"));
    let (client_path, reviews_path) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            errors.forbidden(&client_path, detail);
        }
        if !reviews.is_empty() {
            errors.forbidden(&reviews_path, detail);
        }
        return;
    }
    if client.is_null() {
        errors.required(&client_path, "required when strategy is set to Webhook");
    } else if client["url"].is_null() == client["service"].is_null() {
        errors.required(&client_path, "exactly one of url or service is required");
    }
    review_versions(reviews, &reviews_path, errors);
}

fn review_versions(given: &[Value], path: &Path, errors: &mut Errors) {
    const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];
    if given.is_empty() {
        return errors.required(path, "");
    }
    let names: Vec<&str> = given.iter().filter_map(Value::as_str).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            errors.invalid(&path.index(index), *name, "duplicate version");
            continue;
        }
        for wrong in names::label_1035(name) {
            errors.invalid(&path.index(index), *name, wrong);
        }
    }
    if !names.iter().any(|name| ACCEPTED.contains(name)) {
        let detail = format!("must include at least one of {}", ACCEPTED.join(", "));
        errors.invalid(path, Value::from(names), detail);
    }
}
