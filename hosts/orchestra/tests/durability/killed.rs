//! The whole program killed at random moments while tasks write through its HTTPS API: what was acknowledged is there
//! after the next start, and revisions go on.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::{Api, Patch};
use orchestra_core::clock::TokioClock;
use serde_json::json;

use crate::Up;

const KILLS: usize = 15;
const WRITERS: usize = 6;

/// What one writer was told, and what it does not know the outcome of.
#[derive(Default)]
struct Told {
    /// By name: the number last acknowledged, and its revision.
    acknowledged: HashMap<String, (u64, u64)>,
    /// By name: the number that was asked for when the line went dead.
    unknown: HashMap<String, u64>,
    writes: u64,
}

fn revision(map: &ConfigMap) -> u64 {
    map.metadata.resource_version.as_deref().unwrap().parse().unwrap()
}

fn number(map: &ConfigMap) -> u64 {
    map.data.as_ref().unwrap()["number"].parse().unwrap()
}

/// Creates objects and changes each a few times, until the server is gone.
async fn write(maps: Api<ConfigMap>, writer: usize, round: usize) -> Told {
    let mut told = Told::default();
    for count in 0u64.. {
        let name = format!("w{writer}-{round}-{}", count / 4);
        let data = json!({"data": {"number": count.to_string()}});
        let answer = if count % 4 == 0 {
            let mut object = data;
            object["metadata"] = json!({"name": name});
            maps.create(&serde_json::from_value(object).unwrap()).await
        } else {
            maps.patch(&name, Patch::Merge(data)).await
        };
        match answer {
            Ok(map) => {
                let revision = revision(&map);
                let before = told.acknowledged.insert(name, (count, revision));
                assert!(before.is_none_or(|(_, before)| before < revision));
                told.writes += 1;
            }
            Err(_) => {
                told.unknown.insert(name, count);
                break;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_through_http() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TokioClock::system();
    let mut acknowledged: HashMap<String, (u64, u64)> = HashMap::new();
    let mut unknown: HashMap<String, u64> = HashMap::new();
    let (mut highest, mut writes) = (0, 0);
    for round in 0..=KILLS {
        let up = Up::start(directory.path()).await;
        let maps: Api<ConfigMap> = up.remote.client().api("kube-public");
        let found = maps.list().await.unwrap();
        let found: HashMap<_, _> =
            found.iter().map(|map| (map.metadata.name.as_deref().unwrap(), map)).collect();
        for (name, (count, at)) in &acknowledged {
            let map = found.get(name.as_str()).unwrap_or_else(|| panic!("{name} is lost in round {round}"));
            let is_it = (number(map), revision(map)) == (*count, *at);
            let is_next = unknown.get(name).is_some_and(|next| number(map) == *next && revision(map) > *at);
            assert!(is_it || is_next, "{name} is {} at {}, not {count} at {at}", number(map), revision(map));
        }
        // What came of the writes without an answer is known now.
        for (name, told) in &mut acknowledged {
            *told = (number(found[name.as_str()]), revision(found[name.as_str()]));
        }
        highest = found.values().map(|map| revision(map)).max().unwrap_or(0).max(highest);
        if round == KILLS {
            break;
        }
        let map = json!({"metadata": {"name": format!("r{round}")}, "data": {"number": "0"}});
        let first = maps.create(&serde_json::from_value(map).unwrap()).await.unwrap();
        let first = revision(&first);
        assert!(first > highest, "revisions go on: {first} after {highest}");

        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(maps.clone(), writer, round)));
        let writers: Vec<_> = writers.collect();
        tokio::time::sleep(Duration::from_millis(20 + clock.random() % 400)).await;
        up.kill().await;
        unknown.clear();
        for writer in writers {
            let told = writer.await.unwrap();
            writes += told.writes;
            highest = told.acknowledged.values().map(|(_, at)| *at).max().unwrap_or(0).max(highest);
            acknowledged.extend(told.acknowledged);
            unknown.extend(told.unknown);
        }
    }
    println!("kills={KILLS} acknowledged={writes} lost=0");
    assert!(writes > KILLS as u64, "there was hardly a write to be lost: {writes}");
}
