use jiff::Timestamp;
use k8s_openapi::api::core::v1::ComponentStatus;
use serde_json::Value;

use crate::api::{Column, Rules, Verb};

/// The rules of ComponentStatus objects, which can only be read. No component reports here any more, as in clusters whose
/// components are not on one machine with the API server.
pub(super) struct ComponentStatusRules;

impl Rules for ComponentStatusRules {
    type Object = ComponentStatus;

    const DEPRECATED: Option<&'static str> = Some("v1 ComponentStatus is deprecated in v1.19+");

    const MADE_UP: Option<&'static str> = Some("componentstatus");
    const SHORT_NAMES: &'static [&'static str] = &["cs"];
    const VERBS: &'static [Verb] = &[Verb::Get, Verb::List];
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Status", "Whether the component is healthy."),
        Column::new("Message", "What it says of itself."),
        Column::new("Error", "What went wrong when it was asked."),
    ];

    fn cells(object: &ComponentStatus, _now: Timestamp) -> Vec<Value> {
        let mut conditions = object.conditions.iter().flatten();
        let healthy = conditions.find(|condition| condition.type_ == "Healthy");
        let status = match healthy.map(|condition| condition.status.as_str()) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let healthy = healthy.cloned().unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            status.into(),
            healthy.message.unwrap_or_default().into(),
            healthy.error.unwrap_or_default().into(),
        ]
    }
}
