//! The parsers of selectors, over whatever text comes.

#![no_main]

// The module under test is compiled into the target, under the name that it has for those who use it.
extern crate self as orchestra_core;

#[path = "../../src/selector/mod.rs"]
#[allow(dead_code)]
pub mod selector;

#[path = "../checks/selector.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::check(text));
