//! Whole clusters in virtual time: the same seed gives the same life, and whatever goes wrong, the cluster's own
//! controllers come to what is asked of them.
//!
//! `ORCHESTRA_SEEDS` says how many lives of each scenario are lived; `scripts/explore N` sets it.

mod determinism;
mod faults;
mod housekeeping;
mod names;
mod scaling;
mod scenarios;
mod storage;
mod trace;
mod upkeep;
#[cfg(feature = "redb")]
mod what_if;
mod workloads;

/// How many seeds are tried: `ORCHESTRA_SEEDS`, or so many: fewer where the program is not optimized.
fn seeds(debug: u64, optimized: u64) -> u64 {
    let said = std::env::var("ORCHESTRA_SEEDS").ok().and_then(|text| text.parse().ok());
    said.unwrap_or(if cfg!(debug_assertions) { debug } else { optimized })
}
