//! What of `orchestra_core::api` parses bytes from outside.

#[path = "../../../src/api/continue_token.rs"]
pub(crate) mod continue_token;
#[path = "../../../src/api/document.rs"]
pub(crate) mod document;
#[path = "../../../src/api/ownership/mod.rs"]
pub(crate) mod ownership;
pub(crate) mod patch;
#[path = "../../../src/api/protobuf/mod.rs"]
pub(crate) mod protobuf;
#[path = "../../../src/api/schema/mod.rs"]
pub(crate) mod schema;
#[path = "../../../src/api/syntax.rs"]
pub(crate) mod syntax;
#[path = "../../../src/api/yaml.rs"]
pub(crate) mod yaml;
