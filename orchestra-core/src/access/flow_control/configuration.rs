//! What objects say of flow schemas and of levels of priority, and what holds where they say nothing.

use std::sync::Arc;

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, LimitedPriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};
use serde::Deserialize;
use serde_json::json;

use super::queues::Queuing;
use super::shares::Shares;
use crate::watch::Entry;

/// The flow schemas and the levels without which no request would have a place.
const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";

/// The most queues of a level.
const MOST_QUEUES: usize = 4096;

#[derive(Deserialize)]
struct View<S> {
    spec: S,
}

fn read<S: for<'d> Deserialize<'d> + Clone + Send + Sync + 'static>(
    held: &[Arc<Entry>],
) -> Vec<(String, String, S)> {
    let one = |entry: &Arc<Entry>| {
        let view = entry.view::<View<S>>().ok()?;
        Some((entry.name().name().to_owned(), entry.uid().as_str().to_owned(), view.spec.clone()))
    };
    held.iter().filter_map(one).collect()
}

/// The flow schemas, and those that there must be if they are not there.
pub(super) fn read_schemas(held: &[Arc<Entry>]) -> Vec<(String, String, FlowSchemaSpec)> {
    let everything = |name: &str, precedence: i32, groups: &[&str]| {
        let subjects: Vec<_> =
            groups.iter().map(|group| json!({ "kind": "Group", "group": { "name": group } })).collect();
        json!({
            "priorityLevelConfiguration": { "name": name },
            "matchingPrecedence": precedence,
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": subjects,
                "resourceRules": [{
                    "verbs": ["*"],
                    "apiGroups": ["*"],
                    "resources": ["*"],
                    "namespaces": ["*"],
                    "clusterScope": true,
                }],
                "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            }],
        })
    };
    with_fixed(
        read(held),
        [
            (EXEMPT, everything(EXEMPT, 1, &["system:masters"])),
            (CATCH_ALL, everything(CATCH_ALL, 10_000, &["*"])),
        ],
    )
}

pub(super) fn read_levels(held: &[Arc<Entry>]) -> Vec<(String, String, PriorityLevelConfigurationSpec)> {
    let rest = json!({ "nominalConcurrencyShares": 5, "limitResponse": { "type": "Reject" } });
    with_fixed(
        read(held),
        [
            (EXEMPT, json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0 } })),
            (CATCH_ALL, json!({ "type": "Limited", "limited": rest })),
        ],
    )
}

fn with_fixed<S: for<'d> Deserialize<'d>>(
    mut all: Vec<(String, String, S)>,
    fixed: [(&str, serde_json::Value); 2],
) -> Vec<(String, String, S)> {
    for (name, spec) in fixed {
        if all.iter().any(|(held, _, _)| held == name) {
            continue;
        }
        if let Ok(spec) = S::deserialize(&spec) {
            all.push((name.to_owned(), String::new(), spec));
        }
    }
    all
}

pub(super) fn shares_of(spec: &PriorityLevelConfigurationSpec) -> Shares {
    let count =
        |count: Option<i32>, usual: u32| count.map_or(usual, |count| u32::try_from(count).unwrap_or(0));
    match (&spec.limited, &spec.exempt) {
        (Some(limited), _) => Shares {
            shares: count(limited.nominal_concurrency_shares, 30),
            lendable: count(limited.lendable_percent, 0),
            borrowing: limited.borrowing_limit_percent.map(|percent| u32::try_from(percent).unwrap_or(0)),
        },
        (None, Some(exempt)) => Shares {
            shares: count(exempt.nominal_concurrency_shares, 0),
            lendable: count(exempt.lendable_percent, 0),
            borrowing: None,
        },
        (None, None) => Shares::default(),
    }
}

/// How requests wait at a level; `None` if they do not.
pub(super) fn queuing(limited: &LimitedPriorityLevelConfiguration) -> Option<Queuing> {
    let response = limited.limit_response.as_ref().filter(|response| response.type_ == "Queue")?;
    let queuing = response.queuing.as_ref();
    let count = |count: Option<i32>, usual: usize| {
        count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usual)
    };
    Some(Queuing {
        // Kubernetes allows ten million, which would be room for nothing else here.
        queues: count(queuing.and_then(|queuing| queuing.queues), 64).clamp(1, MOST_QUEUES),
        hand: count(queuing.and_then(|queuing| queuing.hand_size), 8),
        length: count(queuing.and_then(|queuing| queuing.queue_length_limit), 50),
    })
}
