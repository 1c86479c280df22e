//! Server-side apply: who owns which field of an object, and what becomes of it when a configuration is applied.
//!
//! All is pure. An object has the paths that its schema gives it ([`field_set`]); two states of it differ in some
//! ([`compare`]); each manager owns some, in `metadata.managedFields` ([`managers`]). A write takes what it changes from
//! whoever owned it ([`update`]). An applied configuration owns what it has, replaces what it replaces only with `force`
//! if others own that, and takes out what it had before and nobody else owns ([`apply`]).
//!
//! | file | what |
//! | --- | --- |
//! | `element`, `set`, `fields_v1` | steps of a path, sets of paths, and how they are written |
//! | `types`, `builtin`, `structural` | schemas: what they are, those of Kubernetes' own kinds, and of custom kinds |
//! | `walk`, `compare` | the paths of one value, and of the difference of two |
//! | `merge`, `prune` | a configuration laid over an object, and what it gives up |
//! | `managers`, `owners`, `conflict` | `managedFields`, what a write makes of them, and what refuses a configuration |
//! | `first`, `update`, `at_rest`, `apply`, `last_applied`, `scale` | what each kind of write does to the owners |

mod apply;
mod at_rest;
mod builtin;
mod compare;
mod conflict;
mod element;
mod fault;
mod fields_v1;
mod first;
mod kind;
mod last_applied;
pub mod managers;
mod merge;
mod owners;
mod prune;
pub mod scale;
mod set;
mod structural;
#[cfg(test)]
mod tests;
pub mod types;
mod update;
mod walk;

pub use self::apply::{Applied, ApplyError, apply};
pub use self::compare::{Comparison, compare};
pub use self::conflict::{Conflict, Conflicts};
pub use self::element::{Element, ParseElementError};
pub use self::fault::Faults;
pub use self::first::first;
pub use self::kind::{Author, Ignored, Kind, Versions};
pub use self::merge::merge;
pub use self::owners::Owners;
pub use self::set::FieldSet;
pub use self::types::{NodeId, Schema, SchemaBuilder};
pub use self::update::update;
pub use self::walk::{Repeated, check, field_set};
