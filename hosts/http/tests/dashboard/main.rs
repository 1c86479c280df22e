//! The dashboard, through the whole server: who sees what, what forms take, what a page makes of hostile names, and what a
//! person does in a real browser.
//!
//! The browser is Debian's `chromium`. Without it those tests are left out, unless `ORCHESTRA_TEST_DAEMONS` is set: then
//! they fail. `ORCHESTRA_SCREENSHOTS=DIR` keeps what they saw.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod console;
mod devtools;
mod guards;
mod hostile;
mod many;
mod more;
mod rights;
mod shop;
