//! The parsers of outside bytes, compiled by themselves under the names that they have in `orchestra-core`: all of that
//! takes half an hour to build with the passes of the fuzzer. `checks` says what must hold for any input, and is part of
//! orchestra-core's tests too, which run it over the kept corpus.

#![allow(dead_code)]

#[path = "../../src/expression/mod.rs"]
mod expression;
#[path = "../../src/meta/mod.rs"]
mod meta;
#[path = "../../src/quantity/mod.rs"]
mod quantity;
#[path = "../../src/selector/mod.rs"]
mod selector;

mod access;
mod api;
mod checks;

/// Runs the checks of a target on an input.
pub fn run(target: &str, input: &[u8]) {
    let found = checks::ALL.iter().find(|(name, _)| *name == target);
    let (_, check) = found.unwrap_or_else(|| panic!("no target is called {target}"));
    check(input);
}
