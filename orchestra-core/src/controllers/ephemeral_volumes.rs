//! Claims that pods bring along: each is made from a template in the pod, and goes with it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Host;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, owner_reference, write};
use crate::meta::ObjectName;
use crate::watch::{Entry, Event, EventKind};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    volumes: Vec<Volume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Volume {
    name: String,
    ephemeral: Option<Ephemeral>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ephemeral {
    volume_claim_template: Value,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<Pod>()
        .named("ephemeral-volume-controller")
        .when(|event: &Event| {
            matches!(event.kind, EventKind::Added) && event.object.mentions("\"ephemeral\"")
        })
        .watches::<PersistentVolumeClaim, _, _>(|claim| {
            let owner = claim.controller().filter(|owner| &*owner.kind == "Pod")?;
            Some(ObjectName::new(claim.name().namespace(), &owner.name))
        })
        .when(|event: &Event| matches!(event.kind, EventKind::Deleted));
    let recorder = host.recorder("ephemeral_volume");
    host.run(controller, move |context| make(context, recorder.clone())).await
}

async fn make(context: Context, recorder: Recorder) -> Result<Action, Error> {
    let Some(entry) = context.entry::<Pod>().await? else { return Ok(Action::Done) };
    if entry.is_deleting() {
        return Ok(Action::Done);
    }
    // Read once of most that have one: not kept with them.
    let view: View = entry.peek()?;
    let claims = context.cache::<PersistentVolumeClaim>().await?;
    for volume in &view.spec.volumes {
        let Some(ephemeral) = &volume.ephemeral else { continue };
        let name =
            ObjectName::new(Some(context.namespace()), &format!("{}-{}", entry.name().name(), volume.name));
        match claims.get(&name) {
            Some(claim) if claim.controller().is_some_and(|owner| owner.uid == *entry.uid()) => {}
            Some(_) => {
                let why = format!("PVC {name} was not created for pod {} (pod is not owner)", entry.name());
                recorder.warning(&reference_to::<Pod>(&entry), "FailedBinding", why.clone());
                return Err(why.into());
            }
            None => {
                let wanted = claim(&entry, &name, &ephemeral.volume_claim_template);
                let made =
                    write::create::<PersistentVolumeClaim>(context.client(), context.namespace(), wanted)
                        .await;
                match made {
                    Err(status) if !status.is_already_exists() => {
                        let why = format!("ephemeral volume controller: create PVC {name}: {status}");
                        recorder.warning(&reference_to::<Pod>(&entry), "FailedCreate", why);
                        return Err(status.into());
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(Action::Done)
}

fn claim(pod: &Entry, name: &ObjectName, template: &Value) -> Value {
    let mut metadata = json!({
        "name": name.name(), "ownerReferences": [owner_reference::controller::<Pod>(pod)],
    });
    for part in ["labels", "annotations"] {
        if let Some(held) = template["metadata"].get(part) {
            metadata[part] = held.clone();
        }
    }
    json!({"metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::entry;

    #[test]
    fn a_claim_is_of_its_template_and_its_pod() {
        let pod = entry(&json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}}));
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let claim = claim(&pod, &ObjectName::namespaced("n", "p-data"), &template);
        assert_eq!(claim["metadata"]["name"], "p-data");
        assert_eq!(claim["metadata"]["labels"]["a"], "b");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["controller"], true);
        assert_eq!(claim["spec"]["accessModes"][0], "ReadWriteOnce");
    }
}
