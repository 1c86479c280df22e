//! Who sends a request, as others know it.
//!
//! | module | what |
//! | --- | --- |
//! | `webhook` | a server that is asked whose a token is |
//! | `oidc` | tokens of other issuers, which are known by the keys that these publish |
//! | `proxy` | a proxy in front, which says for whom it asks |
//! | `cache` | answers, remembered for a while |

pub(crate) mod cache;
pub(crate) mod oidc;
mod proxy;
mod webhook;

pub use oidc::{AuthenticationFile, Issuer, OidcError, OidcTokens};
pub use proxy::FrontProxy;
pub(crate) use proxy::Proxied;
pub use webhook::TokenWebhook;
