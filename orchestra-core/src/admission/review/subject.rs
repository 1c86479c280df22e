use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Map, Value, json};

use crate::api::admission::{Attributes, WriteVerb};
use crate::api::scaled::{scale_of, set_replicas};
use crate::api::{BodyKind, Caches, Status, User};
use crate::meta::ObjectName;
use crate::selector::Labels;

/// The group of the kinds by which writes are judged. They judge no writes to themselves: a wrong one could not be mended.
const JUDGES: &str = "admissionregistration.k8s.io";
/// What is asked and kept nowhere. Policies are not for it.
const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// What is asked for, in the words of reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub(in crate::admission) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A request on its way, as those see it who judge it.
pub(in crate::admission) struct Subject<'a> {
    pub(in crate::admission) attributes: &'a Attributes<'a>,
    pub(in crate::admission) operation: Operation,
    /// What is asked for, as it will be stored; `None` for a deletion.
    pub(in crate::admission) object: Option<&'a Value>,
    /// The namespace as it is now, if the request is about something in one.
    pub(in crate::admission) namespace: Option<Arc<Value>>,
}

impl<'a> Subject<'a> {
    pub(in crate::admission) fn new(
        attributes: &'a Attributes<'a>,
        object: Option<&'a Value>,
        namespace: Option<Arc<Value>>,
    ) -> Self {
        let operation = match attributes.verb {
            WriteVerb::Create => Operation::Create,
            WriteVerb::Update => Operation::Update,
            WriteVerb::Delete => Operation::Delete,
            WriteVerb::Connect => Operation::Connect,
        };
        Self { attributes, operation, object, namespace }
    }

    /// The namespace that a request is in.
    pub(in crate::admission) fn find_namespace(
        attributes: &Attributes<'_>,
        caches: &Caches,
    ) -> Option<Arc<Value>> {
        let namespace = attributes.name.namespace()?;
        let cache = caches.of::<Namespace>()?;
        let entry = cache.get(&ObjectName::cluster(namespace))?;
        entry.view::<Value>().ok()
    }

    /// Whether it is a write to what judges writes.
    pub(in crate::admission) fn is_of_judges(attributes: &Attributes<'_>) -> bool {
        &*attributes.resource.id.group == JUDGES
    }

    /// Whether it is a question that is kept nowhere.
    pub(in crate::admission) fn is_review(attributes: &Attributes<'_>) -> bool {
        let id = &attributes.resource.id;
        REVIEWS.contains(&(&*id.group, &*id.resource))
    }

    pub(in crate::admission) fn subresource(&self) -> &str {
        match self.attributes.scale {
            Some(_) => "scale",
            None => self.attributes.subresource.unwrap_or_default(),
        }
    }

    /// Whether it is about a namespace, and not about something in one.
    pub(in crate::admission) fn is_namespace(&self) -> bool {
        self.attributes.resource.id.is::<Namespace>()
    }

    /// The labels by which the namespace is selected: of a namespace that is made or changed, its own. `None` when there is
    /// no namespace to select.
    pub(in crate::admission) fn namespace_labels(&self) -> Option<Labels> {
        if self.is_namespace() {
            let object = match (self.operation, self.subresource()) {
                (Operation::Create | Operation::Update, "") => self.object,
                _ => self.attributes.old,
            };
            return Some(labels_of(object.unwrap_or(&Value::Null)));
        }
        self.attributes.name.namespace()?;
        Some(labels_of(self.namespace.as_deref().unwrap_or(&Value::Null)))
    }

    /// The labels of what is asked for and of what is there: one of them is to match.
    pub(in crate::admission) fn object_labels(&self) -> impl Iterator<Item = Labels> {
        self.object.into_iter().chain(self.attributes.old).map(labels_of)
    }

    /// The object in the version that is to be seen.
    pub(in crate::admission) async fn shown(&self, version: (&str, &str)) -> Result<Value, Status> {
        let Some(object) = self.object else { return Ok(Value::Null) };
        Ok(match (self.attributes.body, self.attributes.scale) {
            (Some(_), _) => object.clone(),
            (None, Some(paths)) => scale_of(object, paths),
            (None, None) => self.with_revision(self.attributes.resource.shown(version, object).await?),
        })
    }

    /// Objects are kept without their revision, and read with it.
    fn with_revision(&self, mut object: Value) -> Value {
        if let Some(revision) = self.attributes.revision {
            object["metadata"]["resourceVersion"] = revision.to_string().into();
        }
        object
    }

    /// The object that is there in the version that is to be seen.
    pub(in crate::admission) async fn shown_old(&self, version: (&str, &str)) -> Result<Value, Status> {
        let Some(old) = self.attributes.old else { return Ok(Value::Null) };
        Ok(match self.attributes.scale {
            Some(paths) => scale_of(old, paths),
            None => self.with_revision(self.attributes.resource.shown(version, old).await?),
        })
    }

    /// The kind of what is sent.
    fn kind(&self, (group, version): (&str, &str)) -> Value {
        let (group, version, kind) = match (self.attributes.body, self.attributes.scale) {
            (Some(BodyKind { group, version, kind }), _) => (&**group, &**version, &**kind),
            (None, Some(_)) => ("autoscaling", "v1", "Scale"),
            (None, None) => (group, version, &*self.attributes.resource.kind),
        };
        json!({"group": group, "version": version, "kind": kind})
    }

    /// What a review says of the request, without its uid and its objects, where it is seen in a version.
    pub(in crate::admission) fn request(&self, shown: (&str, &str)) -> Map<String, Value> {
        let attributes = self.attributes;
        let plural = &*attributes.resource.id.resource;
        let resource =
            |(group, version): (&str, &str)| json!({"group": group, "version": version, "resource": plural});
        let mut request = Map::new();
        let mut put = |field: &str, value: Value| drop(request.insert(field.to_owned(), value));
        put("kind", self.kind(shown));
        put("resource", resource(shown));
        put("requestKind", self.kind(attributes.spoken));
        put("requestResource", resource(attributes.spoken));
        let part = self.subresource();
        if !part.is_empty() {
            put("subResource", part.into());
            put("requestSubResource", part.into());
        }
        let name = attributes.name.name();
        if !name.is_empty() {
            put("name", name.into());
        }
        // What is about a namespace is in it, as Kubernetes sees it.
        let namespace = if self.is_namespace() { Some(name) } else { attributes.name.namespace() };
        if let Some(namespace) = namespace {
            put("namespace", namespace.into());
        }
        put("operation", self.operation.as_str().into());
        put("userInfo", user_info(attributes.user));
        put("dryRun", attributes.dry_run.into());
        put("options", attributes.options.to_object());
        request
    }
}

/// What becomes of the object when somebody has made `made` of what they were shown of it.
///
/// # Errors
/// Why it cannot be.
pub(in crate::admission) async fn accepted(
    attributes: &Attributes<'_>,
    version: (&str, &str),
    made: Value,
    object: &Value,
) -> Result<Value, String> {
    match (attributes.body, attributes.scale) {
        (Some(_), _) => Ok(made),
        (None, Some(paths)) => {
            let replicas = made.pointer("/spec/replicas").unwrap_or(&Value::Null);
            let number = replicas.as_i64().and_then(|number| i32::try_from(number).ok());
            let number = number.filter(|number| *number >= 0);
            let number = number
                .ok_or_else(|| format!("spec.replicas is {replicas}, which is no number of replicas"))?;
            let mut object = object.clone();
            set_replicas(&mut object, paths, number);
            Ok(object)
        }
        (None, None) => attributes.resource.revised(version, made, object).await,
    }
}

fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".to_owned(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(info)
}

fn labels_of(object: &Value) -> Labels {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
