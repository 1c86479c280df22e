//! Claims on devices: those that pods bring along by templates are made here, and what nobody uses any more is given back.
//!
//! Whose devices a claim has is decided by the scheduler. A claim that was made for a pod goes when the pod is over, and
//! the others give their devices back when the last pod that used them is.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Host;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::predicate::{self, Predicate as _};
use crate::control::{Action, Context, Error, owner_reference, write};
use crate::meta::ObjectName;
use crate::watch::{Entry, EntryError, Event, EventKind, Query};

/// What a pod calls a claim that was made for it, as an annotation of the claim.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Keeps a claim that has devices until they are given back.
const PROTECTION: &str = "resource.kubernetes.io/delete-protection";
/// How soon it is looked again whether a pod names the claim that was made for it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodView {
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    resource_claims: Vec<PodClaim>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    resource_claim_statuses: Vec<PodClaim>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodClaim {
    name: String,
    resource_claim_name: Option<String>,
    resource_claim_template_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimView {
    metadata: Metadata,
    status: ClaimStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    annotations: BTreeMap<String, String>,
    finalizers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimStatus {
    allocation: Option<Value>,
    reserved_for: Vec<User>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct User {
    api_group: String,
    resource: String,
    name: String,
    uid: String,
}

/// What becomes of a claim that was made for a pod that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// The pod names none yet.
    IsNotKnown,
    /// The pod names another, and will not name this one any more: it was made by a controller that had been started again
    /// and did not see yet what it had made before.
    IsOneTooMany,
}

impl PodView {
    /// Read once of most pods: not kept with them. Of one that has to do with no claim, nothing.
    fn of(entry: &Entry) -> Result<Self, EntryError> {
        if entry.mentions("\"resourceClaim") { entry.peek() } else { Ok(Self::default()) }
    }

    fn is_over(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// What becomes of a claim that was made for it, to be what it calls `name`.
    fn fate_of(&self, claim: &str, name: &str) -> Fate {
        let made = self.status.resource_claim_statuses.iter().find(|made| made.name == name);
        match made.and_then(|made| made.resource_claim_name.as_deref()) {
            None => Fate::IsNotKnown,
            Some(named) if named == claim => Fate::Stays,
            Some(_) => Fate::IsOneTooMany,
        }
    }

    /// The claims that it names, or that were made for it.
    fn claims(&self) -> impl Iterator<Item = &String> {
        let all = self.spec.resource_claims.iter().chain(&self.status.resource_claim_statuses);
        all.filter_map(|claim| claim.resource_claim_name.as_ref())
    }
}

/// Runs the controller that makes claims.
pub(super) async fn run_making(host: Host) -> Result<(), Status> {
    // What a pod asks for never changes, and what could not be made is tried again.
    let controller = host
        .controller::<Pod>()
        .named("resource-claim-controller")
        .when(|event: &Event| {
            matches!(event.kind, EventKind::Added) && event.object.mentions("\"resourceClaims\"")
        })
        .reads::<ResourceClaim>();
    let recorder = host.recorder("resource_claim");
    host.run(controller, move |context| make(context, recorder.clone())).await
}

async fn make(context: Context, recorder: Recorder) -> Result<Action, Error> {
    let Some(entry) = context.entry::<Pod>().await? else { return Ok(Action::Done) };
    let pod = PodView::of(&entry)?;
    if pod.spec.resource_claims.is_empty() || entry.is_deleting() || pod.is_over() {
        return Ok(Action::Done);
    }
    let mut named = Vec::new();
    for asked in &pod.spec.resource_claims {
        let Some(template) = &asked.resource_claim_template_name else { continue };
        if pod.status.resource_claim_statuses.iter().any(|made| made.name == asked.name) {
            continue;
        }
        let claim = match made_before(&context, &entry, &asked.name).await? {
            Some(claim) => claim,
            None => match made_of(&context, &entry, &asked.name, template).await {
                Ok(claim) => claim,
                Err(why) => {
                    recorder.warning(
                        &reference_to::<Pod>(&entry),
                        "FailedResourceClaimCreation",
                        format!("PodResourceClaim {}: {why}", asked.name),
                    );
                    return Err(why);
                }
            },
        };
        named.push(json!({"name": asked.name, "resourceClaimName": claim}));
    }
    if !named.is_empty() {
        let change = json!({"resourceClaimStatuses": with(&entry, named)?});
        write::patch_status::<Pod>(context.client(), &entry, change).await?;
    }
    Ok(Action::Done)
}

/// The list as it is, and what comes to it.
fn with(pod: &Entry, named: Vec<Value>) -> Result<Value, EntryError> {
    let mut object: Value = pod.peek()?;
    let mut all = match object["status"]["resourceClaimStatuses"].take() {
        Value::Array(all) => all,
        _ => Vec::new(),
    };
    all.extend(named);
    Ok(all.into())
}

/// The claim that was made for a pod, if its status does not say so yet.
async fn made_before(context: &Context, pod: &Entry, name: &str) -> Result<Option<String>, Error> {
    let claims = context.cache::<ResourceClaim>().await?.list(&Query::namespace(context.namespace()));
    for claim in claims {
        let is_of_pod = claim.controller().is_some_and(|owner| owner.uid == *pod.uid());
        if is_of_pod
            && claim.view::<ClaimView>()?.metadata.annotations.get(POD_CLAIM).map(String::as_str)
                == Some(name)
        {
            return Ok(Some(claim.name().name().to_owned()));
        }
    }
    Ok(None)
}

async fn made_of(context: &Context, pod: &Entry, name: &str, template: &str) -> Result<String, Error> {
    let held = context.cache::<ResourceClaimTemplate>().await?;
    let held = held.get(&ObjectName::namespaced(context.namespace(), template));
    let held = held.ok_or_else(|| format!("resource claim template {template:?} not found"))?;
    let template: Value = held.peek()?;
    let made = write::create_entry::<ResourceClaim>(
        context.client(),
        context.namespace(),
        claim(pod, name, &template["spec"]),
    );
    Ok(made.await?.name().name().to_owned())
}

fn claim(pod: &Entry, name: &str, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-{name}-", pod.name().name()),
        "ownerReferences": [owner_reference::controller::<Pod>(pod)],
    });
    for part in ["labels", "annotations"] {
        if let Some(held) = template["metadata"].get(part).filter(|held| !held.is_null()) {
            metadata[part] = held.clone();
        }
    }
    metadata["annotations"][POD_CLAIM] = name.into();
    json!({"metadata": metadata, "spec": template["spec"]})
}

/// Runs the controller that has claims give back what nobody uses.
pub(super) async fn run_releasing(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<ResourceClaim>()
        .named("resource-claim-releaser")
        .watches::<Pod, _, _>(|pod| {
            let view = PodView::of(pod).unwrap_or_default();
            let named = view.claims().map(|claim| ObjectName::new(pod.name().namespace(), claim));
            named.collect::<Vec<_>>()
        })
        // Pods are written often, and few of these writes end their use of anything.
        .when(predicate::field_changed("status.phase").or(|event: &Event| event.object.is_deleting()));
    host.run(controller, give_back).await
}

async fn give_back(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<ResourceClaim>().await? else { return Ok(Action::Done) };
    let claim = entry.view::<ClaimView>()?;
    let pods = context.cache::<Pod>().await?;
    let pod_of = |name: &str, uid: &str| {
        let pod = pods.get(&ObjectName::namespaced(context.namespace(), name))?;
        (pod.uid().as_str() == uid).then_some(pod)
    };
    let mut left = Vec::new();
    for user in &claim.status.reserved_for {
        if user.resource != "pods" || !user.api_group.is_empty() {
            left.push(user.clone());
            continue;
        }
        let over = match pod_of(&user.name, &user.uid) {
            // The cache of pods may be behind that of claims.
            None => is_gone(&context, user).await?,
            Some(pod) => {
                let view = PodView::of(&pod)?;
                view.is_over() || (pod.is_deleting() && view.spec.node_name.is_empty())
            }
        };
        if !over {
            left.push(user.clone());
        }
    }
    let is_free = left.is_empty();
    if left.len() < claim.status.reserved_for.len() || (is_free && claim.status.allocation.is_some()) {
        let left: Vec<Value> = left.iter().map(reference).collect();
        let mut change = json!({"reservedFor": if is_free { Value::Null } else { left.into() }});
        if is_free {
            change["allocation"] = Value::Null;
            change["devices"] = Value::Null;
        }
        write::patch_status::<ResourceClaim>(context.client(), &entry, change).await?;
        return Ok(Action::Done);
    }
    if entry.is_deleting() {
        let protected = claim.metadata.finalizers.iter().any(|finalizer| finalizer == PROTECTION);
        if is_free && protected {
            write::remove_finalizer::<ResourceClaim>(context.client(), &entry, PROTECTION).await?;
        }
        return Ok(Action::Done);
    }
    let owner = entry.controller().filter(|owner| &*owner.kind == "Pod");
    let Some(owner) = owner.filter(|_| is_free) else { return Ok(Action::Done) };
    let Some(pod) = pod_of(&owner.name, owner.uid.as_str()) else { return Ok(Action::Done) };
    let pod = PodView::of(&pod)?;
    let made_as = claim.metadata.annotations.get(POD_CLAIM);
    let fate = made_as.map_or(Fate::Stays, |name| pod.fate_of(entry.name().name(), name));
    if pod.is_over() || fate == Fate::IsOneTooMany {
        write::delete::<ResourceClaim>(context.client(), entry.name(), entry.uid()).await?;
    }
    Ok(if fate == Fate::IsNotKnown { Action::Again(LOOK_AGAIN) } else { Action::Done })
}

/// Whether a pod is not there, by the server's word.
async fn is_gone(context: &Context, user: &User) -> Result<bool, Error> {
    match context.client().api::<Pod>(context.namespace()).get(&user.name).await {
        Ok(pod) => Ok(pod.metadata.uid.as_deref() != Some(&*user.uid)),
        Err(status) if status.is_not_found() => Ok(true),
        Err(status) => Err(status.into()),
    }
}

fn reference(user: &User) -> Value {
    let mut reference = json!({"resource": user.resource, "name": user.name, "uid": user.uid});
    if !user.api_group.is_empty() {
        reference["apiGroup"] = user.api_group.as_str().into();
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::entry;

    #[test]
    fn of_the_claims_of_a_pod_the_one_that_it_names_stays() {
        let status = json!({"resourceClaimStatuses": [
            {"name": "gpus", "resourceClaimName": "p-gpus-a"}, {"name": "unwanted"},
        ]});
        let pod: PodView = serde_json::from_value(json!({ "status": status })).unwrap();
        for (claim, name, fate) in [
            ("p-gpus-a", "gpus", Fate::Stays),
            ("p-gpus-b", "gpus", Fate::IsOneTooMany),
            ("p-more-a", "more", Fate::IsNotKnown),
            ("p-unwanted-a", "unwanted", Fate::IsNotKnown),
        ] {
            assert_eq!(pod.fate_of(claim, name), fate, "{claim}");
        }
    }

    #[test]
    fn a_claim_is_of_its_template_and_its_pod() {
        let pod = entry(&json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}}));
        let devices = json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": "c"}}]});
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"devices": devices}});
        let claim = claim(&pod, "gpus", &template);
        assert_eq!(claim["metadata"]["generateName"], "p-gpus-");
        assert_eq!(claim["metadata"]["labels"]["a"], "b");
        assert_eq!(claim["metadata"]["annotations"][POD_CLAIM], "gpus");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(claim["spec"]["devices"], devices);
    }
}
