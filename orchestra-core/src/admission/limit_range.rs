use async_trait::async_trait;
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::amounts::{Amounts, Asked, PodAmounts, Side};
use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::quantity::Quantity;
use crate::store::Txn;
use crate::watch::Query;

/// Where it is noted what a pod was given.
const NOTE: &str = "kubernetes.io/limit-ranger";

/// Gives containers the requests and limits that their namespace has for those that name none, and refuses pods and
/// claims that ask for less or more than it allows.
#[derive(Debug)]
pub struct LimitRanges {
    caches: Caches,
}

/// A LimitRange.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    limits: Vec<Range>,
}

/// What a LimitRange says of containers, of pods, or of claims.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Range {
    r#type: String,
    min: Amounts,
    max: Amounts,
    default: Amounts,
    default_request: Amounts,
    max_limit_request_ratio: Amounts,
}

impl LimitRanges {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// The LimitRanges of the namespace of an object, in the order of their names.
    fn of(&self, attributes: &Attributes<'_>) -> Vec<std::sync::Arc<View>> {
        let cache = self.caches.of::<LimitRange>();
        let (Some(cache), Some(namespace)) = (cache, attributes.name.namespace()) else { return Vec::new() };
        let entries = cache.list(&Query::namespace(namespace));
        entries.iter().filter_map(|entry| entry.view::<View>().ok()).collect()
    }
}

#[async_trait]
impl Admission for LimitRanges {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Pod>() || kind.id.is::<PersistentVolumeClaim>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let is_new_pod = attributes.resource.id.is::<Pod>()
            && attributes.verb == WriteVerb::Create
            && attributes.subresource.is_none();
        if is_new_pod {
            for held in self.of(attributes) {
                give_defaults(object, &held.spec.limits);
            }
        }
        Ok(Vec::new())
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let (id, Some(new)) = (&attributes.resource.id, new) else { return Ok(Vec::new()) };
        let created = attributes.verb == WriteVerb::Create && attributes.subresource.is_none();
        let updated = attributes.verb == WriteVerb::Update && attributes.subresource.is_none();
        let resized = attributes.subresource == Some("resize");
        let wrong = if id.is::<Pod>() && (created || resized) {
            let held = self.of(attributes);
            if held.is_empty() {
                return Ok(Vec::new());
            }
            let pod = PodAmounts::of(new);
            held.iter().flat_map(|held| of_pod(&pod, &held.spec.limits)).collect::<Vec<_>>()
        } else if id.is::<PersistentVolumeClaim>() && (created || updated) {
            self.of(attributes).iter().flat_map(|held| of_claim(new, &held.spec.limits)).collect()
        } else {
            return Ok(Vec::new());
        };
        match wrong.as_slice() {
            [] => Ok(Vec::new()),
            [one] => Err(Status::forbidden(id, attributes.name.name(), one)),
            all => Err(Status::forbidden(id, attributes.name.name(), format!("[{}]", all.join(", ")))),
        }
    }
}

/// Gives the containers of a pod what they do not name, and notes what.
fn give_defaults(pod: &mut Value, ranges: &[Range]) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for range in ranges.iter().filter(|range| range.r#type == "Container") {
        requests.extend(range.default_request.clone());
        limits.extend(range.default.clone());
    }
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (side, given) in [("request", &requests), ("limit", &limits)] {
                let added = fill(container, &format!("{side}s"), given);
                if !added.is_empty() {
                    notes.push(format!("{} {side} for {word} {name}", added.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod["metadata"]["annotations"][NOTE] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// Adds amounts that a container does not name, and says which they are.
fn fill<'g>(container: &mut Value, side: &str, given: &'g Amounts) -> Vec<&'g str> {
    if given.is_empty() {
        return Vec::new();
    }
    let resources = &mut container["resources"];
    if !resources.is_object() {
        *resources = Value::Object(Map::new());
    }
    let held = &mut resources[side];
    if !held.is_object() {
        *held = Value::Object(Map::new());
    }
    let missing = given.iter().filter(|(name, _)| held.get(name.as_str()).is_none());
    let missing: Vec<_> = missing.collect();
    for (name, amount) in &missing {
        held[name.as_str()] = amount.to_string().into();
    }
    missing.into_iter().map(|(name, _)| name.as_str()).collect()
}

fn of_pod(pod: &PodAmounts, ranges: &[Range]) -> Vec<String> {
    let mut wrong = Vec::new();
    for range in ranges {
        match range.r#type.as_str() {
            "Container" => {
                let all = pod.containers.iter().chain(&pod.init_containers);
                all.for_each(|container| range.check("Container", &container.resources, &mut wrong));
            }
            "Pod" => {
                let (requests, limits) = (pod.total(Side::Requests), pod.total(Side::Limits));
                range.check("Pod", &Asked { requests, limits }, &mut wrong);
            }
            _ => {}
        }
    }
    wrong
}

/// A claim asks for storage, and has no limit.
fn of_claim(claim: &Value, ranges: &[Range]) -> Vec<String> {
    let asked = claim.pointer("/spec/resources").and_then(|resources| Asked::deserialize(resources).ok());
    let asked = asked.unwrap_or_default();
    let mut wrong = Vec::new();
    for range in ranges.iter().filter(|range| range.r#type == "PersistentVolumeClaim") {
        for (name, least) in &range.min {
            range.at_least("PersistentVolumeClaim", name, *least, &asked, &mut wrong);
        }
        for (name, most) in &range.max {
            let what = format!("maximum {name} usage per PersistentVolumeClaim is {most}");
            match asked.requests.get(name) {
                None => wrong.push(format!("{what}.  No request is specified")),
                Some(request) if request > most => wrong.push(format!("{what}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    wrong
}

impl Range {
    /// Says what is wrong with what a container or a pod asks for.
    fn check(&self, of: &str, asked: &Asked, wrong: &mut Vec<String>) {
        for (name, least) in &self.min {
            self.at_least(of, name, *least, asked, wrong);
        }
        for (name, most) in &self.max {
            let what = format!("maximum {name} usage per {of} is {most}");
            let (request, limit) = (asked.requests.get(name), asked.limits.get(name));
            match (request, limit) {
                (_, None) => wrong.push(format!("{what}.  No limit is specified")),
                (_, Some(limit)) if limit > most => wrong.push(format!("{what}, but limit is {limit}")),
                (Some(request), _) if request > most => {
                    wrong.push(format!("{what}, but request is {request}"))
                }
                _ => {}
            }
        }
        for (name, most) in &self.max_limit_request_ratio {
            let what = format!("{name} max limit to request ratio per {of} is {most}");
            let amount = |of: &Amounts| of.get(name).copied().unwrap_or_default();
            let (request, limit) = (amount(&asked.requests), amount(&asked.limits));
            let ratio = limit.to_f64() / request.to_f64();
            if request == Quantity::ZERO {
                wrong.push(format!("{what}, but no request is specified or request is 0"));
            } else if limit == Quantity::ZERO {
                wrong.push(format!("{what}, but no limit is specified or limit is 0"));
            } else if ratio > most.to_f64() {
                wrong.push(format!("{what}, but provided ratio is {ratio:.6}"));
            }
        }
    }

    fn at_least(&self, of: &str, name: &str, least: Quantity, asked: &Asked, wrong: &mut Vec<String>) {
        let what = format!("minimum {name} usage per {of} is {least}");
        match (asked.requests.get(name), asked.limits.get(name)) {
            (None, _) => wrong.push(format!("{what}.  No request is specified")),
            (Some(request), _) if *request < least => wrong.push(format!("{what}, but request is {request}")),
            (_, Some(limit)) if *limit < least => wrong.push(format!("{what}, but limit is {limit}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ranges(limits: Value) -> Vec<Range> {
        serde_json::from_value(limits).unwrap()
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn containers_get_what_they_do_not_name_and_it_is_noted() {
        let ranges = ranges(json!([{
            "type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}
        }]));
        let mut bare = pod(json!({}));
        bare["spec"]["initContainers"] =
            json!([{"name": "i", "resources": {"limits": {"cpu": "2", "memory": "1"}}}]);
        give_defaults(&mut bare, &ranges);
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(bare["spec"]["containers"][0]["resources"], resources);
        assert_eq!(
            bare["spec"]["initContainers"][0]["resources"]["limits"],
            json!({"cpu": "2", "memory": "1"})
        );
        assert_eq!(
            bare["metadata"]["annotations"][NOTE],
            "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; cpu request for \
             init container i"
        );
        let mut named = pod(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1"}}));
        let before = named.clone();
        give_defaults(&mut named, &ranges);
        assert_eq!(named, before);
    }

    #[test]
    fn what_is_out_of_range_is_told_with_the_range() {
        let held = ranges(json!([{"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"},
            "maxLimitRequestRatio": {"memory": "2"}}]));
        let asked = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
        let cases = [
            (asked(json!({"cpu": "1", "memory": "1Mi"}), json!({"memory": "2Mi"})), vec![]),
            (
                asked(json!({}), json!({})),
                vec![
                    "minimum cpu usage per Container is 100m.  No request is specified",
                    "maximum memory usage per Container is 1Gi.  No limit is specified",
                    "memory max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ],
            ),
            (
                asked(json!({"cpu": "50m", "memory": "1Mi"}), json!({"memory": "3Mi"})),
                vec![
                    "minimum cpu usage per Container is 100m, but request is 50m",
                    "memory max limit to request ratio per Container is 2, but provided ratio is 3.000000",
                ],
            ),
            (
                asked(json!({"cpu": "1", "memory": "2Gi"}), json!({"memory": "2Gi"})),
                vec!["maximum memory usage per Container is 1Gi, but limit is 2Gi"],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(of_pod(&PodAmounts::of(&pod(resources.clone())), &held), expected, "{resources}");
        }
    }

    #[test]
    fn a_claim_is_held_to_its_own_range() {
        let held = ranges(
            json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]),
        );
        for (storage, expected) in [
            ("1Gi", vec![]),
            ("3Gi", vec!["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]),
            ("1Mi", vec!["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]),
        ] {
            let claim = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
            assert_eq!(of_claim(&claim, &held), expected);
        }
    }
}
