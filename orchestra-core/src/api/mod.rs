//! The API: one table of kinds, and one generic path for every verb of every kind.

pub mod field;
mod resource;
mod rules;
mod status;
pub mod table;

pub use resource::{Conversion, Kinds, Resource, Served, api_version, split_api_version};
pub use rules::{Column, NameRule, Plain, Rules, ScalePaths};
pub use status::{Reason, Status};
