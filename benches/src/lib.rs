//! Benchmarks of orchestra, each beside a baseline in the same run. What was seen, and on what machine, is in
//! `BENCHMARKS.md`; the targets are there too.
//!
//! The benches themselves are the targets of this package: `cargo bench -p orchestra-benches --bench NAME`.
