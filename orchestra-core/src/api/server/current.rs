//! A write, and the object that it is made to.

use std::sync::Arc;

use serde_json::Value;

use super::caches::Open;
use super::conversions::Conversions;
use super::draft::Part;
use super::meta::{metadata, put_managed, take_managed};
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
    /// Its `managedFields`, or null.
    pub(super) managed: Value,
    /// What it is in the versions in which its owners name their fields, where only a converter knows that.
    pub(super) conversions: Conversions,
}

impl Current {
    pub(super) fn of(entry: Arc<Entry>) -> Result<Self, Status> {
        let mut object: Value = serde_json::from_slice(entry.bytes()).map_err(Status::internal)?;
        let managed = take_managed(&mut object).unwrap_or_default();
        Ok(Self { entry, object, managed, conversions: Conversions::default() })
    }

    /// The object as it is read.
    pub(super) fn shown(&self) -> Value {
        let mut object = self.object.clone();
        put_managed(&mut object, Some(self.managed.clone()).filter(|managed| !managed.is_null()));
        metadata(&mut object).insert("resourceVersion".to_owned(), self.entry.revision().to_string().into());
        object
    }
}
