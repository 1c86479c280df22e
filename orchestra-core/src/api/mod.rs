//! The API: one table of kinds, and one generic path for every verb of every kind.

mod client;
mod decode;
pub mod discovery;
pub mod field;
pub mod patch;
pub mod represent;
mod request;
mod resource;
mod rules;
pub mod schema;
mod status;
pub mod table;

pub use client::{Api, Client, Patch, Watched};
pub use request::{
    Body, DeleteOptions, FieldValidation, Kind, ListOptions, ObjectList, Operation, PatchKind, Propagation,
    Reply, Response, RevisionMatch, Service, Target, User, WatchEvent, WatchOptions, WatchStream,
    WriteOptions,
};
pub use resource::{Conversion, Kinds, Resource, Served, api_version, split_api_version};
pub use rules::{Column, NameRule, Plain, Rules, ScalePaths};
pub use status::{Reason, Status};
