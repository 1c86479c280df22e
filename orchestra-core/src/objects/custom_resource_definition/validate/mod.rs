//! What is wrong with a definition.
//!
//! Kubernetes looks at definitions in an internal type, in which what all versions have in common stands once, beside
//! the versions. Paths in errors are those of that type: `spec.validation` where all versions have one schema,
//! `spec.versions[0].schema` where they differ.

mod conversion;
mod names;
mod parts;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::approval::{Approval, is_protected};
use super::show;
use crate::api::check::{IMMUTABLE, one_of};
use crate::api::field::{Errors, Path};
use crate::api::names::{label_1035, subdomain};
use crate::api::structural::Schema;

/// What of a version may be the same in all: its name in a version, and beside the versions.
const IN_COMMON: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// Says what is wrong with a new definition.
pub(super) fn created(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let expected = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    for field in ["generateName", "name"] {
        let given = text(&object["metadata"], field);
        if !given.is_empty() && given != expected {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Path::new("metadata").child(field), given, detail);
        }
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
    names::check(&object["status"]["acceptedNames"], &Path::new("status.acceptedNames"), errors);
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
        names::check(&self.spec["names"], &path.child("names"), errors);
        self.beside_versions(&path, errors);
        conversion::check(&self.spec["conversion"], &path.child("conversion"), errors);
    }

    fn group(self, path: &Path, errors: &mut Errors) {
        let (group, path) = (text(self.spec, "group"), path.child("group"));
        let wrong = subdomain(group);
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
        let wrong = label_1035(text(version, "name"));
        if !wrong.is_empty() {
            errors.invalid(&path.child("name"), text(version, "name"), wrong.join(","));
        }
        parts::deprecation(version, path, errors);
        let own = |field: &str| match self.in_common(field) {
            Some(_) => &Value::Null,
            None => &version[field],
        };
        let status = !version["subresources"]["status"].is_null();
        schema::schema(&own("schema")["openAPIV3Schema"], status, &path.child("schema"), errors);
        parts::subresources(own("subresources"), &path.child("subresources"), errors);
        parts::columns(own("additionalPrinterColumns"), &path.child("additionalPrinterColumns"), errors);
        let fields = own("selectableFields").as_array().map_or(&[][..], Vec::as_slice);
        if !fields.is_empty() {
            let path = path.child("selectableFields");
            match &own("schema")["openAPIV3Schema"] {
                Value::Null => errors.invalid(
                    &path,
                    "",
                    "may only be set when `version.schema.openAPIV3Schema` is not included",
                ),
                schema => parts::selectable_fields(fields, schema, &path, errors),
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
            let wrong = label_1035(name);
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
        schema::schema(&validation["openAPIV3Schema"], status, &path.child("validation"), errors);
        parts::subresources(common("subresources"), &path.child("subresources"), errors);
        parts::columns(common("additionalPrinterColumns"), &path.child("additionalPrinterColumns"), errors);
        let fields = common("selectableFields").as_array().map_or(&[][..], Vec::as_slice);
        if !fields.is_empty() {
            let path = path.child("selectableFields");
            match &validation["openAPIV3Schema"] {
                Value::Null => {
                    errors.invalid(&path, "", "may only be set when validations.schema is included")
                }
                schema => parts::selectable_fields(fields, schema, &path, errors),
            }
        }
    }
}
