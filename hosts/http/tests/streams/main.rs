//! Streams between clients and containers: many at once, slow ones, and those that somebody leaves.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod browser;
mod leaving;
mod many;
mod methods;
mod slow;
mod world;
