//! What may go wrong while traffic flows: rules that somebody takes away, a machine that is heard no more, services that
//! come and go, and pods that are replaced.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use orchestra_core::api::{Client, Patch};
use orchestra_master::Master;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use super::{MACHINES, NODE_PORT, Segment, create, deploy, eventually, lived, request};
use crate::{condition, host, name, ready, until};

/// So many are asked for each second, by so many at a time.
const RATE: u32 = 1000;
const ASKERS: u32 = 8;

/// Somebody on a machine who asks a Service without end.
struct Load {
    stop: Arc<AtomicBool>,
    began: Instant,
    askers: Vec<JoinHandle<u32>>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Load {
    fn begin(segment: &Segment, place: &str, at: SocketAddr) -> Self {
        let (stop, failed, began) = (Arc::new(AtomicBool::new(false)), Arc::default(), Instant::now());
        let asker = |n: u32| {
            let namespace = File::open(format!("/run/netns/{}-{place}", segment.name)).unwrap();
            let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
            let failed: Arc<Mutex<Vec<String>>> = failed;
            std::thread::spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let each = Duration::from_secs(1) * ASKERS / RATE;
                let begin = Instant::now() + each * n / ASKERS;
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    if let Some(early) = (begin + each * asked).checked_duration_since(Instant::now()) {
                        std::thread::park_timeout(early);
                    }
                    asked += 1;
                    match request(at) {
                        Ok(answer) if !answer.is_empty() => {}
                        Ok(_) => failed.lock().unwrap().push(format!("{:?}: nothing", begin.elapsed())),
                        Err(error) => failed.lock().unwrap().push(format!("{:?}: {error}", begin.elapsed())),
                    }
                }
                asked
            })
        };
        Self { askers: (0..ASKERS).map(asker).collect(), stop, began, failed }
    }

    /// How many were asked for, and what was wrong.
    fn end(self, what: &str) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let asked: u32 = self.askers.into_iter().map(|asker| asker.join().unwrap()).sum();
        let seconds = self.began.elapsed().as_secs_f64();
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        println!(
            "{what}: {asked} requests in {seconds:.1} s ({:.0}/s), {} failed",
            f64::from(asked) / seconds,
            failed.len()
        );
        (asked, failed)
    }
}

#[test]
fn what_goes_wrong_is_put_right_and_no_request_fails_that_need_not() {
    let Some(segment) = Segment::new() else { return };
    lived(&segment, &MACHINES, &[], story);
}

async fn story(segment: &Segment, master: &Master, _: &Path) {
    let client = master.client();
    deploy(&client).await;
    until::<Pod>(&client, "a pod on each machine", |pods| ready(pods).len() == 3).await;
    let service = client.api::<Service>("default").get("web").await.unwrap();
    let at = SocketAddr::new(service.spec.unwrap().cluster_ip.unwrap().parse().unwrap(), 80);
    eventually("it is answered", || segment.ask("m1", at).is_ok()).await;
    flushed(segment, at).await;
    come_and_go(segment, &client, at).await;
    replaced(segment, &client, at).await;
    cut_one_way(segment, &client, at).await;
}

/// Somebody takes all rules of a machine away: they are put back.
async fn flushed(segment: &Segment, at: SocketAddr) {
    let nft = |words: &str| {
        let words = words.split(' ');
        let place = format!("{}-m1", segment.name);
        let done = Command::new("ip").args(["netns", "exec", &place, "nft"]).args(words).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let before = nft("list tables");
    nft("flush ruleset");
    eventually("it is answered again", || segment.ask("m1", at).is_ok()).await;
    assert_eq!(nft("list tables"), before);
}

/// Many Services come and go while a pod is asked that is ready throughout.
async fn come_and_go(segment: &Segment, client: &Client, at: SocketAddr) {
    let load = Load::begin(segment, "m1", at);
    let services = client.api::<Service>("default");
    let names: Vec<String> = (0..1000).map(|n| format!("many-{n}")).collect();
    futures::stream::iter(&names)
        .for_each_concurrent(16, async |name| {
            let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
            create::<Service>(client, json!({"metadata": {"name": name}, "spec": spec})).await;
        })
        .await;
    let last = services.get("many-999").await.unwrap().spec.unwrap().cluster_ip.unwrap();
    let last = SocketAddr::new(last.parse().unwrap(), 80);
    eventually("the last one is answered", || segment.ask("m2", last).is_ok()).await;
    futures::stream::iter(&names)
        .for_each_concurrent(16, async |name| {
            services.delete(name).await.unwrap();
        })
        .await;
    eventually("it is answered no more", || segment.ask("m2", last).is_err()).await;
    let (_, failed) = load.end("1,000 Services made and deleted");
    assert!(failed.is_empty(), "{failed:?}");
}

/// All pods are replaced while they are asked, through the Service and through a port of a machine.
async fn replaced(segment: &Segment, client: &Client, at: SocketAddr) {
    let change = json!({"spec": {
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "minReadySeconds": 1,
        "template": {
            "metadata": {"annotations": {"version": "2"}},
            "spec": {
                // New ones are beside those that they replace.
                "topologySpreadConstraints": null,
                "terminationGracePeriodSeconds": 10,
                "containers": [{
                    "name": "main",
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
                }],
            },
        },
    }});
    let deployments = client.api::<Deployment>("default");
    let settled = async |what: &str| {
        let is_settled = |one: &Deployment| {
            let status = one.status.clone().unwrap_or_default();
            status.observed_generation == one.metadata.generation
                && [status.updated_replicas, status.available_replicas, status.replicas] == [Some(3); 3]
        };
        until::<Deployment>(client, what, |all| all.iter().all(is_settled)).await;
        until::<Pod>(client, "the old pods are gone", |pods| pods.len() == 3).await;
    };
    // The first ones end at once when they are told to; what comes after them waits.
    deployments.patch("web", Patch::Strategic(change)).await.unwrap();
    settled("the pods that wait before they end are there").await;
    let by_port = SocketAddr::from((MACHINES[1].1, NODE_PORT));
    // A machine may have yet to hear that the pods are gone which ended at once.
    answered_in_turn(segment, "m1", at, "m1 leads to nobody who is gone").await;
    answered_in_turn(segment, "master", by_port, "m2 leads to nobody who is gone").await;
    let loads = [Load::begin(segment, "m1", at), Load::begin(segment, "master", by_port)];
    let again = json!({"spec": {"template": {"metadata": {"annotations": {"version": "3"}}}}});
    deployments.patch("web", Patch::Merge(again)).await.unwrap();
    settled("all are replaced").await;
    for (load, way) in loads.into_iter().zip(["cluster IP", "node port"]) {
        let (_, failed) = load.end(&format!("a rolling update, by the {way}"));
        assert!(failed.is_empty(), "by the {way}: {failed:?}");
    }
}

/// Waits until so many requests in turn are answered that each of three pods has been asked several times.
async fn answered_in_turn(segment: &Segment, place: &str, at: SocketAddr, what: &str) {
    let mut in_turn = 0;
    eventually(what, || {
        in_turn = if segment.ask(place, at).is_ok() { in_turn + 1 } else { 0 };
        in_turn == 12
    })
    .await;
}

/// A machine hears and is not heard: it counts as lost, its pod is asked no more, and all is well when it is heard again.
async fn cut_one_way(segment: &Segment, client: &Client, at: SocketAddr) {
    let nft = |words: &str| {
        let place = format!("{}-switch", segment.name);
        let done = Command::new("ip").args(["netns", "exec", &place, "nft", words]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let uids = async || -> Vec<String> {
        let mut pods = client.api::<Pod>("default").list().await.unwrap();
        pods.sort_by(|a, b| name(a).cmp(name(b)));
        pods.into_iter().filter_map(|pod| pod.metadata.uid).collect()
    };
    let before = uids().await;
    nft("table bridge cut { chain forward { type filter hook forward priority 0; iifname \"m3\" drop; }; \
         chain input { type filter hook input priority 0; iifname \"m3\" drop; }; }");
    let of_m3 = |nodes: &[Node], wanted: fn(&str) -> bool| {
        nodes.iter().any(|node| name(node) == "m3" && wanted(condition(node)))
    };
    until::<Node>(client, "m3 counts as lost", |nodes| of_m3(nodes, |ready| ready != "True")).await;
    until::<Pod>(client, "its pods are not ready", |pods| ready(pods).iter().all(|pod| host(pod) != "m3"))
        .await;
    if !client.api::<Pod>("default").list().await.unwrap().iter().all(|pod| host(pod) == "m3") {
        answered_in_turn(segment, "m1", at, "nobody is led there").await;
    }
    nft("delete table bridge cut");
    until::<Node>(client, "m3 is heard again", |nodes| of_m3(nodes, |ready| ready == "True")).await;
    until::<Pod>(client, "all are ready", |pods| ready(pods).len() == 3).await;
    assert_eq!(uids().await, before, "no pod was replaced");
    eventually("it is answered", || segment.ask("m3", at).is_ok()).await;
}
