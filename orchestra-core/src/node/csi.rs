//! Volumes of drivers of the Container Storage Interface: what a driver is told when it shows one to a pod.
//!
//! What it is told depends on what its CSIDriver asks for, which is read each time: a driver that was installed a moment ago
//! is known as it is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, CSIVolumeSource, PersistentVolume, Pod, Secret, SecretReference,
    ServiceAccountTokenProjection, Volume,
};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec};
use serde_json::json;

use super::context::Context;
use super::csi_volume::{Confidential, Csi, CsiGroup, CsiSecrets};
use super::model::HeldTokens;
use super::tokens::held_token;
use super::volumes::fs_group;

/// A driver as the cluster knows it.
#[derive(Debug, Default)]
pub(super) struct Driver(Option<CSIDriverSpec>);

impl Driver {
    /// The driver of a name. One that nobody told the cluster of is as it is by default.
    pub(super) async fn find(ctx: &Context, name: &str) -> Result<Self, String> {
        let found = ctx.client.cluster::<CSIDriver>().find(name).await;
        let found = found.map_err(|status| format!("failed to fetch CSIDriver {name}: {status}"))?;
        Ok(Self(found.map(|driver| driver.spec)))
    }

    /// Whether its volumes are attached to a node first: they are, unless it says that they need not be.
    pub(super) fn attaches(&self) -> bool {
        self.0.as_ref().is_none_or(|spec| spec.attach_required != Some(false))
    }

    /// Whether it is asked again and again to show what it shows already.
    pub(super) fn republishes(&self) -> bool {
        self.0.as_ref().is_some_and(|spec| spec.requires_republish == Some(true))
    }

    fn makes_volumes_of_pods(&self) -> bool {
        let modes = self.0.as_ref().and_then(|spec| spec.volume_lifecycle_modes.as_ref());
        modes.is_some_and(|modes| modes.iter().any(|mode| mode == "Ephemeral"))
    }

    /// What it wants to know of the pod that a volume is for.
    fn of_pod(&self, pod: &Pod, ephemeral: bool) -> BTreeMap<String, String> {
        if self.0.as_ref().is_none_or(|spec| spec.pod_info_on_mount != Some(true)) {
            return BTreeMap::new();
        }
        let meta = &pod.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let known = [
            ("ephemeral", ephemeral.to_string()),
            ("pod.name", text(&meta.name)),
            ("pod.namespace", text(&meta.namespace)),
            ("pod.uid", text(&meta.uid)),
            ("serviceAccount.name", account.unwrap_or_else(|| "default".into())),
        ];
        known.map(|(key, value)| (format!("{PREFIX}{key}"), value)).into()
    }

    /// The group that the pod wants its files to belong to, and who sees to it.
    fn group(&self, pod: &Pod, csi: &Csi) -> Option<CsiGroup> {
        let id = fs_group(pod)?;
        let policy = self.0.as_ref().and_then(|spec| spec.fs_group_policy.as_deref());
        let by_file = !csi.read_only
            && match policy {
                Some("None") => false,
                Some("File") => true,
                _ => !csi.fs_type.is_empty() && csi.access_mode == "ReadWriteOnce",
            };
        let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
        Some(CsiGroup { id, by_file, unless_root_is: policy == Some("OnRootMismatch") })
    }

    /// Tells it of the pod, by tokens too if it wants some.
    async fn complete(
        &self,
        ctx: &Context,
        pod: &Pod,
        volume: &str,
        csi: &mut Csi,
        held: &mut HeldTokens,
    ) -> Result<(), String> {
        csi.attributes.extend(self.of_pod(pod, csi.ephemeral));
        csi.group = self.group(pod, csi);
        let Some(spec) = &self.0 else { return Ok(()) };
        // What is kept is renewed, so only what is given again is kept.
        let mut once = HeldTokens::new();
        let held = if self.republishes() { held } else { &mut once };
        let mut tokens = json!({});
        for wanted in spec.token_requests.iter().flatten() {
            let source = ServiceAccountTokenProjection {
                audience: Some(wanted.audience.clone()).filter(|audience| !audience.is_empty()),
                expiration_seconds: wanted.expiration_seconds,
                path: wanted.audience.clone(),
            };
            let token = held_token(ctx, pod, volume, &source, held).await?;
            tokens[&wanted.audience] =
                json!({"token": token.token, "expirationTimestamp": token.expires.to_string()});
        }
        if tokens.as_object().is_some_and(|tokens| !tokens.is_empty()) {
            let (key, tokens) = (format!("{PREFIX}serviceAccount.tokens"), tokens.to_string());
            match spec.service_account_token_in_secrets {
                Some(true) => csi.secrets.publish.0.insert(key, tokens),
                _ => csi.attributes.insert(key, tokens),
            };
        }
        Ok(())
    }
}

/// What stands before the names of what a driver is told of a pod.
const PREFIX: &str = "csi.storage.k8s.io/";

/// Where what a driver makes is for: a volume of a pod.
pub(super) struct For<'a> {
    pub(super) ctx: &'a Context,
    pub(super) pod: &'a Pod,
    pub(super) volume: &'a Volume,
}

impl For<'_> {
    /// A volume that the driver makes for the pod and that goes with it.
    pub(super) async fn own(
        &self,
        source: &CSIVolumeSource,
        driver: &Driver,
        held: &mut HeldTokens,
    ) -> Result<Csi, String> {
        let (name, pod) = (&source.driver, &self.pod.metadata);
        if !driver.makes_volumes_of_pods() {
            return Err(format!("volume mode \"Ephemeral\" not supported by driver {name}"));
        }
        let uid = pod.uid.as_deref().unwrap_or_default();
        let mut csi = Csi {
            driver: name.clone(),
            handle: format!("csi-{uid}-{}", self.volume.name),
            fs_type: source.fs_type.clone().unwrap_or_default(),
            read_only: source.read_only == Some(true),
            attributes: source.volume_attributes.clone().unwrap_or_default(),
            access_mode: "ReadWriteOnce".into(),
            ephemeral: true,
            ..Csi::default()
        };
        if let Some(secret) = &source.node_publish_secret_ref {
            let namespace = pod.namespace.as_deref().unwrap_or_default();
            csi.secrets.publish = secret_of(self.ctx, namespace, &secret.name).await?;
        }
        driver.complete(self.ctx, self.pod, &self.volume.name, &mut csi, held).await?;
        Ok(csi)
    }

    /// A volume that the pod has by a claim.
    pub(super) async fn claimed(
        &self,
        volume: &PersistentVolume,
        source: &CSIPersistentVolumeSource,
        driver: &Driver,
        held: &mut HeldTokens,
    ) -> Result<Csi, String> {
        let mut csi = of_volume(volume, source);
        csi.read_only |= is_read_only(self.volume);
        let secret = async |reference: &Option<SecretReference>| match reference {
            Some(SecretReference { name: Some(name), namespace: Some(namespace) }) => {
                secret_of(self.ctx, namespace, name).await
            }
            _ => Ok(Confidential::default()),
        };
        csi.secrets = CsiSecrets {
            stage: secret(&source.node_stage_secret_ref).await?,
            publish: secret(&source.node_publish_secret_ref).await?,
            expand: secret(&source.node_expand_secret_ref).await?,
        };
        driver.complete(self.ctx, self.pod, &self.volume.name, &mut csi, held).await?;
        Ok(csi)
    }
}

/// Whether a pod only reads what it has of a claim or a driver, whatever its containers say.
pub(super) fn is_read_only(volume: &Volume) -> bool {
    let claim = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only);
    claim.or(volume.csi.as_ref().and_then(|csi| csi.read_only)) == Some(true)
}

/// What a PersistentVolume says of a driver's volume.
pub(super) fn of_volume(volume: &PersistentVolume, source: &CSIPersistentVolumeSource) -> Csi {
    let spec = volume.spec.clone().unwrap_or_default();
    Csi {
        driver: source.driver.clone(),
        handle: source.volume_handle.clone(),
        block: spec.volume_mode.as_deref() == Some("Block"),
        fs_type: source.fs_type.clone().unwrap_or_default(),
        read_only: source.read_only == Some(true),
        attributes: source.volume_attributes.clone().unwrap_or_default(),
        mount_options: spec.mount_options.unwrap_or_default(),
        access_mode: spec.access_modes.and_then(|modes| modes.into_iter().next()).unwrap_or_default(),
        ..Csi::default()
    }
}

async fn secret_of(ctx: &Context, namespace: &str, name: &str) -> Result<Confidential, String> {
    let fetched = ctx.client.api::<Secret>(namespace).get(name).await;
    let secret = fetched.map_err(|status| format!("failed to fetch secret {namespace}/{name}: {status}"))?;
    let data = secret.data.unwrap_or_default().into_iter();
    Ok(Confidential(data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn driver(spec: Value) -> Driver {
        Driver(Some(serde_json::from_value(spec).unwrap()))
    }

    fn pod(group: Option<i64>) -> Pod {
        let context = json!({"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"});
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"containers": [], "securityContext": context},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_driver_is_told_of_the_pod_if_it_asks() {
        assert!(driver(json!({})).of_pod(&pod(None), true).is_empty());
        let told = driver(json!({"podInfoOnMount": true})).of_pod(&pod(None), false);
        let told: Vec<_> = told.iter().map(|(key, value)| (&key[PREFIX.len()..], &**value)).collect();
        assert_eq!(
            told,
            [
                ("ephemeral", "false"),
                ("pod.name", "web"),
                ("pod.namespace", "shop"),
                ("pod.uid", "u"),
                ("serviceAccount.name", "default"),
            ]
        );
    }

    #[test]
    fn files_are_the_groups_as_the_driver_has_it() {
        let csi = |fs_type: &str, mode: &str| Csi {
            fs_type: fs_type.into(),
            access_mode: mode.into(),
            ..Csi::default()
        };
        let (once, many) = (csi("ext4", "ReadWriteOnce"), csi("ext4", "ReadWriteMany"));
        let by_file = |policy: Value, csi: &Csi| {
            driver(json!({"fsGroupPolicy": policy})).group(&pod(Some(7)), csi).map(|group| group.by_file)
        };
        for (policy, csi, expected) in [
            (json!("File"), &many, true),
            (json!("File"), &Csi { read_only: true, ..many.clone() }, false),
            (json!("None"), &once, false),
            (json!("ReadWriteOnceWithFSType"), &once, true),
            (json!("ReadWriteOnceWithFSType"), &many, false),
            (Value::Null, &csi("", "ReadWriteOnce"), false),
        ] {
            assert_eq!(by_file(policy.clone(), csi), Some(expected), "{policy} {csi:?}");
        }
        assert_eq!(driver(json!({})).group(&pod(None), &once), None);
    }

    #[test]
    fn nobody_is_shown_what_a_driver_is_told_in_confidence() {
        let secret = Confidential([("password".to_owned(), "12345".to_owned())].into());
        assert_eq!(format!("{secret:?}"), "{\"password\"}");
    }
}
