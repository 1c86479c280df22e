//! The API: one table of kinds, and one generic path for every verb of every kind.

pub mod admission;
mod client;
mod decode;
pub mod discovery;
pub mod field;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod patch;
mod protobuf;
pub mod represent;
mod request;
mod resource;
mod rules;
pub mod schema;
pub mod server;
mod status;
pub mod table;
pub mod yaml;

pub use admission::{Admission, Authenticated, Authorizer};
pub use client::{Api, Client, Patch, Watched};
pub use request::{
    Body, DeleteOptions, FieldValidation, Kind, ListOptions, ObjectList, Operation, PatchKind, Propagation,
    Reply, Response, RevisionMatch, Service, Target, User, WatchEvent, WatchOptions, WatchStream,
    WriteOptions,
};
pub use resource::{Conversion, Kinds, Resource, Served, api_version, split_api_version};
pub use rules::{Column, NameRule, Plain, Rules, ScalePaths};
pub use server::{AdmissionFactory, Caches, Server, ServerConfig};
pub use status::{Reason, Status};
