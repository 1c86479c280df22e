//! Custom kinds: rows of the table that are made from a definition while the program runs.
//!
//! A [`CustomKind`] says what a definition says, as values; [`CustomKind::resource`] makes the row, with a [`KindRules`]
//! for each version that reads, defaults, refuses and prints by the version's schema. To the rest it is a kind like any
//! other.
//!
//! Objects are kept in one version. What is sent in another is pruned and defaulted by that one's schema, checked by it,
//! and kept as the stored version has it; what is read in another is what its schema leaves of the stored object. If only a
//! [`Converter`] knows how the versions differ, a request works on objects of its own version, and what it reads and
//! stores is converted at its edge.
//!
//! [`KindRules`]: super::KindRules

mod jsonpath;
mod rules;
mod scale;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

pub use self::jsonpath::JsonPath;
use self::rules::{CustomRules, Version};
use super::structural::{Schema, Unreadable};
use super::{
    Column, Conversion, Converter, Kept, Kind, Resource, ScalePaths, Subresource, Verb, api_version,
};
use crate::meta::{GroupResource, Scope};
use crate::watch::{IndexedField, IndexedFields};

/// In the order in which Kubernetes lists what can be done with custom objects.
const VERBS: [Verb; 8] = [
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Create,
    Verb::Update,
    Verb::Watch,
];

/// What a definition says of a kind.
#[derive(Clone, Debug)]
pub struct CustomKind {
    /// The group and the plural.
    pub id: GroupResource,
    /// The name of the kind.
    pub kind: Arc<str>,
    /// The name of its lists.
    pub list_kind: Arc<str>,
    /// The singular.
    pub singular: Arc<str>,
    /// Short names.
    pub short_names: Arc<[Arc<str>]>,
    /// Groups of kinds that are asked for together.
    pub categories: Arc<[Arc<str>]>,
    /// Whether its objects live in namespaces.
    pub scope: Scope,
    /// Whether objects may be created; not while the definition is being deleted.
    pub creatable: bool,
    /// Its versions. The one that is stored is among them, served or not.
    pub versions: Vec<CustomVersion>,
    /// What converts objects between them; `None` if they differ in nothing but their name and schema.
    pub converter: Option<Arc<dyn Converter>>,
}

/// A version of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomVersion {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are kept in it.
    pub storage: bool,
    /// What is told to whoever uses it, if it is deprecated.
    pub deprecated: Option<Arc<str>>,
    /// The schema of its objects, as a document.
    pub schema: Value,
    /// Whether its objects have a status that is written by itself.
    pub status: bool,
    /// Where its objects keep their scale, if they have one.
    pub scale: Option<ScalePaths<Arc<str>>>,
    /// The columns of its tables beside the name; `None` for the age.
    pub columns: Option<Vec<CustomColumn>>,
    /// The fields that field selectors may ask for, as dotted paths.
    pub fields: Vec<Arc<str>>,
}

/// A column of the tables of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomColumn {
    /// What it is called and of which type it is.
    pub column: Column<Arc<str>>,
    /// Where its cells are found.
    pub path: Arc<str>,
}

/// Why a definition makes no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoKind {
    /// No version is the one that objects are kept in.
    #[error("no version is the storage version")]
    NoStorage,
    /// A schema cannot be read.
    #[error("the schema of version {version} cannot be read")]
    Schema {
        /// Whose.
        version: Arc<str>,
        /// Why not.
        source: Unreadable,
    },
}

impl CustomKind {
    /// The row of the kind.
    ///
    /// # Errors
    /// When the definition is not one that its rules let pass.
    pub fn resource(&self) -> Result<Resource, NoKind> {
        let storage = self.versions.iter().position(|version| version.storage).ok_or(NoKind::NoStorage)?;
        let read = |version: &CustomVersion| {
            let read = Schema::read(&version.schema);
            let schema =
                read.map_err(|source| NoKind::Schema { version: Arc::clone(&version.name), source })?;
            Ok::<_, NoKind>(Version::new(self, version, schema))
        };
        let versions: Arc<[Version]> = self.versions.iter().map(read).collect::<Result<_, _>>()?;
        let row_of = |place: usize| self.row_of(&versions, place, storage);
        let mut row = row_of(storage);
        let others = self.versions.iter().enumerate();
        for (place, version) in others.filter(|(_, version)| version.served && !version.storage) {
            row = row.also_by(Arc::clone(&version.name), self.also_served(row_of(place), place));
        }
        Ok(row)
    }

    /// The row by which a version is served.
    fn row_of(&self, versions: &Arc<[Version]>, place: usize, storage: usize) -> Resource {
        let (stored, version) = (&self.versions[storage], &self.versions[place]);
        let Some(converter) = &self.converter else {
            let rules = CustomRules::new(Arc::clone(versions), place, storage);
            return Resource { serves_stored: stored.served, ..self.row(stored, stored, version, rules) };
        };
        let rules = CustomRules::converted(Arc::clone(versions), place);
        let kept = api_version(&self.id.group, &stored.name).into();
        Resource {
            serves_stored: version.served,
            kept: Some(Kept { api_version: kept, converter: Arc::clone(converter) }),
            ..self.row(stored, version, version, rules)
        }
    }

    /// A row that knows by which other versions its kind is served too.
    fn also_served(&self, row: Resource, place: usize) -> Resource {
        let own = self.converter.is_some().then_some(place);
        let others = self.versions.iter().enumerate();
        let others = others.filter(|(place, version)| match own {
            // It is the row's version, so that all others are further ones.
            Some(own) => version.served && *place != own,
            None => version.served && !version.storage,
        });
        others.fold(row, |row, (_, version)| {
            let row = row.also(Arc::clone(&self.id.group), Arc::clone(&version.name), Conversion::NONE);
            match &version.deprecated {
                Some(warning) => row.deprecated(Arc::clone(warning)),
                None => row,
            }
        })
    }

    /// The fields of all versions, each once.
    fn fields(&self) -> IndexedFields {
        let all: BTreeSet<_> = self.versions.iter().flat_map(|version| &version.fields).collect();
        all.into_iter().map(indexed).collect()
    }

    /// The row of a version, for objects that are `held` in a version while a request works on them.
    fn row(
        &self,
        stored: &CustomVersion,
        held: &CustomVersion,
        version: &CustomVersion,
        rules: CustomRules,
    ) -> Resource {
        let kind = Kind {
            id: self.id.clone(),
            version: Arc::clone(&held.name),
            kind: Arc::clone(&self.kind),
            scope: self.scope,
        };
        let verbs = VERBS.into_iter().filter(|verb| self.creatable || *verb != Verb::Create);
        let own: IndexedFields = version.fields.iter().map(indexed).collect();
        // Where versions are but names objects have the values of all their fields. Else each version is converted to
        // before anything is selected, and its objects have its own.
        let (fields, selectable) = match self.converter {
            Some(_) => (own, None),
            None => (self.fields(), Some(own)),
        };
        Resource {
            list_kind: Arc::clone(&self.list_kind),
            singular: Arc::clone(&self.singular),
            short_names: Arc::clone(&self.short_names),
            categories: Arc::clone(&self.categories),
            verbs: verbs.collect(),
            generation: true,
            subresources: subresources(version),
            fields,
            selectable,
            columns: columns(version),
            custom: true,
            unconditional_update: false,
            deprecated: version.deprecated.clone(),
            reading: reading(stored, self.converter.is_some()),
            ..Resource::new(kind, Arc::new(rules))
        }
    }
}

fn subresources(version: &CustomVersion) -> Arc<[Subresource<Arc<str>>]> {
    let status = version.status.then(|| Subresource::from(&Subresource::STATUS));
    let scale = version.scale.clone().map(Subresource::custom_scale);
    let history = Subresource::from(&Subresource::HISTORY);
    status.into_iter().chain(scale).chain([history]).collect()
}

fn indexed(path: &Arc<str>) -> IndexedField<Arc<str>> {
    IndexedField {
        path: Arc::clone(path),
        at: Arc::clone(path),
        or_at: "".into(),
        default: "".into(),
        lookup: false,
    }
}

fn columns(version: &CustomVersion) -> Arc<[Column<Arc<str>>]> {
    let name = Column::from(&Column::NAME);
    match &version.columns {
        Some(columns) => {
            std::iter::once(name).chain(columns.iter().map(|column| column.column.clone())).collect()
        }
        None => Arc::new([name, Column { kind: "date".into(), ..Column::from(&Column::AGE) }]),
    }
}

/// What stored objects are read by: a change of it has them read anew.
fn reading(stored: &CustomVersion, converted: bool) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(&[u8::from(converted)]);
    hasher.write(stored.name.as_bytes());
    hasher.write(stored.schema.to_string().as_bytes());
    hasher.finish()
}
