//! What a review asks about, and what is wrong with one that asks about nothing.

use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, NonResourceAttributes, ResourceAttributes,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldSelectorRequirement;
use serde_json::{Value, json};

use crate::api::access::AccessRequest;
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Target, check};
use crate::meta::Object;
use crate::selector::{FieldOperator, FieldRequirement, FieldSelector, Selector};

/// What is to be done, with a resource or with a path.
pub(super) struct Asked<'a> {
    pub(super) resource: Option<&'a ResourceAttributes>,
    pub(super) path: Option<&'a NonResourceAttributes>,
}

impl Asked<'_> {
    /// What is wrong with what is asked.
    pub(super) fn check(&self, errors: &mut Errors) {
        let spec = Path::new("spec");
        if let (Some(_), Some(path)) = (self.resource, self.path) {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid_object(&spec.child("nonResourceAttributes"), shown(path), why);
        }
        if self.resource.is_none() && self.path.is_none() {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&spec.child("resourceAttributes"), Value::Null, why);
        }
    }

    /// What is wrong with the selectors.
    pub(super) fn check_selectors(&self, errors: &mut Errors) {
        let Some(resource) = self.resource else { return };
        let path = Path::new("spec.resourceAttributes");
        // Operators that are not known here may be those of a newer server, which asks for one of its users.
        if let Some(FieldSelectorAttributes { raw_selector, requirements }) = &resource.field_selector {
            let path = path.child("fieldSelector");
            let requirements = requirements.as_deref().unwrap_or_default();
            one_form(&path, raw_selector.as_deref(), !requirements.is_empty(), errors);
            for (index, requirement) in requirements.iter().enumerate() {
                let path = path.child("requirements").index(index);
                if requirement.key.is_empty() {
                    errors.required(&path.child("key"), "must be specified");
                }
                let values = requirement.values.as_deref().unwrap_or_default();
                check::operator_values(errors, &path, &requirement.operator, values);
            }
        }
        if let Some(LabelSelectorAttributes { raw_selector, requirements }) = &resource.label_selector {
            let path = path.child("labelSelector");
            let requirements = requirements.as_deref().unwrap_or_default();
            one_form(&path, raw_selector.as_deref(), !requirements.is_empty(), errors);
            for (index, requirement) in requirements.iter().enumerate() {
                let path = path.child("requirements").index(index);
                let values = requirement.values.as_deref().unwrap_or_default();
                check::operator_values(errors, &path, &requirement.operator, values);
                check::key_and_values(errors, &path, requirement);
            }
        }
    }

    /// The resource as a target.
    pub(super) fn target(&self) -> Option<Target> {
        let resource = self.resource?;
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        let some = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Into::into);
        Some(Target {
            group: text(&resource.group),
            version: some(&resource.version).unwrap_or_else(|| "*".into()),
            resource: text(&resource.resource),
            namespace: some(&resource.namespace),
            name: some(&resource.name),
            subresource: some(&resource.subresource),
        })
    }

    /// The objects of the collection, as far as they can be told by their fields.
    pub(super) fn fields(&self) -> Option<FieldSelector> {
        let given = self.resource?.field_selector.as_ref()?;
        if let Some(raw) = given.raw_selector.as_deref().filter(|raw| !raw.is_empty()) {
            return FieldSelector::parse(raw).ok();
        }
        // What cannot be told is left out: so more is asked for, not less.
        let requirement = |given: &FieldSelectorRequirement| {
            let [value] = given.values.as_deref()? else { return None };
            let operator = match given.operator.as_str() {
                "In" => FieldOperator::Equals,
                "NotIn" => FieldOperator::NotEquals,
                _ => return None,
            };
            Some(FieldRequirement { path: given.key.clone(), operator, value: value.clone() })
        };
        let requirements = given.requirements.as_deref().unwrap_or_default();
        Some(FieldSelector::new(requirements.iter().filter_map(requirement)))
    }

    /// What an authorizer is asked.
    pub(super) fn request<'r>(
        &'r self,
        target: Option<&'r Target>,
        fields: Option<&'r FieldSelector>,
    ) -> AccessRequest<'r> {
        let text = |text: &'r Option<String>| text.as_deref().unwrap_or_default();
        match (target, self.resource, self.path) {
            (Some(target), Some(resource), _) => {
                AccessRequest::resource(text(&resource.verb), target).selecting(fields)
            }
            (_, _, Some(path)) => AccessRequest::path(text(&path.verb), text(&path.path)),
            _ => AccessRequest::path("", ""),
        }
    }

    /// What of the selectors could not be taken into account.
    pub(super) fn ignored(&self) -> Option<String> {
        let resource = self.resource?;
        let fields = resource.field_selector.as_ref().and_then(|held| held.raw_selector.as_deref());
        let labels = resource.label_selector.as_ref().and_then(|held| held.raw_selector.as_deref());
        let wrong_fields = fields.is_some_and(|text| FieldSelector::parse(text).is_err());
        let wrong_labels = labels.is_some_and(|text| Selector::parse(text).is_err());
        let wrong = [(wrong_fields, "fieldSelector"), (wrong_labels, "labelSelector")];
        let said = wrong.into_iter().filter(|(wrong, _)| *wrong);
        let said = said.map(|(_, name)| format!("spec.resourceAttributes.{name} ignored due to parse error"));
        Some(said.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
    }
}

fn one_form(path: &Path, raw: Option<&str>, requirements: bool, errors: &mut Errors) {
    let raw = raw.unwrap_or_default();
    if !raw.is_empty() && requirements {
        let why = "may not specified at the same time as requirements";
        errors.invalid(&path.child("rawSelector"), raw, why);
    }
    if raw.is_empty() && !requirements {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.required(&path.child("requirements"), why);
    }
}

/// Attributes of a path as an error shows them.
pub(super) fn shown(path: &NonResourceAttributes) -> Shown {
    let text = |text: &Option<String>| Shown::from(Value::from(text.as_deref().unwrap_or_default()));
    Shown::object([("Path", text(&path.path)), ("Verb", text(&path.verb))])
}

/// The metadata of a review says nothing, but perhaps its namespace.
pub(super) fn check_metadata<K: Object>(object: &K, namespaced: bool, errors: &mut Errors) {
    let mut meta = json!(object.meta());
    if let Some(fields) = meta.as_object_mut() {
        fields.remove("managedFields");
        if namespaced {
            fields.remove("namespace");
        }
    }
    if meta != json!({}) {
        let why = if namespaced { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid_object(&Path::new("metadata"), shown_metadata(&json!(object.meta())), why);
    }
}

/// Metadata as an error shows them, with the fields in Kubernetes' order.
fn shown_metadata(meta: &Value) -> Shown {
    const ORDER: [&str; 15] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    const OF_ENTRY: [&str; 7] =
        ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
    let entry = |entry: &Value| {
        let given = OF_ENTRY.iter().filter_map(|field| Some((*field, entry.get(field)?.clone().into())));
        Shown::object(given)
    };
    let field = |field: &'static str| -> Option<(&'static str, Shown)> {
        let held = meta.get(field)?;
        let shown = match (field, held) {
            ("managedFields", Value::Array(entries)) => Shown::list(entries.iter().map(entry)),
            (_, held) => held.clone().into(),
        };
        Some((field, shown))
    };
    Shown::object(ORDER.into_iter().filter_map(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_of_selectors_are_checked_but_for_their_operators() {
        let asked = |selectors: Value| {
            let resource: ResourceAttributes = serde_json::from_value(selectors).unwrap();
            let mut errors = Errors::new();
            Asked { resource: Some(&resource), path: None }.check_selectors(&mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let fields = json!([
            {"key": "", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["b"]},
            {"key": "a", "operator": "Newer", "values": ["b"]},
        ]);
        let path = "spec.resourceAttributes.fieldSelector.requirements";
        let wrong = [
            format!("{path}[0].key: Required value: must be specified"),
            format!("{path}[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
            format!(
                "{path}[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            ),
        ];
        assert_eq!(asked(json!({"fieldSelector": {"requirements": fields}})), wrong);
        let labels = json!([{"key": "a b", "operator": "Newer", "values": ["c d"]}]);
        let found = asked(json!({"labelSelector": {"requirements": labels}}));
        let path = "spec.resourceAttributes.labelSelector.requirements[0]";
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(&format!("{path}.key: Invalid value: \"a b\"")), "{found:?}");
        assert!(found[1].starts_with(&format!("{path}.values[0]: Invalid value: \"c d\"")), "{found:?}");
    }
}
