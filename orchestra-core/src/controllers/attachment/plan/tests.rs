//! What is done for a volume, in tables, and what is never done.

use proptest::prelude::*;

use super::*;
use crate::controllers::testing::at;

fn need(node: &str, seconds: i64) -> Need {
    Need { node: node.into(), volume: "pv".into(), since: at(seconds), pods: vec![format!("pod-{node}")] }
}

/// An attachment of a node, in a word: `attached`, `waiting` for its driver, `failed`, `leaving`, or `foreign`.
fn attachment(node: &str, state: &str) -> Attachment {
    Attachment {
        name: format!("csi-{node}"),
        node: node.into(),
        ours: state != "foreign",
        leaving: state == "leaving",
        attached: matches!(state, "attached" | "foreign" | "leaving"),
        error: (state == "failed").then(|| "no".into()),
        waited: Duration::ZERO,
    }
}

/// A node in words: of them `used`, `told`, `away` (not ready), `down` (out of service) and `alone` (not managed).
fn node(name: &str, words: &str) -> (String, NodeState) {
    let has = |word: &str| words.split(' ').any(|held| held == word);
    let state = NodeState {
        managed: !has("alone"),
        ready: !has("away"),
        out_of_service: has("down"),
        in_use: has("used"),
        reports: has("told").then(|| format!("csi-{name}")),
    };
    (name.into(), state)
}

fn shown(plan: &Plan) -> String {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let waiting = plan.waiting.iter().map(|name| format!("wait for {name}"));
    let again = plan.again.map(|again| format!("again in {again:?}"));
    steps.into_iter().chain(waiting).chain(again).collect::<Vec<_>>().join("; ")
}

struct Case {
    shared: bool,
    needs: &'static [&'static str],
    attachments: &'static [(&'static str, &'static str)],
    nodes: &'static [(&'static str, &'static str)],
    waited: u64,
    expected: &'static str,
}

const ONE: Case = Case {
    shared: false,
    needs: &[],
    attachments: &[],
    nodes: &[("a", ""), ("b", "")],
    waited: 0,
    expected: "",
};

#[test]
fn what_is_done_for_a_volume() {
    let cases = [
        Case { needs: &["a"], expected: "attach a", ..ONE },
        Case { needs: &["a"], attachments: &[("a", "waiting")], expected: "", ..ONE },
        Case { needs: &["a"], attachments: &[("a", "failed")], expected: "fail a: no", ..ONE },
        Case { needs: &["a"], attachments: &[("a", "attached")], expected: "report a", ..ONE },
        Case { needs: &["a"], attachments: &[("a", "attached")], nodes: &[("a", "told used")], ..ONE },
        // Of two nodes that want it for themselves the one whose pod is older has it.
        Case { needs: &["a", "b"], expected: "attach a; refuse b: pod-a", ..ONE },
        Case { needs: &["b", "a"], expected: "attach b; refuse a: pod-b", ..ONE },
        Case { shared: true, needs: &["a", "b"], expected: "attach a; attach b", ..ONE },
        // A pod has moved.
        Case {
            needs: &["b"],
            attachments: &[("a", "attached")],
            nodes: &[("a", "told used"), ("b", "")],
            expected: "refuse b: ; wait for csi-a",
            ..ONE
        },
        Case {
            needs: &["b"],
            attachments: &[("a", "attached")],
            nodes: &[("a", "told"), ("b", "")],
            expected: "detach a; refuse b: ",
            ..ONE
        },
        Case { needs: &["b"], attachments: &[("a", "leaving")], expected: "refuse b: ", ..ONE },
        // It comes back before its attachment has gone.
        Case { needs: &["a"], attachments: &[("a", "leaving")], expected: "", ..ONE },
        // A node that is not heard of holds it for six minutes, one that is down not at all, one that is no more neither.
        Case {
            attachments: &[("a", "attached")],
            nodes: &[("a", "told used away")],
            waited: 60,
            expected: "wait for csi-a; again in 300s",
            ..ONE
        },
        Case {
            attachments: &[("a", "attached")],
            nodes: &[("a", "told used away")],
            waited: 360,
            expected: "detach a",
            ..ONE
        },
        Case {
            attachments: &[("a", "attached")],
            nodes: &[("a", "told used")],
            waited: 9999,
            expected: "wait for csi-a",
            ..ONE
        },
        Case {
            attachments: &[("a", "attached")],
            nodes: &[("a", "told used away down")],
            expected: "detach a",
            ..ONE
        },
        Case { attachments: &[("gone", "attached")], expected: "detach gone", ..ONE },
        // What somebody else has attached counts, and is left to them; so is a node that attaches by itself.
        Case { attachments: &[("a", "foreign")], expected: "", ..ONE },
        Case { needs: &["b"], attachments: &[("a", "foreign")], expected: "refuse b: ", ..ONE },
        Case { needs: &["a"], nodes: &[("a", "alone")], expected: "", ..ONE },
        Case { attachments: &[("a", "attached")], nodes: &[("a", "alone")], expected: "", ..ONE },
        Case { needs: &["gone"], expected: "", ..ONE },
        // An attachment that somebody took away is not reported any more.
        Case { nodes: &[("a", "told")], expected: "unreport a", ..ONE },
        Case { needs: &["a"], nodes: &[("a", "told used")], expected: "attach a; unreport a", ..ONE },
    ];
    for case in cases {
        let waited = Duration::from_secs(case.waited);
        let attachments = case.attachments.iter();
        let seen = Observed {
            shared: case.shared,
            needs: case.needs.iter().zip(0..).map(|(node, since)| need(node, since)).collect(),
            attachments: attachments.map(|(n, s)| Attachment { waited, ..attachment(n, s) }).collect(),
            nodes: case.nodes.iter().map(|(name, words)| node(name, words)).collect(),
        };
        assert_eq!(shown(&plan(&seen)), case.expected, "{seen:?}");
    }
}

#[test]
fn pods_are_told_in_kubernetes_words() {
    let (volume, node) = (|| "pv".to_owned(), || "a".to_owned());
    let refuse = |used_by: &[&str]| {
        let used_by = used_by.iter().map(|pod| (*pod).to_owned()).collect();
        Step::Refuse { volume: volume(), node: node(), used_by }
    };
    for (step, said) in [
        (
            refuse(&[]),
            "Multi-Attach error for volume \"pv\" Volume is already exclusively attached to one node and can't be attached to another",
        ),
        (refuse(&["x", "y"]), "Multi-Attach error for volume \"pv\" Volume is already used by pod(s) x, y"),
        (
            Step::Fail { volume: volume(), node: node(), why: "no".into() },
            "AttachVolume.Attach failed for volume \"pv\" : no",
        ),
        (
            Step::Report { attachment: "csi-a".into(), volume: volume(), node: node() },
            "AttachVolume.Attach succeeded for volume \"pv\" ",
        ),
    ] {
        assert_eq!(step.told().map(|(_, _, message)| message).as_deref(), Some(said));
    }
    assert_eq!(Step::Attach { volume: volume(), node: node() }.told(), None);
}

const NODES: [&str; 3] = ["a", "b", "c"];

fn observed() -> impl Strategy<Value = Observed> {
    let states = prop::sample::select(vec!["attached", "waiting", "failed", "leaving", "foreign"]);
    let words = prop::sample::subsequence(vec!["used", "told", "away", "down", "alone"], 0..=5);
    let of_node = (any::<bool>(), prop::option::of(states), prop::option::of(words), 0..500_u64);
    (any::<bool>(), prop::array::uniform3(of_node)).prop_map(|(shared, all)| {
        let mut seen = Observed { shared, ..Observed::default() };
        for (name, (needed, state, words, waited)) in NODES.into_iter().zip(all) {
            seen.needs.extend(needed.then(|| need(name, 0)));
            let waited = Duration::from_secs(waited);
            seen.attachments.extend(state.map(|state| Attachment { waited, ..attachment(name, state) }));
            seen.nodes.extend(words.map(|words| node(name, &words.join(" "))));
        }
        seen
    })
}

proptest! {
    #[test]
    fn never_on_two_nodes_never_from_under_a_pod_and_never_what_is_anothers(seen in observed()) {
        let plan = plan(&seen);
        let count = |is: fn(&Step) -> bool| plan.steps.iter().filter(|step| is(step)).count();
        let attached = count(|step| matches!(step, Step::Attach { .. }));
        let elsewhere = |node: &str| seen.attachments.iter().any(|held| held.node != node);
        prop_assert!(seen.shared || attached <= 1);
        for step in &plan.steps {
            match step {
                Step::Attach { node, .. } => {
                    prop_assert!(seen.shared || !elsewhere(node));
                    prop_assert!(seen.nodes[node].managed);
                }
                Step::Detach { attachment, node } => {
                    prop_assert!(seen.needs.iter().all(|need| need.node != *node));
                    let held = seen.attachments.iter().find(|held| held.name == *attachment).unwrap();
                    prop_assert!(held.ours && !held.leaving);
                    if let Some(node) = seen.nodes.get(node) {
                        let given_up = !node.ready && held.waited >= PATIENCE;
                        prop_assert!(!node.in_use || node.out_of_service || given_up);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn never_is_anything_done_twice(seen in observed()) {
        // What a plan leads to, once it was carried out, leads to nothing more of the same.
        let mut after = seen;
        for step in plan(&after).steps {
            match step {
                Step::Detach { attachment, node } => {
                    after.attachments.retain(|held| held.name != attachment);
                    if let Some(node) = after.nodes.get_mut(&node) { node.reports = None; }
                }
                Step::Unreport { node, .. } => after.nodes.get_mut(&node).unwrap().reports = None,
                Step::Attach { node, .. } => after.attachments.push(attachment(&node, "waiting")),
                Step::Report { attachment, node, .. } => {
                    after.nodes.get_mut(&node).unwrap().reports = Some(attachment);
                }
                Step::Refuse { .. } | Step::Fail { .. } => {}
            }
        }
        let again = plan(&after);
        let writes = |step: &&Step| !matches!(step, Step::Refuse { .. } | Step::Fail { .. });
        let left: Vec<_> = again.steps.iter().filter(writes).collect();
        // A volume that was given up by one node may go to another now.
        prop_assert!(left.iter().all(|step| matches!(step, Step::Attach { .. })), "{left:?}");
    }
}
