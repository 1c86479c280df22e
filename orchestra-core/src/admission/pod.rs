use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, Change};
use crate::api::{Caches, Status};
use crate::meta::{GroupResource, ObjectName};
use crate::watch::Query;

/// How long a pod stays on a node that has failed, in seconds, unless it says otherwise.
const TOLERATION_SECONDS: i64 = 300;

/// Fills in what a pod leaves to the cluster: its service account, its priority, and for how long it puts up with a
/// node that has failed.
#[derive(Debug)]
pub struct PodDefaults {
    caches: Caches,
}

impl PodDefaults {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    fn account(&self, attributes: &Attributes<'_>, spec: &mut Value) -> Result<(), Status> {
        let given = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        let name = if given.is_empty() { "default" } else { &given };
        let known = self
            .caches
            .get(&GroupResource::of::<ServiceAccount>())
            .is_none_or(|cache| cache.get(&ObjectName::new(attributes.name.namespace(), name)).is_some());
        // The default account is made by a controller, which may not have come to a new namespace yet.
        if !known && name != "default" {
            let namespace = attributes.name.namespace().unwrap_or_default();
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            );
            return Err(Status::forbidden(&attributes.resource.id, attributes.name.name(), why));
        }
        spec["serviceAccountName"] = name.into();
        spec["serviceAccount"] = name.into();
        Ok(())
    }

    fn priority(&self, attributes: &Attributes<'_>, spec: &mut Value) -> Result<(), Status> {
        let given = spec["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = match (given.is_empty(), self.caches.get(&GroupResource::of::<PriorityClass>())) {
            (_, None) => None,
            (false, Some(classes)) => {
                let found = classes.get(&ObjectName::cluster(&*given));
                let found = found.ok_or_else(|| {
                    let why = format!("no PriorityClass with name {given} was found");
                    Status::forbidden(&attributes.resource.id, attributes.name.name(), why)
                })?;
                found.decode::<PriorityClass>().ok()
            }
            (true, Some(classes)) => {
                let all = classes.list(&Query::all());
                let mut defaults = all.iter().filter_map(|entry| entry.decode::<PriorityClass>().ok());
                defaults.find(|class| class.global_default == Some(true))
            }
        };
        let (value, policy) = match &class {
            Some(class) => (class.value.unwrap_or(0), class.preemption_policy.as_deref()),
            None => (0, None),
        };
        if let (true, Some(name)) =
            (given.is_empty(), class.as_ref().and_then(|class| class.metadata.name.clone()))
        {
            spec["priorityClassName"] = name.into();
        }
        spec["priority"] = value.into();
        if spec["preemptionPolicy"].is_null() {
            spec["preemptionPolicy"] = policy.unwrap_or("PreemptLowerPriority").into();
        }
        Ok(())
    }
}

fn tolerate_failing_nodes(spec: &mut Value) {
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Value::Array(tolerations) = &mut spec["tolerations"] else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let field = |name: &str| toleration[name].as_str().unwrap_or_default();
            matches!(field("key"), "")
                && field("operator") == "Exists"
                && matches!(field("effect"), "" | "NoExecute")
                || field("key") == key && matches!(field("effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
}

#[async_trait]
impl Admission for PodDefaults {
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        if attributes.change == Change::Create && attributes.resource.id == GroupResource::of::<Pod>() {
            let spec = &mut object["spec"];
            if spec.is_object() {
                self.account(attributes, spec)?;
                self.priority(attributes, spec)?;
                tolerate_failing_nodes(spec);
            }
        }
        Ok(Vec::new())
    }
}
