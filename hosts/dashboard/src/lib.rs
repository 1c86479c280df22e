//! A dashboard of a cluster: pages made on the server, for whoever may read what they show.
//!
//! The dashboard is a client of the API and nothing more. For each page it sends requests to the [`Api`] that its host
//! gives it, with the credentials of whoever looks, so that the API authenticates, authorizes, audits and seats each of
//! them as any other. It has no rights of its own, keeps nothing between two requests, and shows what it was answered.
//!
//! ```text
//! browser ─► host ─► Dashboard::answer ─► page ─► Asker ─► Api ─► the API, as who looks
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `api` | the port to the API, and what is asked through it |
//! | `wanted` | of many objects the fields that a page shows, read without the rest |
//! | `visit` | a request for a page |
//! | `session` | who looks: cookies, the guard of forms |
//! | `route` | what a URL asks for |
//! | `kinds` | which kinds there are, by discovery |
//! | `pages` | one module a page: reads, then renders |
//! | `act` | what forms do |
//! | `live` | pages that change while they are looked at |
//! | `streams` | commands in containers, by WebSockets |
//! | `ports` | links to what listens in pods, in a sandbox |
//! | `assets` | the style sheet and the scripts |
//! | `explained` | what is wrong, and why |
//! | `tell` | values as people read them |
//!
//! It starts no task: what follows something is polled by who asked for it.
//!
//! Every page is one step below where the dashboard is mounted and says what it is about in its query, so all links are
//! relative: it works under any prefix and behind any proxy. Pages are read without scripts; the script makes them live.

mod act;
mod answer;
mod api;
mod assets;
mod dashboard;
mod explained;
mod kinds;
mod live;
mod pages;
mod ports;
mod route;
mod session;
mod streams;
mod tell;
#[cfg(test)]
mod tests;
mod visit;
mod wanted;

pub use api::{Api, Body};
pub use dashboard::Dashboard;
