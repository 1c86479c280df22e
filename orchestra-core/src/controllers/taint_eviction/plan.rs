//! How long a pod may stay on a node with taints. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// When a pod has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It may stay.
    None,
    /// At this time, which may have passed.
    At(Timestamp),
}

/// Compares the taints of a node that drive pods away with what a pod tolerates. The notice runs from when a taint
/// was set; `seen` stands for that when the taint does not say.
pub(super) fn plan(taints: &[Taint], tolerations: &[Toleration], seen: Timestamp) -> Notice {
    let mut notice = Notice::None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let tolerating: Vec<_> = tolerations.iter().filter(|held| tolerates(held, taint)).collect();
        let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
        let at = match tolerating.is_empty() {
            true => Some(since),
            // Of several the shortest counts; one without a limit is none.
            false => {
                let limits = tolerating.iter().filter_map(|held| held.toleration_seconds);
                limits.min().map(|seconds| {
                    since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX)
                })
            }
        };
        notice = match (notice, at) {
            (Notice::At(held), Some(at)) => Notice::At(held.min(at)),
            (Notice::None, Some(at)) => Notice::At(at),
            (notice, None) => notice,
        };
    }
    notice
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => key.is_empty() || key == taint.key,
        None | Some("" | "Equal") => key == taint.key && text(&toleration.value) == text(&taint.value),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    #[test]
    fn the_shortest_toleration_of_every_taint_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let taint = |key: &str, effect: &str| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            value: None,
            time_added: Some(Time(at(100))),
        };
        let unreachable = taint("node.kubernetes.io/unreachable", "NoExecute");
        let other = taint("example.org/broken", "NoExecute");
        let tolerations = |json| serde_json::from_value::<Vec<Toleration>>(json).unwrap();
        let limited = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
        let all = json!([{"operator": "Exists"}]);
        let shorter = json!([
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300},
            {"operator": "Exists", "tolerationSeconds": 20},
        ]);
        let valued = json!([{"key": "example.org/broken", "value": "yes", "effect": "NoExecute"}]);
        for (taints, held, expected) in [
            (vec![], json!([]), Notice::None),
            (vec![taint("a", "NoSchedule")], json!([]), Notice::None),
            (vec![unreachable.clone()], json!([]), Notice::At(at(100))),
            (vec![unreachable.clone()], limited.clone(), Notice::At(at(400))),
            (vec![unreachable.clone()], all, Notice::None),
            (vec![unreachable.clone()], shorter, Notice::At(at(120))),
            (vec![unreachable, other.clone()], limited, Notice::At(at(100))),
            (vec![other], valued, Notice::At(at(100))),
        ] {
            assert_eq!(plan(&taints, &tolerations(held), at(7)), expected, "{taints:?}");
        }
    }
}
