//! Requests for certificates: those of kubelets are approved, approved ones are signed, old ones go.
//!
//! | file | what it does |
//! | --- | --- |
//! | `plan` | what is approved unasked, signed and forgotten; pure |
//! | `request` | what a request says |
//! | `issue`, `der` | the certificate it gets; the port to the authority's key |

mod der;
mod issue;
mod plan;
mod request;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use serde_json::{Value, json};

pub use self::issue::{CertificateAuthority, SignatureAlgorithm};
use self::plan::{Recognized, Signing};
use super::Host;
use crate::api::{Body, Operation, Patch, Reply, Status, Target};
use crate::control::{Action, Context, Error, write};
use crate::watch::Entry;

/// Runs the controller that approves what kubelets ask for.
pub(super) async fn run_approving(host: Host) -> Result<(), Status> {
    let controller = host.controller::<CertificateSigningRequest>().named("csrapproving");
    host.run(controller, approve).await
}

/// Runs the controller that signs for Kubernetes' own signers.
pub(super) async fn run_signing(host: Host, authority: Arc<dyn CertificateAuthority>) -> Result<(), Status> {
    let controller = host.controller::<CertificateSigningRequest>().named("csrsigning");
    host.run(controller, move |context| sign(context, Arc::clone(&authority))).await
}

/// Runs the controller that removes requests that are done with.
pub(super) async fn run_cleaning(host: Host) -> Result<(), Status> {
    let controller = host.controller::<CertificateSigningRequest>().named("csrcleaner");
    host.run(controller, clean).await
}

async fn approve(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<CertificateSigningRequest>().await? else { return Ok(Action::Done) };
    let object: CertificateSigningRequest = entry.decode_bare()?;
    if !plan::is_open(&object) {
        return Ok(Action::Done);
    }
    // Whatever cannot be read is for a person to decide.
    let Ok(asked) = request::read(&object.spec.request.0) else { return Ok(Action::Done) };
    for recognized in plan::recognized(&object.spec, &asked) {
        if may(&context, &object.spec, recognized).await? {
            let condition = json!({
                "type": "Approved", "status": "True", "reason": "AutoApproved", "message": recognized.message,
            });
            let patch = Patch::Merge(write::guarded(&entry, with_condition(&object, condition)));
            let target = write::target::<CertificateSigningRequest>(entry.name()).sub("approval");
            write::unless_gone(context.client().call(target, patch.operation()).await)?;
            break;
        }
    }
    Ok(Action::Done)
}

/// Whether whoever asks may ask so.
async fn may(
    context: &Context,
    spec: &CertificateSigningRequestSpec,
    recognized: Recognized,
) -> Result<bool, Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "version": "*",
                "verb": "create", "subresource": recognized.part,
            },
        },
    });
    let create = Operation::Create { body: Body::Value(review), options: Default::default() };
    let target = Target::of::<SubjectAccessReview>(None);
    match context.client().call(target, create).await?.reply {
        Reply::Value(review) => Ok(review["status"]["allowed"] == true),
        Reply::Object(entry) => Ok(entry.to_value()?["status"]["allowed"] == true),
        Reply::List(_) => Ok(false),
    }
}

async fn sign(context: Context, authority: Arc<dyn CertificateAuthority>) -> Result<Action, Error> {
    let Some(entry) = context.entry::<CertificateSigningRequest>().await? else { return Ok(Action::Done) };
    let object: CertificateSigningRequest = entry.decode_bare()?;
    let now = context.now();
    let asked = request::read(&object.spec.request.0);
    let (validity, asked) = match (plan::signing(&object, &asked, now), asked) {
        (Signing::Sign(validity), Ok(asked)) => (validity, asked),
        (Signing::Fail(why), _) => {
            let condition = json!({
                "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now,
            });
            return written(&context, &entry, with_condition(&object, condition)["status"].take()).await;
        }
        _ => return Ok(Action::Done),
    };
    let usages = object.spec.usages.as_deref().unwrap_or_default();
    let clock = context.clock();
    let serial = (u128::from(clock.random()) << 64) | u128::from(clock.random());
    // Positive, and never 0.
    let serial = (serial >> 1) | 1;
    let certificate = issue::issue(&*authority, &asked, usages, validity, serial)?;
    let certificate = k8s_openapi::ByteString(certificate.into_bytes());
    written(&context, &entry, json!({"certificate": certificate})).await
}

async fn written(context: &Context, entry: &Entry, status: Value) -> Result<Action, Error> {
    let patched = write::patch_status::<CertificateSigningRequest>(context.client(), entry, status).await;
    write::unless_gone(patched)?;
    Ok(Action::Done)
}

/// The patch that adds a condition.
fn with_condition(object: &CertificateSigningRequest, condition: Value) -> Value {
    let held = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions: Vec<Value> = held.into_iter().flatten().map(|condition| json!(condition)).collect();
    conditions.push(condition);
    json!({"status": {"conditions": conditions}})
}

async fn clean(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<CertificateSigningRequest>().await? else { return Ok(Action::Done) };
    let object: CertificateSigningRequest = entry.decode_bare()?;
    let certificate = object.status.as_ref().and_then(|status| status.certificate.as_ref());
    let expires = certificate.and_then(|certificate| issue::expires(&certificate.0));
    let Some(at) = plan::removal(&object, expires) else { return Ok(Action::Done) };
    match Duration::try_from(at.duration_since(context.now())) {
        Ok(left) if !left.is_zero() => Ok(Action::Again(left)),
        _ => {
            let name = entry.name();
            write::delete::<CertificateSigningRequest>(context.client(), name, entry.uid()).await?;
            Ok(Action::Done)
        }
    }
}
