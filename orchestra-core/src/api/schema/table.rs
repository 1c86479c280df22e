//! `types.txt`, read once into a form that is quick to walk: fields are sorted by name, types refer to each other.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::{Field, Kind, ListType, Other, Shape};
use crate::api::by_name::{ByName, Named};
use crate::api::group_version::split_api_version;

const TEXT: &str = include_str!("types.txt");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(TEXT));

/// The groups of the table's versions.
const GROUPS: [&str; 26] = [
    "",
    "admission.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "kubescheduler.config.k8s.io",
    "meta.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Whether the table describes the kinds of a group. It is asked as the program is compiled, so that of types that the
/// table describes no second way to read them is compiled.
pub(crate) const fn describes(group: &str) -> bool {
    let mut at = 0;
    while at < GROUPS.len() {
        if same(GROUPS[at].as_bytes(), group.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// `==` cannot be used in a constant.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

impl Named for Field {
    fn name(&self) -> &str {
        self.name
    }
}

struct Table {
    versions: Vec<Version>,
    types: Vec<Type>,
    /// By group, version and name.
    named: FxHashMap<(&'static str, &'static str, &'static str), TypeRef>,
}

/// A version of a group, and what stands before the names of its types in OpenAPI documents.
#[derive(Debug)]
struct Version {
    api_version: &'static str,
    package: &'static str,
}

/// A subresource, empty for the object itself, and the fields that writes through it do not change.
type Kept = (&'static str, Box<[&'static str]>);

/// A type of the API: a kind, or what stands in one.
#[derive(Debug)]
pub struct Type {
    name: &'static str,
    /// The version of the API that it belongs to, without the group.
    version: &'static str,
    at: TypeRef,
    /// Whether applied configurations treat its values as one.
    pub(super) atomic: bool,
    /// Fields that writes do not change, whatever they say, by the subresource that is written to.
    kept: Box<[Kept]>,
    /// By their names in JSON, those of inlined types included.
    fields: ByName<Field>,
    /// As protobuf has them: by number, with what is inlined as one field without a name.
    messages: Vec<Field>,
    /// Which of `fields` Go always writes.
    always: Vec<usize>,
}

/// A type, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeRef(u16);

impl TypeRef {
    pub(crate) fn get(self) -> &'static Type {
        &TABLE.types[usize::from(self.0)]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Type {
    /// The type of an API version and name. For kinds, the name is the kind.
    pub(crate) fn find(api_version: &str, name: &str) -> Option<&'static Self> {
        let (group, version) = split_api_version(api_version);
        Self::of_version(group, version, name)
    }

    /// The type of a group, version and name.
    pub(crate) fn of_version(group: &str, version: &str, name: &str) -> Option<&'static Self> {
        TABLE.named.get(&(group, version, name)).map(|found| found.get())
    }

    /// The type of a name in OpenAPI documents, such as `io.k8s.api.core.v1.PodSpec`.
    pub(super) fn of_definition(definition: &str) -> Option<&'static Self> {
        let (package, name) = definition.rsplit_once('.')?;
        let version = TABLE.versions.iter().find(|version| version.package == package)?;
        Self::find(version.api_version, name)
    }

    /// Every type, in the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        TABLE.types.iter()
    }

    /// Its place in the table.
    pub(crate) fn at(&self) -> TypeRef {
        self.at
    }

    /// Whether applied configurations treat its values as one.
    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// The fields that a write to a subresource does not change, whatever it says, as paths with dots; `None` if the
    /// kind is like most: a status changes no `spec`, and everything else no `status`. The object itself has no name.
    pub(crate) fn kept(&self, subresource: &str) -> Option<&[&'static str]> {
        let (_, fields) = self.kept.iter().find(|(of, _)| *of == subresource)?;
        Some(fields)
    }

    /// Whether its values are objects of a kind, which have `apiVersion` and `kind`. Templates have metadata and no kind.
    pub(crate) fn is_kind(&self) -> bool {
        let template = self.name.ends_with("TemplateSpec") || self.name == "PersistentVolumeClaimTemplate";
        self.field("metadata").is_some() && !template
    }

    /// The type's own name, without its version.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version that it belongs to, which is also the name of its package in Go.
    pub(super) fn version(&self) -> &'static str {
        self.version
    }

    /// The types within this one whose fields stand in JSON among its own, down to the one that has the field.
    pub(super) fn inlined(&self, field: &str) -> Vec<&'static str> {
        let within =
            self.messages.iter().filter(|held| held.name.is_empty()).find_map(|held| match held.of {
                Kind::Message(of) => Some(of.get()).filter(|of| of.field(field).is_some()),
                _ => None,
            });
        match within {
            Some(of) => std::iter::once(of.name).chain(of.inlined(field)).collect(),
            None => Vec::new(),
        }
    }

    /// The fields, by name.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of that name. `hint` is where it would stand if fields are asked for one after the other, by name;
    /// it is moved to the field after the one that is found.
    pub(super) fn field_after(&self, hint: &mut usize, name: &str) -> Option<&Field> {
        self.fields.get_after(hint, name)
    }

    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.named(name)
    }

    /// The field of that number in protobuf; without a name if it is a type whose fields stand in JSON among those
    /// around it.
    pub(crate) fn numbered(&self, number: u32) -> Option<&Field> {
        let place = self.numbers().binary_search_by_key(&number, |field| field.number).ok()?;
        self.numbers().get(place)
    }

    /// The fields in the order of their numbers.
    pub(crate) fn numbers(&self) -> &[Field] {
        &self.messages
    }

    /// The places in [`Type::fields`] of the fields that Go writes even when they are empty, in their order.
    pub(super) fn always(&self) -> &[usize] {
        &self.always
    }
}

/// The name in OpenAPI documents of a type of Kubernetes' own; `None` for those of any other group.
pub fn definition(group: &str, version: &str, name: &str) -> Option<String> {
    let of_group = |held: &&Version| held.api_version.split_once('/').map_or("", |(group, _)| group) == group;
    let (package, _) = TABLE.versions.iter().find(of_group)?.package.rsplit_once('.')?;
    Some(format!("{package}.{version}.{name}"))
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self { versions: Vec::new(), types: Vec::new(), named: FxHashMap::default() };
        // Types refer to later ones, so they are counted first.
        for line in lines(text) {
            match line {
                Line::Version(version) => table.versions.push(version),
                Line::Type(name, _) => {
                    let version = table.versions.last().map_or("", |version| version.api_version);
                    let (group, version) = split_api_version(version);
                    let next = TypeRef(table.named.len() as u16);
                    table.named.insert((group, version, name), next);
                }
                Line::Field(_) => {}
            }
        }
        let mut version = "";
        for line in lines(text) {
            match line {
                Line::Version(found) => version = found.api_version,
                Line::Type(name, facts) => table.types.push(Type {
                    name,
                    version: version.rsplit('/').next().unwrap_or_default(),
                    at: TypeRef(table.types.len() as u16),
                    atomic: facts.split(' ').any(|fact| fact == "atomic"),
                    kept: facts.split(' ').filter_map(kept).collect(),
                    fields: ByName::default(),
                    messages: Vec::new(),
                    always: Vec::new(),
                }),
                Line::Field(text) => {
                    let field = field(text, |name| table.refer(version, name));
                    if let (Some(last), Some(field)) = (table.types.last_mut(), field) {
                        last.messages.push(field);
                    }
                }
            }
        }
        table.flatten();
        table
    }

    fn refer(&self, version: &str, name: &str) -> Option<TypeRef> {
        // One of another version says which, as in `meta.k8s.io/v1.GroupVersionKind`: versions have dots too.
        let (version, name) = name.rsplit_once('.').unwrap_or((version, name));
        let (group, version) = split_api_version(version);
        self.named.get(&(group, version, name)).copied()
    }

    fn flatten(&mut self) {
        for place in 0..self.types.len() {
            let fields: ByName<Field> = self.fields_of(place).into_iter().collect();
            let held = &mut self.types[place];
            held.messages.sort_by_key(|field| field.number);
            held.always = (0..fields.len()).filter(|at| fields[*at].always_written()).collect();
            held.fields = fields;
        }
    }

    /// The fields of a type as they stand in JSON.
    fn fields_of(&self, place: usize) -> Vec<Field> {
        let of = |field: &Field| match (field.name, field.of) {
            ("", Kind::Message(inlined)) => self.fields_of(usize::from(inlined.0)),
            _ => vec![field.clone()],
        };
        self.types[place].messages.iter().flat_map(of).collect()
    }
}

enum Line {
    Version(Version),
    Type(&'static str, &'static str),
    Field(&'static str),
}

fn lines(text: &'static str) -> impl Iterator<Item = Line> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(|line| {
        if let Some(field) = line.strip_prefix('\t') {
            return Some(Line::Field(field));
        }
        let Some(head) = line.strip_prefix('[') else {
            let (name, facts) = line.split_once(' ').unwrap_or((line, ""));
            return Some(Line::Type(name, facts));
        };
        let (api_version, package) = head.strip_suffix(']')?.split_once(' ')?;
        Some(Line::Version(Version { api_version, package }))
    })
}

/// Reads `keeps:status=spec,metadata.labels`.
fn kept(fact: &'static str) -> Option<Kept> {
    let (subresource, fields) = fact.strip_prefix("keeps")?.split_once('=')?;
    Some((subresource.trim_start_matches(':'), fields.split(',').collect()))
}

fn field(text: &'static str, refer: impl Fn(&str) -> Option<TypeRef>) -> Option<Field> {
    let mut parts = text.split(' ');
    let (name, number, of) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let (name, omitted) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    let (shape, of) = shape(of);
    let mut field = Field {
        name: if name == "-" { "" } else { name },
        number,
        shape,
        of: kind(of, refer)?,
        omitted_when_empty: omitted,
        meant_when_empty: false,
        merge: false,
        replace: false,
        retain_keys: false,
        merge_key: None,
        list: ListType::Atomic,
        atomic: false,
        go: None,
        default: None,
    };
    for fact in parts {
        match fact.split_once('=') {
            Some(("patch", strategies)) => {
                let (strategies, key) =
                    strategies.split_once(':').map_or((strategies, None), |(s, k)| (s, Some(k)));
                field.merge_key = key;
                for strategy in strategies.split(',') {
                    field.merge |= strategy == "merge";
                    field.retain_keys |= strategy == "retainKeys";
                    field.replace |= strategy == "replace";
                }
            }
            Some(("default", value)) => field.default = Some(value),
            Some(("list", "set")) => field.list = ListType::Set,
            Some(("list", keys)) => {
                field.list = ListType::Map(keys.strip_prefix("map:")?.split(',').collect());
            }
            Some(("go", name)) => field.go = Some(name),
            _ => {
                field.atomic |= fact == "atomic";
                field.meant_when_empty |= fact == "empty";
            }
        }
    }
    Some(field)
}

fn shape(of: &str) -> (Shape, &str) {
    for (prefix, shape) in [
        ("map[string][]", Shape::MapOfLists),
        ("map[string]", Shape::Map),
        ("[]", Shape::List),
        ("*", Shape::Pointer),
    ] {
        if let Some(of) = of.strip_prefix(prefix) {
            return (shape, of);
        }
    }
    (Shape::Plain, of)
}

fn kind(name: &str, refer: impl Fn(&str) -> Option<TypeRef>) -> Option<Kind> {
    Some(match name {
        "bool" => Kind::Bool,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float64" => Kind::Float64,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "quantity" => Kind::Quantity,
        "intorstring" => Kind::IntOrString,
        "time" => Kind::Time,
        "microtime" => Kind::MicroTime,
        "raw" => Kind::Raw,
        name => match name.split_once('|') {
            None => Kind::Message(refer(name)?),
            Some((name, "bool")) => Kind::Either(refer(name)?, Other::Bool),
            Some((name, "[]string")) => Kind::Either(refer(name)?, Other::Strings),
            Some((name, _)) => Kind::Either(refer(name)?, Other::Messages),
        },
    })
}
#[cfg(test)]
mod tests;
