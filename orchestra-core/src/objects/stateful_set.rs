use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetStatus,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use serde_json::{Value, json};

use super::check::{self, say, shown};
use super::json::{Fields, at, set};
use super::replicas::{self, SCALE};
use super::{claim, names, print, template};
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, NameRule, Rules, ScalePaths, desires_otherwise, table};

/// The rules of StatefulSet objects.
pub(super) struct StatefulSetRules;

impl Rules for StatefulSetRules {
    type Object = StatefulSet;

    const SHORT_NAMES: &'static [&'static str] = &["sts"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(SCALE);
    const NAME: NameRule = NameRule::Label;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Ready", "How many pods are ready, of how many that are wanted."),
        Column::AGE,
        Column::new("Containers", "The names of the containers in the template.").wide(),
        Column::new("Images", "The images of the containers in the template.").wide(),
    ];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or("replicas", 1);
        spec.or("revisionHistoryLimit", 10);
        spec.or_text("podManagementPolicy", "OrderedReady");
        if let Some(strategy) = spec.object_or_new("updateStrategy") {
            if strategy.text("type").is_empty() {
                strategy.or_text("type", "RollingUpdate");
                strategy.or("rollingUpdate", json!({}));
            }
            if strategy.text("type") == "RollingUpdate"
                && let Some(rolling) = strategy.object("rollingUpdate")
            {
                rolling.or("partition", 0);
            }
        }
        if let Some(retention) = spec.object_or_new("persistentVolumeClaimRetentionPolicy") {
            retention.or_text("whenDeleted", "Retain");
            retention.or_text("whenScaled", "Retain");
        }
        for template in spec.each("volumeClaimTemplates") {
            template.or_text("apiVersion", "v1");
            template.or_text("kind", "PersistentVolumeClaim");
            template.or("metadata", json!({}));
            claim::default(template);
        }
        template::default(spec);
    }

    fn prepare_create(object: &mut Value) {
        drop_max_unavailable(object, None);
        set(object, "status", json!({ "replicas": 0 }));
    }

    fn prepare_update(new: &mut Value, old: &Value) {
        drop_max_unavailable(new, Some(old));
    }

    fn validate(object: &StatefulSet, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.spec.clone().unwrap_or_default();
        let policy = spec.pod_management_policy.as_deref().unwrap_or_default();
        if !matches!(policy, "OrderedReady" | "Parallel") {
            let at = path.child("podManagementPolicy");
            errors.invalid(&at, policy, "must be 'OrderedReady' or 'Parallel'");
        }
        strategy(&spec, &path.child("updateStrategy"), errors);
        retention(&spec, &path.child("persistentVolumeClaimRetentionPolicy"), errors);
        check::not_negative(errors, &path.child("replicas"), spec.replicas);
        check::not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        check::not_negative(errors, &path.child("ordinals.start"), start);
        replicas::selection(&spec.selector, &as_pods_will_be(&spec), "StatefulSet", Some(""), &path, errors);
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        replicas::selector_required(object, errors);
        replicas::selector_selects(object, "statefulset", errors);
    }

    fn validate_create(object: &StatefulSet, errors: &mut Errors) {
        let path = Path::new("spec");
        let Some(spec) = &object.spec else { return };
        if let Some(name) = spec.service_name.as_deref().filter(|name| !name.is_empty()) {
            say(errors, &path.child("serviceName"), name, names::label(name));
        }
        for (index, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
            let at = path.child("volumeClaimTemplates").index(index).child("spec");
            claim::validate(&claim.spec.clone().unwrap_or_default(), &at, errors);
        }
    }

    fn validate_update(new: &StatefulSet, old: &StatefulSet, errors: &mut Errors) {
        let none = StatefulSetSpec::default();
        let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        if with_mutable_fields_of(new, old) != *old {
            errors.forbidden(
                &Path::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            );
        }
    }

    fn validate_status(new: &StatefulSet, old: &StatefulSet, errors: &mut Errors) {
        let none = StatefulSetStatus::default();
        let status = new.status.as_ref().unwrap_or(&none);
        counts(status, &Path::new("status"), errors);
        let before = old.status.as_ref().and_then(|status| status.collision_count);
        replicas::collisions(status.collision_count, before, errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    fn warnings(object: &StatefulSet) -> Vec<String> {
        let Some(spec) = &object.spec else { return Vec::new() };
        let path = Path::new("spec");
        let mut warnings = template::warnings(Some(&spec.template), &path.child("template"));
        for (index, template) in spec.volume_claim_templates.iter().flatten().enumerate() {
            let at = path.child("volumeClaimTemplates").index(index);
            warnings.extend(template.spec.iter().flat_map(|spec| claim::warnings(spec, &at)));
        }
        if spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                    .to_owned(),
            );
        }
        warnings
    }

    fn cells(object: &StatefulSet, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
        let (containers, images) = print::containers(Some(&spec.template));
        vec![
            object.metadata.name.clone().into(),
            format!("{ready}/{}", spec.replicas.unwrap_or_default()).into(),
            table::age(&object.metadata, now).into(),
            containers.into(),
            images.into(),
        ]
    }
}

/// How many pods may be missing during an update is a feature that Kubernetes does not turn on by itself.
fn drop_max_unavailable(new: &mut Value, old: Option<&Value>) {
    const PATH: &str = "/spec/updateStrategy/rollingUpdate/maxUnavailable";
    if old.and_then(|old| old.pointer(PATH)).is_none()
        && let Some(rolling) = at(new, &["spec", "updateStrategy", "rollingUpdate"])
    {
        rolling.remove("maxUnavailable");
    }
}

fn strategy(spec: &StatefulSetSpec, path: &Path, errors: &mut Errors) {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let at = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("OnDelete" | "RollingUpdate", None) => {}
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid_object(&at, Shown::object(shown_rolling(rolling)), detail);
        }
        ("RollingUpdate", Some(rolling)) => self::rolling(rolling, &at, errors),
        (other, rolling) => {
            let rolling = rolling.as_ref().map(|rolling| {
                [("Partition", partition(rolling)), ("MaxUnavailable", shown(&rolling.max_unavailable))]
            });
            let value = replicas::shown_strategy(other, rolling);
            errors.invalid_object(path, value, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn partition(rolling: &RollingUpdateStatefulSetStrategy) -> Value {
    rolling.partition.unwrap_or_default().into()
}

fn shown_rolling(rolling: &RollingUpdateStatefulSetStrategy) -> [(&'static str, Shown); 2] {
    [("Partition", partition(rolling).into()), ("MaxUnavailable", shown(&rolling.max_unavailable).into())]
}

fn rolling(rolling: &RollingUpdateStatefulSetStrategy, path: &Path, errors: &mut Errors) {
    check::not_negative(errors, &path.child("partition"), rolling.partition);
    if let Some(unavailable) = &rolling.max_unavailable {
        let at = path.child("maxUnavailable");
        check::count_or_percent(errors, &at, unavailable);
        if check::amount(unavailable) == 0 {
            errors.invalid(&at, shown(unavailable), "cannot be 0");
        }
        check::at_most_all(errors, &at, unavailable);
    }
}

fn retention(spec: &StatefulSetSpec, path: &Path, errors: &mut Errors) {
    let Some(policy) = &spec.persistent_volume_claim_retention_policy else { return };
    for (field, value) in [("whenDeleted", &policy.when_deleted), ("whenScaled", &policy.when_scaled)] {
        let value = value.as_deref().unwrap_or_default();
        check::supported(errors, &path.child(field), value, &["Retain", "Delete"]);
    }
}

/// The template with what the controller puts into each pod: a volume for each claim, instead of one of the same name,
/// and a hostname and subdomain of its own.
fn as_pods_will_be(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let Some(pod) = &mut template.spec else { return template };
    (pod.hostname, pod.subdomain) = (None, None);
    let mut volumes: Vec<Volume> = Vec::new();
    let claims = spec.volume_claim_templates.iter().flatten().map(volume_of);
    for volume in claims.chain(pod.volumes.take().into_iter().flatten()) {
        // Two volumes of the template that share a name are for validation to see.
        let from_claim = |held: &Volume| held.name == volume.name && is_claimed(spec, &volume.name);
        if !volumes.iter().any(from_claim) {
            volumes.push(volume);
        }
    }
    pod.volumes = Some(volumes);
    template
}

fn is_claimed(spec: &StatefulSetSpec, name: &str) -> bool {
    spec.volume_claim_templates.iter().flatten().any(|claim| name_of(claim) == name)
}

fn name_of(claim: &PersistentVolumeClaim) -> &str {
    claim.metadata.name.as_deref().unwrap_or_default()
}

fn volume_of(claim: &PersistentVolumeClaim) -> Volume {
    let name = name_of(claim).to_owned();
    let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None };
    Volume { name, persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The new specification, with what may change taken back.
fn with_mutable_fields_of(new: &StatefulSetSpec, old: &StatefulSetSpec) -> StatefulSetSpec {
    let StatefulSetSpec {
        replicas,
        template,
        update_strategy,
        min_ready_seconds,
        ordinals,
        revision_history_limit,
        persistent_volume_claim_retention_policy,
        ..
    } = old.clone();
    StatefulSetSpec {
        replicas,
        template,
        update_strategy,
        min_ready_seconds,
        ordinals,
        revision_history_limit,
        persistent_volume_claim_retention_policy,
        ..new.clone()
    }
}

fn counts(status: &StatefulSetStatus, path: &Path, errors: &mut Errors) {
    let parts = [
        ("readyReplicas", status.ready_replicas),
        ("currentReplicas", status.current_replicas),
        ("updatedReplicas", status.updated_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    let all = [("replicas", Some(status.replicas)), ("collisionCount", status.collision_count)];
    for (field, count) in all.into_iter().chain(parts) {
        check::not_negative(errors, &path.child(field), count);
    }
    check::not_negative(errors, &path.child("observedGeneration"), status.observed_generation);
    for (field, count) in parts {
        let count = count.unwrap_or_default();
        if count > status.replicas {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    let available = status.available_replicas.unwrap_or_default();
    if available > status.ready_replicas.unwrap_or_default() {
        let detail = "cannot be greater than status.readyReplicas";
        errors.invalid(&path.child("availableReplicas"), available, detail);
    }
}
