use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::check;
use super::json::Fields;
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};

/// The highest priority that is not the system's own.
const HIGHEST: i32 = 1_000_000_000;

/// The system's own classes, which are the only ones of their names.
const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The rules of PriorityClass objects. That a pod gets the priority of the class it names is admission's to see to.
pub(super) struct PriorityClassRules;

impl Rules for PriorityClassRules {
    type Object = PriorityClass;

    const SHORT_NAMES: &'static [&'static str] = &["pc"];
    const GENERATION: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Value", "The priority of pods of the class.").integer(),
        Column {
            kind: "boolean",
            ..Column::new("Global-Default", "Whether pods without a class are of it.")
        },
        Column::AGE,
        Column::new("PreemptionPolicy", "Whether pods of the class take the place of others."),
    ];

    fn default(object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.or("preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn validate_create(object: &PriorityClass, errors: &mut Errors) {
        if let Some(policy) = object.preemption_policy.as_deref() {
            let supported = ["PreemptLowerPriority", "Never"];
            check::one_of(errors, &Path::new("preemptionPolicy"), policy, &supported);
        }
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with("system-") {
            if let Some(why) = not_of_the_system(name, object) {
                errors.forbidden(
                    &Path::new("metadata.name"),
                    format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                    ),
                );
            }
        } else if object.value.unwrap_or_default() > HIGHEST {
            errors.forbidden(
                &Path::new("value"),
                format!("maximum allowed value of a user defined priority is {HIGHEST}"),
            );
        }
    }

    fn validate_update(new: &PriorityClass, old: &PriorityClass, errors: &mut Errors) {
        if new.value != old.value {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        check::unchanged(
            errors,
            &Path::new("preemptionPolicy"),
            &new.preemption_policy,
            &old.preemption_policy,
        );
    }

    fn keeps(object: &PriorityClass) -> Option<&'static str> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let is_systems = SYSTEM.iter().any(|(known, _)| *known == name);
        is_systems.then_some("this is a system priority class and cannot be deleted")
    }

    fn is_new_generation(_new: &Value, _old: &Value) -> bool {
        false
    }

    fn cells(object: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.value.unwrap_or_default().into(),
            object.global_default.unwrap_or_default().into(),
            table::age(&object.metadata, now).into(),
            object.preemption_policy.clone().into(),
        ]
    }
}

/// Why a class with a name of the system's is none of the system's classes.
fn not_of_the_system(name: &str, class: &PriorityClass) -> Option<String> {
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.value.unwrap_or_default() != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    let wanted = class.global_default.unwrap_or_default();
    wanted.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
