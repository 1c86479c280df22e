//! What is to become of a flow schema or a priority level: pure.

use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::FlowSchemaCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::control::write::difference;
use crate::objects::flowcontrol::{AUTO_UPDATE, Bootstrap};

pub(super) const DANGLING: &str = "Dangling";

/// What is to be done of an object that every cluster has.
#[derive(Debug, PartialEq)]
pub(super) enum Keep {
    /// Nothing.
    AsItIs,
    /// It is to be made.
    Create(Value),
    /// It is to be changed by this merge patch.
    Change(Value),
}

/// Keeps the specification of a mandatory object as it is to be, and that of a suggested one as long as nobody has
/// changed it. The annotation says which it is.
pub(super) fn keep(wanted: &Bootstrap, held: Option<&Value>) -> Keep {
    let Some(held) = held else {
        let meta = json!({ "name": wanted.name, "annotations": { AUTO_UPDATE: "true" } });
        return Keep::Create(json!({ "metadata": meta, "spec": wanted.spec }));
    };
    let noted = match held["metadata"]["annotations"][AUTO_UPDATE].as_str() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let untouched = held["metadata"]["generation"] == 1;
    let follows = wanted.mandatory || noted.unwrap_or(untouched);
    let mut change = json!({});
    if noted != Some(follows) {
        change["metadata"]["annotations"][AUTO_UPDATE] = follows.to_string().into();
    }
    if follows && differs(&wanted.spec, &held["spec"]) {
        change["spec"] = difference(&held["spec"], &wanted.spec);
    }
    if change == json!({}) { Keep::AsItIs } else { Keep::Change(change) }
}

/// Whether two specifications say different things. Of the exempt level, the shares are its administrator's.
fn differs(wanted: &Value, held: &Value) -> bool {
    if wanted["type"] == "Exempt" {
        return wanted["type"] != held["type"];
    }
    wanted != held
}

/// The conditions of a flow schema that names a level.
pub(super) fn conditions(
    held: &[FlowSchemaCondition],
    level: &str,
    there: bool,
    now: Timestamp,
) -> Vec<FlowSchemaCondition> {
    let text = |text: &str| Some(text.to_owned());
    let (status, reason, message) = if there {
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
        );
        ("False", "Found", message)
    } else {
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} but there is no such \
             object"
        );
        ("True", "NotFound", message)
    };
    let is_dangling = |condition: &&FlowSchemaCondition| condition.type_.as_deref() == Some(DANGLING);
    let before = held.iter().find(is_dangling).filter(|before| before.status.as_deref() == Some(status));
    let since = before.and_then(|before| before.last_transition_time.clone());
    let dangling = FlowSchemaCondition {
        type_: text(DANGLING),
        status: text(status),
        reason: text(reason),
        message: Some(message),
        last_transition_time: since.or(Some(Time(now))),
    };
    let others = held.iter().filter(|condition| !is_dangling(condition)).cloned();
    others.chain([dangling]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::{at, text};

    fn level(mandatory: bool) -> Bootstrap {
        Bootstrap { name: "a", mandatory, spec: json!({ "type": "Limited", "limited": { "shares": 1 } }) }
    }

    fn held(annotation: Option<&str>, generation: i64, shares: i64) -> Value {
        let mut held = json!({
            "metadata": { "generation": generation },
            "spec": { "type": "Limited", "limited": { "shares": shares } },
        });
        if let Some(annotation) = annotation {
            held["metadata"]["annotations"][AUTO_UPDATE] = annotation.into();
        }
        held
    }

    #[test]
    fn what_nobody_has_changed_follows_and_what_is_mandatory_always_does() {
        let spec = json!({ "limited": { "shares": 1 } });
        let note = |follows: &str| json!({ "annotations": { AUTO_UPDATE: follows } });
        for (mandatory, object, wanted) in [
            (false, held(Some("true"), 1, 1), None),
            (false, held(Some("true"), 5, 2), Some(json!({ "spec": spec }))),
            (false, held(Some("false"), 1, 2), None),
            (false, held(None, 1, 2), Some(json!({ "metadata": note("true"), "spec": spec }))),
            (false, held(None, 2, 2), Some(json!({ "metadata": note("false") }))),
            (false, held(Some("perhaps"), 2, 2), Some(json!({ "metadata": note("false") }))),
            (true, held(Some("false"), 7, 2), Some(json!({ "metadata": note("true"), "spec": spec }))),
        ] {
            let mut wanted = wanted.map_or(Keep::AsItIs, Keep::Change);
            let found = keep(&level(mandatory), Some(&object));
            if let (Keep::Change(wanted), Keep::Change(found)) = (&mut wanted, &found) {
                // What stays the same may stand in a merge patch or not.
                if let Some(spec) = found.get("spec") {
                    wanted["spec"] = spec.clone();
                    assert_eq!(spec["limited"]["shares"], 1, "{object}");
                }
            }
            assert_eq!(found, wanted, "{object}");
        }
        let Keep::Create(made) = keep(&level(false), None) else { panic!("it is made") };
        assert_eq!(made["metadata"], json!({ "name": "a", "annotations": { AUTO_UPDATE: "true" } }));
    }

    #[test]
    fn a_flow_schema_says_whether_its_level_is_there_and_since_when() {
        let first = conditions(&[], "low", false, at(0));
        assert_eq!(
            serde_json::to_value(&first).unwrap(),
            json!([{
                "type": "Dangling",
                "status": "True",
                "reason": "NotFound",
                "message": "This FlowSchema references the PriorityLevelConfiguration object named \"low\" but there is \
                            no such object",
                "lastTransitionTime": text(0),
            }])
        );
        assert_eq!(conditions(&first, "low", false, at(5)), first, "nothing has changed");
        let found = conditions(&first, "low", true, at(5));
        assert_eq!(found[0].status.as_deref(), Some("False"));
        assert_eq!(found[0].last_transition_time, Some(Time(at(5))));
        let other = FlowSchemaCondition { type_: Some("Other".into()), ..FlowSchemaCondition::default() };
        assert_eq!(conditions(&[other], "low", true, at(5)).len(), 2, "others stay");
    }
}
