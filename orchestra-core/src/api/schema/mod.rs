//! What Kubernetes' API says of its fields beyond their types: which lists merge by which key, which are sets, which
//! maps are replaced as a whole.
//!
//! Strategic merge patches, the extensions of OpenAPI documents and field ownership are all derived from the one
//! table in [`types`]. A field that has no row there is as most are: a list in it is atomic, a map is merged.

mod types;

use super::Resource;

/// How a list behaves when two writers meet in it (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    Atomic,
    /// Each element stands for itself and at most once.
    Set,
    /// Elements are told apart by these fields.
    Map(&'static [&'static str]),
}

/// What is known of one field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// The type of its value, or of its elements; relative to the package of the type it is in.
    pub of: Option<&'static str>,
    /// Whether a strategic merge patch merges the list rather than replacing it.
    pub merge: bool,
    /// Whether a strategic merge patch replaces the map as a whole rather than merging it.
    pub replace: bool,
    /// Whether patches name the fields to keep (`$retainKeys`), so that one variant of a union replaces another.
    pub retain_keys: bool,
    /// How the list behaves, if it is one.
    pub list: ListType,
    /// The field by which patches tell elements apart, if they are objects.
    pub merge_key: Option<&'static str>,
    /// Whether the map is one value.
    pub atomic_map: bool,
}

const fn field(name: &'static str) -> Field {
    Field {
        name,
        of: None,
        merge: false,
        replace: false,
        retain_keys: false,
        list: ListType::Atomic,
        merge_key: None,
        atomic_map: false,
    }
}

impl Field {
    const fn of(self, of: &'static str) -> Self {
        Self { of: Some(of), ..self }
    }

    /// Merged by patches, by the first of these keys.
    const fn merged(self, keys: &'static [&'static str]) -> Self {
        Self { merge: true, merge_key: Some(keys[0]), list: ListType::Map(keys), ..self }
    }

    /// Told apart by these keys in applied configurations, though patches replace the list.
    const fn keyed(self, keys: &'static [&'static str]) -> Self {
        Self { list: ListType::Map(keys), ..self }
    }

    const fn merged_set(self) -> Self {
        Self { merge: true, ..self.set() }
    }

    const fn set(self) -> Self {
        Self { list: ListType::Set, ..self }
    }

    /// Atomic in applied configurations, though patches merge the list.
    const fn atomic(self) -> Self {
        Self { list: ListType::Atomic, ..self }
    }

    const fn retain_keys(self) -> Self {
        Self { retain_keys: true, ..self }
    }

    const fn replaced(self) -> Self {
        Self { replace: true, ..self }
    }

    const fn whole_map(self) -> Self {
        Self { atomic_map: true, ..self }
    }

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
}

/// A type and those of its fields that need a word.
#[derive(Debug)]
struct Type {
    package: &'static str,
    name: &'static str,
    fields: &'static [Field],
}

/// A place in the schema, while walking down a document of a built-in kind.
#[derive(Clone, Debug)]
pub enum Place {
    /// An object: `metadata`, `spec` and `status` are what their names say.
    Object {
        /// The package of its type, such as `apps.v1`.
        package: String,
        /// Its kind.
        kind: String,
    },
    /// Within one.
    Type(TypeRef),
    /// Where nothing special is known.
    Plain,
}

/// A type of the table.
#[derive(Clone, Copy, Debug)]
pub struct TypeRef(&'static Type);

/// A field as it is found on a walk: its facts, if any, and the place it leads to.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is known of the field itself.
    pub facts: Option<Field>,
    /// The type of its value, or of its elements.
    pub place: Place,
}

impl TypeRef {
    /// The fields of which something is known.
    pub fn fields(&self) -> &'static [Field] {
        self.0.fields
    }
}

impl Place {
    /// The place of a kind's objects; `None` for a kind that is not one of Kubernetes' own.
    pub fn of(resource: &Resource) -> Option<Self> {
        let package = format!("{}.{}", package(&resource.id.group)?, resource.version);
        Some(Self::Object { package, kind: resource.kind.to_string() })
    }

    /// The place of a type by its name in OpenAPI documents, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn of_definition(definition: &str) -> Self {
        let name = definition.strip_prefix("io.k8s.").unwrap_or(definition);
        let known = [
            "api.",
            "apimachinery.pkg.apis.",
            "apiextensions-apiserver.pkg.apis.",
            "kube-aggregator.pkg.apis.",
        ];
        let relative = known.iter().find_map(|prefix| name.strip_prefix(prefix));
        relative.map_or(Self::Plain, Self::named)
    }

    fn named(qualified: &str) -> Self {
        let Some((package, name)) = qualified.rsplit_once('.') else { return Self::Plain };
        let mut types = types::TYPES.iter();
        let found = types.find(|held| held.name == name && held.package == package);
        found.map_or(Self::Plain, |found| Self::Type(TypeRef(found)))
    }

    /// Goes down into a field.
    pub fn step(&self, field: &str) -> Step {
        let facts = self.facts(field);
        let place = match (facts.and_then(|facts| facts.of), self) {
            (Some(of), _) if of.contains('.') => Self::named(of),
            (Some(of), Self::Type(held)) => Self::named(&format!("{}.{of}", held.0.package)),
            (Some(of), Self::Object { package, .. }) => Self::named(&format!("{package}.{of}")),
            (_, Self::Plain) => Self::Plain,
            (None, _) if field == "metadata" => Self::named("meta.v1.ObjectMeta"),
            (None, Self::Object { package, kind }) if field == "spec" => {
                Self::named(&format!("{package}.{kind}Spec"))
            }
            (None, Self::Object { package, kind }) if field == "status" => {
                Self::named(&format!("{package}.{kind}Status"))
            }
            _ => Self::Plain,
        };
        Step { facts, place }
    }

    fn facts(&self, field: &str) -> Option<Field> {
        let fields = match self {
            Self::Type(held) => held.0.fields,
            Self::Object { package, kind } => match Self::named(&format!("{package}.{kind}")) {
                Self::Type(held) => held.0.fields,
                _ => return None,
            },
            Self::Plain => return None,
        };
        fields.iter().find(|held| held.name == field).copied()
    }

    /// Whether values of this type are replaced as a whole by applied configurations.
    pub fn is_atomic(definition: &str) -> bool {
        types::ATOMIC.iter().any(|name| definition.ends_with(name) && definition.starts_with("io.k8s."))
    }
}

/// The package of types that a group of Kubernetes' own has; `None` for any other group.
fn package(group: &str) -> Option<&'static str> {
    types::GROUPS.iter().find(|(held, _, _)| *held == group).map(|(_, package, _)| *package)
}

/// The name in OpenAPI documents of the type of a kind of Kubernetes' own; `None` for any other group.
pub fn definition(group: &str, version: &str, kind: &str) -> Option<String> {
    let (_, package, prefix) = types::GROUPS.iter().find(|(held, _, _)| *held == group)?;
    Some(format!("{prefix}.{package}.{version}.{kind}"))
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
        let deployment = || Place::Object { package: "apps.v1".into(), kind: "Deployment".into() };
        for (path, key) in [
            ("spec.template.spec.containers", Some("name")),
            ("spec.template.spec.containers.ports", Some("containerPort")),
            ("spec.template.spec.tolerations", None),
            ("status.conditions", Some("type")),
            ("metadata.ownerReferences", Some("uid")),
            ("spec.template.metadata.ownerReferences", Some("uid")),
        ] {
            assert_eq!(walk(deployment(), path).facts.and_then(|facts| facts.merge_key), key, "{path}");
        }
        assert!(walk(deployment(), "spec.strategy").facts.unwrap().retain_keys);
        assert_eq!(walk(deployment(), "metadata.finalizers").facts.unwrap().strategy(), Some("merge"));
    }

    #[test]
    fn every_type_that_a_field_leads_to_is_in_the_table_and_stands_there_once() {
        for held in types::TYPES {
            let twins =
                types::TYPES.iter().filter(|other| (other.package, other.name) == (held.package, held.name));
            assert_eq!(twins.count(), 1, "{}.{}", held.package, held.name);
            for field in held.fields.iter().filter(|field| field.of.is_some()) {
                let step = Place::Type(TypeRef(held)).step(field.name);
                assert!(matches!(step.place, Place::Type(_)), "{}.{}", held.name, field.name);
            }
        }
    }

    #[test]
    fn definitions_carry_the_names_of_the_wire() {
        assert_eq!(definition("", "v1", "Pod").unwrap(), "io.k8s.api.core.v1.Pod");
        assert_eq!(definition("rbac.authorization.k8s.io", "v1", "Role").unwrap(), "io.k8s.api.rbac.v1.Role");
        assert_eq!(definition("example.org", "v1", "Website"), None);
    }
}
