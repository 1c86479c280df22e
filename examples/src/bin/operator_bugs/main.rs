//! Three bugs that operators of Kubernetes are known for, each in a miniature operator, found by simulation.
//!
//! `cargo run --release -p orchestra-examples --bin operator_bugs`
//!
//! | module | what the operator does wrong | the pattern of Sieve |
//! | --- | --- | --- |
//! | `stale` | it deletes the data of a database because it believes a view of the past | stale state |
//! | `unobserved` | it frees a member's volume only if it sees the member go | unobserved state |
//! | `intermediate` | it takes its own half-done work for somebody else's finished one | intermediate state |
//!
//! Each is shown with the story of the least that it takes, and the line that replays it; each has a mended twin, which
//! lives through the same.

mod database;
mod intermediate;
mod stale;
mod unobserved;

use orchestra_core::simulation::{Explore, Explored, Found, Scenario, Strategy};

/// The client name of every operator here.
const OPERATOR: &str = "operator";

/// What a bug is looked for with.
const SEEDS: u64 = 200;

fn explore(scenario: Scenario) -> Result<Explored, Box<Found>> {
    Explore::new(scenario).strategies(Strategy::sieve(OPERATOR)).seeds(SEEDS).run()
}

/// Makes the scenario of a bug: with it, or mended.
type Maker = fn(bool) -> Scenario;

/// The bugs by name.
const BUGS: &[(&str, Maker)] = &[
    ("stale", stale::scenario),
    ("unobserved", unobserved::scenario),
    ("intermediate", intermediate::scenario),
];

fn main() -> anyhow::Result<()> {
    for (name, scenario) in BUGS {
        match explore(scenario(true)) {
            Err(found) => println!("{found}"),
            Ok(explored) => anyhow::bail!("{name} was not found in {} lives", explored.lives),
        }
        match explore(scenario(false)) {
            Ok(explored) => println!("{name}, mended: {} lives are as they must be\n", explored.lives),
            Err(found) => anyhow::bail!("{found}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(name: &str, invariant: &str) {
        let (_, scenario) = BUGS.iter().find(|(bug, _)| *bug == name).unwrap();
        let found = explore(scenario(true)).unwrap_err();
        assert_eq!(found.violation.invariant, invariant, "{found}");
        // Of many faults hardly any are left.
        assert!(found.lives <= SEEDS && found.outcome.plan.faults.len() <= 2, "{found}");
        if let Err(found) = explore(scenario(false)) {
            panic!("{found}");
        }
    }

    #[test]
    fn the_operator_that_believes_the_past_is_found() {
        is_found("stale", "the data of a database that is wanted stays");
    }

    #[test]
    fn the_operator_that_must_see_everything_is_found() {
        is_found("unobserved", "no volume is left behind");
    }

    #[test]
    fn the_operator_that_dies_half_way_is_found() {
        is_found("intermediate", "the database is ready");
    }
}
