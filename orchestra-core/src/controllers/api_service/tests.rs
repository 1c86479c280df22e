use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::json;

use super::masters::Seen;
use super::*;
use crate::control::leader::TERM;
use crate::testing::{TestServer, until};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn masters_of_one_port_are_in_one_slice_and_others_beside_it() {
    let all = BTreeSet::from([at("10.0.0.1:6443"), at("10.0.0.2:6443")]);
    let of = slices(&all);
    assert_eq!((of.len(), of[NAME]["endpoints"].as_array().unwrap().len()), (1, 2));
    let all = BTreeSet::from([at("10.0.0.1:6443"), at("10.0.0.1:6444"), at("[fd00::1]:6443")]);
    let names: Vec<String> = slices(&all).into_keys().collect();
    assert_eq!(names, ["kubernetes", "kubernetes-ipv4-6444", "kubernetes-ipv6-6443"]);
    assert_eq!(endpoints(&all)["subsets"].as_array().unwrap().len(), 2);
}

/// Two masters say where they are; one goes in good order, and another without a word.
#[tokio::test(start_paused = true)]
async fn masters_are_behind_the_service_for_as_long_as_they_say_that_they_live() {
    let server = TestServer::builder().namespace(masters::NAMESPACE).start().await;
    let client = server.client();
    let leases = client.cache::<Lease>().await.unwrap();
    let seen = Seen::default();
    let look = || seen.look(&leases.list(&Query::all()), client.clock().elapsed());
    let stop = tokio_util::sync::CancellationToken::new();
    let announced = |address: &str, stop: Option<tokio_util::sync::CancellationToken>| {
        let shutdown = async move {
            match stop {
                Some(stop) => stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let own = (format!("of-{address}"), at(address), TERM);
        tokio::spawn(announce(client.clone(), own, Arc::default(), shutdown))
    };
    let polite = announced("10.0.0.1:6443", Some(stop.clone()));
    let killed = announced("[fd00::2]:6443", None);
    let patience = Duration::from_secs(60);
    let both = BTreeSet::from([at("10.0.0.1:6443"), at("[fd00::2]:6443")]);
    until("both are seen", patience, async || (look().live == both).then_some(())).await;
    // They live on.
    for _ in 0..10 {
        client.clock().sleep(Duration::from_secs(5)).await;
        assert_eq!(look().live, both);
    }
    stop.cancel();
    polite.await.unwrap();
    let one = BTreeSet::from([at("[fd00::2]:6443")]);
    until("one has said that it goes", patience, async || (look().live == one).then_some(())).await;
    killed.abort();
    let began = client.clock().elapsed();
    until("the other is found out", patience, async || (look().dead.len() == 1).then_some(())).await;
    let took = client.clock().elapsed() - began;
    assert!((Duration::from_secs(10)..Duration::from_secs(17)).contains(&took), "{took:?}");
    assert_eq!(look().live, BTreeSet::new());

    let service = ApiService::new(ServiceRanges::default(), Some(([10, 0, 0, 3].into(), 6443)));
    service.ensure(&client, &both).await.unwrap();
    let made = client.api::<Endpoints>(NAMESPACE).get(NAME).await.unwrap();
    let ips = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.3"}, {"ip": "fd00::2"}]);
    let made = serde_json::to_value(&made.subsets).unwrap();
    assert_eq!(made[0]["addresses"], ips);
    assert_eq!(client.api::<EndpointSlice>(NAMESPACE).list().await.unwrap().len(), 2);
}
