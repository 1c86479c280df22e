use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::meta::{Object, ObjectName};
use crate::watch::{Cache, Query};

/// How long a pod stays on a node that has failed, in seconds, unless it says otherwise.
const TOLERATION_SECONDS: i64 = 300;

/// Fills in what a pod leaves to the cluster: its priority, where its node stands, and for how long it puts up with a node
/// that has failed; refuses a priority other than that of its class.
#[derive(Debug)]
pub struct PodDefaults {
    caches: Caches,
}

impl PodDefaults {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    fn cache_of<K: Object>(&self) -> Option<Cache> {
        self.caches.of::<K>()
    }

    /// A pod has the priority of its class and no other; without a class, that of the default one.
    fn priority(&self, attributes: &Attributes<'_>, spec: &mut Value) -> Result<(), Status> {
        let given = spec["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let refuse = |why: String| Status::forbidden(&attributes.resource.id, attributes.name.name(), why);
        let Some(classes) = self.cache_of::<PriorityClass>() else { return Ok(()) };
        let class = if given.is_empty() {
            default_class(&classes)
        } else {
            let found = classes.get(&ObjectName::cluster(&*given));
            let found =
                found.ok_or_else(|| refuse(format!("no PriorityClass with name {given} was found")))?;
            found.view::<Class>().ok()
        };
        let value = class.as_ref().map_or(0, |class| class.value);
        let policy = class.as_ref().and_then(|class| class.preemption_policy.as_deref());
        let policy = policy.unwrap_or("PreemptLowerPriority");
        let computed = "must not be provided in pod spec; priority admission controller computed";
        let from = "from the given PriorityClass name";
        if let Some(wanted) = spec["priority"].as_i64().filter(|wanted| *wanted != i64::from(value)) {
            return Err(refuse(format!(
                "the integer value of priority ({wanted}) {computed} {value} {from}"
            )));
        }
        if let Some(wanted) = spec["preemptionPolicy"].as_str().filter(|wanted| *wanted != policy) {
            return Err(refuse(format!(
                "the string value of PreemptionPolicy ({wanted}) {computed} {policy} {from}"
            )));
        }
        if let Some(class) = &class {
            spec["priorityClassName"] = (*class.metadata.name).into();
        }
        spec["priority"] = value.into();
        spec["preemptionPolicy"] = policy.into();
        Ok(())
    }

    /// There is one class for the pods that name none.
    fn only_default(&self, attributes: &Attributes<'_>, class: &Value) -> Result<(), Status> {
        let held = self.cache_of::<PriorityClass>().as_ref().and_then(default_class);
        match held.as_ref().map(|held| &*held.metadata.name) {
            Some(held) if class["globalDefault"] == true && held != attributes.name.name() => {
                let why =
                    format!("PriorityClass {held} is already marked as default. Only one default can exist");
                Err(Status::forbidden(&attributes.resource.id, attributes.name.name(), why))
            }
            _ => Ok(()),
        }
    }

    /// A pod has the labels by which its node says where it stands.
    fn topology(&self, object: &mut Value) {
        let Some(name) = object["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()) else { return };
        let nodes = self.cache_of::<Node>();
        let Some(node) = nodes.and_then(|nodes| nodes.get(&ObjectName::cluster(name))) else { return };
        for key in ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"] {
            if let Some(place) = node.labels().get(key) {
                object["metadata"]["labels"][key] = place.into();
            }
        }
    }
}

/// What of a PriorityClass its pods get.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Class {
    metadata: Named,
    value: i32,
    global_default: bool,
    preemption_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

/// The class of pods that name none: of several, the one with the lowest priority.
fn default_class(classes: &Cache) -> Option<Arc<Class>> {
    let all = classes.list(&Query::all());
    let all = all.iter().filter_map(|entry| entry.view::<Class>().ok());
    all.filter(|class| class.global_default).min_by_key(|class| class.value)
}

/// An update that leaves out what a pod got from its class does not mean to change it.
fn keep_priority(spec: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        let held = old.get(field).filter(|held| !held.is_null());
        if let Some(held) = held.filter(|_| spec.get(field).is_none_or(Value::is_null)) {
            spec[field] = held.clone();
        }
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
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Pod>() || kind.id.is::<PriorityClass>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let (id, verb) = (&attributes.resource.id, attributes.verb);
        if id.is::<PriorityClass>() {
            self.only_default(attributes, object)?;
        }
        if !id.is::<Pod>() {
            return Ok(Vec::new());
        }
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return Ok(Vec::new());
        };
        if verb == WriteVerb::Create {
            self.priority(attributes, spec)?;
        }
        if verb == WriteVerb::Update && attributes.subresource.is_none() {
            attributes.old.into_iter().for_each(|old| keep_priority(spec, &old["spec"]));
        }
        // An update that leaves them out gets them again: they cannot be taken away.
        if attributes.subresource.is_none() {
            tolerate_failing_nodes(spec);
        }
        if verb == WriteVerb::Create || attributes.subresource == Some("binding") {
            self.topology(object);
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::keep_priority;

    #[test]
    fn an_update_that_leaves_out_the_priority_keeps_it() {
        let old = json!({ "priority": 7, "preemptionPolicy": "Never" });
        let mut spec = json!({ "priority": 8 });
        keep_priority(&mut spec, &old);
        assert_eq!(spec, json!({ "priority": 8, "preemptionPolicy": "Never" }));
        let mut spec = json!({});
        keep_priority(&mut spec, &json!({}));
        assert_eq!(spec, json!({}), "what was never there is not either");
    }
}
