//! The cluster's own controllers, whatever goes wrong.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use orchestra_core::simulation::{Explore, Explored, Scenario, Strategy};

use super::{housekeeping, scaling, scenarios, seeds, storage, upkeep};

/// How many lives of each scenario a test lives that nobody has told how many.
const DEBUG: u64 = 16;
const OPTIMIZED: u64 = 400;

/// The first seed: that of `ORCHESTRA_FIRST_SEED`, for nights that go on where the last one ended.
fn first_seed() -> u64 {
    std::env::var("ORCHESTRA_FIRST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn speed(explored: &Explored, began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64();
    format!(
        "{:.0} s, {:.1} lives and {:.0} commits a second",
        seconds,
        explored.lives as f64 / seconds,
        explored.commits as f64 / seconds
    )
}

/// Lives a scenario with the three of Sieve for each of these controllers and with chaos; before that what once was found.
fn explored(scenario: Scenario, controllers: &[&str], kept: &[(u64, &str)]) {
    let of_each = controllers.iter().flat_map(|controller| Strategy::sieve(*controller));
    let strategies: Vec<Strategy> = of_each.chain([Strategy::chaos(), Strategy::chaos()]).collect();
    let (began, seeds) = (Instant::now(), seeds(DEBUG, OPTIMIZED));
    let explore = Explore::new(scenario.clone()).strategies(strategies).seeds(seeds).from(first_seed());
    let (name, told) = (scenario.name().to_owned(), Mutex::new(began));
    let explore = explore.progress(move |so_far| {
        let mut told = told.lock().unwrap();
        if told.elapsed() > Duration::from_secs(5) {
            *told = Instant::now();
            println!("{name}: {} of {seeds} lives, {}", so_far.lives, speed(so_far, began));
        }
    });
    match kept.iter().fold(explore, |explore, (seed, plan)| explore.replay(*seed, plan)).run() {
        Ok(all) => println!("{}: all {} lives went well, {}", scenario.name(), all.lives, speed(&all, began)),
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn deployments_come_to_what_is_asked_of_them() {
    explored(
        scenarios::deployment(),
        &[
            "deployment-controller",
            "replicaset-controller",
            "endpoint-controller",
            "endpointslice-controller",
        ],
        &[],
    );
}

#[test]
fn stateful_sets_come_to_what_is_asked_of_them() {
    // A deletion that was refused as a conflict was taken for done, here and with the three below.
    let conflicts = "12.066s stop node/fake-1 amount=1 lasts=16.221s; 32.006s conflict statefulset-controller \
                     amount=437 lasts=1.509s; 0.009s stop node/fake-2 amount=3 lasts=2.099s";
    explored(scenarios::stateful_set(), &["statefulset-controller"], &[(5_001_269, conflicts)]);
}

#[test]
fn jobs_come_to_what_is_asked_of_them() {
    let conflicts = "11.028s conflict job-controller amount=473 lasts=1.380s; 0.010s runtime-away fake-1 amount=2 \
                     lasts=1.520s";
    explored(scenarios::job(), &["job-controller"], &[(5_000_358, conflicts)]);
}

#[test]
fn daemon_sets_come_to_what_is_asked_of_them() {
    let conflicts = "8.039s conflict daemon-set-controller amount=387 lasts=53.287s; 8.040s power-off fake-1 \
                     amount=12 lasts=48.098s; 0.019s delay-events daemon-set-controller amount=4604 lasts=1.103s; \
                     0s restart-in-past daemon-set-controller amount=143 lasts=45.899s";
    explored(scenarios::daemon_set(), &["daemon-set-controller"], &[(5_001_988, conflicts)]);
}

#[test]
fn cron_jobs_come_to_what_is_asked_of_them() {
    let conflicts = "0.007s hang node/fake-0 amount=11 lasts=16.982s; 45.111s skip-events kube-scheduler amount=4 \
                     lasts=1.551s; 38.102s conflict job-controller amount=498 lasts=29.627s; 38.103s lose-disk \
                     fake-0 amount=8 lasts=2.769s";
    let kept = [(5_000_087, conflicts)];
    explored(housekeeping::cron_job(), &["cronjob-controller", "job-controller"], &kept);
}

#[test]
fn quotas_are_kept() {
    explored(housekeeping::quota(), &["resourcequota-controller", "replicaset-controller"], &[]);
}

#[test]
fn what_has_no_owner_any_more_goes() {
    explored(housekeeping::garbage(), &["generic-garbage-collector"], &[]);
}

#[test]
fn namespaces_go_with_what_is_in_them() {
    // It emptied the namespace that had been made anew under the name of one that it still saw going.
    let past = "6.006s restart-in-past namespace-controller amount=11999 lasts=22.706s";
    explored(housekeeping::namespace(), &["namespace-controller"], &[(1, past)]);
}

#[test]
fn nodes_that_fall_silent_are_done_without() {
    explored(housekeeping::outage(), &["node-controller", "taint-eviction-controller"], &[]);
}

#[test]
fn volumes_are_bound_and_given_back() {
    let controllers = [
        "persistent-volume-binder",
        "local-path-provisioner",
        "pvc-protection-controller",
        "pv-protection-controller",
    ];
    explored(storage::volumes(), &controllers, &[]);
}

#[test]
fn devices_are_given_to_one_at_a_time() {
    // A second claim of a pod was never used, and stayed for as long as the pod.
    let twice = "22.998s restart-in-past deployment-controller amount=527 lasts=1.660s; 0.012s skip-events \
                 resource-claim-controller amount=1 lasts=24.776s";
    // The scheduler had given a device before it died, and did not see it when it began again.
    let unseen = "0.022s restart-in-past kube-scheduler amount=1423 lasts=1.688s";
    let kept = [(6_000_014, twice), (7_000_007, unseen)];
    explored(storage::devices(), &["resource-claim-controller", "kube-scheduler"], &kept);
}

#[test]
fn what_is_used_more_grows_and_shrinks_again() {
    explored(scaling::autoscaler(), &["horizontal-pod-autoscaler"], &[]);
}

#[test]
fn budgets_are_kept_while_a_node_is_drained() {
    explored(scaling::budget(), &["disruption-controller"], &[]);
}

#[test]
fn services_lead_to_their_pods() {
    let controllers = ["replication-controller", "service-controller", "endpointslicemirroring-controller"];
    explored(upkeep::services(), &controllers, &[]);
}

#[test]
fn what_a_cluster_sees_to_unasked_is_seen_to() {
    let controllers = [
        "service-account-controller",
        "root-ca-cert-publisher",
        "clusterrole-aggregation-controller",
        "ttl-after-finished-controller",
    ];
    explored(upkeep::upkeep(), &controllers, &[]);
}
