//! The parsers of selectors, over whatever text comes.

#![no_main]

#[path = "../checks/selector.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::check(text));
