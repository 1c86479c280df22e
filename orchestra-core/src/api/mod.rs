//! The API: one table of kinds, and one generic path for every verb of every kind.
//!
//! [`Client`] and [`Api<K>`](Api) are how programs use it: typed reads and writes, watches, and waiting until something
//! is so. Behind them stands a [`Service`], one method for all verbs: the [`Server`] of this process, or a master
//! elsewhere over HTTPS. A host that speaks HTTP turns a request into an [`Operation`] on a [`Target`], and what comes
//! back into a body by [`represent`].
//!
//! | module | what lives there |
//! | --- | --- |
//! | `kinds`, `resource`, `subresource`, `rules` | the table: what a kind is called, keeps, defaults, refuses and prints |
//! | `server` | the verbs, and the caches that they read from |
//! | `request` | operations, targets, options and replies, as values |
//! | `scaled` | how many replicas an object has, in one form for all kinds |
//! | `revise` | an object that somebody on its way changed |
//! | `responder` | who answers what is created to be answered, or worked out when it is read |
//! | `converter` | who converts objects whose versions the table does not know |
//! | `client`, `wait`, `objects` | the typed side, and that of kinds as values |
//! | [`schema`], `decode`, `deletion`, `mistyped`, `strict` | bodies, and files: reading them strictly, and saying what is wrong |
//! | [`patch`], [`yaml`], `protobuf` | changing them, and their other forms |
//! | [`history`] | what an object has been, and the way back |
//! | [`field`], `spot`, `check`, `names` | paths in an object, what is wrong at one, and what values may be |
//! | [`metadata`] | what every object's metadata must be like |
//! | [`represent`], [`table`], [`discovery`], `openapi` | what is answered: objects, lists, tables, documents |
//! | `status` | [`Status`]: an error as Kubernetes says it |
//! | [`access`] | who asks, and who may |
//! | [`admission`] | what else must agree to a write |
//! | [`notes`] | what is noted of a request for the audit log while it is worked on |

pub mod access;
pub mod admission;
mod base64;
mod by_name;
pub(crate) mod check;
mod client;
mod connect;
mod connector;
mod continue_token;
mod converter;
#[cfg(test)]
mod corpus;
pub mod custom;
mod decode;
mod deletion;
pub mod discovery;
mod document;
pub mod field;
mod group_version;
pub mod history;
mod kinds;
pub mod metadata;
mod mistyped;
pub(crate) mod names;
pub mod notes;
mod objects;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod ownership;
pub mod patch;
mod protobuf;
pub mod represent;
mod request;
mod resource;
mod responder;
mod revise;
mod rules;
pub(crate) mod scaled;
pub mod schema;
pub mod server;
mod spot;
mod status;
pub(crate) mod strict;
pub mod structural;
mod subresource;
mod syntax;
pub mod table;
mod typed;
mod wait;
pub mod yaml;

pub use access::{AccessRequest, Authenticator, Authorizer, Decision, Verdict};
pub use admission::Admission;
pub use client::{Client, Patch};
pub use connect::{Connect, Connection, LogQuery};
pub use connector::{Connector, stream_options};
pub use converter::{Converter, Kept};
pub use group_version::{api_version, split_api_version};
pub use kinds::Kinds;
pub use objects::Objects;
pub use request::{
    Body, DeleteOptions, FieldValidation, Kind, ListOptions, ObjectList, Operation, PatchKind, Propagation,
    Reply, Response, RevisionMatch, Service, Target, User, Verb, WatchEvent, WatchOptions, WatchStream,
    WriteOptions,
};
pub use resource::{Conversion, Resource, Served, ValidateServed};
pub use responder::{Computed, Question, Responder, Responders, Wanted};
pub use rules::{
    Column, Deletion, KindRules, MetadataCheck, NameRule, Plain, Rules, Typed, desires_otherwise,
};
pub(crate) use server::entry_of;
pub use server::{
    AdmissionFactory, AuthorizerFactory, Borrowed, Caches, Fence, Open, Permit, Refusal, ResponderFactory,
    Server, ServerConfig, Table,
};
pub use status::{Reason, Status};
pub use subresource::{Action, Answer, BodyKind, Relay, ScalePaths, Stream, Subresource};
pub use typed::{Api, List, Watched};
