//! The status of ValidatingAdmissionPolicies: which generation of one was looked at.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use serde::Deserialize;
use serde_json::json;

use super::Host;
use crate::api::Status;
use crate::control::{Action, Context, Error, predicate, write};

/// What is read of a policy.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    status: PolicyStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyStatus {
    observed_generation: i64,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let controller = host
        .controller::<ValidatingAdmissionPolicy>()
        .named("validatingadmissionpolicy-status")
        .when(predicate::generation_changed);
    host.run(controller, observe).await
}

async fn observe(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<ValidatingAdmissionPolicy>().await? else { return Ok(Action::Done) };
    let generation = entry.generation();
    if entry.view::<View>()?.status.observed_generation != generation {
        let status = json!({ "observedGeneration": generation, "typeChecking": {} });
        let written =
            write::patch_status::<ValidatingAdmissionPolicy>(context.client(), &entry, status).await;
        write::unless_gone(written)?;
    }
    Ok(Action::Done)
}
