//! The cluster's own controllers, whatever goes wrong.

use orchestra_core::simulation::{Explore, Scenario, Strategy};

use super::{scenarios, seeds};

fn explored(scenario: Scenario, controllers: &[&str]) {
    let of_each = controllers.iter().flat_map(|controller| Strategy::sieve(*controller));
    let strategies: Vec<Strategy> = of_each.chain([Strategy::chaos(), Strategy::chaos()]).collect();
    let began = std::time::Instant::now();
    match Explore::new(scenario.clone()).strategies(strategies).seeds(seeds(12, 400)).run() {
        Ok(explored) => println!("{scenario:?}: {explored:?} in {:?}", began.elapsed()),
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn deployments_come_to_what_is_asked_of_them() {
    explored(
        scenarios::deployment(),
        &["deployment-controller", "replicaset-controller", "endpoint-controller"],
    );
}

#[test]
fn stateful_sets_come_to_what_is_asked_of_them() {
    explored(scenarios::stateful_set(), &["statefulset-controller"]);
}

#[test]
fn jobs_come_to_what_is_asked_of_them() {
    explored(scenarios::job(), &["job-controller"]);
}

#[test]
fn daemon_sets_come_to_what_is_asked_of_them() {
    explored(scenarios::daemon_set(), &["daemon-set-controller"]);
}
