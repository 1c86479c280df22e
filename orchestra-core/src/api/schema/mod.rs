//! What Kubernetes' API says of its types and fields.
//!
//! All of it is in one table, `types.txt`. From it come the [canonical form](canonical) of objects, the decoding of
//! protobuf, strategic merge patches, the extensions of OpenAPI documents, and [what does not fit](fit). The types of other groups are not in it,
//! and what is not in it is left as it is.

pub(crate) mod canonical;
pub(crate) mod declare;
pub(crate) mod fit;
pub(crate) mod go;
mod table;

pub(crate) use table::TypeRef;
pub(crate) use table::describes;
pub use table::{Type, definition};

/// How a list behaves when two writers meet in it (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    Atomic,
    /// Each element stands for itself and at most once.
    Set,
    /// Elements are told apart by these fields.
    Map(Box<[&'static str]>),
}

/// What is known of one field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its number in protobuf.
    pub(crate) number: u32,
    pub(crate) shape: Shape,
    pub(crate) of: Kind,
    /// Whether Go leaves it out when it is empty.
    omitted_when_empty: bool,
    /// Whether a list that is empty means something else than a missing one, for which there is a default.
    pub(crate) meant_when_empty: bool,
    /// Whether a strategic merge patch merges the list rather than replacing it.
    pub merge: bool,
    /// Whether a strategic merge patch replaces the map as a whole rather than merging it.
    pub replace: bool,
    /// Whether patches name the fields to keep (`$retainKeys`), so that one variant of a union replaces another.
    pub retain_keys: bool,
    /// The field by which patches tell elements apart, if they are objects.
    pub merge_key: Option<&'static str>,
    /// How the list behaves, if it is one.
    pub list: ListType,
    /// Whether the map or object is one value.
    pub atomic: bool,
    /// What Go calls its type, if that has a name beside those of the table.
    pub(crate) go: Option<&'static str>,
    /// What it is when it is left out, in the elements of a list that it tells apart.
    pub(crate) default: Option<&'static str>,
}

/// How a field holds its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One, always: zero, empty and missing are the same.
    Plain,
    /// One or none: a pointer in Go. Set to zero is something else than missing.
    Pointer,
    /// In a list.
    List,
    /// In a map from strings.
    Map,
    /// In lists, in a map from strings. In protobuf each list is a message of its own.
    MapOfLists,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Float64,
    String,
    /// Text in base64.
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// JSON as it is.
    Raw,
    Message(TypeRef),
    /// A message or something else.
    Either(TypeRef, Other),
}

/// What may stand in the place of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Bool,
    Messages,
    Strings,
}

impl Kind {
    /// Whether a value is of this kind, which is none of messages.
    pub(crate) fn holds(self, value: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (self, value) {
            (Self::Raw, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Float64 | Self::Quantity, Value::Number(_))
            | (
                Self::String
                | Self::Bytes
                | Self::Quantity
                | Self::IntOrString
                | Self::Time
                | Self::MicroTime,
                Value::String(_),
            ) => true,
            (Self::Int64, Value::Number(number)) => number.is_i64(),
            (Self::Int32 | Self::IntOrString, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            _ => false,
        }
    }
}

impl Field {
    /// `patchStrategy` as OpenAPI documents have it; `None` for the default.
    pub fn strategy(&self) -> Option<&'static str> {
        match (self.merge, self.retain_keys, self.replace) {
            (true, true, _) => Some("merge,retainKeys"),
            (true, false, _) => Some("merge"),
            (false, true, _) => Some("retainKeys"),
            (false, false, true) => Some("replace"),
            (false, false, false) => None,
        }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.shape == Shape::List
    }

    /// Whether Go writes it even when it is empty.
    pub(crate) fn always_written(&self) -> bool {
        !self.omitted_when_empty
    }

    fn place(&self) -> Place {
        match self.of {
            Kind::Message(of) | Kind::Either(of, _) => Place::Type(of.get()),
            _ => Place::Plain,
        }
    }
}

/// A place in the schema, while walking down a document.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A value of a type of the table.
    Type(&'static Type),
    /// An object of another's kind, of which only the metadata are known.
    Object,
    /// A value of which nothing is known.
    Plain,
}

/// Where a step down leads: what is known of the field, and the place of its value, or of its elements.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is known of the field.
    pub facts: Option<&'static Field>,
    /// The place of the value.
    pub place: Place,
}

impl Place {
    /// Where a document of the kind begins; `None` if it is not one of Kubernetes' own.
    pub fn of_kind(api_version: &str, kind: &str) -> Option<Self> {
        Type::find(api_version, kind).map(Self::Type)
    }

    /// Where a document of a kind begins, by its group and version.
    pub(crate) fn of_version(group: &str, version: &str, kind: &str) -> Option<Self> {
        Type::of_version(group, version, kind).map(Self::Type)
    }

    /// The place of a type by its name in OpenAPI documents, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn of_definition(definition: &str) -> Self {
        Type::of_definition(definition).map_or(Self::Plain, Self::Type)
    }

    /// Goes down into a field.
    pub fn step(&self, field: &str) -> Step {
        match self {
            Self::Type(held) => {
                let facts = held.field(field);
                Step { facts, place: facts.map_or(Self::Plain, Field::place) }
            }
            Self::Object if field == "metadata" => Step { facts: None, place: Self::metadata() },
            Self::Object | Self::Plain => Step { facts: None, place: Self::Plain },
        }
    }

    /// Metadata are the same for every kind.
    pub(crate) fn metadata() -> Self {
        Type::find("meta.k8s.io/v1", "ObjectMeta").map_or(Self::Plain, Self::Type)
    }

    /// Whether values of this type are replaced as a whole by applied configurations.
    pub fn is_atomic(&self) -> bool {
        matches!(self, Self::Type(held) if held.atomic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(start: Place, path: &str) -> Step {
        let (path, last) = path.rsplit_once('.').unwrap_or(("", path));
        let steps = path.split('.').filter(|step| !step.is_empty());
        steps.fold(start, |place, step| place.step(step).place).step(last)
    }

    #[test]
    fn walks_end_where_the_api_has_them() {
        let deployment = Place::Type(Type::find("apps/v1", "Deployment").unwrap());
        for (path, key) in [
            ("spec.template.spec.containers", Some("name")),
            ("spec.template.spec.containers.ports", Some("containerPort")),
            ("spec.template.spec.tolerations", None),
            ("status.conditions", Some("type")),
            ("metadata.ownerReferences", Some("uid")),
            ("spec.template.metadata.ownerReferences", Some("uid")),
        ] {
            assert_eq!(walk(deployment, path).facts.and_then(|facts| facts.merge_key), key, "{path}");
        }
        assert!(walk(deployment, "spec.strategy").facts.unwrap().retain_keys);
        assert_eq!(walk(deployment, "metadata.finalizers").facts.unwrap().strategy(), Some("merge"));
        assert!(walk(Place::Object, "metadata.labels").facts.is_some());
        assert!(walk(Place::Object, "spec.labels").facts.is_none());
    }

    #[test]
    fn definitions_carry_the_names_of_the_wire() {
        assert_eq!(definition("", "v1", "Pod").unwrap(), "io.k8s.api.core.v1.Pod");
        assert_eq!(definition("rbac.authorization.k8s.io", "v1", "Role").unwrap(), "io.k8s.api.rbac.v1.Role");
        assert_eq!(definition("example.org", "v1", "Website"), None);
    }
}
