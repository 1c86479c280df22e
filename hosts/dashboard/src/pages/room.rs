//! What nodes have room for, and what their pods ask for.

use std::collections::BTreeMap;

use maud::{Markup, html};
use orchestra_core::quantity::Quantity;
use serde_json::Value;

use super::parts::{Bar, bar};
use crate::tell::{self, text};

/// What the pods of a node ask for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    cpu: f64,
    memory: f64,
    pods: usize,
}

fn amount(value: &Value) -> f64 {
    let parsed = value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    parsed.map_or(0.0, |quantity| quantity.to_f64())
}

pub(crate) fn asked(pods: &[Value]) -> BTreeMap<&str, Asked> {
    let mut by_node: BTreeMap<&str, Asked> = BTreeMap::new();
    let placed = pods.iter().filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed"));
    for pod in placed {
        let node = by_node.entry(text(pod, "/spec/nodeName")).or_default();
        node.pods += 1;
        for container in tell::list(pod, "/spec/containers") {
            let requests = &container["resources"]["requests"];
            node.cpu += amount(&requests["cpu"]) * 1000.0;
            node.memory += amount(&requests["memory"]);
        }
    }
    by_node
}

/// The room of a node: of its CPU, its memory and its number of pods how much is asked for, as far as that is known.
pub(crate) fn room(node: &Value, used: Option<Asked>) -> [(&'static str, Markup); 3] {
    let room = &node["status"]["allocatable"];
    let (cpu, memory, pods) = (amount(&room["cpu"]) * 1000.0, amount(&room["memory"]), amount(&room["pods"]));
    let told = |pick: fn(&Asked) -> f64, whole: f64, tell: fn(f64) -> String| match used.as_ref().map(pick) {
        Some(used) => bar(Bar::Room, used, whole, &format!("{} of {}", tell(used), tell(whole))),
        // Who may not see all pods is told the room alone.
        None => html! { span.quiet { (tell(whole)) } },
    };
    [
        ("CPU asked for", told(|asked| asked.cpu, cpu, tell::cpus)),
        ("Memory asked for", told(|asked| asked.memory, memory, tell::bytes)),
        ("Pods", told(|asked| asked.pods as f64, pods, |count| format!("{count:.0}"))),
    ]
}
