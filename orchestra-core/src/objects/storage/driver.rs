use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSIDriver, TokenRequest};
use serde_json::{Value, json};

use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::check::{self, shown};
use crate::objects::json::{Fields, at};
use crate::objects::print::or_none;

/// The shortest and the longest time for which a token may be good, in seconds.
const MIN_TOKEN: i64 = 600;
const MAX_TOKEN: i64 = 1 << 32;

/// The rules of CSIDriver objects.
pub(in crate::objects) struct DriverRules;

impl Rules for DriverRules {
    type Object = CSIDriver;

    const DELETION: Deletion = Deletion::Object;

    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        flag("AttachRequired", "Whether a volume must be attached before it is mounted."),
        flag("PodInfoOnMount", "Whether the driver is told of the pod."),
        flag("StorageCapacity", "Whether the driver says how much it can still hold."),
        Column::new("TokenRequests", "For whom the driver gets tokens of the pod's service account."),
        flag("RequiresRepublish", "Whether volumes are mounted again from time to time."),
        Column::new("Modes", "What kinds of volumes the driver makes."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or("attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            spec.or(field, false);
        }
        spec.or("fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.get("volumeLifecycleModes").is_none_or(|modes| modes.is_null() || *modes == json!([])) {
            spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
        }
    }

    fn prepare_create(object: &mut Value) {
        drop_scheduling(object, None);
    }

    /// Changes are counted, though the first state is not.
    fn prepare_update(new: &mut Value, old: &Value) {
        drop_scheduling(new, Some(old));
        if new.get("spec") != old.get("spec")
            && let Some(meta) = at(new, &["metadata"])
        {
            let before = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
            meta.insert("generation".to_owned(), (before + 1).into());
        }
    }

    fn validate(object: &CSIDriver, errors: &mut Errors) {
        let spec = &object.spec;
        let path = Path::new("spec");
        if let Some(policy) = &spec.fs_group_policy {
            let policies = ["File", "None", "ReadWriteOnceWithFSType"];
            check::supported(errors, &path.child("fsGroupPolicy"), policy, &policies);
        }
        let requests = spec.token_requests.as_deref().unwrap_or_default();
        token_requests(requests, &path.child("tokenRequests"), errors);
        for mode in spec.volume_lifecycle_modes.iter().flatten() {
            let at = path.child("volumeLifecycleModes");
            check::supported(errors, &at, mode, &["Persistent", "Ephemeral"]);
        }
        if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < 10) {
            let at = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(&at, seconds, "must be greater than or equal to 10 seconds");
        }
        if let Some(in_secrets) = spec.service_account_token_in_secrets.filter(|_| requests.is_empty()) {
            errors.invalid(
                &path.child("serviceAccountTokenInSecrets"),
                in_secrets,
                "serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            );
        }
    }

    fn validate_update(new: &CSIDriver, old: &CSIDriver, errors: &mut Errors) {
        let path = Path::new("spec");
        let at = path.child("attachedRequired");
        check::unchanged(errors, &at, &new.spec.attach_required, &old.spec.attach_required);
        let at = path.child("volumeLifecycleModes");
        check::unchanged(errors, &at, &new.spec.volume_lifecycle_modes, &old.spec.volume_lifecycle_modes);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        let requests = |object: &Value| object.pointer("/spec/tokenRequests").cloned();
        requests(new) != requests(old)
    }

    fn warnings(object: &CSIDriver) -> Vec<String> {
        let spec = &object.spec;
        let asks = spec.token_requests.as_ref().is_some_and(|requests| !requests.is_empty());
        let warning = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                       possible logging of tokens in volume attributes";
        let open = asks && spec.service_account_token_in_secrets.is_none();
        open.then(|| warning.to_owned()).into_iter().collect()
    }

    fn cells(object: &CSIDriver, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let audiences = spec.token_requests.as_ref().filter(|requests| !requests.is_empty());
        let audiences = audiences.map_or("<unset>".to_owned(), |requests| {
            requests.iter().map(|request| request.audience.as_str()).collect::<Vec<_>>().join(",")
        });
        let modes = spec.volume_lifecycle_modes.as_ref().map(|modes| modes.join(","));
        vec![
            object.metadata.name.clone().into(),
            spec.attach_required.unwrap_or(true).into(),
            spec.pod_info_on_mount.unwrap_or_default().into(),
            spec.storage_capacity.unwrap_or_default().into(),
            audiences.into(),
            spec.requires_republish.unwrap_or_default().into(),
            or_none(modes.as_deref()).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

const fn flag(name: &'static str, description: &'static str) -> Column {
    Column { kind: "boolean", ..Column::new(name, description) }
}

/// That pods are not placed where the driver is missing is a feature that Kubernetes does not turn on by itself.
fn drop_scheduling(new: &mut Value, old: Option<&Value>) {
    let had = old.is_some_and(|old| old.pointer("/spec/preventPodSchedulingIfMissing").is_some());
    if !had && let Some(spec) = at(new, &["spec"]) {
        spec.remove("preventPodSchedulingIfMissing");
    }
}

fn token_requests(requests: &[TokenRequest], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(request.audience.as_str()) {
            errors.duplicate(&path.child("audience"), request.audience.as_str());
            continue;
        }
        let at = path.child("expirationSeconds");
        match request.expiration_seconds {
            Some(seconds) if seconds < MIN_TOKEN => {
                errors.invalid(&at, shown(&seconds), "may not specify a duration less than 10 minutes");
            }
            Some(seconds) if seconds > MAX_TOKEN => {
                errors.invalid(&at, shown(&seconds), "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}
