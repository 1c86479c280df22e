//! What of `orchestra_core::api` parses bytes from outside.

#[path = "../../../src/api/base64.rs"]
pub(crate) mod base64;
#[path = "../../../src/api/by_name.rs"]
mod by_name;
#[path = "../../../src/api/check.rs"]
pub(crate) mod check;
#[path = "../../../src/api/continue_token.rs"]
pub(crate) mod continue_token;
#[path = "../../../src/api/document.rs"]
pub(crate) mod document;
#[path = "../../../src/api/field.rs"]
pub(crate) mod field;
#[path = "../../../src/api/group_version.rs"]
mod group_version;
#[path = "../../../src/api/metadata.rs"]
pub(crate) mod metadata;
#[path = "../../../src/api/mistyped.rs"]
pub(crate) mod mistyped;
#[path = "../../../src/api/names.rs"]
pub(crate) mod names;
#[path = "../../../src/api/ownership/mod.rs"]
pub(crate) mod ownership;
pub(crate) mod patch;
#[path = "../../../src/api/protobuf/mod.rs"]
pub(crate) mod protobuf;
#[path = "../../../src/api/schema/mod.rs"]
pub(crate) mod schema;
#[path = "../../../src/api/rules/shape.rs"]
mod shape;
#[path = "../../../src/api/spot.rs"]
pub(crate) mod spot;
#[path = "../../../src/api/structural/mod.rs"]
pub(crate) mod structural;
#[path = "../../../src/api/syntax.rs"]
pub(crate) mod syntax;
#[path = "../../../src/api/yaml.rs"]
pub(crate) mod yaml;

pub(crate) use self::group_version::split_api_version;
pub(crate) use self::shape::NameRule;
