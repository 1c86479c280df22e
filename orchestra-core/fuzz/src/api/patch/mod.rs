//! The forms of patches, without what ties them to the table of kinds.

#[path = "../../../../src/api/patch/json.rs"]
pub(crate) mod json;
#[path = "../../../../src/api/patch/list.rs"]
mod list;
#[path = "../../../../src/api/patch/merge.rs"]
pub(crate) mod merge;
#[path = "../../../../src/api/patch/refusal.rs"]
mod refusal;
#[path = "../../../../src/api/patch/strategic.rs"]
pub(crate) mod strategic;
#[path = "../../../../src/api/patch/unstructured.rs"]
pub(crate) mod unstructured;

pub(crate) use self::refusal::{go, mistaken};
