//! What somebody has to be allowed to do who asks about a cluster of others; pure.

use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::Intervention;
use super::intervention::{kind_named, manifested};
use crate::api::{Kinds, Status, Target, Verb};

/// What an answer tells of: it must be readable in all namespaces.
pub fn shown() -> [(Verb, Target); 4] {
    [
        Target::of::<Pod>(None),
        Target::of::<Node>(None),
        Target::of::<PodDisruptionBudget>(None),
        Target::of::<ResourceQuota>(None),
    ]
    .map(|target| (Verb::List, target))
}

impl Intervention {
    /// What would have to be allowed to make the change in earnest. That a node is lost needs nothing: nobody does it.
    ///
    /// # Errors
    /// When it names a kind that is not served, or a manifest no object.
    pub fn rights(&self, kinds: &Kinds) -> Result<Vec<(Verb, Target)>, Status> {
        let node = |name: &str| (Verb::Patch, Target::of::<Node>(None).named(name));
        let evict = (Verb::Create, Target::of::<Pod>(None).sub("eviction"));
        let object = |kind: &str, namespace: &str, name: &str| {
            let kind = kind_named(kinds, kind)?;
            let namespace = kind.is_namespaced().then_some(namespace);
            Ok::<_, Status>(kind.info().target(namespace).named(name))
        };
        Ok(match self {
            Self::Apply(manifest) => {
                let (kind, namespace, name) = manifested(kinds, manifest)?;
                let namespace = kind.is_namespaced().then_some(namespace);
                let target = kind.info().target(namespace);
                vec![(Verb::Create, target.clone()), (Verb::Patch, target.named(name))]
            }
            Self::Replace(manifest) => {
                let (kind, namespace, name) = manifested(kinds, manifest)?;
                let namespace = kind.is_namespaced().then_some(namespace);
                vec![(Verb::Update, kind.info().target(namespace).named(name))]
            }
            Self::Delete { kind, namespace, name } => vec![(Verb::Delete, object(kind, namespace, name)?)],
            Self::Scale { kind, namespace, name, .. } => {
                vec![(Verb::Patch, object(kind, namespace, name)?.sub("scale"))]
            }
            Self::LoseNode(_) => Vec::new(),
            Self::Cordon(name) | Self::Uncordon(name) => vec![node(name)],
            Self::Drain(name) | Self::Upgrade(name) => vec![node(name), evict],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects;

    fn told(change: Intervention) -> Vec<String> {
        let rights = change.rights(&objects::builtin()).unwrap();
        let text = |(verb, target): &(Verb, Target)| {
            let part = |part: &Option<_>| part.as_deref().unwrap_or("-").to_owned();
            let Target { namespace, name, subresource, resource, .. } = target;
            format!("{verb} {resource} {} {} {}", part(namespace), part(name), part(subresource))
        };
        rights.iter().map(text).collect()
    }

    #[test]
    fn who_asks_must_be_allowed_to_do_it() {
        let scale = |kind: &str| Intervention::Scale {
            kind: kind.into(),
            namespace: "a".into(),
            name: "w".into(),
            replicas: 2,
        };
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        for (change, expected) in [
            (scale("deploy"), &["patch deployments a w scale"][..]),
            (Intervention::LoseNode("n".into()), &[]),
            (Intervention::Cordon("n".into()), &["patch nodes - n -"]),
            (Intervention::Upgrade("n".into()), &["patch nodes - n -", "create pods - - eviction"]),
            (
                Intervention::Delete { kind: "no".into(), namespace: "a".into(), name: "n".into() },
                &["delete nodes - n -"],
            ),
            (Intervention::Replace(manifest.clone()), &["update configmaps default c -"]),
            (
                Intervention::Apply(manifest),
                &["create configmaps default - -", "patch configmaps default c -"],
            ),
        ] {
            let text = change.to_string();
            assert_eq!(told(change), expected, "{text}");
        }
        assert!(scale("thing").rights(&objects::builtin()).is_err());
        assert!(
            Intervention::Apply(json!({"kind": "Pod", "apiVersion": "v1"}))
                .rights(&objects::builtin())
                .is_err()
        );
    }

    #[test]
    fn a_change_is_read_as_it_is_written() {
        let all = json!([
            {"loseNode": "n"}, {"scale": {"kind": "deploy", "namespace": "a", "name": "w", "replicas": 2}},
            {"apply": {"kind": "Pod"}}, {"upgrade": "n"},
        ]);
        let changes: Vec<Intervention> = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(changes[0], Intervention::LoseNode("n".into()));
        assert_eq!(serde_json::to_value(&changes).unwrap(), all);
    }
}
