#[path = "../../../src/access/tokens/jwt.rs"]
mod jwt;

pub(crate) use jwt::parse;
