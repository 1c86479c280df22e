//! What Go calls the types of fields, for messages of its decoder.

use super::{Field, Kind, Place, Shape, Type};
use crate::api::spot::Step;

/// A value in a document, as Go's decoder names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The struct that has the field, and the fields on the way to it, types that are inlined among them; `None` for the
    /// document itself.
    pub(crate) field: Option<(&'static str, String)>,
    /// The type.
    pub(crate) of: String,
}

/// Where on the way a value stands.
#[derive(Clone, Copy)]
enum At {
    Struct(&'static Type),
    Field(&'static Field),
    /// In the list or map that a field is.
    Element(&'static Field),
}

/// The name of a value; `None` where the way leads out of the table.
pub(crate) fn name(place: Place, path: &[Step]) -> Option<Named> {
    let Place::Type(root) = place else { return None };
    let (mut at, mut owner, mut fields) = (At::Struct(root), root, Vec::new());
    for step in path {
        at = match (at.opened()?, step) {
            (At::Struct(of), Step::Key(key)) => {
                let field = of.field(key)?;
                owner = of;
                fields.extend(of.inlined(key));
                fields.push(field.name);
                At::Field(field)
            }
            (At::Field(field), _) => At::Element(field),
            _ => return None,
        };
    }
    Some(Named {
        field: (!fields.is_empty()).then(|| (owner.name(), fields.join("."))),
        of: match at {
            At::Struct(of) => qualified(of),
            At::Field(field) => whole(field),
            At::Element(field) => element(field),
        },
    })
}

impl At {
    /// The struct that a value is, if it is one; a list or map stays one.
    fn opened(self) -> Option<Self> {
        let field = match self {
            Self::Struct(_) => return Some(self),
            Self::Field(field) if matches!(field.shape, Shape::Plain | Shape::Pointer) => field,
            Self::Field(_) => return Some(self),
            Self::Element(field) => field,
        };
        match field.of {
            Kind::Message(of) | Kind::Either(of, _) => Some(Self::Struct(of.get())),
            _ => None,
        }
    }
}

/// A number where one of another type, or none, is wanted.
pub(crate) fn number(literal: &str, wanted: &str) -> String {
    // If it only is the wrong number, Go says which.
    if wanted.starts_with("int") || wanted.starts_with("uint") {
        format!("number {literal}")
    } else {
        "number".to_owned()
    }
}

fn qualified(of: &Type) -> String {
    format!("{}.{}", of.version(), of.name())
}

fn whole(field: &Field) -> String {
    if let Some(name) = field.go {
        return name.to_owned();
    }
    match field.shape {
        Shape::Plain | Shape::Pointer => plain(field.of),
        Shape::List => format!("[]{}", plain(field.of)),
        Shape::Map => format!("map[string]{}", plain(field.of)),
        Shape::MapOfLists => format!("map[string][]{}", plain(field.of)),
    }
}

fn element(field: &Field) -> String {
    let within =
        field.go.and_then(|name| name.strip_prefix("[]").or_else(|| name.strip_prefix("map[string]")));
    within.map_or_else(|| plain(field.of), str::to_owned)
}

/// A type without a name of its own. What reads itself from JSON does so by way of another type.
fn plain(of: Kind) -> String {
    match of {
        Kind::Bool => "bool".to_owned(),
        Kind::Int32 | Kind::IntOrString => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Float64 => "float64".to_owned(),
        Kind::String | Kind::Time | Kind::MicroTime => "string".to_owned(),
        Kind::Bytes => "[]uint8".to_owned(),
        Kind::Quantity => "resource.Quantity".to_owned(),
        Kind::Raw => "runtime.RawExtension".to_owned(),
        Kind::Message(of) | Kind::Either(of, _) => qualified(of.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_go_names_them() {
        let place = Place::of_kind("v1", "Pod").unwrap();
        for (path, owner, of) in [
            ("spec.dnsPolicy", "PodSpec.spec.dnsPolicy", "v1.DNSPolicy"),
            ("spec.containers", "PodSpec.spec.containers", "[]v1.Container"),
            ("spec.containers.0.command.1", "Container.spec.containers.command", "string"),
            (
                "spec.volumes.0.emptyDir",
                "Volume.spec.volumes.VolumeSource.emptyDir",
                "v1.EmptyDirVolumeSource",
            ),
            (
                "spec.containers.0.envFrom.0.configMapRef.name",
                "ConfigMapEnvSource.spec.containers.envFrom.configMapRef.LocalObjectReference.name",
                "string",
            ),
            (
                "spec.containers.0.securityContext.capabilities.add",
                "Capabilities.spec.containers.securityContext.capabilities.add",
                "[]v1.Capability",
            ),
            (
                "spec.containers.0.resources.limits",
                "ResourceRequirements.spec.containers.resources.limits",
                "v1.ResourceList",
            ),
            ("metadata.labels.a", "ObjectMeta.metadata.labels", "string"),
            ("metadata.deletionTimestamp", "ObjectMeta.metadata.deletionTimestamp", "string"),
            ("", "", "v1.Pod"),
        ] {
            let steps = path.split('.').filter(|step| !step.is_empty()).map(|step| match step.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key(step.to_owned()),
            });
            let named = name(place, &steps.collect::<Vec<_>>()).unwrap();
            let field = named.field.map_or(String::new(), |(owner, fields)| format!("{owner}.{fields}"));
            assert_eq!((field.as_str(), named.of.as_str()), (owner, of), "{path}");
        }
        assert_eq!(name(place, &[Step::Key("nosuch".to_owned())]), None);
    }
}
