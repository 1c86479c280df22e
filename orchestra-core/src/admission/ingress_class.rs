use std::cmp::Reverse;

use async_trait::async_trait;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde_json::Value;

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Resource, Status};
use crate::watch::Query;

/// The annotation by which a class is that of the ingresses that name none.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// The annotation that named the class before there was a field for it.
const NAMED: &str = "kubernetes.io/ingress.class";

/// Gives an ingress that names no class the default one.
#[derive(Debug)]
pub struct DefaultIngressClass {
    caches: Caches,
}

impl DefaultIngressClass {
    /// Over these caches.
    pub fn new(caches: &Caches) -> Self {
        Self { caches: caches.clone() }
    }

    /// Of several default classes, the newest; of those of one second, the first by name.
    fn default(&self) -> Option<String> {
        let classes = self.caches.of::<IngressClass>()?.list(&Query::all());
        let classes = classes.iter().filter_map(|entry| entry.decode_bare::<IngressClass>().ok());
        let marked = classes.map(|class| class.metadata).filter(|meta| {
            let annotations = meta.annotations.as_ref();
            annotations.and_then(|annotations| annotations.get(DEFAULT)).is_some_and(|said| said == "true")
        });
        marked.min_by_key(|meta| (Reverse(meta.creation_timestamp.clone()), meta.name.clone()))?.name
    }
}

#[async_trait]
impl Admission for DefaultIngressClass {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Ingress>()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
        let created = attributes.verb == WriteVerb::Create && attributes.subresource.is_none();
        if !created || !attributes.resource.id.is::<Ingress>() {
            return Ok(Vec::new());
        }
        let annotations = object.pointer("/metadata/annotations");
        let named = annotations.is_some_and(|annotations| annotations.get(NAMED).is_some());
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return Ok(Vec::new());
        };
        if named || !spec["ingressClassName"].is_null() {
            return Ok(Vec::new());
        }
        if let Some(class) = self.default() {
            spec["ingressClassName"] = class.into();
        }
        Ok(Vec::new())
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::testing::TestServer;

    #[tokio::test(start_paused = true)]
    async fn an_ingress_that_names_no_class_is_of_the_newest_default_one() {
        let server = TestServer::start().await;
        for (name, default) in [("a", "true"), ("b", "true"), ("c", "false")] {
            let class = json!({
                "metadata": { "name": name, "annotations": { DEFAULT: default } },
                "spec": { "controller": "example.com/c" },
            });
            server.create::<IngressClass>(class).await;
            server.clock().sleep(Duration::from_secs(2)).await;
        }
        for (name, class, annotation, wanted) in [
            ("without", None, None, Some("b")),
            ("with", Some("c"), None, Some("c")),
            ("annotated", None, Some("old"), None),
        ] {
            let annotations = annotation.map(|class| json!({ NAMED: class }));
            let ingress = json!({
                "metadata": { "name": name, "annotations": annotations },
                "spec": {
                    "ingressClassName": class,
                    "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } },
                },
            });
            let made = server.create::<Ingress>(ingress).await;
            assert_eq!(made.spec.unwrap().ingress_class_name.as_deref(), wanted, "{name}");
        }
    }
}
