use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status, names};
use crate::clock::{SharedClock, random_suffix};
use crate::meta::ObjectName;

/// How the names of the volumes with tokens begin.
const TOKEN_VOLUME: &str = "kube-api-access-";
/// Where clients in a container look for their token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long the token of a pod counts: a little more than an hour, by which those who issue tokens know that it was not
/// asked for by its author.
const TOKEN_SECONDS: i64 = 3607;
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Gives a pod its service account, with what the account pulls images with, and the token by which its containers are
/// the account to the API; refuses Secrets that the account keeps from its pods.
#[derive(Debug)]
pub struct ServiceAccounts {
    caches: Caches,
    clock: SharedClock,
    tokens: bool,
}

impl ServiceAccounts {
    /// Over these caches. `tokens` says whether the cluster issues any.
    pub fn new(caches: &Caches, clock: SharedClock, tokens: bool) -> Self {
        Self { caches: caches.clone(), clock, tokens }
    }

    fn decide(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), String> {
        if pod["metadata"]["annotations"].get(MIRROR).is_some() {
            return check_mirror(&pod["spec"]);
        }
        let spec = &mut pod["spec"];
        let given = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        let name = if given.is_empty() { "default" } else { &given };
        let account = self.find(attributes, name)?;
        spec["serviceAccountName"] = name.into();
        spec["serviceAccount"] = name.into();
        if let Some(account) = &account {
            if account
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|held| held.get(ENFORCE).is_some_and(|text| is_true(text)))
            {
                check_secrets(account, name, spec)?;
            }
            let secrets = account.image_pull_secrets.as_deref().unwrap_or_default();
            if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty) && !secrets.is_empty() {
                spec["imagePullSecrets"] =
                    secrets.iter().map(|secret| json!({"name": secret.name})).collect();
            }
        }
        let of_account = account.as_ref().and_then(|account| account.automount_service_account_token);
        let wanted = spec["automountServiceAccountToken"].as_bool().or(of_account).unwrap_or(true);
        if self.tokens && wanted {
            // What a webhook has added since is given the volume that is there.
            let there = each(spec, "volumes").filter_map(|volume| volume["name"].as_str());
            let there = there.into_iter().find(|name| name.starts_with(TOKEN_VOLUME)).map(str::to_owned);
            let made = || format!("{TOKEN_VOLUME}{}", random_suffix(&*self.clock, 5));
            mount_token(spec, &there.unwrap_or_else(made));
        }
        Ok(())
    }

    /// The account of that name; `None` for the default one that a controller has not made yet.
    fn find(&self, attributes: &Attributes<'_>, name: &str) -> Result<Option<Arc<ServiceAccount>>, String> {
        let Some(cache) = self.caches.of::<ServiceAccount>() else { return Ok(None) };
        let namespace = attributes.name.namespace().unwrap_or_default();
        let faults = names::path_segment(name);
        if !faults.is_empty() {
            // It could not be asked for.
            return Err(format!(
                "error looking up service account {namespace}/{name}: invalid resource name {name:?}: [{}]",
                faults.join(" ")
            ));
        }
        match cache.get(&ObjectName::namespaced(namespace, name)) {
            Some(entry) => Ok(entry.view().ok()),
            None if name == "default" => Ok(None),
            None => Err(format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            )),
        }
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "True" | "TRUE")
}

fn each<'v>(value: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    value[list].as_array().into_iter().flatten()
}

/// A pod that a node reports refers to nothing that the API has.
fn check_mirror(spec: &Value) -> Result<(), String> {
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err("a mirror pod may not reference service accounts".to_owned());
    }
    let by_volume = each(spec, "volumes").any(|volume| volume.get("secret").is_some());
    if by_volume || secrets_in_env(spec).next().is_some() {
        return Err("a mirror pod may not reference secrets".to_owned());
    }
    let token = |volume: &Value| {
        each(&volume["projected"], "sources").any(|source| source.get("serviceAccountToken").is_some())
    };
    match each(spec, "volumes").any(token) {
        true => Err("a mirror pod may not use ServiceAccountToken volume projections".to_owned()),
        false => Ok(()),
    }
}

/// The kind of container, its name, the variable and the Secret of each variable that is read from one.
fn secrets_in_env(spec: &Value) -> impl Iterator<Item = (&'static str, &str, &str, &str)> {
    let lists = [("initContainers", "init container"), ("containers", "container")];
    lists.into_iter().flat_map(move |(list, kind)| {
        each(spec, list).flat_map(move |container| {
            each(container, "env").filter_map(move |env| {
                let secret = env["valueFrom"]["secretKeyRef"]["name"].as_str()?;
                Some((
                    kind,
                    container["name"].as_str().unwrap_or_default(),
                    env["name"].as_str().unwrap_or_default(),
                    secret,
                ))
            })
        })
    })
}

/// A pod uses only those Secrets that its account lists.
fn check_secrets(account: &ServiceAccount, name: &str, spec: &Value) -> Result<(), String> {
    let listed =
        |secret: &str| account.secrets.iter().flatten().any(|held| held.name.as_deref() == Some(secret));
    let why = format!("is not allowed because service account {name} does not reference that secret");
    for volume in each(spec, "volumes") {
        if let Some(secret) = volume["secret"]["secretName"].as_str().filter(|secret| !listed(secret)) {
            return Err(format!("volume with secret.secretName={secret:?} {why}"));
        }
    }
    for (kind, container, variable, secret) in secrets_in_env(spec) {
        if !listed(secret) {
            return Err(format!(
                "{kind} {container} with envVar {variable} referencing secret.secretName={secret:?} {why}"
            ));
        }
    }
    let pulls = |secret: &str| account.image_pull_secrets.iter().flatten().any(|held| held.name == secret);
    for (index, secret) in each(spec, "imagePullSecrets").enumerate() {
        let secret = secret["name"].as_str().unwrap_or_default();
        if !pulls(secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {name} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// Gives the token to each container that has nothing else in its place.
fn mount_token(spec: &mut Value, volume: &str) {
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if each(container, "volumeMounts").any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            push(
                container,
                "volumeMounts",
                json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}),
            );
            mounted = true;
        }
    }
    let there = each(spec, "volumes").any(|held| held["name"] == volume);
    if mounted && !there {
        push(spec, "volumes", token_volume(volume));
    }
}

fn push(object: &mut Value, list: &str, item: Value) {
    match &mut object[list] {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 0o644,
        },
    })
}

#[async_trait]
impl Admission for ServiceAccounts {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Pod>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let id = &attributes.resource.id;
        let of_pods = id.is::<Pod>() && attributes.subresource.is_none();
        if !of_pods || attributes.verb != WriteVerb::Create || !object["spec"].is_object() {
            return Ok(Vec::new());
        }
        match self.decide(attributes, object) {
            Ok(()) => Ok(Vec::new()),
            Err(why) => Err(Status::forbidden(id, attributes.name.name(), why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_comes_to_each_container_that_has_nothing_in_its_place() {
        let own = json!({"name": "b", "volumeMounts": [{"name": "own", "mountPath": TOKEN_PATH}]});
        let mut spec = json!({
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, own.clone()],
            "volumes": [{"name": "own", "emptyDir": {}}],
        });
        mount_token(&mut spec, "v");
        let mount = json!([{"name": "v", "readOnly": true, "mountPath": TOKEN_PATH}]);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"], json!([{"name": "a", "volumeMounts": mount}, own.clone()]));
        assert_eq!(spec["volumes"][1]["projected"]["sources"].as_array().unwrap().len(), 3);
        let mut without = json!({"containers": [own.clone()]});
        mount_token(&mut without, "v");
        assert_eq!(without, json!({"containers": [own]}), "nobody needs the volume");
    }

    #[test]
    fn a_pod_that_a_node_reports_refers_to_nothing() {
        for (spec, refused) in [
            (json!({"containers": [{"name": "c"}]}), None),
            (json!({"serviceAccountName": "s"}), Some("service accounts")),
            (json!({"volumes": [{"name": "v", "secret": {}}]}), Some("secrets")),
            (
                json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                Some("secrets"),
            ),
            (
                json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
                Some("ServiceAccountToken"),
            ),
        ] {
            let found = check_mirror(&spec).err();
            assert_eq!(found.is_some(), refused.is_some(), "{spec}");
            assert!(found.is_none_or(|found| found.contains(refused.unwrap())), "{spec}");
        }
    }
}
