use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
#[cfg(feature = "openapi")]
use k8s_openapi::schemars::{JsonSchema as Described, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whether the objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each object is in one namespace and goes with it.
    Namespaced,
    /// One set of objects for the whole cluster.
    Cluster,
}

/// A Rust type whose values are objects of one kind.
///
/// To make a kind of your own, derive it for a serde struct with a `metadata` field; `apiVersion` and `kind` are written for
/// you and need no fields. Every resource type of [`k8s_openapi`] is an `Object` already.
///
/// ```
/// use orchestra_core::meta::{Object, Scope};
/// use orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
///
/// #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, Object)]
/// #[object(group = "example.org", version = "v1")]
/// struct Website {
///     metadata: ObjectMeta,
///     spec: WebsiteSpec,
/// }
///
/// #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
/// struct WebsiteSpec {
///     host: String,
/// }
///
/// assert_eq!((Website::KIND, Website::PLURAL, Website::SCOPE), ("Website", "websites", Scope::Namespaced));
/// ```
///
/// | option of `#[object(…)]` | what it says |
/// | --- | --- |
/// | `group`, `version` | of which they are; needed |
/// | `kind` | the name of the kind, if not that of the struct |
/// | `plural` | the plural in URLs, if not the struct's name in lower case with an *s* |
/// | `cluster` | the objects are of the whole cluster, and in no namespace |
/// | `schema` | with the feature `openapi`: the struct implements `k8s_openapi::schemars::JsonSchema`, and documents and definitions of it have its schema |
///
/// [`definition_of`](crate::objects::definition_of) makes a CustomResourceDefinition of it, for clusters elsewhere. A cluster
/// of this program takes the type itself: [`Resource::plain`](crate::api::Resource::plain).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no kind of objects",
    label = "not an object of a kind",
    note = "derive it for a serde struct with a field `metadata: ObjectMeta`: #[derive(Object)] #[object(group = \"example.org\", version = \"v1\")]",
    note = "or use a resource type of `k8s_openapi`"
)]
pub trait Object: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The API group; empty for the core group.
    const GROUP: &'static str;
    /// The version of the group, such as `v1`.
    const VERSION: &'static str;
    /// The name of the kind, such as `Pod`.
    const KIND: &'static str;
    /// The plural in lower case, as it stands in URLs, such as `pods`.
    const PLURAL: &'static str;
    /// Whether the objects live in namespaces.
    const SCOPE: Scope;

    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The object's metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// The schema of the objects, for OpenAPI documents; `None` lets any field pass. A type that implements
    /// [`JsonSchema`](Described) gives `Some(generator.subschema_for::<Self>())`.
    #[cfg(feature = "openapi")]
    fn schema(_generator: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    /// Group and version as they stand in `apiVersion`.
    fn api_version() -> String {
        match Self::GROUP {
            "" => Self::VERSION.to_owned(),
            group => format!("{group}/{}", Self::VERSION),
        }
    }
}

/// Lets the scope be read off the marker types of `k8s-openapi`.
pub trait ScopeMarker {
    /// The scope this marker stands for.
    const SCOPE: Scope;
}

impl ScopeMarker for k8s_openapi::NamespaceResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}

impl ScopeMarker for k8s_openapi::ClusterResourceScope {
    const SCOPE: Scope = Scope::Cluster;
}

/// With OpenAPI documents, every type of `k8s-openapi` describes itself; without, nothing is asked of it.
#[cfg(not(feature = "openapi"))]
pub trait Described {}

#[cfg(not(feature = "openapi"))]
impl<K> Described for K {}

// Of a type that is none it would be said that it lacks a trait of `k8s_openapi`, which is no way to become one.
#[diagnostic::do_not_recommend]
impl<K> Object for K
where
    K: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Described
        + Send
        + Sync
        + 'static,
    K::Scope: ScopeMarker,
{
    const GROUP: &'static str = K::GROUP;
    const VERSION: &'static str = K::VERSION;
    const KIND: &'static str = K::KIND;
    const PLURAL: &'static str = K::URL_PATH_SEGMENT;
    const SCOPE: Scope = <K::Scope as ScopeMarker>::SCOPE;

    #[cfg(feature = "openapi")]
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<K>())
    }

    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
}
