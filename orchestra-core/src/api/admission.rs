//! What is asked before a write: may this be, and does anything have to be filled in that only the cluster knows?

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::request::{DeleteOptions, FieldValidation, User, Verb, WriteOptions};
use super::{BodyKind, Resource, ScalePaths, Status};
use crate::meta::{ObjectName, Revision};
use crate::store::Txn;

/// What the caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// A new object.
    Create,
    /// A new state of an object.
    Update,
    /// The end of an object.
    Delete,
    /// A connection to what runs behind an object, which writes nothing.
    Connect,
}

/// A write that is about to be made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// The kind.
    pub resource: &'a Resource,
    /// The object.
    pub name: &'a ObjectName,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// What is asked for.
    pub verb: WriteVerb,
    /// The object as it is stored now; `None` for a new one.
    pub old: Option<&'a Value>,
    /// The revision of the object as it is stored now.
    pub revision: Option<Revision>,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// Whether all are asked a second time, because somebody changed the object after some had seen it.
    pub again: bool,
    /// The group and version that the request speaks. Objects here are in the one in which they are stored.
    pub spoken: (&'a str, &'a str),
    /// How the request says what it wants.
    pub options: Asked<'a>,
    /// The kind of what is sent, where that is not the object but what a subresource is created with. What it makes of the
    /// object is then not what was asked for.
    pub body: Option<&'a BodyKind<Arc<str>>>,
    /// Where the object keeps its scale, if it is changed by way of that: those beside the server see the scale alone.
    pub scale: Option<&'a ScalePaths<Arc<str>>>,
}

impl Attributes<'_> {
    /// Notes something of the request for the audit log, under a name such as `example.com/checked`. The first note of a
    /// name counts, and nothing is said when nobody records the request.
    pub fn note(&self, name: &str, text: impl FnOnce() -> String) {
        Notes::note(name, false, text);
    }

    /// As [`note`](Self::note), of what says what was sent: it is kept only where that is recorded too.
    pub fn note_quoting(&self, name: &str, text: impl FnOnce() -> String) {
        Notes::note(name, true, text);
    }
}

/// The options of a request.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// Of a creation, an update, or a patch.
    Write(Verb, &'a WriteOptions),
    /// Of a deletion.
    Delete(&'a DeleteOptions),
    /// Of a connection, whose options are its object.
    Connect,
}

impl Asked<'_> {
    /// The options as an object of Kubernetes' API.
    pub fn to_object(self) -> Value {
        let (kind, mut fields) = match self {
            Self::Write(verb, options) => {
                let kind = match verb {
                    Verb::Create => "CreateOptions",
                    Verb::Patch => "PatchOptions",
                    _ => "UpdateOptions",
                };
                (kind, written(options))
            }
            Self::Delete(options) => ("DeleteOptions", deleted(options)),
            Self::Connect => return Value::Null,
        };
        fields.insert("kind".to_owned(), kind.into());
        fields.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
        Value::Object(fields)
    }
}

fn written(options: &WriteOptions) -> Map<String, Value> {
    let mut fields = Map::new();
    if options.dry_run {
        fields.insert("dryRun".to_owned(), json!(["All"]));
    }
    if let Some(manager) = &options.field_manager {
        fields.insert("fieldManager".to_owned(), manager.as_str().into());
    }
    let validation = match options.field_validation {
        FieldValidation::Ignore => "Ignore",
        FieldValidation::Warn => "Warn",
        FieldValidation::Strict => "Strict",
    };
    fields.insert("fieldValidation".to_owned(), validation.into());
    fields
}

fn deleted(options: &DeleteOptions) -> Map<String, Value> {
    let mut fields = Map::new();
    if options.dry_run {
        fields.insert("dryRun".to_owned(), json!(["All"]));
    }
    if let Some(seconds) = options.grace_period {
        fields.insert("gracePeriodSeconds".to_owned(), seconds.into());
    }
    if let Some(propagation) = options.propagation {
        fields.insert("propagationPolicy".to_owned(), format!("{propagation:?}").into());
    }
    let uid = options.uid.as_ref().map(|uid| ("uid".to_owned(), uid.as_str().into()));
    let version =
        options.revision.map(|revision| ("resourceVersion".to_owned(), revision.to_string().into()));
    let preconditions: Map<String, Value> = uid.into_iter().chain(version).collect();
    if !preconditions.is_empty() {
        fields.insert("preconditions".to_owned(), preconditions.into());
    }
    fields
}

/// What every write passes, in three steps: first all admissions may change the object; then, when it is known to be valid,
/// all judge what is asked for; at last all see what will be stored. Each defaults to nothing.
///
/// When the transaction fails because of a key that an admission put into it, the write is made again from the start.
#[async_trait]
pub trait Admission: Send + Sync + fmt::Debug + 'static {
    /// Whether it may have anything to say of writes to objects of a kind. It is asked before each write, so that the answer may
    /// change, as when the first policy is made; one that answers no does not see that write. Most admissions are about a kind
    /// or two, and most writes about neither. What subresources are created with, and connections, come to every admission.
    fn concerns(&self, _kind: &Resource) -> bool {
        true
    }

    /// Whether there is room for one more object of a kind that it concerns, whatever is said of it. Asked before what is sent is
    /// read, so that to refuse a flood costs next to nothing; it takes no room yet, and is not asked of a dry run.
    ///
    /// # Errors
    /// What the caller is told when there is none.
    fn has_room(&self, _kind: &Resource) -> Result<(), Status> {
        Ok(())
    }

    /// Changes an object that is created or updated, before it is validated, and answers what its author should know. What has
    /// been changed already must stay as it is when it comes here [again](Attributes::again).
    /// A deletion changes nothing that is the admission's to change, and does not come here.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn mutate(&self, _attributes: &Attributes<'_>, _object: &mut Value) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// Judges what is asked for, once all have had their say and it is known to be valid, before anything is prepared for
    /// the store. `object` is what is asked for; `None` for a deletion.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// Judges, and may change, what a subresource is created with, such as a binding or an eviction: an object of the kind
    /// that [`Attributes::body`] says.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn review_body(
        &self,
        _attributes: &Attributes<'_>,
        _body: &mut Value,
    ) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// Judges a connection to what runs behind an object. `options` says what is connected to, as an object of the kind that
    /// [`Attributes::body`] says.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn connect(&self, _attributes: &Attributes<'_>, _options: &Value) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// Whether it stands for others, who may change anything of any object: when such a one has changed an object, all are
    /// asked again, once, and those before it see what it did.
    fn is_foreign(&self) -> bool {
        false
    }

    /// Sees the object as it will be stored, and adds to the transaction what is to be written with it, such as the
    /// allocation of an address. `new` is `None` when the object goes in this very transaction, which frees what was
    /// allocated to it. Asked exactly once for each commit: a deletion that first only marks its object is two.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    async fn check(
        &self,
        _attributes: &Attributes<'_>,
        _new: Option<&Value>,
        _txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }
}
