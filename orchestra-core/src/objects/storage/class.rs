use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{parameters, provisioner};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::check::{self, say};
use crate::objects::json::Fields;
use crate::objects::{names, pod};

/// What says of a class that it is the default one.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Whether a class is for the claims that name none.
pub(crate) fn is_default(class: &ObjectMeta) -> bool {
    let annotations = class.annotations.as_ref();
    IS_DEFAULT.iter().any(|key| {
        annotations.and_then(|annotations| annotations.get(*key)).is_some_and(|held| held == "true")
    })
}

/// The rules of StorageClass objects.
pub(in crate::objects) struct StorageClassRules;

impl Rules for StorageClassRules {
    type Object = StorageClass;

    const DELETION: Deletion = Deletion::Object;

    const SHORT_NAMES: &'static [&'static str] = &["sc"];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Provisioner", "What makes volumes of the class."),
        Column::new("ReclaimPolicy", "What becomes of a volume when its claim is deleted."),
        Column::new("VolumeBindingMode", "When a claim gets its volume."),
        Column::new("AllowVolumeExpansion", "Whether volumes can be made larger."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.or("reclaimPolicy", "Delete");
            fields.or("volumeBindingMode", "Immediate");
        }
    }

    fn validate(object: &StorageClass, errors: &mut Errors) {
        provisioner(&object.provisioner, &Path::new("provisioner"), errors);
        parameters(object.parameters.as_ref(), &Path::new("parameters"), errors);
        if let Some(policy) = object.reclaim_policy.as_deref().filter(|policy| !policy.is_empty()) {
            check::supported(errors, &Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        if let Some(mode) = &object.volume_binding_mode {
            let modes = ["Immediate", "WaitForFirstConsumer"];
            check::supported(errors, &Path::new("volumeBindingMode"), mode, &modes);
        }
        let topologies = object.allowed_topologies.as_deref().unwrap_or_default();
        self::topologies(topologies, &Path::new("allowedTopologies"), errors);
    }

    fn validate_update(new: &StorageClass, old: &StorageClass, errors: &mut Errors) {
        check::unchanged(errors, &Path::new("parameters"), &new.parameters, &old.parameters);
        check::unchanged(errors, &Path::new("provisioner"), &new.provisioner, &old.provisioner);
        check::unchanged(errors, &Path::new("reclaimPolicy"), &new.reclaim_policy, &old.reclaim_policy);
        check::unchanged(
            errors,
            &Path::new("volumeBindingMode"),
            &new.volume_binding_mode,
            &old.volume_binding_mode,
        );
    }

    fn warnings(object: &StorageClass) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, term) in object.allowed_topologies.iter().flatten().enumerate() {
            let path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
            for (index, requirement) in term.match_label_expressions.iter().flatten().enumerate() {
                let said = pod::old_node_label(&requirement.key);
                warnings.extend(said.map(|said| format!("{}: {said}", path.index(index).child("key"))));
            }
        }
        warnings
    }

    fn cells(object: &StorageClass, now: Timestamp) -> Vec<Value> {
        let is_default = is_default(&object.metadata);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        vec![
            if is_default { format!("{name} (default)") } else { name.to_owned() }.into(),
            object.provisioner.as_str().into(),
            object.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            object.volume_binding_mode.as_deref().unwrap_or("Immediate").into(),
            object.allow_volume_expansion.unwrap_or_default().into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// No two terms are the same. A term that says nothing counts as said before.
fn topologies(terms: &[TopologySelectorTerm], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::from([BTreeMap::new()]);
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut requirements: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, requirement) in term.match_label_expressions.iter().flatten().enumerate() {
            let (at_key, at_values) = (path.index(index).child("key"), path.index(index).child("values"));
            if requirement.values.is_empty() {
                errors.required(&at_values, "");
            }
            let mut values = HashSet::new();
            for (index, value) in requirement.values.iter().enumerate() {
                check::unique(errors, &mut values, &at_values.index(index), value);
            }
            say(errors, &at_key, &requirement.key, names::qualified(&requirement.key));
            if requirements.insert(&requirement.key, values.into_iter().collect()).is_some() {
                errors.duplicate(&at_key, requirement.key.as_str());
            }
        }
        if !seen.insert(requirements) {
            errors.duplicate(&path, "");
        }
    }
}
