use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Resource, Status};

/// Keeps pods from a node until it is known to be ready. A new node has this taint from the start: one that came later
/// would leave a gap in which pods are placed. The controller of nodes takes it away.
#[derive(Debug)]
pub struct NodeTaint;

const KEY: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

#[async_trait]
impl Admission for NodeTaint {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Node>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let is_node = attributes.resource.id.is::<Node>();
        if !is_node || attributes.verb != WriteVerb::Create || attributes.subresource.is_some() {
            return Ok(Vec::new());
        }
        let taint = json!({ "key": KEY, "effect": EFFECT });
        match &mut object["spec"]["taints"] {
            Value::Array(held) if held.iter().any(|it| it["key"] == KEY && it["effect"] == EFFECT) => {}
            Value::Array(held) => held.push(taint),
            none => *none = json!([taint]),
        }
        Ok(Vec::new())
    }
}
