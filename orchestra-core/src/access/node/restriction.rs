use std::collections::BTreeSet;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::CSINode;
use serde_json::{Map, Value};

use super::{LEASES, node_of};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Status};
use crate::meta::ObjectName;
use crate::store::Txn;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Sees to it that a node writes only itself, its Lease and the status of its own pods, and gives itself no labels and
/// taints by which it would draw other pods to it.
#[derive(Debug)]
pub struct NodeRestriction {
    caches: Caches,
}

impl NodeRestriction {
    /// By the nodes of these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    fn check_pod(&self, node: &str, attributes: &Attributes<'_>, new: Option<&Value>) -> Result<(), String> {
        let bound = |pod: &Value| pod["spec"]["nodeName"] == node;
        let old_is_bound = attributes.old.is_some_and(bound);
        match (attributes.subresource, attributes.verb, new) {
            (None, WriteVerb::Create, Some(pod)) => self.check_mirror(node, pod),
            (Some("status"), WriteVerb::Update, Some(pod)) => {
                if !old_is_bound {
                    return Err(format!(
                        "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                    ));
                }
                let labels = |pod: &Value| pod["metadata"]["labels"].clone();
                match attributes.old.map(labels) == Some(labels(pod)) {
                    true => Ok(()),
                    false => Err(format!("node {node:?} cannot update labels through pod status")),
                }
            }
            (_, WriteVerb::Delete, _) if old_is_bound => Ok(()),
            (_, WriteVerb::Delete, _) => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            (None, ..) => Err(format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            )),
            (Some(other), ..) => {
                Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
            }
        }
    }

    fn check_mirror(&self, node: &str, pod: &Value) -> Result<(), String> {
        let meta = &pod["metadata"];
        if meta["annotations"].get(MIRROR).is_none() {
            return Err(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if pod["spec"]["nodeName"] != node {
            return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let itself = "can only create pods with an owner reference set to itself";
        let owner = match meta["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default() {
            [] => return Err(format!("node {node:?} {itself}")),
            [owner] => owner,
            _ => {
                return Err(format!(
                    "node {node:?} can only create pods with a single owner reference set to itself"
                ));
            }
        };
        if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
            return Err(format!("node {node:?} {itself}"));
        }
        if owner["controller"] != true {
            return Err(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner["blockOwnerDeletion"] == true {
            return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
        }
        let nodes = self.caches.of::<Node>();
        let held = nodes.and_then(|nodes| nodes.get(&ObjectName::cluster(node)));
        let held = held.as_ref().map(|entry| entry.uid().as_str()).unwrap_or_default();
        match owner["uid"].as_str().unwrap_or_default() {
            given if given == held => {}
            given => return Err(format!("node {node} UID mismatch: expected {given} got {held}")),
        }
        match refers_to_objects(&pod["spec"]) {
            Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }
}

/// What a pod refers to that the API has, if anything.
fn refers_to_objects(spec: &Value) -> Option<&'static str> {
    let some = |field: &str| spec[field].as_str().is_some_and(|text| !text.is_empty());
    if some("serviceAccountName") {
        return Some("serviceaccounts");
    }
    let listed = |list: &str| spec[list].as_array().is_some_and(|list| !list.is_empty());
    if listed("imagePullSecrets") {
        return Some("secrets");
    }
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    for container in containers {
        let text = format!("{}{}", container["env"], container["envFrom"]);
        for (field, what) in [("secret", "secrets"), ("configMap", "configmaps")] {
            if text.contains(&format!("\"{field}KeyRef\"")) || text.contains(&format!("\"{field}Ref\"")) {
                return Some(what);
            }
        }
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        for (field, what) in [
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("projected", "projected"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
        ] {
            if volume.get(field).is_some() {
                return Some(what);
            }
        }
    }
    listed("resourceClaims").then_some("resourceclaims")
}

fn check_node(node: &str, attributes: &Attributes<'_>, new: Option<&Value>) -> Result<(), String> {
    let name = attributes.name.name();
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let (Some(new), none) = (new, Value::Null) else { return Ok(()) };
    let old = attributes.old.unwrap_or(&none);
    let labels = forbidden_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let listed = labels.into_iter().collect::<Vec<_>>().join(", ");
    if attributes.verb == WriteVerb::Create {
        return match listed.as_str() {
            "" => Ok(()),
            listed => Err(format!("node {node:?} is not allowed to set the following labels: {listed}")),
        };
    }
    if new["spec"]["taints"] != old["spec"]["taints"] {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    match listed.as_str() {
        "" => Ok(()),
        listed => Err(format!("is not allowed to modify labels: {listed}")),
    }
}

/// The labels that differ and that a node may not set of itself.
fn forbidden_labels(new: &Value, old: &Value) -> BTreeSet<String> {
    let keys =
        |labels: &Value| labels.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
    let changed = keys(new).into_iter().chain(keys(old)).filter(|key| new.get(key) != old.get(key));
    changed.filter(|key| is_forbidden(key)).collect()
}

/// The labels of Kubernetes that say what a machine is, which it knows best itself.
const OF_NODES: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

fn is_forbidden(label: &str) -> bool {
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    let below =
        |domain: &str| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if below("node-restriction.kubernetes.io") {
        return true;
    }
    let of_nodes = OF_NODES.contains(&label) || below("kubelet.kubernetes.io") || below("node.kubernetes.io");
    (below("kubernetes.io") || below("k8s.io")) && !of_nodes
}

/// Nodes write of a claim only how large it has become and how that goes.
fn check_claim(node: &str, attributes: &Attributes<'_>, new: Option<&Value>) -> Result<(), String> {
    if attributes.subresource != Some("status") {
        return Err("may only update PVC status".to_owned());
    }
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            claim["status"].as_object_mut().map(|status| status.remove(field));
        }
        for field in ["resourceVersion", "managedFields"] {
            claim["metadata"].as_object_mut().map(|meta| meta.remove(field));
        }
        claim
    };
    match new.map(rest) == attributes.old.map(rest) {
        true => Ok(()),
        false => Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )),
    }
}

fn check_own(node: &str, attributes: &Attributes<'_>, what: &str) -> Result<(), String> {
    match attributes.name.name() == node {
        true => Ok(()),
        false => Err(format!("can only access {what} with the same name as the requesting node")),
    }
}

impl NodeRestriction {
    fn decide(&self, attributes: &Attributes<'_>, new: Option<&Value>) -> Result<(), Status> {
        let Some(node) = node_of(attributes.user) else { return Ok(()) };
        let (id, name) = (&attributes.resource.id, attributes.name);
        let outcome = if node.is_empty() {
            Err(format!("could not determine node from user {:?}", attributes.user.name))
        } else if id.is::<Pod>() {
            self.check_pod(node, attributes, new)
        } else if id.is::<Node>() {
            check_node(node, attributes, new)
        } else if id.is::<PersistentVolumeClaim>() {
            check_claim(node, attributes, new)
        } else if id.is::<Lease>() {
            match name.namespace() {
                Some(LEASES) => check_own(node, attributes, "node lease"),
                _ => Err(format!("can only access leases in the {LEASES:?} system namespace")),
            }
        } else if id.is::<CSINode>() {
            check_own(node, attributes, "CSINode")
        } else {
            Ok(())
        };
        outcome.map_err(|why| Status::forbidden(id, name.name(), why))
    }
}

#[async_trait]
impl Admission for NodeRestriction {
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        self.decide(attributes, Some(object)).map(|()| Vec::new())
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        // What is put was looked at before it was validated.
        match attributes.verb {
            WriteVerb::Delete => self.decide(attributes, new).map(|()| Vec::new()),
            WriteVerb::Create | WriteVerb::Update | WriteVerb::Connect => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_names_itself_but_draws_no_pods() {
        for (label, forbidden) in [
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("a.kubelet.kubernetes.io/x", false),
            ("example.com/x", false),
            ("plain", false),
            ("notkubernetes.io/x", false),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("node-role.kubernetes.io/control-plane", true),
            ("kubernetes.io/other", true),
            ("x.k8s.io/y", true),
        ] {
            assert_eq!(is_forbidden(label), forbidden, "{label}");
        }
        let (new, old) =
            (json!({"k8s.io/a": "1", "k8s.io/b": "1"}), json!({"k8s.io/b": "1", "k8s.io/c": "1"}));
        assert_eq!(forbidden_labels(&new, &old), ["k8s.io/a".to_owned(), "k8s.io/c".to_owned()].into());
    }

    #[test]
    fn a_pod_of_the_nodes_own_refers_to_nothing() {
        for (spec, what) in [
            (json!({"containers": [{"env": [{"name": "a", "value": "b"}]}]}), None),
            (json!({"serviceAccountName": "s"}), Some("serviceaccounts")),
            (json!({"imagePullSecrets": [{"name": "s"}]}), Some("secrets")),
            (
                json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
                Some("secrets"),
            ),
            (json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "m"}}]}]}), Some("configmaps")),
            (json!({"volumes": [{"name": "v", "projected": {}}]}), Some("projected")),
            (json!({"volumes": [{"name": "v", "emptyDir": {}}]}), None),
        ] {
            assert_eq!(refers_to_objects(&spec), what, "{spec}");
        }
    }
}
