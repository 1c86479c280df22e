//! A write, and the object that it is made to.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::caches::Open;
use super::conversions::Conversions;
use super::draft::Part;
use super::meta::{metadata, put_managed, take_managed};
use crate::api::ownership::managers::Held;
use crate::api::request::{Target, User, Verb, WriteOptions};
use crate::api::{ScalePaths, Status};
use crate::watch::Entry;

/// A write, beside the object.
#[derive(Clone, Copy)]
pub(super) struct Write<'w> {
    pub(super) user: &'w User,
    pub(super) kind: &'w Open,
    pub(super) part: Part<'w>,
    pub(super) options: &'w WriteOptions,
    /// Where the object keeps its scale, if it is that which is written.
    pub(super) scale: Option<&'w ScalePaths<Arc<str>>>,
    /// What the request is about, in the version that it speaks.
    pub(super) target: &'w Target,
    /// What the request asks for: its options are of that.
    pub(super) verb: Verb,
    /// Whether who writes owns what the write changes.
    pub(super) owned: bool,
}

impl<'w> Write<'w> {
    /// A write to an object as a whole, whose author owns what it changes.
    pub(super) fn new(
        user: &'w User,
        kind: &'w Open,
        target: &'w Target,
        verb: Verb,
        options: &'w WriteOptions,
    ) -> Self {
        Self { user, kind, part: None, options, scale: None, target, verb, owned: true }
    }
}

/// An object as it is.
pub(super) struct Current {
    pub(super) entry: Arc<Entry>,
    /// Without its revision and `managedFields`.
    pub(super) object: Value,
    /// Its `managedFields`, if somebody has asked for them as a value.
    managed: OnceLock<Value>,
    /// What it is in the versions in which its owners name their fields, where only a converter knows that.
    pub(super) conversions: Conversions,
}

impl Current {
    pub(super) fn of(entry: Arc<Entry>) -> Result<Self, Status> {
        let mut object: Value = entry.peek().map_err(Status::internal)?;
        // There are none left, but of an entry whose text is not as it is written here.
        let managed = take_managed(&mut object).map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { entry, object, managed, conversions: Conversions::default() })
    }

    /// The same in another version.
    pub(super) fn converted(self, mut object: Value) -> Self {
        let managed = OnceLock::from(take_managed(&mut object).unwrap_or_default());
        Self { object, managed, ..self }
    }

    /// Its `managedFields`.
    pub(super) fn held(&self) -> Held<'_> {
        match (self.managed.get(), self.entry.managed_fields()) {
            (Some(managed), _) => Held::Value(managed),
            (None, Some(text)) => Held::Text(text),
            (None, None) => Held::Value(&Value::Null),
        }
    }

    /// Its `managedFields` as a value; null for none.
    pub(super) fn managed(&self) -> &Value {
        self.managed.get_or_init(|| {
            let text = self.entry.managed_fields();
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        })
    }

    /// The object as it is read.
    pub(super) fn shown(&self) -> Value {
        let mut object = self.shown_bare();
        put_managed(&mut object, Some(self.managed().clone()).filter(|managed| !managed.is_null()));
        object
    }

    /// The same without `managedFields`.
    pub(super) fn shown_bare(&self) -> Value {
        let mut object = self.object.clone();
        metadata(&mut object).insert("resourceVersion".to_owned(), self.entry.revision().to_string().into());
        object
    }
}
