//! What Kubernetes 1.36 answered, recorded, and what this server answers.
//!
//! `answers` holds scenarios of requests with the answers of a stock control plane; `differs.txt` those that this
//! server answers otherwise, with the reasons; `unserved.txt` the paths that it does not serve. Both lists must be
//! true: a scenario that is listed and is the same fails the test too, as does a listed path that is served. What chance
//! decides is listed as such, and may be either.
//!
//! `ORACLE_ONLY=validation/pod,kinds/pod cargo test -p orchestra-http --test oracle -- --nocapture` runs those whose names
//! begin so, and shows each difference; `ORACLE_ONLY=,` shows those of all. With `ORACLE_STRIKE` in the environment, what is the same is struck from the list of
//! what differs.

mod client;
mod compare;
mod document;
mod lists;
mod normal;
mod replay;
mod scenario;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use client::Client;
use lists::Lists;
use orchestra_core::api::WatchOptions;
use orchestra_core::cluster::{Builder, Cluster};
use orchestra_core::controllers;
use orchestra_core::k8s_openapi::api::rbac::v1::ClusterRole;
use orchestra_core::meta::ObjectName;
use orchestra_core::store::memory::MemoryStore;
use orchestra_http::{Authority, TokenKeys, WebhookCaller};
use replay::Outcome;
use scenario::Scenario;
use support::Served;

/// How many scenarios run at a time. Many of them wait for controllers.
const AT_A_TIME: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_those_of_kubernetes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let only = std::env::var("ORACLE_ONLY").unwrap_or_default();
    let mut scenarios = scenario::read_all(&folder.join("answers"));
    scenarios.retain(|scenario| only.split(',').any(|only| scenario.name.starts_with(only)));
    let served = Served::of(cluster, |frontend| frontend).await;
    until_roles_are_gathered(&served.cluster).await;
    let (alone, together): (Vec<_>, Vec<_>) = scenarios.iter().partition(|scenario| scenario.alone);
    let mut outcomes = run_all(&served, together, AT_A_TIME).await;
    outcomes.extend(run_all(&served, alone, 1).await);
    outcomes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let same = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Same)).count();
    let differ = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Differs(_))).count();
    println!("{same} scenarios are the same, {differ} differ, of {}", outcomes.len());
    if std::env::var_os("ORACLE_STRIKE").is_some() {
        Lists::strike(&folder, &outcomes);
    }
    let lists = Lists::read(&folder);
    if !only.is_empty() {
        return lists.show(&outcomes);
    }
    let wrong = lists.check(&outcomes);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A cluster as a master makes it: rights by roles, tokens of service accounts, and in each namespace the certificate of
/// the authority.
fn cluster(authority: &Authority) -> Builder {
    let root_ca = Some(authority.certificate().to_owned());
    let controllers = controllers::Config { root_ca, ..controllers::Config::default() };
    let builder = Cluster::builder().store(MemoryStore::new()).controllers(controllers);
    builder.rbac().tokens(TokenKeys::new().unwrap()).webhooks(WebhookCaller::new())
}

/// Waits until the roles that gather others have what those have: a controller sees to it after the start.
async fn until_roles_are_gathered(cluster: &Cluster) {
    let gathered = |roles: &BTreeMap<ObjectName, ClusterRole>| {
        let rules = |name: &str| {
            let role = roles.get(&ObjectName::cluster(name));
            role.and_then(|role| role.rules.clone()).unwrap_or_default()
        };
        let has = |role: &str, part: &str| {
            let (held, part) = (rules(role), rules(part));
            !part.is_empty() && part.iter().all(|rule| held.contains(rule))
        };
        let parts = [
            ("view", "system:aggregate-to-view"),
            ("edit", "system:aggregate-to-edit"),
            ("edit", "view"),
            ("admin", "system:aggregate-to-admin"),
            ("admin", "edit"),
        ];
        parts.into_iter().all(|(role, part)| has(role, part))
    };
    let roles = cluster.client().cluster::<ClusterRole>();
    let waiting = roles.until_all(WatchOptions::default(), gathered);
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.expect("roles are gathered within a minute").unwrap();
}

/// Runs scenarios, so many at a time, and says of each how it went.
async fn run_all(served: &Served, scenarios: Vec<&Scenario>, at_a_time: usize) -> Vec<(String, Outcome)> {
    let (queue, outcomes) = (Mutex::new(VecDeque::from(scenarios)), Mutex::new(Vec::new()));
    let worker = || async {
        let mut client = Client::new(served);
        while let Some((scenario, left)) = next(&queue) {
            let outcome = replay::run(&mut client, scenario, &unique(left)).await;
            outcomes.lock().unwrap().push((scenario.name.clone(), outcome));
        }
    };
    futures::future::join_all((0..at_a_time).map(|_| worker())).await;
    outcomes.into_inner().unwrap()
}

fn next<'s>(queue: &Mutex<VecDeque<&'s Scenario>>) -> Option<(&'s Scenario, usize)> {
    let mut queue = queue.lock().unwrap();
    let scenario = queue.pop_front()?;
    Some((scenario, queue.len()))
}

/// A word of six letters for each number, without vowels as generated names are.
fn unique(number: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz";
    // The letters stand in no order, lest the words be found within others.
    let mut rest = (number + 1).wrapping_mul(7_368_787) % 47_045_881;
    let letter = |_| {
        let letter = char::from(LETTERS[rest % LETTERS.len()]);
        rest /= LETTERS.len();
        letter
    };
    (0..6).map(letter).collect()
}
