//! What is seen, as golden files of a terminal of 100 columns, and what keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use orchestra_core::explain::{Facts, wrong};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::rows;
use super::state::{Data, Effect, LogOf, Mode, Tab, View};
use super::view::draw;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn pod(namespace: &str, name: &str, node: &str, waits: Option<&str>) -> Value {
    let state = waits.map_or_else(|| json!({"running": {}}), |reason| json!({"waiting": {"reason": reason}}));
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": name, "labels": {"app": name.split('-').next()}, "creationTimestamp": "2026-01-01T00:30:00Z"},
        "spec": {"nodeName": node, "containers": [
            {"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}}}, {"name": "side", "image": "side:1"},
        ]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "main", "ready": waits.is_none(), "restartCount": if waits.is_some() { 7 } else { 0 }, "state": state},
                {"name": "side", "ready": true, "restartCount": 0, "state": {"running": {}}},
            ],
            "conditions": [{"type": "Ready", "status": if waits.is_none() { "True" } else { "False" }}],
        },
    })
}

fn node(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "creationTimestamp": "2025-12-01T00:00:00Z"},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi"},
            "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "no network"}],
        },
    })
}

fn data() -> Data {
    let pods = [
        pod("shop", "api-1", "node-a", Some("CrashLoopBackOff")),
        pod("shop", "web-1", "node-a", None),
        pod("shop", "web-2", "node-a", None),
        pod("kube-system", "dns-1", "node-a", None),
    ];
    let nodes = [node("node-a", "True"), node("node-b", "False")];
    let events = [json!({
        "metadata": {"namespace": "shop", "name": "e"}, "lastTimestamp": "2026-01-01T00:59:00Z", "type": "Warning",
        "reason": "BackOff", "involvedObject": {"kind": "Pod", "name": "api-1"},
        "message": "Back-off restarting failed container\nmain",
    })];
    let figures = rows::usage(&[
        json!({"metadata": {"namespace": "shop", "name": "web-2"}, "containers": [{"usage": {"cpu": "1500m", "memory": "64Mi"}}, {"usage": {"cpu": "10m", "memory": "1Mi"}}]}),
        json!({"metadata": {"name": "node-a"}, "usage": {"cpu": "2", "memory": "2Gi"}}),
    ]);
    let mut facts = Facts::new(now());
    for (resource, objects) in [("pods", &pods[..]), ("nodes", &nodes)] {
        objects.iter().for_each(|object| facts.add(resource, object.clone()).unwrap());
    }
    Data {
        cluster: "a cluster".into(),
        pods: pods.iter().map(|one| rows::pod(one, &figures, now())).collect(),
        nodes: nodes.iter().map(|one| rows::node(one, &pods, &figures, now())).collect(),
        events: events.iter().map(|one| rows::event(one, now())).collect(),
        wrong: wrong(&facts),
        namespaces: vec!["kube-system".into(), "shop".into()],
        unread: vec!["jobs".into()],
        is_whole: true,
    }
}

/// The picture of a state, without its colours.
fn seen(view: &View, data: &Data, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, data)).unwrap();
    let text = terminal.backend().to_string();
    text.lines().map(|line| line.trim_matches('"').trim_end()).collect::<Vec<_>>().join("\n")
}

fn press(view: &mut View, data: &Data, keys: &str) -> Effect {
    let mut last = Effect::None;
    for letter in keys.chars() {
        let code = match letter {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        last = view.press(KeyEvent::new(code, KeyModifiers::NONE), data);
    }
    last
}

#[test]
fn each_table_is_shown() {
    let (data, mut view) = (data(), View::new(String::new()));
    for (key, name) in [("1", "wrong"), ("2", "pods"), ("3", "nodes"), ("4", "events")] {
        press(&mut view, &data, key);
        insta::assert_snapshot!(name, seen(&view, &data, 100, 10));
    }
}

#[test]
fn a_narrow_terminal_shows_what_matters() {
    let (mut data, mut view) = (data(), View::new(String::new()));
    data.pods[0].name = "web-5675b86c47-6f2dv".into();
    data.pods[1].name = "a-very-long-name-of-a-set-5675b86c47-6f2dv".into();
    for (key, name) in
        [("1", "wrong-narrow"), ("2", "pods-narrow"), ("3", "nodes-narrow"), ("4", "events-narrow")]
    {
        press(&mut view, &data, key);
        let sizes = [(80, 8), (50, 8)].map(|(width, height)| seen(&view, &data, width, height));
        insta::assert_snapshot!(name, sizes.join("\n----\n"));
    }
}

#[test]
fn a_pod_that_is_the_cause_of_what_is_wrong_is_told_to_be() {
    let mut facts = Facts::new(now());
    let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true}]);
    let old = "2026-01-01T00:00:00Z";
    let web = json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "web", "generation": 1, "creationTimestamp": old},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "replicas": 1, "unavailableReplicas": 1},
    });
    let set = json!({
        "metadata": {"namespace": "shop", "name": "web-1", "uid": "web-1", "ownerReferences": owner("Deployment", "web"), "creationTimestamp": old},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 1},
    });
    let mut waits = pod("shop", "web-1-a", "node-a", Some("CrashLoopBackOff"));
    waits["metadata"]["ownerReferences"] = owner("ReplicaSet", "web-1");
    for (resource, object) in [("deployments", &web), ("replicasets", &set), ("pods", &waits)] {
        facts.add(resource, object.clone()).unwrap();
    }
    let data = Data {
        pods: vec![rows::pod(&waits, &rows::Usage::new(), now())],
        wrong: wrong(&facts),
        is_whole: true,
        ..Data::default()
    };
    let mut view = View::new(String::new());
    press(&mut view, &data, "2\n");
    let Mode::Reading(reading) = &view.mode else { panic!("{:?}", view.mode) };
    let lines = reading.lines(&data).join("\n");
    assert!(!lines.contains("Nothing is wrong"), "{lines}");
    assert!(lines.contains("STATUS CrashLoopBackOff  RESTARTS 7"), "{lines}");
}

#[test]
fn windows_and_texts_are_shown() {
    let data = data();
    for (keys, name) in [
        ("?", "keys"),
        ("n", "namespaces"),
        ("2j\n", "nothing-wrong"),
        ("2\n", "why"),
        ("2/app in (", "typing"),
    ] {
        let mut view = View::new("shop".into());
        press(&mut view, &data, keys);
        insta::assert_snapshot!(name, seen(&view, &data, 100, 16));
    }
}

#[test]
fn a_selector_and_a_namespace_leave_rows_out() {
    let (data, mut view) = (data(), View::new(String::new()));
    press(&mut view, &data, "4/app in (web, dns)\n");
    assert_eq!(view.tab, Tab::Pods, "events have no labels");
    assert_eq!(view.rows(Tab::Nodes, &data).len(), 2, "it is of pods");
    let names =
        |view: &View| view.rows(Tab::Pods, &data).iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&view), ["web-1", "web-2", "dns-1"]);
    press(&mut view, &data, "njj\n");
    assert_eq!((&*view.namespace, names(&view)), ("shop", vec!["web-1".to_owned(), "web-2".to_owned()]));
    // One that cannot be read is told of, and typed on.
    press(&mut view, &data, "/ in (\n");
    assert!(matches!(&view.mode, Mode::Typing(_, Some(why)) if !why.is_empty()), "{:?}", view.mode);
    press(&mut view, &data, "\x1b\x1b");
    assert_eq!(names(&view).len(), 3);
}

#[test]
fn pods_are_sorted_by_what_they_use() {
    let (data, mut view) = (data(), View::new(String::new()));
    let first = |view: &View| view.rows(Tab::Pods, &data)[0].name.clone();
    for expected in ["api-1", "web-2", "web-2", "api-1"] {
        press(&mut view, &data, "s");
        assert_eq!(first(&view), expected, "{}", view.sort.name());
    }
}

#[test]
fn a_log_follows_until_one_looks_back() {
    let (data, mut view) = (data(), View::new("shop".into()));
    let of = |container: &str| LogOf {
        namespace: "shop".into(),
        pod: "web-1".into(),
        container: container.into(),
    };
    assert_eq!(press(&mut view, &data, "2jl"), Effect::Follow(of("main")));
    assert_eq!(press(&mut view, &data, "c"), Effect::Follow(of("side")));
    let Mode::Log(log) = &mut view.mode else { panic!("{:?}", view.mode) };
    (0..30).for_each(|line| log.take(&format!("line {line}\n")));
    log.take("half a li");
    log.take("ne\t\x1b[31mred\n");
    assert_eq!(log.lines.back().unwrap(), "half a line    [31mred");
    insta::assert_snapshot!("log", seen(&view, &data, 60, 9));
    press(&mut view, &data, "kk");
    let Mode::Log(log) = &mut view.mode else { panic!() };
    log.take("later\n");
    insta::assert_snapshot!("log-looked-back", seen(&view, &data, 60, 9));
    assert_eq!(press(&mut view, &data, "q"), Effect::Unfollow);
    assert_eq!(view.mode, Mode::Browse);
}

#[test]
fn no_size_and_no_key_is_too_odd() {
    let (full, none) = (data(), Data::default());
    let keys = "1234\t\x1bjkgGnN/ls?\n\x08 cq";
    for data in [&full, &none] {
        for first in keys.chars() {
            for second in keys.chars() {
                let mut view = View::new(String::new());
                press(&mut view, data, &format!("2{first}{second}"));
                for (width, height) in [(0, 0), (1, 1), (5, 3), (20, 4), (60, 20)] {
                    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                    terminal.draw(|frame| draw(frame, &view, data)).unwrap();
                }
            }
        }
    }
}

#[test]
fn ctrl_c_leaves_wherever_one_is() {
    let data = data();
    for keys in ["", "?", "n", "/x", "2l", "2\n"] {
        let mut view = View::new(String::new());
        press(&mut view, &data, keys);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(key, &data), Effect::Quit, "{keys:?}");
    }
}
