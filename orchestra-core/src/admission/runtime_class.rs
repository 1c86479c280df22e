use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::meta::ObjectName;

/// Gives a pod what its RuntimeClass says of it: what its runtime takes beside it, and the nodes that have the runtime.
/// Refuses a pod of an unknown class, and one that says otherwise than its class.
#[derive(Debug)]
pub struct RuntimeClasses {
    caches: Caches,
}

impl RuntimeClasses {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    fn class(&self, name: &str) -> Option<RuntimeClass> {
        let cache = self.caches.of::<RuntimeClass>()?;
        cache.get(&ObjectName::cluster(name))?.decode_bare().ok()
    }

    fn merge(&self, spec: &mut Value) -> Result<(), String> {
        let name = spec["runtimeClassName"].as_str().filter(|name| !name.is_empty());
        let class = match name {
            Some(name) => {
                let missing = || format!("pod rejected: RuntimeClass {name:?} not found");
                Some(self.class(name).ok_or_else(missing)?)
            }
            None => None,
        };
        let amounts = class.as_ref().and_then(|class| class.overhead.as_ref()?.pod_fixed.as_ref());
        overhead(amounts, spec)?;
        let Some(scheduling) = class.as_ref().and_then(|class| class.scheduling.as_ref()) else {
            return Ok(());
        };
        if let Some(labels) = &scheduling.node_selector {
            node_selector(labels, spec)?;
        }
        if let Some(added) = &scheduling.tolerations {
            tolerations(added, spec);
        }
        Ok(())
    }
}

/// A pod has the overhead of its class, and no other.
fn overhead(class: Option<&BTreeMap<String, Quantity>>, spec: &mut Value) -> Result<(), String> {
    let given = spec.get("overhead").filter(|given| given.as_object().is_some_and(|given| !given.is_empty()));
    match (class, given) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into()
            );
        }
        (Some(class), None) => spec["overhead"] = json!(class),
        (Some(class), Some(given)) if *given == json!(class) => {}
        (Some(_), Some(_)) => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
    }
    Ok(())
}

/// A pod is for the nodes that its class is for, among those that it names itself.
fn node_selector(class: &BTreeMap<String, String>, spec: &mut Value) -> Result<(), String> {
    if class.is_empty() {
        return Ok(());
    }
    if !spec["nodeSelector"].is_object() {
        spec["nodeSelector"] = json!({});
    }
    for (key, wanted) in class {
        match spec["nodeSelector"][key].as_str() {
            Some(given) if given != wanted => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {given}"
                ));
            }
            _ => spec["nodeSelector"][key] = wanted.as_str().into(),
        }
    }
    Ok(())
}

/// A pod tolerates what its class tolerates. What another toleration covers is left out.
fn tolerations(class: &[Toleration], spec: &mut Value) {
    let given = Vec::<Toleration>::deserialize(&spec["tolerations"]).unwrap_or_default();
    let all: Vec<&Toleration> = given.iter().chain(class).collect();
    let mut kept: Vec<&Toleration> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let mut others = kept.iter().chain(&all[index + 1..]);
        if !others.any(|other| covers(other, toleration)) {
            kept.push(toleration);
        }
    }
    spec["tolerations"] = json!(kept);
}

/// Whether one tolerates whatever another does.
fn covers(one: &Toleration, other: &Toleration) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (key, effect, operator) = (text(&one.key), text(&one.effect), text(&one.operator));
    if one == other {
        return true;
    }
    if key != text(&other.key) && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if effect != text(&other.effect) && !effect.is_empty() {
        return false;
    }
    let shorter = one
        .toleration_seconds
        .is_some_and(|seconds| other.toleration_seconds.is_none_or(|long| long > seconds));
    if effect == "NoExecute" && shorter {
        return false;
    }
    match operator.as_str() {
        "Exists" => true,
        "Equal" | "" => text(&other.operator) == "Equal" && text(&one.value) == text(&other.value),
        _ => false,
    }
}

#[async_trait]
impl Admission for RuntimeClasses {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Pod>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let created = attributes.verb == WriteVerb::Create && attributes.subresource.is_none();
        if !created || !attributes.resource.id.is::<Pod>() {
            return Ok(Vec::new());
        }
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return Ok(Vec::new());
        };
        let refused = |why| Status::forbidden(&attributes.resource.id, attributes.name.name(), why);
        self.merge(spec).map_err(refused)?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cpu: &str) -> BTreeMap<String, Quantity> {
        BTreeMap::from([("cpu".to_owned(), Quantity(cpu.to_owned()))])
    }

    #[test]
    fn a_pod_has_the_overhead_of_its_class_and_no_other() {
        for (class, given, wanted) in [
            (None, Value::Null, Ok(Value::Null)),
            (Some("10m"), Value::Null, Ok(json!({ "cpu": "10m" }))),
            (Some("10m"), json!({}), Ok(json!({ "cpu": "10m" }))),
            (Some("10m"), json!({ "cpu": "10m" }), Ok(json!({ "cpu": "10m" }))),
            (
                Some("10m"),
                json!({ "cpu": "1" }),
                Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
            ),
            (
                None,
                json!({ "cpu": "1" }),
                Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"),
            ),
        ] {
            let mut spec = json!({ "overhead": given });
            let class = class.map(amounts);
            let said = overhead(class.as_ref(), &mut spec).map(|()| spec["overhead"].clone());
            assert_eq!(said, wanted.map_err(str::to_owned), "{class:?}");
        }
    }

    #[test]
    fn a_pod_is_for_the_nodes_of_its_class_unless_it_says_otherwise() {
        let class = BTreeMap::from([("rc".to_owned(), "1".to_owned())]);
        let mut spec = json!({ "nodeSelector": { "o": "1" } });
        node_selector(&class, &mut spec).unwrap();
        assert_eq!(spec["nodeSelector"], json!({ "o": "1", "rc": "1" }));
        let mut spec = json!({ "nodeSelector": { "rc": "2" } });
        assert_eq!(
            node_selector(&class, &mut spec).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[rc] = 1; pod.spec.nodeSelector[rc] = 2"
        );
    }

    #[test]
    fn a_toleration_that_another_covers_is_left_out() {
        let merged = |given: Value, class: Value| {
            let class: Vec<Toleration> = serde_json::from_value(class).unwrap();
            let mut spec = json!({ "tolerations": given });
            tolerations(&class, &mut spec);
            spec["tolerations"].clone()
        };
        let (any, one) = (json!({ "operator": "Exists" }), json!({ "key": "a", "operator": "Exists" }));
        let exact = json!({ "key": "a", "operator": "Equal", "value": "1" });
        let long = json!({ "key": "a", "operator": "Exists", "effect": "NoExecute" });
        let short =
            json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5 });
        for (given, class, wanted) in [
            (json!([]), json!([one]), json!([one])),
            (json!([one]), json!([one]), json!([one])),
            (json!([one]), json!([any]), json!([any])),
            (json!([exact]), json!([one]), json!([one])),
            (json!([one]), json!([exact]), json!([one])),
            (json!([short]), json!([long]), json!([long])),
            (json!([exact]), json!([short]), json!([exact, short])),
        ] {
            assert_eq!(merged(given.clone(), class.clone()), wanted, "{given} and {class}");
        }
    }
}
