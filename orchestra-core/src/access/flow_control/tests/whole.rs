use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use serde_json::{Value, json};

use super::super::{FlowControl, Pass, Rejection};
use crate::api::access::AccessRequest;
use crate::api::{Target, User};
use crate::testing::TestServer;

fn schema(name: &str, level: &str, group: &str) -> FlowSchema {
    let object = json!({
        "metadata": { "name": name },
        "spec": {
            "priorityLevelConfiguration": { "name": level },
            "matchingPrecedence": 50,
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{ "kind": "Group", "group": { "name": group } }],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
                }],
            }],
        },
    });
    serde_json::from_value(object).unwrap()
}

fn level(name: &str, limited: Value) -> PriorityLevelConfiguration {
    let object = json!({ "metadata": { "name": name }, "spec": { "type": "Limited", "limited": limited } });
    serde_json::from_value(object).unwrap()
}

fn queueing(shares: i32, lendable: i32, length: i32) -> Value {
    json!({
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {
            "type": "Queue",
            "queuing": { "queues": 1, "handSize": 1, "queueLengthLimit": length },
        },
    })
}

struct World {
    server: TestServer,
    control: FlowControl,
}

impl World {
    async fn new(seats: u32) -> Self {
        let server = TestServer::start().await;
        let control = FlowControl::new(server.server().caches(), &server.clock(), seats);
        Self { server, control }
    }

    async fn make(&self, level: &PriorityLevelConfiguration, schema: &FlowSchema) {
        self.server.client().cluster().create(level).await.unwrap();
        self.server.client().cluster().create(schema).await.unwrap();
    }

    async fn admit(&self, user: &User) -> Result<Pass, Rejection> {
        let pods = Target::of::<Pod>(Some("x"));
        self.control.admit(user, &AccessRequest::resource("get", &pods), 1).await.pass
    }

    async fn fill(&self, user: &User, seats: usize) -> Vec<Pass> {
        let mut held = Vec::new();
        for _ in 0..seats {
            held.push(self.admit(user).await.unwrap());
        }
        held
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_objects_administrators_are_exempt_and_others_have_what_there_is() {
    let world = World::new(2).await;
    let (someone, admin) = (User::named("a"), User::admin());
    let held = world.fill(&someone, 2).await;
    assert_eq!(world.admit(&someone).await.unwrap_err(), Rejection::ConcurrencyLimit);
    assert_eq!(world.fill(&admin, 100).await.len(), 100);
    drop(held);
    assert!(world.admit(&someone).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_seat_waits_for_one_and_no_longer_than_a_quarter_of_its_time() {
    let world = World::new(11).await;
    world.make(&level("low", queueing(5, 0, 2)), &schema("devs", "low", "devs")).await;
    let dev = User::named("d").in_group("devs");
    let mut held = world.fill(&dev, 6).await;
    let clock = world.server.clock();
    let began = clock.elapsed();
    assert_eq!(world.admit(&dev).await.unwrap_err(), Rejection::TimeOut);
    assert_eq!(clock.elapsed() - began, Duration::from_secs(15));
    let wait = async {
        // Two wait; there is no room for a third.
        let (first, second) = (world.admit(&dev), world.admit(&dev));
        let third = async {
            tokio::task::yield_now().await;
            let refused = world.admit(&dev).await.unwrap_err();
            held.clear();
            refused
        };
        futures::join!(first, second, third)
    };
    let (first, second, third) = wait.await;
    assert_eq!(third, Rejection::QueueFull);
    assert!(first.is_ok() && second.is_ok());
    // Whoever is in no group of the schema has the seats of all others.
    assert!(world.admit(&User::named("other")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_leaves_its_place() {
    let world = World::new(11).await;
    world.make(&level("low", queueing(5, 0, 1)), &schema("devs", "low", "devs")).await;
    let dev = User::named("d").in_group("devs");
    let held = world.fill(&dev, 6).await;
    let gone = tokio::time::timeout(Duration::from_secs(1), world.admit(&dev)).await;
    assert!(gone.is_err());
    let (next, ()) = futures::join!(world.admit(&dev), async { drop(held) });
    assert!(next.is_ok(), "the place is free again");
    let figures = world.control.levels().into_iter().find(|level| &*level.name == "low").unwrap();
    assert_eq!((figures.running, figures.waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_one_level_does_not_want_another_borrows_and_gives_back() {
    let world = World::new(100).await;
    world.make(&level("lender", queueing(95, 90, 50)), &schema("a", "lender", "a")).await;
    world.make(&level("low", queueing(5, 0, 50)), &schema("b", "low", "b")).await;
    let (a, b) = (User::named("a").in_group("a"), User::named("b").in_group("b"));
    let limit =
        |name: &str| world.control.levels().into_iter().find(|level| &*level.name == name).unwrap().limit;
    let mut held = world.fill(&b, 5).await;
    assert_eq!((limit("low"), limit("lender")), (5, 91));
    let clock = world.server.clock();
    for _ in 0..5 {
        // One more wants a seat than there are, until the seats are divided anew.
        let wait = async { world.admit(&b).await };
        match wait.await {
            Ok(pass) => held.push(pass),
            Err(rejection) => assert_eq!(rejection, Rejection::TimeOut),
        }
        clock.sleep(Duration::from_secs(10)).await;
    }
    assert!(limit("low") > 10, "{}", limit("low"));
    assert!(limit("lender") >= 10, "it keeps what it may not lend");
    // The lender wants its own again, and has it in a period or two.
    drop(held);
    let mut wanted = Vec::new();
    for _ in 0..4 {
        let missing =
            (wanted.len()..91).map(|_| tokio::time::timeout(Duration::from_millis(1), world.admit(&a)));
        wanted.extend(
            futures::future::join_all(missing).await.into_iter().filter_map(|tried| tried.ok()?.ok()),
        );
        clock.sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(wanted.len(), 91);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_of_levels_and_schemas_counts_from_the_next_request_on() {
    let world = World::new(10).await;
    let dev = User::named("d").in_group("devs");
    let reject = json!({ "nominalConcurrencyShares": 5, "limitResponse": { "type": "Reject" } });
    world.make(&level("low", reject), &schema("devs", "low", "devs")).await;
    let held = world.fill(&dev, 5).await;
    assert_eq!(world.admit(&dev).await.unwrap_err(), Rejection::ConcurrencyLimit);
    // A schema whose level is not there is passed over.
    let levels = world.server.client().cluster::<PriorityLevelConfiguration>();
    levels.delete("low").await.unwrap();
    assert!(world.admit(&dev).await.is_ok(), "the schema that takes everything takes it");
    assert_eq!(held.len(), 5);
    let counted = world.control.schemas().into_iter().find(|schema| &*schema.name == "catch-all").unwrap();
    assert_eq!(counted.dispatched, 1);
}
